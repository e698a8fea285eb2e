//! Agent records: what enrolment makes, check-ins change and operators look at.

#![expect(
    missing_docs,
    reason = "members without a comment are named as in data.md 1.1"
)]

use serde::{Deserialize, Serialize};

use crate::{
    AgentId, ApiKey, Collector, CollectorReport, EnrollmentId, KeyId, KeyPurpose, PolicyId, Position,
    RawJson, Timestamp,
};

/// An enrolment as one unit (O1).
#[derive(Clone, Debug)]
pub struct Enrollment {
    pub agent: NewAgent,
    /// Name and metadata of its access key.
    pub purpose: KeyPurpose,
    /// Key id of the enrollment token that admitted it, which must still be active; `None` for a token from the
    /// configuration.
    pub admitted_by: Option<KeyId>,
    /// The agent that it replaces, if any.
    pub replaces: Replacement,
    /// What only an OpAMP agent has.
    pub collector: Option<Box<Collector>>,
}

/// An enrolled agent, with the only copy of its key in presentable form.
#[derive(Clone, Debug)]
pub struct Enrolled {
    pub agent: Agent,
    /// Its access key, which the store cannot show again.
    pub access_key: ApiKey,
}

/// Which agent an enrolment replaces, as the caller saw it (data.md 4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replacement {
    /// It replaces no agent.
    None,
    /// Removes this agent with its keys: it never checked in, or is inactive. [`crate::Conflict::Changed`] if
    /// that is no longer so.
    Remove(AgentId),
    /// Takes over this active agent if its access key is still the named one: the old key is revoked, the record
    /// keeps `enrolled_at`, type, positions, replace token and enrollment id (data.md 4.2).
    TakeOver {
        agent: AgentId,
        /// Its access key as the caller saw it.
        access_key: KeyId,
    },
}

/// An agent to be stored.
#[derive(Clone, Debug)]
pub struct NewAgent {
    pub id: AgentId,
    /// `PERMANENT`, `EPHEMERAL`, `TEMPORARY`, or `OPAMP`.
    pub kind: String,
    /// Assigned policy, with its version suffix if it has one.
    pub policy: PolicyId,
    /// Assigned policy without its version suffix.
    pub policy_base: PolicyId,
    /// Revision that counts as confirmed from the beginning.
    pub policy_revision: Option<i64>,
    /// Spaces (Kibana's `namespaces`).
    pub namespaces: Vec<String>,
    /// Version from the User-Agent.
    pub version: String,
    /// Sorted, without repeats.
    pub tags: Vec<String>,
    /// `local_metadata` as the agent sent it: an object.
    pub local_metadata: Option<RawJson>,
    /// Idempotency key, unique among agents.
    pub enrollment_id: Option<EnrollmentId>,
    /// Hash of the token that permits replacing the agent.
    pub replace_token: Option<String>,
    pub at: Timestamp,
}

/// An agent as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    pub id: AgentId,
    /// `false` after unenrolment: it can never authenticate again.
    pub is_active: bool,
    /// `PERMANENT`, `EPHEMERAL`, `TEMPORARY`, or `OPAMP`.
    pub kind: String,
    /// Assigned policy: authoritative.
    pub policy: PolicyId,
    /// Assigned policy without its version suffix.
    pub policy_base: PolicyId,
    /// Policy that the agent reports to run.
    pub reported_policy: Option<PolicyId>,
    /// Last revision of the assigned policy that the agent confirmed; `None` after reassignment.
    pub policy_revision: Option<i64>,
    /// Spaces (Kibana's `namespaces`).
    pub namespaces: Vec<String>,
    /// Public half of its access key.
    pub access_key: KeyId,
    /// Version from the User-Agent.
    pub version: String,
    /// Sorted, without repeats.
    pub tags: Vec<String>,
    /// `local_metadata` as the agent sent it: an object.
    pub local_metadata: Option<RawJson>,
    /// Component states as the agent sent them.
    pub components: Option<RawJson>,
    /// Why the agent is not healthy.
    pub unhealthy_reason: Vec<UnhealthyReason>,
    /// Idempotency key of the enrolment.
    pub enrollment_id: Option<EnrollmentId>,
    /// Hash of the token that permits replacing the agent.
    pub replace_token: Option<String>,
    pub enrolled_at: Timestamp,
    /// Time of the last change of the record.
    pub updated_at: Timestamp,
    /// Time of the last check-in; `None` before the first.
    pub last_checkin: Option<Timestamp>,
    /// Status reported at the last check-in.
    pub last_checkin_status: Option<String>,
    /// Message reported at the last check-in.
    pub last_checkin_message: Option<String>,
    /// Position of the last action that it confirmed through an ack token.
    pub action_position: Option<Position>,
    /// Upgrade details as stored (agents.md 5.5).
    pub upgrade_details: Option<RawJson>,
    /// Start of the upgrade under way.
    pub upgrade_started_at: Option<Timestamp>,
    /// End of the last upgrade.
    pub upgraded_at: Option<Timestamp>,
    /// Times of automatic upgrade attempts: an array.
    pub upgrade_attempts: Option<RawJson>,
    /// Versions that it can roll back to: an array.
    pub rollbacks: Option<RawJson>,
    /// An operator asked it to unenrol.
    pub unenrollment_started_at: Option<Timestamp>,
    /// Time at which it became inactive.
    pub unenrolled_at: Option<Timestamp>,
    /// Reason given for the unenrolment.
    pub unenrolled_reason: Option<String>,
    /// Set once the audit endpoint reported it as uninstalled or orphaned.
    pub audit: Option<AuditMark>,
}

/// A report to the audit endpoint (data.md 1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditMark {
    /// `uninstall`, `orphaned`, `key_revoked` or `migrated`.
    pub reason: String,
    /// Time of the agent, RFC 3339 text as it was sent.
    pub time: String,
}

/// Part of an agent that is not healthy (data.md 6.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnhealthyReason {
    Input,
    Output,
    /// A component without such a unit.
    Other,
}

/// One agent's part of a check-in batch. A field that is `None` leaves the stored value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckinRecord {
    pub agent: AgentId,
    /// When the check-in was received: `last_checkin`. If it is older than the stored one, only `positions` count.
    pub at: Timestamp,
    pub status: Option<String>,
    pub message: Option<String>,
    pub version: Option<String>,
    pub local_metadata: Option<RawJson>,
    pub components: Option<RawJson>,
    /// An empty list clears the stored reasons.
    pub unhealthy_reason: Option<Vec<UnhealthyReason>>,
    /// Positions confirmed through ack tokens; the furthest of these and the stored one is kept (M5).
    pub positions: Vec<Position>,
    /// Versions that it can roll back to: an array.
    pub rollbacks: Option<RawJson>,
    /// Whether to remove the audit mark and `unenrolled_at`.
    pub clears_audit: bool,
    /// What an OpAMP agent says besides.
    pub collector: Option<Box<CollectorReport>>,
}

/// A change of an agent's upgrade fields (data.md 6.4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpgradeChange {
    /// Change of `upgrade_details`.
    pub details: DetailsChange,
    /// How the upgrade ended, if it has ended.
    pub end: Option<UpgradeEnd>,
    /// Also sets `upgrade_attempts` to null.
    pub ends_attempts: bool,
}

/// A change of an agent's `upgrade_details`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DetailsChange {
    /// The stored details are kept.
    #[default]
    None,
    /// The details become null.
    Cleared,
    /// The new details: an object.
    Set(RawJson),
}

/// How an upgrade ended. Either way `upgrade_started_at` becomes null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpgradeEnd {
    /// `upgraded_at` := now.
    Reached,
    /// The agent counts as not upgraded.
    Missed,
}
