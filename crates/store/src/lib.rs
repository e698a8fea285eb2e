//! What the domain asks of a store, independent of the engine behind it.
//!
//! ```text
//! domain (crate `fleet`) ──► dyn Store ──► crate `store-sqlite`      conformance ──► every engine
//!                                     └──► later: PostgreSQL, Elasticsearch
//! ```
//!
//! The store keeps documents and their order; it knows no rule of the domain (who may enrol, what an agent
//! is sent). An operation that must be atomic is one method; no transaction crosses the boundary. Times are
//! passed in, so tests move the clock. Guarantees M1–M10 and the loss budget: `docs/adr/0003-store.md`.

mod action;
mod agent;
mod change;
#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
mod health;
mod ids;
mod json;
mod key;
mod page;
mod policy;
mod timestamp;

use std::time::Duration;

use async_trait::async_trait;

pub use action::{
    Action, ActionProgress, ActionResult, AgentMark, Inserted, NewAction, PendingAction, Sequence,
};
pub use agent::{
    Agent, AgentQuery, AgentSort, AgentStatus, AuditMark, CheckinRecord, Enrollment, NewAgent, Replacement,
    SortOrder, StatusCounts, StatusReport, UnhealthyReason, UpgradeChange,
};
pub use change::{Change, ChangeKind, ChangeSequence};
pub use error::{Conflict, StoreError};
pub use health::{StoreHealth, StoreMetrics, StoreStats};
pub use ids::{ActionDocId, ActionId, AgentId, EnrollmentId, KeyId, PolicyId, TokenId};
pub use json::RawJson;
pub use key::{EnrollmentToken, KeyHash, KeyKind, KeyRecord, NewKey, NewToken};
pub use page::{Page, PageRequest};
pub use policy::{NewRevision, PolicyRevision, PolicySummary};
pub use timestamp::Timestamp;

/// Every answer of a store.
pub type Result<T> = std::result::Result<T, StoreError>;

/// The operations of `store.md` (numbered O1…) that exist so far.
///
/// Every method either did all of its unit or none of it. "There is none" is [`StoreError::NotFound`] (or
/// `None` where absence is an ordinary answer); "could not look" is [`StoreError::Unavailable`] or
/// [`StoreError::Corrupt`]: a caller can always tell the two apart.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    // ---- agents -------------------------------------------------------------------------------------

    /// O1: agent, access key and the removal of what it replaces, in one durable unit.
    ///
    /// # Errors
    /// [`Conflict::AgentExists`], [`Conflict::EnrollmentIdTaken`], [`Conflict::TokenRevoked`] (the enrollment
    /// token was revoked meanwhile, S14), [`Conflict::Changed`] (what is to be replaced is not what the
    /// caller saw).
    async fn enroll(&self, enrollment: Enrollment) -> Result<Agent>;

    /// O2: the agent, reading own writes at once.
    async fn agent(&self, id: &AgentId) -> Result<Option<Agent>>;

    /// O2: the agent whose access key this is.
    async fn agent_by_key(&self, key: &KeyId) -> Result<Option<Agent>>;

    /// O2: the agent enrolled with this idempotency key.
    async fn agent_by_enrollment_id(&self, id: &EnrollmentId) -> Result<Option<Agent>>;

    /// O3: what is needed to verify a presented key. Revocation is visible within a second on every replica
    /// (at once on the embedded engine).
    async fn key(&self, id: &KeyId) -> Result<Option<KeyRecord>>;

    /// O4: a batch of check-ins; per agent the newest time wins (S4), a position never goes back (M5, S5).
    /// Unknown agents are skipped. May lose its last 10 seconds on a power failure.
    async fn record_checkins(&self, batch: Vec<CheckinRecord>) -> Result<()>;

    /// O5: the agent acknowledged this revision. Stored only if the agent is still assigned to `policy`
    /// (M8, S6) and the revision grows; answers whether it was stored.
    async fn confirm_policy(
        &self,
        agent: &AgentId,
        policy: &PolicyId,
        revision: i64,
        at: Timestamp,
    ) -> Result<bool>;

    /// O5: the pair that an agent reports at check-in. `agent_policy_id` is stored as reported; the revision
    /// is stored, also downwards, only while the agent is assigned to `policy` (M8).
    async fn report_policy(
        &self,
        agent: &AgentId,
        policy: &PolicyId,
        revision: i64,
        at: Timestamp,
    ) -> Result<()>;

    /// O6: one change of the agent's upgrade fields.
    async fn change_upgrade(&self, agent: &AgentId, change: UpgradeChange, at: Timestamp) -> Result<()>;

    /// O7: the agent turns inactive and all its keys die, in one durable unit. Repeats are harmless.
    async fn unenroll(&self, agent: &AgentId, reason: Option<&str>, at: Timestamp) -> Result<()>;

    /// Stores who reported the agent as uninstalled or orphaned (http-api 2.5).
    async fn mark_audit(&self, agent: &AgentId, mark: AuditMark, at: Timestamp) -> Result<()>;

    /// O8: assigns the agents to another policy; their confirmed revision is cleared. Unknown and inactive
    /// agents are skipped; answers how many were assigned.
    async fn reassign(&self, agents: &[AgentId], policy: &PolicyId, at: Timestamp) -> Result<u64>;

    /// O22: one page of agents, a snapshot; `now` decides the computed status.
    async fn agents(
        &self,
        query: &AgentQuery,
        page: PageRequest,
        now: Timestamp,
    ) -> Result<Page<StatusReport>>;

    /// O22: the agent with its status, as [`Store::agents`] shows it at the same `now`.
    async fn agent_status(&self, id: &AgentId, now: Timestamp) -> Result<Option<StatusReport>>;

    /// O22: how many agents have each status; agrees with [`Store::agents`] at the same `now` (S18).
    async fn count_by_status(&self, query: &AgentQuery, now: Timestamp) -> Result<StatusCounts>;

    // ---- actions ------------------------------------------------------------------------------------

    /// O9: appends the actions, each with its queue entry for every target, in one durable unit. Commit order
    /// is sequence order (M1, M2).
    async fn append_actions(&self, actions: Vec<NewAction>) -> Result<Vec<Sequence>>;

    /// O10: deliverable, unexpired actions of the agent after `after`, ascending. Contains everything
    /// committed before the call (M3).
    async fn pending_actions(
        &self,
        agent: &AgentId,
        after: Option<Sequence>,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<PendingAction>>;

    /// O11: the position of an action document (what an ack token resolves to), if it still exists.
    async fn position_of(&self, doc: &ActionDocId) -> Result<Option<Sequence>>;

    /// O11: the newest document of this action.
    async fn action(&self, id: &ActionId) -> Result<Option<Action>>;

    /// The targets of one action document, in the order in which they were given.
    async fn action_targets(&self, doc: &ActionDocId) -> Result<Vec<AgentId>>;

    /// O12: stores the agent's answer once, durably; a repeat is [`Inserted::Already`] (M7).
    async fn insert_result(&self, result: ActionResult) -> Result<Inserted>;

    /// O13: answers to an action, oldest first.
    async fn results(&self, action: &ActionId, page: PageRequest) -> Result<Page<ActionResult>>;

    /// O13: targets and answers counted.
    async fn action_progress(&self, action: &ActionId) -> Result<ActionProgress>;

    /// O24: removes at most `limit` actions that expired before `before`; answers how many.
    async fn delete_expired_actions(&self, before: Timestamp, limit: u32) -> Result<u64>;

    // ---- policies -----------------------------------------------------------------------------------

    /// O14: appends a revision if the newest one is still `expected_previous` (`None`: the policy is new).
    /// Durable.
    ///
    /// # Errors
    /// [`Conflict::Revision`] names the current revision (S12).
    async fn append_policy_revision(
        &self,
        expected_previous: Option<i64>,
        revision: NewRevision,
    ) -> Result<PolicyRevision>;

    /// O15: the newest revision of the policy.
    async fn policy(&self, id: &PolicyId) -> Result<Option<PolicyRevision>>;

    /// O15: one revision.
    async fn policy_revision(&self, id: &PolicyId, revision: i64) -> Result<Option<PolicyRevision>>;

    /// O15: all revisions of a policy, newest first (S13).
    async fn policy_history(&self, id: &PolicyId, page: PageRequest) -> Result<Page<PolicyRevision>>;

    /// O15: the newest revision of each policy with the number of its active agents, oldest policy first.
    async fn policies(&self, page: PageRequest) -> Result<Page<PolicySummary>>;

    /// Deletes the policy with its history and revokes its enrollment tokens, in one durable unit.
    ///
    /// # Errors
    /// [`Conflict::AgentsAssigned`] while active agents are assigned to it.
    async fn delete_policy(&self, id: &PolicyId, at: Timestamp) -> Result<()>;

    // ---- keys and tokens ----------------------------------------------------------------------------

    /// O16: stores an enrollment token with its key, in one durable unit.
    async fn create_token(&self, token: NewToken) -> Result<EnrollmentToken>;

    /// O16: the token record of an enrollment key, revoked or not.
    async fn token_by_key(&self, key: &KeyId) -> Result<Option<EnrollmentToken>>;

    /// O16: the token record.
    async fn token(&self, id: &TokenId) -> Result<Option<EnrollmentToken>>;

    /// O16: tokens, newest first.
    async fn tokens(&self, page: PageRequest) -> Result<Page<EnrollmentToken>>;

    /// O16: the token stays on record but admits nobody any more. Repeats are harmless.
    async fn revoke_token(&self, id: &TokenId, at: Timestamp) -> Result<()>;

    /// O17: stores a key that belongs to no agent and no token (an operator's key).
    async fn create_key(&self, key: NewKey) -> Result<()>;

    /// O17: the keys admit nobody any more; unknown ids are skipped.
    async fn invalidate_keys(&self, ids: &[KeyId], at: Timestamp) -> Result<()>;

    // ---- feed and state -----------------------------------------------------------------------------

    /// O23: committed changes after `after` in order, without gaps or repeats, at most `limit`. If there is
    /// none, waits at most `wait` for one and then answers an empty list. Cancel-safe.
    ///
    /// # Errors
    /// [`StoreError::Trimmed`]: changes after `after` are no longer kept; the reader takes
    /// [`Store::last_change`], reads everything it follows anew, and goes on from there.
    async fn changes(&self, after: ChangeSequence, limit: u32, wait: Duration) -> Result<Vec<Change>>;

    /// O23: the newest committed change, where a new reader starts.
    async fn last_change(&self) -> Result<ChangeSequence>;

    /// O26: whether the engine takes reads and writes now. Never fails: a fault is the answer.
    async fn health(&self) -> StoreHealth;

    /// O26: sizes.
    async fn stats(&self) -> Result<StoreStats>;

    /// Writes out everything that was accepted and closes the engine; later calls answer `Unavailable`.
    async fn close(&self) -> Result<()>;
}
