//! `GET /api/fleet/artifacts/{id}/{sha2}` (agents.md 11.1).

use std::sync::Arc;

use actix_web::{HttpResponse, body::SizedStream, http::header::CONTENT_TYPE};
use fleet::artifacts;

use super::AgentState;
use crate::{
    call::Call,
    error::{ApiError, Family},
    held_body::HeldBody,
    operation::{Answer, KeyKind, OCTETS, Operation},
    route::Route,
};

pub(super) fn about() -> Operation {
    Operation::new(
        "artifact",
        "An artifact that the agent's policy lists",
        KeyKind::Agent,
    )
    .path("id", "The artifact's identifier")
    .path(
        "sha2",
        "The SHA-256 of what it inflates to, in hexadecimal digits",
    )
    .answers(Answer::of(200, OCTETS, "The artifact as it is stored"))
    .fails(&[Family::Artifact, Family::Rule, Family::Missing, Family::Policy])
}

pub(super) async fn serve(state: Arc<AgentState>, mut call: Call) -> Result<HttpResponse, ApiError> {
    let key = call.take_key()?;
    let agent = fleet::auth::authenticate_some_agent(&state.fleet, &key).await?;
    let places = state
        .admission
        .admit_agent(Route::Artifact, &agent.id, call.started)
        .map_err(ApiError::Refused)?;
    let (stored, bytes) = artifacts::read(&state.fleet, &agent, &call.id, &call.second).await?;
    // As they are stored: the client inflates them, as the policy says, so they have no content coding.
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/octet-stream"))
        .body(HeldBody::new(SizedStream::new(stored.bytes, bytes), places)))
}
