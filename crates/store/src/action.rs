//! Actions, their targets and the agents' answers.

use crate::{ActionDocId, ActionId, AgentId, Position, RawJson, Timestamp};

/// An action document to be appended (data.md 1.3).
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the members of data.md 1.3")]
pub struct NewAction {
    /// Unique document id: the ack token.
    pub doc: ActionDocId,
    pub action: ActionId,
    /// Type, for example `UPGRADE`.
    pub kind: String,
    /// Whether agents are ever sent this type; others are kept as a log.
    pub is_deliverable: bool,
    /// Targets; the order decides roll-out offsets.
    pub agents: Vec<AgentId>,
    /// What it changes in its targets' records, in the same unit.
    pub mark: Option<AgentMark>,
    pub input_type: Option<String>,
    pub data: Option<RawJson>,
    /// `created_at` for the agent.
    pub at: Timestamp,
    /// After this it is never delivered. Without it neither (data.md 1.3).
    pub expiration: Option<Timestamp>,
    pub start_time: Option<Timestamp>,
    /// Spread of the start over the targets, seconds.
    pub rollout_duration_seconds: Option<u32>,
    /// Seconds, passed through to the agent.
    pub timeout: Option<i64>,
    pub user_id: Option<String>,
    /// Spaces, copied into results.
    pub namespaces: Vec<String>,
    /// `{data, signature}`, passed through unread.
    pub signed: Option<RawJson>,
    pub traceparent: Option<String>,
}

/// What appending an action changes in the records of its targets (data.md 9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentMark {
    /// `unenrollment_started_at` := the action's time.
    UnenrollmentStarted,
    /// `upgrade_started_at` := the action's time, `upgraded_at` := null.
    UpgradeStarted,
}

/// A stored action document, without its targets.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "as in `NewAction`")]
pub struct Action {
    pub doc: ActionDocId,
    pub action: ActionId,
    pub kind: String,
    pub input_type: Option<String>,
    pub data: Option<RawJson>,
    pub at: Timestamp,
    pub expiration: Option<Timestamp>,
    pub start_time: Option<Timestamp>,
    pub rollout_duration_seconds: Option<u32>,
    pub timeout: Option<i64>,
    pub user_id: Option<String>,
    pub namespaces: Vec<String>,
    pub signed: Option<RawJson>,
    pub traceparent: Option<String>,
}

impl From<NewAction> for Action {
    /// What is stored of it.
    fn from(new: NewAction) -> Self {
        Self {
            doc: new.doc,
            action: new.action,
            kind: new.kind,
            input_type: new.input_type,
            data: new.data,
            at: new.at,
            expiration: new.expiration,
            start_time: new.start_time,
            rollout_duration_seconds: new.rollout_duration_seconds,
            timeout: new.timeout,
            user_id: new.user_id,
            namespaces: new.namespaces,
            signed: new.signed,
            traceparent: new.traceparent,
        }
    }
}

/// What waits for one agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// In the order of their commits.
    pub actions: Vec<PendingAction>,
    /// Where the agent stands: the further one of its token's place and the stored position. To be stored if it is
    /// not the stored one, and to be asked with next time.
    pub position: Option<Position>,
}

/// An action waiting for one agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingAction {
    /// The document.
    pub action: Action,
    /// The agent's place among the targets, from 0.
    pub index: u32,
    /// How many targets the document has.
    pub targets: u32,
}

/// An agent's answer to an action (data.md 1.4).
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the members of data.md 1.4")]
pub struct ActionResult {
    pub action: ActionId,
    pub agent: AgentId,
    /// The agent's time as it was sent.
    pub timestamp: String,
    /// When the server stored it.
    pub received_at: Timestamp,
    pub outcome: ActionOutcome,
    /// The failure, or why it was cancelled.
    pub error: Option<String>,
    pub namespaces: Vec<String>,
    /// Members by action type (`data`, or `action_input_type`, `action_data`, `action_response`, …): an object.
    pub details: Option<RawJson>,
}

/// What an agent's answer says came of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActionOutcome {
    /// The agent has answered, but what came of the action is not known yet: no end.
    Acknowledged,
    /// It did what was asked.
    Succeeded,
    /// It did not.
    Failed,
    /// It was taken back.
    Cancelled,
}

/// An action that was addressed to an agent, with what came of it there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressedAction {
    /// The document.
    pub action: Action,
    /// Of the agent's answer, if there is one.
    pub outcome: Option<ActionOutcome>,
}

/// Whether a result was new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// Stored now.
    New,
    /// An earlier answer stands.
    Already,
}

/// Targets and answers of an action, over all its documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ActionProgress {
    /// Agents addressed.
    pub targets: u64,
    /// Agents that did it.
    pub succeeded: u64,
    /// Agents that failed.
    pub failed: u64,
    /// Agents for which it was taken back.
    pub cancelled: u64,
}
