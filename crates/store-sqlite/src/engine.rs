//! [`store::Store`] for SQLite, concern by concern: each operation goes to the writer or to a reader; the work itself stands in the file
//! of its concept.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use store::{
    Action, ActionDocId, ActionId, ActionProgress, ActionResult, Actions, AddressedAction, Agent, AgentId,
    AgentQuery, Agents, ApiKey, Audit, AuditDraft, AuditEntry, AuditMark, AuditQuery, ChangeKind, Changes,
    CheckinRecord, Collector, Cursor, Engine, EngineClass, Enrolled, Enrollment, EnrollmentId,
    EnrollmentToken, Feed, Inserted, KeyId, KeyOwner, KeyPurpose, Keys, NewAction, NewAudit, NewOperatorKey,
    NewRevision, NewToken, OperatorKey, OperatorKeys, Page, PageRequest, Pending, Policies, PolicyId,
    PolicyRevision, PolicySummary, Position, Result, SealedSecret, SecretId, Secrets, StatusCounts,
    StatusReport, Store, StoreHealth, StoreStats, Timestamp, TokenId, UpgradeChange, Verification,
};

use super::{
    SqliteStore, actions, agent_list, agents, audit, checkins, collectors, enrollment, feed, keys, lifecycle,
    operator_keys, policies, results, secrets, sizes, tokens,
};

#[async_trait]
impl Agents for SqliteStore {
    async fn enroll(&self, enrollment: Enrollment) -> Result<Enrolled> {
        let access_key = ApiKey::generate()?;
        self.write(move |unit| {
            enrollment::enroll(unit, &enrollment, &access_key).map(|agent| Enrolled { agent, access_key })
        })
        .await
    }

    async fn agent(&self, id: &AgentId) -> Result<Option<Agent>> {
        if let Some(agent) = self.shared.recent.agent(id) {
            return Ok(Some(agent));
        }
        let since = self.shared.recent.generation();
        let agent = self.find(id, agents::by_id).await?;
        if let Some(agent) = &agent {
            self.shared.recent.keep_agent(agent, since);
        }
        Ok(agent)
    }

    async fn agent_by_key(&self, key: &KeyId) -> Result<Option<Agent>> {
        self.find(key, agents::by_key).await
    }

    async fn agent_by_enrollment_id(&self, id: &EnrollmentId) -> Result<Option<Agent>> {
        self.find(id, agents::by_enrollment_id).await
    }

    async fn collector(&self, id: &AgentId) -> Result<Option<Collector>> {
        let id = id.clone();
        self.read(move |connection| collectors::by_agent(connection, &id, collectors::Part::Whole))
            .await
    }

    async fn record_checkins(&self, batch: Vec<CheckinRecord>) -> Result<()> {
        self.write_bulk(batch.len(), move |unit| checkins::record(unit, batch))
            .await
    }

    async fn confirm_policy(
        &self,
        agent: &AgentId,
        policy: &PolicyId,
        revision: i64,
        at: Timestamp,
    ) -> Result<bool> {
        let (agent, policy) = (agent.clone(), policy.clone());
        self.write(move |unit| lifecycle::confirm_policy(unit, &agent, &policy, revision, at))
            .await
    }

    async fn report_policy(
        &self,
        agent: &AgentId,
        policy: &PolicyId,
        revision: i64,
        at: Timestamp,
    ) -> Result<()> {
        let (agent, policy) = (agent.clone(), policy.clone());
        self.write(move |unit| lifecycle::report_policy(unit, &agent, &policy, revision, at))
            .await
    }

    async fn change_upgrade(&self, agent: &AgentId, change: UpgradeChange, at: Timestamp) -> Result<()> {
        let agent = agent.clone();
        self.write(move |unit| lifecycle::change_upgrade(unit, &agent, &change, at))
            .await
    }

    async fn unenroll(&self, agent: &AgentId, reason: Option<&str>, at: Timestamp) -> Result<()> {
        let (agent, reason) = (agent.clone(), reason.map(str::to_owned));
        self.write(move |unit| lifecycle::unenroll(unit, &agent, reason.as_deref(), at))
            .await
    }

    async fn mark_audit(&self, agent: &AgentId, mark: AuditMark, at: Timestamp) -> Result<()> {
        let agent = agent.clone();
        self.write(move |unit| lifecycle::mark_audit(unit, &agent, &mark, at))
            .await
    }

    async fn reassign(&self, agents: &[AgentId], policy: &PolicyId, at: Timestamp) -> Result<u64> {
        let (agents, policy) = (agents.to_vec(), policy.clone());
        self.write_bulk(agents.len(), move |unit| {
            lifecycle::reassign(unit, &agents, &policy, at)
        })
        .await
    }

    async fn agents(
        &self,
        query: &AgentQuery,
        page: PageRequest,
        now: Timestamp,
    ) -> Result<Page<StatusReport>> {
        let query = query.clone();
        self.read(move |connection| agent_list::page(connection, &query, &page, now))
            .await
    }

    async fn agent_status(&self, id: &AgentId, now: Timestamp) -> Result<Option<StatusReport>> {
        let id = id.clone();
        self.read(move |connection| agent_list::one(connection, &id, now))
            .await
    }

    async fn count_by_status(&self, query: &AgentQuery, now: Timestamp) -> Result<StatusCounts> {
        let query = query.clone();
        self.read(move |connection| agent_list::counts(connection, &query, now))
            .await
    }
}

#[async_trait]
impl Actions for SqliteStore {
    async fn append_actions(&self, actions: Vec<NewAction>) -> Result<Vec<Action>> {
        let targets = actions.iter().map(|action| action.agents.len()).sum();
        self.write_bulk(targets, move |unit| actions::append(unit, actions))
            .await
    }

    async fn pending_actions(
        &self,
        agent: &AgentId,
        token: Option<&ActionDocId>,
        stored: Option<&Position>,
        now: Timestamp,
        limit: u32,
    ) -> Result<Pending> {
        if let Some(pending) = self.shared.recent.pending(agent, token, stored) {
            return Ok(pending);
        }
        let (agent, token, stored) = (agent.clone(), token.cloned(), stored.cloned());
        let (recent, since) = (self.shared.recent.clone(), self.shared.recent.generation());
        self.read(move |connection| {
            let asked = (&agent, token.as_ref(), stored.as_ref());
            let (pending, is_empty) = actions::pending(connection, asked, now, limit)?;
            if is_empty {
                recent.keep_empty_queue(agent, token, stored, pending.position.clone(), since);
            }
            Ok(pending)
        })
        .await
    }

    async fn action(&self, id: &ActionId) -> Result<Option<Action>> {
        self.find(id, actions::by_id).await
    }

    async fn action_targets(&self, doc: &ActionDocId) -> Result<Vec<AgentId>> {
        self.find(doc, actions::targets).await
    }

    async fn addressed_actions(&self, agent: &AgentId, kind: &str) -> Result<Vec<AddressedAction>> {
        let (agent, kind) = (agent.clone(), kind.to_owned());
        self.read(move |connection| actions::addressed(connection, &agent, &kind))
            .await
    }

    async fn insert_result(&self, result: ActionResult) -> Result<Inserted> {
        self.write(move |unit| results::insert(unit, &result)).await
    }

    async fn replace_result(&self, result: ActionResult) -> Result<()> {
        self.write(move |unit| results::replace(unit, &result)).await
    }

    async fn results(&self, action: &ActionId, page: PageRequest) -> Result<Page<ActionResult>> {
        let action = action.clone();
        self.read(move |connection| results::page(connection, &action, &page))
            .await
    }

    async fn action_progress(&self, action: &ActionId) -> Result<ActionProgress> {
        self.find(action, results::progress).await
    }

    async fn actions_with_text(&self, text: &str, now: Timestamp) -> Result<Vec<Action>> {
        let text = text.to_owned();
        self.read(move |connection| actions::with_text(connection, &text, now))
            .await
    }

    async fn delete_expired_actions(&self, before: Timestamp, limit: u32) -> Result<u64> {
        self.write_bulk(usize::MAX, move |unit| {
            actions::delete_expired(unit, before, limit)
        })
        .await
    }
}

#[async_trait]
impl Policies for SqliteStore {
    async fn append_policy_revision(
        &self,
        expected_previous: Option<i64>,
        revision: NewRevision,
    ) -> Result<PolicyRevision> {
        self.write(move |unit| policies::append_revision(unit, expected_previous, revision))
            .await
    }

    async fn policy(&self, id: &PolicyId) -> Result<Option<PolicyRevision>> {
        self.find(id, policies::latest).await
    }

    async fn policy_revision(&self, id: &PolicyId, revision: i64) -> Result<Option<PolicyRevision>> {
        let id = id.clone();
        self.read(move |connection| policies::by_revision(connection, &id, revision))
            .await
    }

    async fn policy_history(&self, id: &PolicyId, page: PageRequest) -> Result<Page<PolicyRevision>> {
        let id = id.clone();
        self.read(move |connection| policies::history(connection, &id, &page))
            .await
    }

    async fn trim_policy_history(&self, kept: u32, limit: u32) -> Result<u64> {
        self.write(move |unit| policies::trim(unit, kept, limit)).await
    }

    async fn policies(&self, page: PageRequest) -> Result<Page<PolicySummary>> {
        self.read(move |connection| policies::summaries(connection, &page))
            .await
    }

    async fn delete_policy(&self, id: &PolicyId, at: Timestamp) -> Result<()> {
        let id = id.clone();
        self.write(move |unit| {
            policies::delete(unit, &id)?;
            tokens::revoke_of_policy(unit, &id, at)
        })
        .await
    }
}

#[async_trait]
impl Keys for SqliteStore {
    async fn verify(&self, presented: &ApiKey) -> Result<Verification> {
        if let Some(known) = self.shared.recent.verify(presented) {
            return Ok(known);
        }
        let since = self.shared.recent.generation();
        let stored = self.find(&presented.id, keys::by_id).await?;
        if let Some(key) = &stored {
            self.shared.recent.keep_key(&presented.id, key.clone(), since);
        }
        Ok(keys::verify(stored, presented))
    }

    async fn issue(&self, owner: KeyOwner, purpose: KeyPurpose, at: Timestamp) -> Result<ApiKey> {
        let key = ApiKey::generate()?;
        self.adopt_key(&key, owner, purpose, at).await?;
        Ok(key)
    }

    async fn adopt_key(
        &self,
        given: &ApiKey,
        owner: KeyOwner,
        purpose: KeyPurpose,
        at: Timestamp,
    ) -> Result<()> {
        let key = given.clone();
        self.write(move |unit| keys::insert(unit, &key, &owner, &purpose, at))
            .await
    }

    async fn create_token(&self, token: NewToken) -> Result<(EnrollmentToken, ApiKey)> {
        let key = ApiKey::generate()?;
        let token = self.adopt_token(token, &key).await?;
        Ok((token, key))
    }

    async fn adopt_token(&self, token: NewToken, given: &ApiKey) -> Result<EnrollmentToken> {
        let key = given.clone();
        self.write(move |unit| tokens::create(unit, token, &key)).await
    }

    async fn invalidate_keys(&self, ids: &[KeyId], at: Timestamp) -> Result<()> {
        let ids = ids.to_vec();
        self.write_bulk(ids.len(), move |unit| keys::invalidate(unit, &ids, at))
            .await
    }

    async fn token_by_key(&self, key: &KeyId) -> Result<Option<EnrollmentToken>> {
        self.find(key, tokens::by_key).await
    }

    async fn token(&self, id: &TokenId) -> Result<Option<EnrollmentToken>> {
        self.find(id, tokens::by_id).await
    }

    async fn tokens(&self, page: PageRequest) -> Result<Page<EnrollmentToken>> {
        self.read(move |connection| tokens::page(connection, &page)).await
    }

    async fn revoke_token(&self, id: &TokenId, at: Timestamp) -> Result<()> {
        let id = id.clone();
        self.write(move |unit| tokens::revoke(unit, &id, at)).await
    }
}

#[async_trait]
impl OperatorKeys for SqliteStore {
    async fn create_operator_key(&self, new: NewOperatorKey) -> Result<(OperatorKey, ApiKey)> {
        let key = ApiKey::generate()?;
        self.write(move |unit| operator_keys::create(unit, new, &key).map(|record| (record, key)))
            .await
    }

    async fn operator_key(&self, id: &KeyId) -> Result<Option<OperatorKey>> {
        self.find(id, operator_keys::by_id).await
    }

    async fn operator_keys(&self, page: PageRequest) -> Result<Page<OperatorKey>> {
        self.read(move |connection| operator_keys::page(connection, &page))
            .await
    }

    async fn revoke_operator_key(&self, id: &KeyId, at: Timestamp) -> Result<()> {
        let id = id.clone();
        self.write(move |unit| operator_keys::revoke(unit, &id, at)).await
    }
}

#[async_trait]
impl Audit for SqliteStore {
    fn audited(&self, draft: Arc<AuditDraft>) -> Option<Arc<dyn Store>> {
        Some(Arc::new(Self {
            shared: Arc::clone(&self.shared),
            queue: Arc::new(self.queue.audited(draft)),
        }))
    }

    async fn append_audit(&self, entry: NewAudit) -> Result<()> {
        self.write(move |unit| audit::append(unit, &entry)).await
    }

    async fn audit(&self, query: &AuditQuery, page: PageRequest) -> Result<Page<AuditEntry>> {
        let query = query.clone();
        self.read(move |connection| audit::page(connection, &query, &page))
            .await
    }

    async fn delete_audit(&self, before: Timestamp, limit: u32) -> Result<u64> {
        self.write(move |unit| audit::delete(unit, before, limit)).await
    }
}

#[async_trait]
impl Secrets for SqliteStore {
    async fn put_secret(&self, secret: SealedSecret) -> Result<()> {
        self.write(move |unit| secrets::put(unit, &secret)).await
    }

    async fn secret(&self, id: &SecretId) -> Result<Option<SealedSecret>> {
        self.find(id, secrets::by_id).await
    }

    async fn secrets(&self, page: PageRequest) -> Result<Page<SealedSecret>> {
        self.read(move |connection| secrets::page(connection, &page))
            .await
    }

    async fn delete_secret(&self, id: &SecretId) -> Result<()> {
        let id = id.clone();
        self.write(move |unit| secrets::delete(unit, &id)).await
    }

    async fn secret_keys(&self) -> Result<Vec<String>> {
        self.read(secrets::keys).await
    }

    async fn reseal_secrets(&self, secrets: Vec<SealedSecret>) -> Result<()> {
        self.write_bulk(secrets.len(), move |unit| secrets::reseal(unit, &secrets))
            .await
    }
}

#[async_trait]
impl Feed for SqliteStore {
    async fn changes(&self, kind: ChangeKind, after: &Cursor, limit: u32, wait: Duration) -> Result<Changes> {
        feed::follow(
            &self.shared.readers,
            self.shared.committed.clone(),
            kind,
            after,
            limit,
            wait,
        )
        .await
    }

    async fn last_change(&self, _: ChangeKind) -> Result<Cursor> {
        self.read(feed::last).await.map(feed::cursor)
    }
}

#[async_trait]
impl Engine for SqliteStore {
    fn class(&self) -> EngineClass {
        EngineClass::Transactional
    }

    async fn health(&self) -> StoreHealth {
        let readable =
            self.read(|connection| Ok(connection.query_row("SELECT 1 FROM probe", [], |_| Ok(()))?));
        let readable = match tokio::time::timeout(HEALTH_WAIT, readable).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(store::chain(&error)),
            Err(_) => Some("reads take too long".to_owned()),
        };
        StoreHealth {
            readable: readable.is_none(),
            writable: self.shared.condition.is_writable(),
            reason: self.shared.condition.reason().or(readable),
        }
    }

    async fn stats(&self) -> Result<StoreStats> {
        let path = self.shared.path.clone();
        let stats = self
            .read(move |connection| sizes::stats(connection, &path))
            .await?;
        Ok(StoreStats {
            queue_length: u64::try_from(self.shared.metrics.queue_length.get()).unwrap_or(0),
            ..stats
        })
    }

    async fn close(&self) -> Result<()> {
        self.shared.stop_accepting();
        let mut closed = self.shared.closed.clone();
        // An error means that the thread ended without a word, which Drop reports.
        closed
            .wait_for(|is_closed| *is_closed)
            .await
            .map(|_| ())
            .map_err(|_| super::fault::panicked())
    }
}

/// A reader that does not answer for so long does not work.
const HEALTH_WAIT: Duration = Duration::from_secs(5);
