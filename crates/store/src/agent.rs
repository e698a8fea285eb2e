//! Agent records: what enrolment makes, check-ins change and operators look at.

use serde::{Deserialize, Serialize};

use crate::{
    AgentId, AgentStatus, ApiKey, EnrollmentId, KeyId, KeyPurpose, PolicyId, Position, RawJson, Timestamp,
};

/// An enrolment as one unit (O1).
#[derive(Clone, Debug)]
pub struct Enrollment {
    /// The agent to be stored.
    pub agent: NewAgent,
    /// Of its access key, which belongs to this agent.
    pub purpose: KeyPurpose,
    /// Key of the enrollment token that admitted it, which must still be active; `None` for a token from the
    /// configuration.
    pub admitted_by: Option<KeyId>,
    /// What it replaces.
    pub replaces: Replacement,
}

/// An enrolled agent; the key is known only now.
#[derive(Clone, Debug)]
pub struct Enrolled {
    /// The agent as stored.
    pub agent: Agent,
    /// Its access key.
    pub access_key: ApiKey,
}

/// What an enrolment replaces, as the caller saw it (data.md 4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replacement {
    /// Nothing.
    None,
    /// Removes this agent with its keys: it never checked in, or is inactive. [`crate::Conflict::Changed`] if
    /// that is no longer so.
    Remove(AgentId),
    /// Takes over this active agent if its access key is still the named one: the old key dies, the record
    /// keeps `enrolled_at`, type, positions, replace token and enrollment id (data.md 4.2).
    TakeOver {
        /// The agent.
        agent: AgentId,
        /// Its access key as the caller saw it.
        access_key: KeyId,
    },
}

/// An agent to be stored.
#[derive(Clone, Debug)]
pub struct NewAgent {
    /// Id, unique.
    pub id: AgentId,
    /// `PERMANENT`, `EPHEMERAL`, `TEMPORARY`.
    pub kind: String,
    /// Assigned policy.
    pub policy: PolicyId,
    /// Assigned policy without its version suffix.
    pub policy_base: PolicyId,
    /// Spaces.
    pub namespaces: Vec<String>,
    /// Version from the User-Agent.
    pub version: String,
    /// Sorted, without repeats.
    pub tags: Vec<String>,
    /// As the agent sent it.
    pub local_metadata: Option<RawJson>,
    /// Idempotency key, unique among agents.
    pub enrollment_id: Option<EnrollmentId>,
    /// Hash of the token that permits replacing the agent.
    pub replace_token: Option<String>,
    /// Time of enrolment.
    pub at: Timestamp,
}

/// A stored agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Id.
    pub id: AgentId,
    /// `false` after unenrolment: it can never authenticate again.
    pub is_active: bool,
    /// `PERMANENT`, `EPHEMERAL`, `TEMPORARY`.
    pub kind: String,
    /// Assigned policy: authoritative.
    pub policy: PolicyId,
    /// Assigned policy without its version suffix.
    pub policy_base: PolicyId,
    /// Policy that the agent says it runs.
    pub reported_policy: Option<PolicyId>,
    /// Last revision of the assigned policy that the agent confirmed; `None` after reassignment.
    pub policy_revision: Option<i64>,
    /// Spaces.
    pub namespaces: Vec<String>,
    /// Access key.
    pub access_key: KeyId,
    /// Version from the User-Agent.
    pub version: String,
    /// Tags.
    pub tags: Vec<String>,
    /// As the agent sent it.
    pub local_metadata: Option<RawJson>,
    /// Component states as the agent sent them.
    pub components: Option<RawJson>,
    /// Why the agent is not healthy.
    pub unhealthy_reason: Vec<UnhealthyReason>,
    /// Idempotency key of the enrolment.
    pub enrollment_id: Option<EnrollmentId>,
    /// Hash of the token that permits replacing the agent.
    pub replace_token: Option<String>,
    /// Time of enrolment.
    pub enrolled_at: Timestamp,
    /// Last change of the record.
    pub updated_at: Timestamp,
    /// Last check-in.
    pub last_checkin: Option<Timestamp>,
    /// Status it reported.
    pub last_checkin_status: Option<String>,
    /// Message it reported.
    pub last_checkin_message: Option<String>,
    /// Position of the last action that it confirmed through an ack token.
    pub action_position: Option<Position>,
    /// Upgrade details as stored (agents.md 5.5).
    pub upgrade_details: Option<RawJson>,
    /// An upgrade runs since.
    pub upgrade_started_at: Option<Timestamp>,
    /// The last upgrade ended.
    pub upgraded_at: Option<Timestamp>,
    /// Times of automatic upgrade attempts: an array.
    pub upgrade_attempts: Option<RawJson>,
    /// Versions it can roll back to: an array.
    pub rollbacks: Option<RawJson>,
    /// An operator asked it to unenrol.
    pub unenrollment_started_at: Option<Timestamp>,
    /// When it turned inactive.
    pub unenrolled_at: Option<Timestamp>,
    /// Why.
    pub unenrolled_reason: Option<String>,
    /// Reported as uninstalled, orphaned …
    pub audit: Option<AuditMark>,
}

/// What the audit endpoint reported (data.md 1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditMark {
    /// `uninstall`, `orphaned`, `key_revoked`, `migrated`.
    pub reason: String,
    /// The agent's time as it was sent.
    pub time: String,
}

/// Part of an agent that is not healthy (data.md 6.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnhealthyReason {
    /// An input unit.
    Input,
    /// An output unit.
    Output,
    /// A component without such a unit.
    Other,
}

/// One agent's part of a check-in batch. `None` leaves the stored value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckinRecord {
    /// Who.
    pub agent: AgentId,
    /// When the check-in was received: `last_checkin`. Older than the stored one: only `positions` count.
    pub at: Timestamp,
    /// Reported status.
    pub status: Option<String>,
    /// Reported message.
    pub message: Option<String>,
    /// New version.
    pub version: Option<String>,
    /// New metadata.
    pub local_metadata: Option<RawJson>,
    /// New component states.
    pub components: Option<RawJson>,
    /// New reasons; an empty list clears them.
    pub unhealthy_reason: Option<Vec<UnhealthyReason>>,
    /// Positions confirmed through ack tokens; the furthest of them and the stored one stays (M5).
    pub positions: Vec<Position>,
    /// New list of versions it can roll back to.
    pub rollbacks: Option<RawJson>,
    /// Removes audit mark and `unenrolled_at`.
    pub clears_audit: bool,
}

/// A change of an agent's upgrade fields (data.md 6.4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpgradeChange {
    /// What is stored of the details.
    pub details: DetailsChange,
    /// How the upgrade ended, if it did.
    pub end: Option<UpgradeEnd>,
    /// Also sets `upgrade_attempts` to null.
    pub ends_attempts: bool,
}

/// What becomes of an agent's upgrade details.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DetailsChange {
    /// They stay.
    #[default]
    None,
    /// They go.
    Cleared,
    /// These are stored: an object.
    Set(RawJson),
}

/// How an upgrade ended. It runs no longer either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpgradeEnd {
    /// `upgraded_at` := now.
    Reached,
    /// The agent counts as not upgraded.
    Missed,
}

/// An agent with its state at the time of the query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusReport {
    /// The agent.
    pub agent: Agent,
    /// Its state.
    pub status: AgentStatus,
}

/// Which agents, in which order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentQuery {
    /// Only agents assigned to one of these policies; empty: all.
    pub policies: Vec<PolicyId>,
    /// Only these states; empty: all but unenrolled and inactive ones, unless `shows_inactive`.
    pub statuses: Vec<AgentStatus>,
    /// Also unenrolled and inactive ones.
    pub shows_inactive: bool,
    /// Only agents with all of these tags.
    pub tags: Vec<String>,
    /// Only agents whose id or host name starts with this (ASCII case ignored).
    pub search: Option<String>,
    /// Order; ties are broken by id, so that pages are stable.
    pub sort: AgentSort,
    /// Direction.
    pub order: SortOrder,
}

/// What a list of agents is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AgentSort {
    /// Time of enrolment.
    #[default]
    EnrolledAt,
    /// Last check-in; agents without one come last when descending.
    LastCheckin,
    /// Id.
    Id,
    /// Assigned policy.
    Policy,
    /// Version (as text).
    Version,
}

/// Direction of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortOrder {
    /// Smallest first.
    Ascending,
    /// Largest first.
    #[default]
    Descending,
}
