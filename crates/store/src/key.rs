//! API keys and enrollment tokens. Secrets never reach the store: it holds salted hashes.

use std::fmt;

use crate::{AgentId, KeyId, PolicyId, RawJson, Timestamp, TokenId};

/// Salted hash of a key's secret half.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyHash {
    /// 16 random bytes.
    pub salt: [u8; 16],
    /// SHA-256 over salt and secret.
    pub digest: [u8; 32],
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(..)")
    }
}

/// What a key opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// An enrollment token's key.
    Enrollment(TokenId),
    /// An agent's own key.
    Access(AgentId),
    /// An operator's key for the admin API.
    Admin,
}

/// A key to be stored.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Public half.
    pub id: KeyId,
    /// Hash of the secret half.
    pub hash: KeyHash,
    /// What it opens.
    pub kind: KeyKind,
    /// Key name (data-model 5.1).
    pub name: String,
    /// Key metadata (data-model 5.1), kept for export.
    pub metadata: Option<RawJson>,
    /// When it was made.
    pub at: Timestamp,
}

/// A stored key.
#[derive(Clone, Debug)]
pub struct KeyRecord {
    /// Public half.
    pub id: KeyId,
    /// Hash of the secret half.
    pub hash: KeyHash,
    /// What it opens.
    pub kind: KeyKind,
    /// `false` once invalidated.
    pub active: bool,
}

/// An enrollment token to be stored, with its key.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Record id.
    pub id: TokenId,
    /// Its key; `kind` names this token.
    pub key: NewKey,
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
