//! `GET /api/fleet/artifacts/{id}/{sha2}` (agents.md 11.1).

use std::sync::Arc;

use actix_web::{HttpResponse, body::SizedStream, http::header::CONTENT_TYPE};
use fleet::artifacts;

use super::AgentState;
use crate::{call::Call, error::ApiError, route::Route};

pub(super) async fn serve(state: Arc<AgentState>, mut call: Call) -> Result<HttpResponse, ApiError> {
    let key = call.take_key()?;
    let agent = fleet::auth::authenticate_some_agent(&state.fleet, &key).await?;
    let _places = state
        .admission
        .admit_agent(Route::Artifact, &agent.id, call.started)
        .map_err(ApiError::Refused)?;
    let (stored, bytes) = artifacts::read(&state.fleet, &agent, &call.id, &call.second).await?;
    // As they are stored: the client inflates them, as the policy says, so they have no content coding.
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/octet-stream"))
        .body(SizedStream::new(stored.bytes, bytes)))
}
