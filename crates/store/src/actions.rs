//! O9–O13, O24: actions, the queue of each agent, and the agents' answers.

use async_trait::async_trait;

use crate::{
    Action, ActionDocId, ActionId, ActionProgress, ActionResult, AddressedAction, AgentId, Inserted,
    NewAction, Page, PageRequest, Pending, Position, Result, Timestamp,
};

/// Actions, their queues and their results.
#[async_trait]
pub trait Actions: Send + Sync + 'static {
    /// O9: appends the actions, each with its queue entry for every target, its mark on their records and what it
    /// takes back ([`crate::Recall`]), durably, and answers what was written, in the order given. Commit order is the order in which agents and the feed are
    /// shown them (M1, M2).
    ///
    /// Transactional: one unit. Document: each action by itself; its sequence and crash points are listed in
    /// `docs/adr/0005-store-seam.md`.
    ///
    /// # Errors
    /// [`crate::Conflict::IdTaken`]: a document id is known.
    async fn append_actions(&self, actions: Vec<NewAction>) -> Result<Vec<Action>>;

    /// O10: deliverable, unexpired actions after the agent's position: the further one of what `token` (the ack
    /// token that it presented) names and `stored`. A token that is not known, or whose document was deleted, names
    /// nothing (M4). What was taken back from the agent is left out. Contains everything committed before the call (M3).
    async fn pending_actions(
        &self,
        agent: &AgentId,
        token: Option<&ActionDocId>,
        stored: Option<&Position>,
        now: Timestamp,
        limit: u32,
    ) -> Result<Pending>;

    /// O11: the newest document of this action.
    async fn action(&self, id: &ActionId) -> Result<Option<Action>>;

    /// The targets of one action document, in the order in which they were given.
    async fn action_targets(&self, doc: &ActionDocId) -> Result<Vec<AgentId>>;

    /// The actions of this type that were addressed to the agent and are still on record, oldest first.
    async fn addressed_actions(&self, agent: &AgentId, kind: &str) -> Result<Vec<AddressedAction>>;

    /// O12: stores the agent's answer once, durably; a repeat is [`Inserted::Already`] (M7). Only an answer that is not
    /// final ([`crate::ActionOutcome::Acknowledged`]) is replaced, by one that is. One document.
    async fn insert_result(&self, result: ActionResult) -> Result<Inserted>;

    /// O12: stores a corrected result, which replaces an earlier one or is the first. One document.
    async fn replace_result(&self, result: ActionResult) -> Result<()>;

    /// O13: answers to an action, oldest first.
    async fn results(&self, action: &ActionId, page: PageRequest) -> Result<Page<ActionResult>>;

    /// O13: targets and answers counted.
    async fn action_progress(&self, action: &ActionId) -> Result<ActionProgress>;

    /// O18: the deliverable, unexpired actions whose data have this text as it is written, oldest first: one scan, for
    /// the question who uses a secret.
    async fn actions_with_text(&self, text: &str, now: Timestamp) -> Result<Vec<Action>>;

    /// O24: removes at most `limit` actions that expired before `before`; answers how many. The answers to an action go
    /// with the last of its documents. Transactional: one unit. Document: each action by itself; the next call removes
    /// what a crash left.
    async fn delete_expired_actions(&self, before: Timestamp, limit: u32) -> Result<u64>;
}
