//! Actions, their targets and the agents' answers.

use crate::{ActionDocId, ActionId, AgentId, Position, RawJson, SealedSecret, Timestamp};

/// An action document to be appended (data.md 1.3).
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the members of data.md 1.3")]
pub struct NewAction {
    /// Unique document id: the ack token.
    pub doc: ActionDocId,
    pub action: ActionId,
    /// Type, for example `UPGRADE`.
    pub kind: String,
    /// Whether actions of this type are delivered to agents; others are only kept on record.
    pub is_deliverable: bool,
    /// Targets; the order decides roll-out offsets.
    pub agents: Vec<AgentId>,
    /// The change that it makes in its targets' records, in the same unit.
    pub mark: Option<AgentMark>,
    pub input_type: Option<String>,
    pub data: Option<RawJson>,
    /// `created_at` for the agent.
    pub at: Timestamp,
    /// It is never delivered after this time, nor if it has none (data.md 1.3).
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
    /// What `data` refers to, made for this document.
    pub secrets: Vec<SealedSecret>,
    /// What it takes back.
    pub recall: Option<Recall>,
}

/// An action that is taken back from those who have not got it (data.md 9.3). Its document stays in their queues, and is
/// never delivered to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recall {
    /// The action.
    pub action: ActionId,
    /// From whom: of these, those that it was addressed to, that have not confirmed it and have no result of it get the
    /// result [`ActionOutcome::Cancelled`].
    pub agents: Vec<AgentId>,
    /// The `error` of that result.
    pub reason: String,
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

/// The actions that wait for one agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// In the order of their commits.
    pub actions: Vec<PendingAction>,
    /// The agent's position: the further one of its token's and the stored one. The caller stores it if it is
    /// not the stored one, and passes it next time.
    pub position: Option<Position>,
}

/// An action waiting for one agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingAction {
    /// The document as it is stored.
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
    /// Time of the agent, RFC 3339 text as it was sent.
    pub timestamp: String,
    /// When the server stored it.
    pub received_at: Timestamp,
    pub outcome: ActionOutcome,
    /// Text of the failure, or why the action was cancelled.
    pub error: Option<String>,
    pub namespaces: Vec<String>,
    /// Members by action type (`data`, or `action_input_type`, `action_data`, `action_response`, …): an object.
    pub details: Option<RawJson>,
}

/// The outcome of an action, as the agent's answer states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActionOutcome {
    /// The agent has answered, but the outcome is not known yet. Not final: a later answer may replace it.
    Acknowledged,
    /// The agent carried the action out.
    Succeeded,
    /// The agent reported an error.
    Failed,
    /// The action was cancelled before the agent carried it out.
    Cancelled,
}

/// An action that was addressed to an agent, with its outcome there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressedAction {
    /// The document as it is stored.
    pub action: Action,
    /// The outcome by the agent's answer; `None` before the answer.
    pub outcome: Option<ActionOutcome>,
}

/// Whether a result was new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// The result is stored now.
    New,
    /// An earlier answer is stored and was kept.
    Already,
}

/// Targets and answers of an action, over all its documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ActionProgress {
    /// Agents addressed.
    pub targets: u64,
    /// Agents that carried it out.
    pub succeeded: u64,
    /// Agents that reported an error.
    pub failed: u64,
    /// Agents for which it was cancelled.
    pub cancelled: u64,
}
