//! `GET /api/status` (agents.md 3.1): the state, and the version for whoever holds any key.

use std::sync::Arc;

use actix_web::HttpResponse;
use fleet::Fleet;

use super::{AgentState, Identity, json, wire};
use crate::{
    call::Call,
    error::{self, ApiError},
    operation::{Answer, KeyKind, Operation},
};

/// What is said of it, for agents and operators alike.
pub(crate) fn about() -> Operation {
    Operation::new(
        "status",
        "The server's state; with any good key also its version",
        KeyKind::Optional,
    )
    .answers(Answer::json::<wire::Status<'_>>(200, "It is healthy"))
    .answers(Answer::json::<wire::Status<'_>>(503, "It is not healthy"))
}

pub(super) async fn serve(state: Arc<AgentState>, mut call: Call) -> Result<HttpResponse, ApiError> {
    answer(&state.fleet, &state.options.identity, &mut call).await
}

/// The answer, for agents and operators alike.
pub(crate) async fn answer(
    fleet: &Fleet,
    identity: &Identity,
    call: &mut Call,
) -> Result<HttpResponse, ApiError> {
    // Whatever is wrong with the key, the short form is the answer.
    let is_authentic = match call.take_key() {
        Ok(key) => fleet::auth::authenticate(fleet, &key).await.is_ok(),
        Err(_) => false,
    };
    let health = fleet.health();
    let mut response = json(wire::status(&health, is_authentic.then_some(identity))?);
    *response.status_mut() = error::health(health.state);
    Ok(response)
}
