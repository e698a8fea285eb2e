//! O18: secrets that policies and actions refer to.
//!
//! The store sees them encrypted only: what is sealed, and with which key, the domain decides.

use std::fmt;

use async_trait::async_trait;

use crate::{ActionDocId, Page, PageRequest, Result, SecretId, Timestamp};

/// A secret as it is stored.
#[derive(Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct SealedSecret {
    /// Id, as references name it.
    pub id: SecretId,
    pub name: String,
    /// The action document that it was made for: the secret goes with it.
    pub action: Option<ActionDocId>,
    /// Id of the key that it was encrypted with.
    pub key: String,
    pub sealed: Vec<u8>,
    pub created_at: Timestamp,
}

impl fmt::Debug for SealedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedSecret")
            .field("id", &self.id)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// Secrets.
#[async_trait]
pub trait Secrets: Send + Sync + 'static {
    /// O18: stores a new secret. One document.
    ///
    /// # Errors
    /// [`crate::Conflict::IdTaken`].
    async fn put_secret(&self, secret: SealedSecret) -> Result<()>;

    /// O18: the secret.
    async fn secret(&self, id: &SecretId) -> Result<Option<SealedSecret>>;

    /// O18: secrets, oldest first.
    async fn secrets(&self, page: PageRequest) -> Result<Page<SealedSecret>>;

    /// O18: removes the secret; who still refers to it, the caller has looked. One document.
    ///
    /// # Errors
    /// [`crate::StoreError::NotFound`].
    async fn delete_secret(&self, id: &SecretId) -> Result<()>;

    /// O18: ids of the keys that stored secrets were encrypted with.
    async fn secret_keys(&self) -> Result<Vec<String>>;

    /// O18: puts these encrypted values and key ids in place of those of the same secrets. Transactional: one durable
    /// unit. Document: each by itself; a repeat completes what a crash left.
    ///
    /// # Errors
    /// [`crate::StoreError::NotFound`]: one of them is gone; a transactional engine changes none then.
    async fn reseal_secrets(&self, secrets: Vec<SealedSecret>) -> Result<()>;
}
