//! The key with which agents check the signature of an upgrade, through a trait that the binary implements.

use std::time::Duration;

use actix_web::web::Bytes;
use async_trait::async_trait;

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
