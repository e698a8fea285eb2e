//! `POST /api/fleet/agents/{id}/audit/unenroll` (agents.md 7.7).

use std::sync::Arc;

use actix_web::HttpResponse;
use fleet::{AgentId, Timestamp, audit};

use super::AgentState;
use crate::{
    call::Call,
    error::{ApiError, Family},
    json::{self as read, JsonError, Object},
    member::Member,
    operation::{Answer, KeyKind, Operation},
    route::Route,
};

/// Name of the body in errors.
const WHAT: &str = "audit/unenroll";

const BODY: [Member; 2] = [
    Member::text("reason").required().one_of(&audit::REASONS),
    Member::text("timestamp").like("2026-01-31T12:00:00Z"),
];

pub(super) fn about() -> Operation {
    let summary = "An agent that was uninstalled, orphaned or moved says so";
    Operation::new("auditUnenroll", summary, KeyKind::Agent)
        .path("id", "The agent's id")
        .takes(&BODY)
        .answers(Answer::empty(200, "It is noted"))
        .fails(&[Family::Rule, Family::Conflict, Family::Missing])
}

pub(super) async fn serve(state: Arc<AgentState>, mut call: Call) -> Result<HttpResponse, ApiError> {
    let key = call.take_key()?;
    let agent = fleet::auth::authenticate_agent(&state.fleet, &key, &AgentId::from(call.id.as_str())).await?;
    let _places = state
        .admission
        .admit_agent(Route::AuditUnenroll, &agent.id, call.started)
        .map_err(ApiError::Refused)?;
    audit::admit(&state.fleet, &agent).await?;
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
    let body = Object::body(text, &BODY)?;
    Ok((body.text("reason")?, body.text("timestamp")?))
}
