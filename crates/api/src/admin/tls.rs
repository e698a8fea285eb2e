//! `GET /api/tls`, `POST /api/tls/reload`: what the listeners serve.

use std::sync::Arc;

use actix_web::HttpResponse;

use super::{AdminState, ok, query::Query};
use crate::{
    call::Call,
    error::ApiError,
    operation::{Answer, KeyKind, Operation},
};

pub(super) fn about_state() -> Operation {
    Operation::new(
        "tls",
        "What each listener serves, its state, the last attempts",
        KeyKind::VIEWER,
    )
    .answers(Answer::shaped(
        200,
        "Public facts",
        |_| schemars::json_schema!({ "type": "object" }),
    ))
}

pub(super) fn about_reload() -> Operation {
    Operation::new("tlsReload", "Reads the certificates now", KeyKind::ADMIN).answers(Answer::shaped(
        200,
        "Outcome and fingerprint",
        |_| schemars::json_schema!({ "type": "object" }),
    ))
}

pub(super) async fn state(state: Arc<AdminState>, call: Call) -> Result<HttpResponse, ApiError> {
    Query::none(&call.query)?;
    ok(&state.tls.state())
}

pub(super) async fn reload(state: Arc<AdminState>, call: Call) -> Result<HttpResponse, ApiError> {
    Query::none(&call.query)?;
    ok(&state.tls.reload().await)
}
