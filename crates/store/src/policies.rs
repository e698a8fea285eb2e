//! O14, O15: policies and their revisions.

use async_trait::async_trait;

use crate::{NewRevision, Page, PageRequest, PolicyId, PolicyRevision, PolicySummary, Result, Timestamp};

/// Policies and their revisions.
#[async_trait]
pub trait Policies: Send + Sync + 'static {
    /// O14: appends a revision if the newest one is still `expected_previous` (`None`: the policy is new), and
    /// answers what was written. One document on every class: its id is policy and revision, so of two only one is
    /// made (M6).
    ///
    /// # Errors
    /// [`crate::Conflict::Revision`] names the current revision (S12).
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

    /// O24: removes revisions that are older than the newest `kept` of their policy, at most `limit`; answers how many.
    async fn trim_policy_history(&self, kept: u32, limit: u32) -> Result<u64>;

    /// O15: the newest revision of each policy with the number of its active agents, oldest policy first.
    async fn policies(&self, page: PageRequest) -> Result<Page<PolicySummary>>;

    /// Deletes the policy with its history and revokes its enrollment tokens. Transactional: one durable unit.
    /// Document: tokens first, then the policy; a repeat completes what a crash left, and an agent that enrolled within the
    /// last second may be missed.
    ///
    /// # Errors
    /// [`crate::Conflict::AgentsAssigned`] while active agents are assigned to it.
    async fn delete_policy(&self, id: &PolicyId, at: Timestamp) -> Result<()>;
}
