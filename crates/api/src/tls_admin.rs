//! The certificates of the listeners, through a trait that the binary implements.

use async_trait::async_trait;
use serde_json::Value;

/// The operators' view of the certificates.
#[async_trait]
pub trait TlsAdmin: Send + Sync {
    /// The served set, its state, the last attempts: public facts only.
    fn state(&self) -> Value;

    /// Reads the files again now and returns the outcome and the fingerprint. If the files on disk were
    /// refused, the last good set stays in service and the outcome says why.
    async fn reload(&self) -> Value;
}
