//! O2, O5–O8: agents by their names, and the changes of one record.
//!
//! In: ids and what is to be changed. Out: agents as stored. Each change is decided on the document as it was read, written
//! whole with its place, and decided anew if somebody else came between (data.md 10.2).

use async_trait::async_trait;
use serde_json::{Value, json};
use store::{
    Agent, AgentId, AgentQuery, Agents, AuditMark, CheckinRecord, Collector, DetailsChange, Enrolled,
    Enrollment, EnrollmentId, KeyId, Page, PageRequest, PolicyId, Result, StatusCounts, StatusReport,
    Timestamp, UpgradeChange, UpgradeEnd,
};

use crate::{
    ElasticStore, Failure, agent_document,
    concurrent::at_once,
    document::{Members, time},
    documents::{Documents, Found, Version, Visible},
    engine::{TRIES, missing, overtaken},
    index::Index,
};

#[async_trait]
impl Agents for ElasticStore {
    async fn enroll(&self, enrollment: Enrollment) -> Result<Enrolled> {
        self.enroll_agent(enrollment).await
    }

    async fn agent(&self, id: &AgentId) -> Result<Option<Agent>> {
        let documents = self.open().await?;
        let found = documents.get(Index::Agents, id.as_str()).await?;
        found.as_ref().map(agent_document::agent).transpose()
    }

    async fn agent_by_key(&self, key: &KeyId) -> Result<Option<Agent>> {
        by_member(&*self.open().await?, "access_api_key_id", key.as_str()).await
    }

    async fn agent_by_enrollment_id(&self, id: &EnrollmentId) -> Result<Option<Agent>> {
        by_member(&*self.open().await?, "enrollment_id", id.as_str()).await
    }

    async fn collector(&self, id: &AgentId) -> Result<Option<Collector>> {
        let documents = self.open().await?;
        let found = documents.get(Index::Agents, id.as_str()).await?;
        Ok(found
            .as_ref()
            .map(agent_document::collector)
            .transpose()?
            .flatten())
    }

    async fn record_checkins(&self, batch: Vec<CheckinRecord>) -> Result<()> {
        self.write_checkins(batch).await
    }

    async fn confirm_policy(
        &self,
        agent: &AgentId,
        policy: &PolicyId,
        revision: i64,
        at: Timestamp,
    ) -> Result<bool> {
        let documents = self.open().await?;
        change(&documents, agent, |stored, document| {
            if stored.policy != *policy || stored.policy_revision.is_some_and(|known| known >= revision) {
                return Ok(Change::None(false));
            }
            document.set("policy_revision_idx", &revision)?;
            document.set("updated_at", &time(at))?;
            Ok(Change::Write(true))
        })
        .await
    }

    async fn report_policy(
        &self,
        agent: &AgentId,
        policy: &PolicyId,
        revision: i64,
        at: Timestamp,
    ) -> Result<()> {
        let documents = self.open().await?;
        change(&documents, agent, |stored, document| {
            document.set("agent_policy_id", policy)?;
            if stored.policy == *policy {
                document.set("policy_revision_idx", &revision)?;
            }
            document.set("updated_at", &time(at))?;
            Ok(Change::Write(()))
        })
        .await
    }

    async fn change_upgrade(&self, agent: &AgentId, change: UpgradeChange, at: Timestamp) -> Result<()> {
        let documents = self.open().await?;
        self::change(&documents, agent, |_, document| {
            match &change.details {
                DetailsChange::None => {}
                DetailsChange::Cleared => document.remove("upgrade_details"),
                DetailsChange::Set(details) => document.set("upgrade_details", details)?,
            }
            if let Some(end) = change.end {
                document.remove("upgrade_started_at");
                match end {
                    UpgradeEnd::Reached => document.set("upgraded_at", &time(at))?,
                    UpgradeEnd::Missed => document.remove("upgraded_at"),
                }
            }
            if change.ends_attempts {
                document.remove("upgrade_attempts");
            }
            document.set("updated_at", &time(at))?;
            Ok(Change::Write(()))
        })
        .await
    }

    async fn unenroll(&self, agent: &AgentId, reason: Option<&str>, at: Timestamp) -> Result<()> {
        let documents = self.open().await?;
        let intent = self.own_changes().await?.begin();
        // The record first: it alone shuts the agent out.
        let (access_key, written) = change_at(&documents, agent, |stored, document| {
            let key = stored.access_key.clone();
            if !stored.is_active {
                return Ok(Change::None(key));
            }
            document.set("active", &false)?;
            document.set("unenrolled_at", &time(at))?;
            document.set("updated_at", &time(at))?;
            match reason {
                Some(reason) => document.set("unenrolled_reason", &reason)?,
                None => document.remove("unenrolled_reason"),
            }
            Ok(Change::Write(key))
        })
        .await?;
        match written {
            Some(version) => intent.done(version.seq_no, agent.as_str()),
            None => drop(intent),
        }
        Ok(self.end_keys_of(agent, access_key).await?)
    }

    async fn mark_audit(&self, agent: &AgentId, mark: AuditMark, at: Timestamp) -> Result<()> {
        let documents = self.open().await?;
        change(&documents, agent, |_, document| {
            document.set("audit_unenrolled_reason", &mark.reason)?;
            // The index takes times only.
            match Timestamp::parse(&mark.time) {
                Some(_) => document.set("audit_unenrolled_time", &mark.time)?,
                None => document.remove("audit_unenrolled_time"),
            }
            document.set("updated_at", &time(at))?;
            Ok(Change::Write(()))
        })
        .await
    }

    async fn reassign(&self, agents: &[AgentId], policy: &PolicyId, at: Timestamp) -> Result<u64> {
        let documents = self.open().await?;
        if crate::policies::latest(&documents, policy).await?.is_none() {
            return Err(missing("policy", policy));
        }
        let base = policy.base().unwrap_or_else(|| policy.clone());
        let own = self.own_changes().await?;
        let assigning = agents.iter().map(|agent| {
            let (documents, base) = (&*documents, &base);
            async move {
                let intent = own.begin();
                let (is_assigned, written) = change_at(documents, agent, |stored, document| {
                    if !stored.is_active {
                        return Ok(Change::None(false));
                    }
                    document.set("policy_id", policy)?;
                    document.set("policy_base_id", base)?;
                    document.remove("policy_revision_idx");
                    document.set("updated_at", &time(at))?;
                    Ok(Change::Write(true))
                })
                .await?;
                if let Some(version) = written {
                    intent.done(version.seq_no, agent.as_str());
                }
                Ok(is_assigned)
            }
        });
        let mut assigned = 0;
        for outcome in at_once(assigning.collect()).await {
            match outcome {
                Ok(is_assigned) => assigned += u64::from(is_assigned),
                Err(store::StoreError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(assigned)
    }

    async fn agents(
        &self,
        query: &AgentQuery,
        page: PageRequest,
        now: Timestamp,
    ) -> Result<Page<StatusReport>> {
        self.list_agents(query, page, now).await
    }

    async fn agent_status(&self, id: &AgentId, now: Timestamp) -> Result<Option<StatusReport>> {
        self.status_of(id, now).await
    }

    async fn count_by_status(&self, query: &AgentQuery, now: Timestamp) -> Result<StatusCounts> {
        self.count_agents(query, now).await
    }
}

/// What a decision on a document came to.
pub(crate) enum Change<T> {
    /// It stays as it is.
    None(T),
    /// It is written.
    Write(T),
}

/// Changes an agent's document by what `decide` makes of it, until nobody comes between reading and writing.
pub(crate) async fn change<T: Send>(
    documents: &Documents,
    agent: &AgentId,
    decide: impl Fn(&Agent, &mut Members) -> Result<Change<T>> + Send + Sync,
) -> Result<T> {
    change_at(documents, agent, decide).await.map(|(done, _)| done)
}

/// The same, with the place of what was written.
async fn change_at<T: Send>(
    documents: &Documents,
    agent: &AgentId,
    decide: impl Fn(&Agent, &mut Members) -> Result<Change<T>> + Send + Sync,
) -> Result<(T, Option<Version>)> {
    for _ in 0..TRIES {
        let found = documents.get(Index::Agents, agent.as_str()).await?;
        let found = found.ok_or_else(|| missing("agent", agent))?;
        let mut document = members(&found)?;
        let done = match decide(&agent_document::agent(&found)?, &mut document)? {
            Change::None(done) => return Ok((done, None)),
            Change::Write(done) => done,
        };
        let written = documents
            .replace(
                Index::Agents,
                agent.as_str(),
                found.version,
                &document,
                Visible::AtOnce,
            )
            .await;
        match written {
            Ok(version) => return Ok((done, Some(version))),
            Err(Failure::VersionConflict) => {}
            Err(failure) => return Err(failure.into()),
        }
    }
    Err(overtaken("the agent"))
}

/// The members of a document that was read.
pub(crate) fn members(found: &Found) -> Result<Members> {
    serde_json::from_str(found.source.get()).map_err(|error| store::StoreError::Corrupt {
        detail: format!("document {} is no object", found.id),
        source: Some(store::Cause::new(error)),
    })
}

/// The agent with this value, as searches find it.
async fn by_member(documents: &Documents, member: &str, value: &str) -> Result<Option<Agent>> {
    let found = documents.search(Index::Agents, &with(member, value, 1)).await?;
    found.hits.first().map(agent_document::agent).transpose()
}

/// A search for documents whose member has this value.
pub(crate) fn with(member: &str, value: &str, size: u32) -> Value {
    json!({
        "query": {"bool": {"filter": [{"term": {member: value}}]}},
        "size": size,
        "seq_no_primary_term": true,
    })
}
