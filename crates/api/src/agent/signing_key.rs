//! `GET /api/agents/upgrades/{major}.{minor}.{patch}/pgp-public-key` (agents.md 9.6): the key with which agents check
//! the signature of an upgrade. Whoever asks needs no key of their own.

use std::sync::Arc;

use actix_web::HttpResponse;

use super::AgentState;
use crate::{
    call::Call,
    error::{ApiError, Family},
    operation::{Answer, KeyKind, Operation, Parameter, Place, TEXT},
};

pub(super) fn about() -> Operation {
    let summary = "The key that agents check upgrades with; over TLS only";
    Operation::new("signingKey", summary, KeyKind::None)
        .parameter(
            Parameter::new::<String>(Place::Path, "id", "The version that the agent upgrades to")
                .like("9.6.0")
                .required(),
        )
        .answers(Answer::of(200, TEXT, "The key, armoured"))
        .fails(&[Family::SigningKey])
}

pub(super) async fn serve(state: Arc<AgentState>, mut call: Call) -> Result<HttpResponse, ApiError> {
    let mut numbers = call.id.split('.');
    let mut number = || numbers.next().is_some_and(|number| number.parse::<u32>().is_ok());
    if !(number() && number() && number() && !number()) {
        return Err(ApiError::Invalid(
            "invalid format for parameter version: expected three numbers like 9.6.0".into(),
        ));
    }
    if !call.is_tls {
        return Err(ApiError::TlsRequired);
    }
    // Upstream may take its time, and whoever asks has shown no key.
    call.gives_its_turn_back();
    let key = state.signing_key.read().await.map_err(ApiError::SigningKey)?;
    Ok(HttpResponse::Ok()
        .content_type("text/plain; charset=utf-8")
        .body(key))
}
