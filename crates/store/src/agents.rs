//! O1–O8, O22: agents, from enrolment to their end.
//!
//! In: documents and the time. Out: documents as stored. No rule of the domain: who may enrol and what an agent is
//! sent is decided above.

use async_trait::async_trait;

use crate::{
    Agent, AgentId, AgentQuery, AuditMark, CheckinRecord, Collector, Enrolled, Enrollment, EnrollmentId,
    KeyId, Page, PageRequest, PolicyId, Result, StatusCounts, StatusReport, Timestamp, UpgradeChange,
};

/// Agent records.
#[async_trait]
pub trait Agents: Send + Sync + 'static {
    /// O1: stores the agent with a new access key and removes the agent that it replaces. Only this answer has the key.
    ///
    /// Transactional: one durable unit. Document: a sequence whose every crash point is listed in
    /// `docs/adr/0005-store-seam.md`; an answered enrolment is complete, an interrupted one leaves at most a key that opens
    /// nothing.
    ///
    /// # Errors
    /// [`crate::Conflict::AgentExists`], [`crate::Conflict::EnrollmentIdTaken`], [`crate::Conflict::TokenRevoked`]
    /// (the enrollment token was revoked meanwhile, S14), [`crate::Conflict::Changed`] (what is to be replaced is
    /// not what the caller saw).
    async fn enroll(&self, enrollment: Enrollment) -> Result<Enrolled>;

    /// O2: the agent by its id. Sees this process's own writes at once.
    async fn agent(&self, id: &AgentId) -> Result<Option<Agent>>;

    /// O2: the agent whose access key this is.
    async fn agent_by_key(&self, key: &KeyId) -> Result<Option<Agent>>;

    /// O2: the agent enrolled with this idempotency key.
    async fn agent_by_enrollment_id(&self, id: &EnrollmentId) -> Result<Option<Agent>>;

    /// O2: what only an OpAMP agent has.
    async fn collector(&self, id: &AgentId) -> Result<Option<Collector>>;

    /// O4: a batch of check-ins; per agent the newest time wins (S4), a position never goes back (M5, S5).
    /// Unknown agents are skipped. Each record by itself, on every class; a power failure may lose the last 10 seconds.
    async fn record_checkins(&self, batch: Vec<CheckinRecord>) -> Result<()>;

    /// O5: the agent acknowledged this revision. Stored only if the agent is still assigned to `policy`
    /// (M8, S6) and the revision grows; answers whether it was stored. One document.
    async fn confirm_policy(
        &self,
        agent: &AgentId,
        policy: &PolicyId,
        revision: i64,
        at: Timestamp,
    ) -> Result<bool>;

    /// O5: stores the policy and revision that an agent reports at check-in. The policy is stored as reported;
    /// the revision, also downwards, only while the agent is assigned to `policy` (M8). One document.
    async fn report_policy(
        &self,
        agent: &AgentId,
        policy: &PolicyId,
        revision: i64,
        at: Timestamp,
    ) -> Result<()>;

    /// O6: changes the agent's upgrade fields. One document.
    async fn change_upgrade(&self, agent: &AgentId, change: UpgradeChange, at: Timestamp) -> Result<()>;

    /// O7: makes the agent inactive and revokes all its keys. Idempotent. Transactional: one durable unit.
    /// Document: the record first, which alone shuts the agent out, then its keys; a repeat revokes those that are left.
    async fn unenroll(&self, agent: &AgentId, reason: Option<&str>, at: Timestamp) -> Result<()>;

    /// Stores who reported the agent as uninstalled or orphaned (data.md 1.1). One document.
    async fn mark_audit(&self, agent: &AgentId, mark: AuditMark, at: Timestamp) -> Result<()>;

    /// O8: assigns the agents to another policy; their confirmed revision is cleared. Unknown and inactive
    /// agents are skipped; answers how many were assigned. Each agent by itself; a transactional engine does all or
    /// none.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]: there is no such policy. A transactional engine checks it in the same unit, so that no
    /// agent is left with a policy that is deleted meanwhile.
    async fn reassign(&self, agents: &[AgentId], policy: &PolicyId, at: Timestamp) -> Result<u64>;

    /// O22: one page of agents, a snapshot; `now` decides the computed status.
    async fn agents(
        &self,
        query: &AgentQuery,
        page: PageRequest,
        now: Timestamp,
    ) -> Result<Page<StatusReport>>;

    /// O22: the agent with its status, as [`Agents::agents`] shows it at the same `now`.
    async fn agent_status(&self, id: &AgentId, now: Timestamp) -> Result<Option<StatusReport>>;

    /// O22: how many agents have each status; agrees with [`Agents::agents`] at the same `now` (S18).
    async fn count_by_status(&self, query: &AgentQuery, now: Timestamp) -> Result<StatusCounts>;
}
