//! `POST /api/fleet/agents/{id}/audit/unenroll` (agents.md 7.7).

use std::sync::Arc;

use actix_web::HttpResponse;
use fleet::{AgentId, Timestamp, audit};

use super::AgentState;
use crate::{
    call::Call,
    error::ApiError,
    json::{self as read, JsonError, Object},
    route::Route,
};

/// Name of the body in errors.
const WHAT: &str = "audit/unenroll";

pub(super) async fn serve(state: Arc<AgentState>, mut call: Call) -> Result<HttpResponse, ApiError> {
    let key = call.take_key()?;
    let agent = fleet::auth::authenticate_agent(&state.fleet, &key, &AgentId::from(call.id.as_str())).await?;
    let _places = state
        .admission
        .admit_agent(Route::AuditUnenroll, &agent.id, call.started)
        .map_err(ApiError::Refused)?;
    audit::admit(&agent)?;
    let limits = state.options.limits.of(Route::AuditUnenroll);
    let held = state.admission.bodies.hold(Some(&agent.id));
    let body = call.body(WHAT, limits, state.options.body_timeout, held).await?;
    let (reason, time) = read::decode(body, request)
        .await
        .map_err(|cause| ApiError::Json { what: WHAT, cause })?;
    audit::mark(&state.fleet, &agent, reason, time, Timestamp::now()).await?;
    Ok(HttpResponse::Ok().finish())
}

fn request(text: &str) -> Result<(Option<String>, Option<String>), JsonError> {
    let body = Object::body(text, &["reason", "timestamp"])?;
    Ok((body.text("reason")?, body.text("timestamp")?))
}
