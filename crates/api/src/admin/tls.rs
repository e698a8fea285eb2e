//! `GET /api/tls`, `POST /api/tls/reload`: what the listeners serve, through a trait that the binary implements.

use std::sync::Arc;

use actix_web::HttpResponse;
use async_trait::async_trait;
use serde_json::Value;

use super::{AdminState, ok, query::Query};
use crate::{
    call::Call,
    error::ApiError,
    operation::{Answer, KeyKind, Operation},
};

/// The operators' view of the certificates.
#[async_trait]
pub trait TlsAdmin: Send + Sync {
    /// The served set, its state, the last attempts: public facts only.
    fn state(&self) -> Value;

    /// Reads the files again now and returns the outcome and the fingerprint. If the files on disk were
    /// refused, the last good set stays in service and the outcome says why.
    async fn reload(&self) -> Value;
}

pub(super) fn about_state() -> Operation {
    Operation::new(
        "tls",
        "What each listener serves, its state, the last attempts",
        KeyKind::Operator,
    )
    .answers(Answer::shaped(
        200,
        "Public facts",
        |_| schemars::json_schema!({ "type": "object" }),
    ))
}

pub(super) fn about_reload() -> Operation {
    Operation::new("tlsReload", "Reads the certificates now", KeyKind::Operator).answers(Answer::shaped(
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
