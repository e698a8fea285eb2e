//! `GET /api/agents/upgrades/{major}.{minor}.{patch}/pgp-public-key` (agents.md 9.6), through a trait that the binary
//! implements: the key with which agents check the signature of an upgrade. Whoever asks needs no key of their own.

use std::{sync::Arc, time::Duration};

use actix_web::{HttpResponse, web::Bytes};
use async_trait::async_trait;

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

/// Where the key comes from.
#[async_trait]
pub trait SigningKey: Send + Sync {
    /// The key, armoured.
    async fn read(&self) -> Result<Bytes, SigningKeyError>;
}

/// Why there is no key. The text is for the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the texts and the fields' names say it")]
pub enum SigningKeyError {
    #[error("{detail}")]
    File {
        /// What is wrong, with the remedy.
        detail: String,
    },
    #[error("{detail}")]
    Upstream {
        /// Its status, if that was no success.
        status: Option<u16>,
        /// What is wrong, with the remedy.
        detail: String,
    },
    #[error("{detail}")]
    Unreachable {
        /// What is wrong, with the remedy.
        detail: String,
        /// When it is tried again.
        retry_after: Duration,
    },
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
