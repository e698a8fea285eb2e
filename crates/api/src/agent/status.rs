//! `GET /api/status` (http-api 2.1): the state, and the version for whoever holds any key.

use std::sync::Arc;

use actix_web::{HttpResponse, http::StatusCode};
use fleet::{Fleet, HealthState};
use serde::Serialize;

use super::{AgentState, Identity};
use crate::{call::Call, error::ApiError, version::COMPATIBLE_VERSION};

pub(super) async fn serve(state: Arc<AgentState>, mut call: Call) -> Result<HttpResponse, ApiError> {
    Ok(answer(&state.fleet, &state.options.identity, &mut call).await)
}

/// The answer, on whichever face it is asked for.
pub(crate) async fn answer(fleet: &Fleet, identity: &Identity, call: &mut Call) -> HttpResponse {
    // Whatever is wrong with the key, the short form is the answer.
    let is_authentic = match call.take_key() {
        Ok(key) => fleet::auth::authenticate(fleet, &key).await.is_ok(),
        Err(_) => false,
    };
    let health = fleet.health();
    let version = is_authentic.then(|| VersionBody {
        number: COMPATIBLE_VERSION.to_string(),
        build_hash: &identity.build_hash,
        build_time: &identity.build_time,
    });
    let body = StatusBody {
        name: "fleet-server",
        status: health.state.as_str(),
        version,
    };
    let code = match health.state {
        HealthState::Healthy => StatusCode::OK,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    match serde_json::to_vec(&body) {
        Ok(body) => HttpResponse::build(code)
            .content_type("application/json")
            .body(body),
        Err(_) => HttpResponse::InternalServerError().finish(),
    }
}

#[derive(Serialize)]
struct StatusBody<'a> {
    name: &'static str,
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<VersionBody<'a>>,
}

#[derive(Serialize)]
struct VersionBody<'a> {
    number: String,
    build_hash: &'a str,
    build_time: &'a str,
}
