//! Policies: a history of revisions, of which the newest counts (M6).

use std::time::Duration;

use crate::{PolicyId, RawJson, Timestamp};

/// A revision to be appended; it gets the number after the expected previous one.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the members of data.md 1.5")]
pub struct NewRevision {
    pub policy: PolicyId,
    /// The full policy as the domain renders it for agents (data.md 8.1). The store does not read it.
    pub data: RawJson,
    /// What the operator wrote (name, namespace, overrides, …). The store does not read it.
    pub settings: RawJson,
    pub namespaces: Vec<String>,
    /// After this time without a check-in an agent counts as inactive.
    pub inactivity_timeout: Option<Duration>,
    /// `created_at` of the delivered POLICY_CHANGE.
    pub at: Timestamp,
}

/// A stored revision.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "as in `NewRevision`")]
pub struct PolicyRevision {
    pub policy: PolicyId,
    pub revision: i64,
    pub data: RawJson,
    pub settings: RawJson,
    pub namespaces: Vec<String>,
    pub inactivity_timeout: Option<Duration>,
    /// When the revision was made.
    pub at: Timestamp,
    /// When the policy's first revision was made.
    pub created_at: Timestamp,
}

/// The newest revision of a policy and the number of its agents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicySummary {
    /// The newest revision.
    pub latest: PolicyRevision,
    /// Active agents assigned to the policy.
    pub agents: u64,
    /// Active agents assigned to it that have not confirmed the newest revision.
    pub pending: u64,
}
