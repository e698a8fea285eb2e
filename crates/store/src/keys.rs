//! Enrollment tokens and API keys: issued, verified and revoked by the store.
//!
//! In: the owner of a key, or a presented key. Out: the presented form once, later only its owner and state. What an
//! engine keeps of a secret (a salted hash, a key of its own security index) never leaves it.

use async_trait::async_trait;

use crate::{AgentId, ApiKey, KeyId, Page, PageRequest, PolicyId, RawJson, Result, Timestamp, TokenId};

/// The owner of a key, which decides what the key opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyOwner {
    /// An enrollment token: it admits agents.
    Token(TokenId),
    /// An agent: its access key.
    Agent(AgentId),
    /// An operator: it opens the admin API.
    Operator,
}

/// Name and metadata that are stored with a key (data.md 1.7).
#[derive(Clone, Debug)]
pub struct KeyPurpose {
    /// Shown to operators in lists and exports.
    pub name: String,
    /// Metadata, kept for export.
    pub metadata: Option<RawJson>,
}

/// What the store knows about a presented key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verification {
    /// The secret is right and the key is active.
    Active(KeyOwner),
    /// The key was invalidated. An engine that no longer has its secret may answer this for any secret.
    Revoked(KeyOwner),
    /// The id is unknown or the secret is wrong; callers cannot tell which.
    Unknown,
}

/// An enrollment token to be made.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Id of the record, not of its key.
    pub id: TokenId,
    /// Name and metadata of its key.
    pub purpose: KeyPurpose,
    /// Name shown to operators.
    pub name: String,
    /// Policy that agents enrol into. It must exist.
    pub policy: PolicyId,
    /// Spaces copied to the enrolled agents.
    pub namespaces: Vec<String>,
    /// When the token expires; `None`: never.
    pub expires_at: Option<Timestamp>,
    /// Time of creation.
    pub at: Timestamp,
}

/// The record of an enrollment token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnrollmentToken {
    /// Id of the record, not of its key.
    pub id: TokenId,
    /// Public half of its key.
    pub key: KeyId,
    /// Name shown to operators.
    pub name: String,
    /// Policy that agents enrol into.
    pub policy: PolicyId,
    /// Spaces copied to the enrolled agents.
    pub namespaces: Vec<String>,
    /// `false` once revoked.
    pub active: bool,
    /// When the token expires; `None`: never.
    pub expires_at: Option<Timestamp>,
    /// Time of creation.
    pub created_at: Timestamp,
}

/// Tokens and keys. An agent's access key is issued by [`crate::Agents::enroll`], in the same unit as the agent.
#[async_trait]
pub trait Keys: Send + Sync + 'static {
    /// O3: the owner of this key and whether it is still active. A revocation counts within a second on every replica, on
    /// a transactional engine at once. The secret is compared in constant time.
    async fn verify(&self, presented: &ApiKey) -> Result<Verification>;

    /// O17: issues a key. Only this answer has its presented form. One document: whole or absent.
    async fn issue(&self, owner: KeyOwner, purpose: KeyPurpose, at: Timestamp) -> Result<ApiKey>;

    /// O17: stores a key whose secret comes from outside (a file of the data directory).
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

    /// O17: revokes the keys; unknown ids are skipped. Each key by itself; idempotent.
    async fn invalidate_keys(&self, ids: &[KeyId], at: Timestamp) -> Result<()>;

    /// O16: creates an enrollment token with its key. Only this answer has the key's presented form. Transactional: one
    /// durable unit. Document: key, then record; a key without a record admits nobody.
    ///
    /// # Errors
    /// [`crate::StoreError::NotFound`] if there is no such policy, [`crate::Conflict::TokenExists`].
    async fn create_token(&self, token: NewToken) -> Result<(EnrollmentToken, ApiKey)>;

    /// O16: like [`Keys::create_token`], with a key whose secret comes from outside (a preset, the first start).
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

    /// O16: revokes the token, which stays on record but admits no more agents. Idempotent. Transactional: record and
    /// key in one unit. Document: the key first, so that a crash leaves a token that admits no agent; a repeat completes it.
    async fn revoke_token(&self, id: &TokenId, at: Timestamp) -> Result<()>;
}
