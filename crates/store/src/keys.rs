//! Enrollment tokens and API keys: issued, verified and ended by the store.
//!
//! In: who a key is for, or a presented key. Out: the presented form once, later only its owner and state. What an
//! engine keeps of a secret (a salted hash, a key of its own security index) never crosses this line.

use async_trait::async_trait;

use crate::{AgentId, ApiKey, KeyId, Page, PageRequest, PolicyId, RawJson, Result, Timestamp, TokenId};

/// Whom a key belongs to: what it opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyOwner {
    /// An enrollment token: it admits agents.
    Token(TokenId),
    /// An agent: its access key.
    Agent(AgentId),
    /// An operator: it opens the admin API.
    Operator,
}

/// What a key is for, in words that the engine keeps with it (data.md 1.7).
#[derive(Clone, Debug)]
pub struct KeyPurpose {
    /// Name of the key.
    pub name: String,
    /// Metadata, kept for export.
    pub metadata: Option<RawJson>,
}

/// What the store knows about a presented key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verification {
    /// The secret fits and the key is good.
    Active(KeyOwner),
    /// The key was invalidated. An engine that no longer has its secret may say so for any secret.
    Revoked(KeyOwner),
    /// No such id, or another secret; which of the two is not told.
    Unknown,
}

/// An enrollment token to be made.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Record id.
    pub id: TokenId,
    /// Of its key.
    pub purpose: KeyPurpose,
    /// Name that operators see.
    pub name: String,
    /// Policy that agents enrol into. It must exist.
    pub policy: PolicyId,
    /// Spaces copied to the enrolled agents.
    pub namespaces: Vec<String>,
    /// When the token ends, if it does.
    pub expires_at: Option<Timestamp>,
    /// When it was made.
    pub at: Timestamp,
}

/// The record of an enrollment token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnrollmentToken {
    /// Record id.
    pub id: TokenId,
    /// Public half of its key.
    pub key: KeyId,
    /// Name that operators see.
    pub name: String,
    /// Policy that agents enrol into.
    pub policy: PolicyId,
    /// Spaces copied to the enrolled agents.
    pub namespaces: Vec<String>,
    /// `false` once revoked.
    pub active: bool,
    /// When the token ends, if it does.
    pub expires_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Tokens and keys. An agent's access key is issued by [`crate::Agents::enroll`], in its unit.
#[async_trait]
pub trait Keys: Send + Sync + 'static {
    /// O3: whose key this is and whether it is still good. A revocation counts within a second on every replica, on
    /// a transactional engine at once. The secret is compared in constant time.
    async fn verify(&self, presented: &ApiKey) -> Result<Verification>;

    /// O17: makes a key; its presented form is known only now. One document: whole or absent.
    async fn issue(&self, owner: KeyOwner, purpose: KeyPurpose, at: Timestamp) -> Result<ApiKey>;

    /// O17: takes over a key whose secret is given from outside (a file of the data directory).
    ///
    /// # Errors
    /// [`crate::Conflict::IdTaken`] if the id is known, whatever the secret; [`crate::StoreError::Unsupported`] on an
    /// engine that issues every key itself.
    async fn adopt_key(
        &self,
        given: &ApiKey,
        owner: KeyOwner,
        purpose: KeyPurpose,
        at: Timestamp,
    ) -> Result<()>;

    /// O17: the keys admit nobody any more; unknown ids are skipped. Each key by itself, repeats are harmless.
    async fn invalidate_keys(&self, ids: &[KeyId], at: Timestamp) -> Result<()>;

    /// O16: makes an enrollment token with its key, whose presented form is known only now. Transactional: one
    /// durable unit. Document: key, then record; a key without a record admits nobody.
    ///
    /// # Errors
    /// [`crate::StoreError::NotFound`] if there is no such policy, [`crate::Conflict::TokenExists`].
    async fn create_token(&self, token: NewToken) -> Result<(EnrollmentToken, ApiKey)>;

    /// O16: the same with a key whose secret is given from outside (a preset, the first start).
    ///
    /// # Errors
    /// As for [`Keys::create_token`] and [`Keys::adopt_key`]; [`crate::Conflict::TokenExists`] also if the key's id
    /// is known.
    async fn adopt_token(&self, token: NewToken, given: &ApiKey) -> Result<EnrollmentToken>;

    /// O16: the token record of an enrollment key, revoked or not.
    async fn token_by_key(&self, key: &KeyId) -> Result<Option<EnrollmentToken>>;

    /// O16: the token record.
    async fn token(&self, id: &TokenId) -> Result<Option<EnrollmentToken>>;

    /// O16: tokens, newest first.
    async fn tokens(&self, page: PageRequest) -> Result<Page<EnrollmentToken>>;

    /// O16: the token stays on record but admits nobody any more. Repeats are harmless. Transactional: record and
    /// key in one unit. Document: the key first, so that a cut leaves a token that admits nobody; a repeat ends it.
    async fn revoke_token(&self, id: &TokenId, at: Timestamp) -> Result<()>;
}
