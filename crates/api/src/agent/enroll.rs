//! `POST /api/fleet/agents/enroll` (agents.md 4.1).

use std::sync::Arc;

use actix_web::HttpResponse;
use fleet::{
    Secret, Timestamp,
    enrollment::{self, EnrollRequest},
};

use super::{AgentState, json, wire};
use crate::{
    call::Call,
    error::ApiError,
    json::{self as read, JsonError, Object},
    route::Route,
};

/// Name of the body in errors.
const WHAT: &str = "enroll";

pub(super) async fn serve(state: Arc<AgentState>, mut call: Call) -> Result<HttpResponse, ApiError> {
    let key = call.take_key()?;
    let admission = enrollment::admit(&state.fleet, &key).await?;
    let version = state.agent_version(&call)?.to_string();
    let _place = state
        .admission
        .admit_known(Route::Enroll, call.started)
        .map_err(ApiError::Refused)?;
    let limits = state.options.limits.of(Route::Enroll);
    let held = state.admission.bodies.hold(None::<()>);
    let body = call.body(WHAT, limits, state.options.body_timeout, held).await?;
    let request = read::decode(body, request)
        .await
        .map_err(|cause| ApiError::Json { what: WHAT, cause })?;
    let enrolled = enrollment::enroll(&state.fleet, admission, &version, request, Timestamp::now()).await?;
    Ok(json(wire::enrolled(&enrolled)?))
}

fn request(text: &str) -> Result<EnrollRequest, JsonError> {
    let body = Object::body(
        text,
        &["type", "id", "replace_token", "enrollment_id", "metadata"],
    )?;
    let metadata = body.object("metadata", "metadata", &["local", "tags"])?;
    let (local_metadata, tags) = match &metadata {
        Some(metadata) => (
            metadata.raw("local")?,
            metadata.texts("tags")?.unwrap_or_default(),
        ),
        None => (None, Vec::new()),
    };
    Ok(EnrollRequest {
        kind: body.text("type")?.unwrap_or_default(),
        id: present(body.text("id")?),
        replace_token: present(body.text("replace_token")?).map(Secret::from),
        enrollment_id: present(body.text("enrollment_id")?),
        local_metadata,
        tags,
    })
}

/// Agents send empty text for what they do not have.
fn present(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}
