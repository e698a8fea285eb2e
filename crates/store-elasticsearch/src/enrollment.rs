//! O1: an enrolment, document by document, in the order of docs/adr/0005-store-seam.md.
//!
//! In: the agent and what it replaces. Out: the agent with its key. A step that is refused undoes those before it; what a
//! crash leaves opens nothing.

use std::time::Instant;

use store::{
    Agent, AgentId, ApiKey, Conflict, Enrolled, Enrollment, EnrollmentId, KeyOwner, Replacement, Result,
    StoreError, chain,
};

use crate::{
    ElasticStore, Failure, agent_document,
    agents::{members, with},
    document::time,
    documents::{Documents, Found, Version, Visible},
    index::Index,
    tokens,
};

impl ElasticStore {
    pub(crate) async fn enroll_agent(&self, enrollment: Enrollment) -> Result<Enrolled> {
        let documents = self.open().await?;
        let new = &enrollment.agent;
        if let Some(token) = &enrollment.admitted_by
            && !tokens::admits(&documents, token, new.at).await?
        {
            return Err(Conflict::TokenRevoked.into());
        }
        let replaced = replaced(&documents, &enrollment).await?;
        self.may_enroll(&documents, &enrollment).await?;
        let owner = KeyOwner::Agent(new.id.clone());
        let access_key = self.issue_for(&owner, &enrollment.purpose, None, false).await?;
        let intent = self.own_changes().await?.begin();
        let version = match store_agent(&documents, &enrollment, replaced.as_ref(), &access_key).await {
            Ok(version) => version,
            Err(error) => return Err(self.undo(&access_key, error).await),
        };
        if let Some(id) = &new.enrollment_id
            && let Err(error) = claim(&documents, &enrollment, id, version).await
        {
            if matches!(error, StoreError::Conflict(_)) {
                documents
                    .delete(Index::Agents, new.id.as_str(), Some(version), Visible::AtOnce)
                    .await?;
            }
            return Err(self.undo(&access_key, error).await);
        }
        intent.done(version.seq_no, new.id.as_str());
        if let (Some(Replaced { found, agent }), false) =
            (&replaced, matches!(enrollment.replaces, Replacement::None))
        {
            if agent.id != new.id {
                let intent = self.own_changes().await?.begin();
                let removed = documents
                    .delete(
                        Index::Agents,
                        agent.id.as_str(),
                        Some(found.version),
                        Visible::AtOnce,
                    )
                    .await?;
                if let Some(removed) = removed {
                    intent.done(removed.seq_no, agent.id.as_str());
                }
            }
            self.end_keys(std::slice::from_ref(&agent.access_key)).await?;
        }
        self.verified.accept(&access_key, owner, Instant::now());
        let stored = documents.get(Index::Agents, new.id.as_str()).await?;
        let stored =
            stored.ok_or_else(|| StoreError::corrupt(format!("agent {} cannot be read back", new.id)))?;
        let agent = agent_document::agent(&stored)?;
        Ok(Enrolled { agent, access_key })
    }

    /// Refuses what is certain to be refused before a key is made for it.
    async fn may_enroll(&self, documents: &Documents, enrollment: &Enrollment) -> Result<()> {
        let (new, Some(id)) = (&enrollment.agent, &enrollment.agent.enrollment_id) else {
            return Ok(());
        };
        if matches!(enrollment.replaces, Replacement::TakeOver { .. }) {
            return Ok(());
        }
        let is_same = matches!(&enrollment.replaces, Replacement::Remove(old) if *old == new.id);
        if !is_same
            && documents
                .get_members(Index::Agents, new.id.as_str(), &[])
                .await?
                .is_some()
        {
            return Err(Conflict::AgentExists(new.id.clone()).into());
        }
        match rivals(documents, enrollment, id).await?.is_empty() {
            true => Ok(()),
            false => Err(Conflict::EnrollmentIdTaken(id.clone()).into()),
        }
    }

    /// Ends the key of an enrolment that failed.
    async fn undo(&self, key: &ApiKey, error: StoreError) -> StoreError {
        if let Err(failure) = self.end_keys(std::slice::from_ref(&key.id)).await {
            // No agent names it: it opens nothing.
            log::warn!("fleet.apikey.id" = key.id.as_str(), "error.message":% = chain(&failure); "the key of a failed enrolment could not be invalidated");
        }
        error
    }
}

/// The agent that an enrolment replaces, as it was read.
struct Replaced {
    found: Found,
    agent: Agent,
}

async fn replaced(documents: &Documents, enrollment: &Enrollment) -> Result<Option<Replaced>> {
    let read = async |id: &AgentId| {
        let found = documents.get(Index::Agents, id.as_str()).await?;
        let read = found.map(|found| {
            Ok::<_, StoreError>(Replaced {
                agent: agent_document::agent(&found)?,
                found,
            })
        });
        read.transpose()
    };
    let changed = |id: &AgentId| StoreError::from(Conflict::Changed(format!("agent {id}")));
    let (id, may_be): (_, &(dyn Fn(&Agent) -> bool + Sync)) = match &enrollment.replaces {
        Replacement::None => return Ok(None),
        Replacement::Remove(id) => (id, &|old| !old.is_active || old.last_checkin.is_none()),
        Replacement::TakeOver { agent, access_key } => (agent, &|old| {
            old.is_active && old.access_key == *access_key && old.id == enrollment.agent.id
        }),
    };
    let replaced = read(id).await?.filter(|replaced| may_be(&replaced.agent));
    replaced.map(Some).ok_or_else(|| changed(id))
}

/// Makes the agent, or puts it in the place of the one that was read.
async fn store_agent(
    documents: &Documents,
    enrollment: &Enrollment,
    replaced: Option<&Replaced>,
    key: &ApiKey,
) -> Result<Version> {
    let new = &enrollment.agent;
    let id = new.id.as_str();
    let same = replaced.filter(|replaced| replaced.agent.id == new.id);
    let written = match (same, &enrollment.replaces) {
        (Some(old), Replacement::TakeOver { .. }) => {
            let mut document = members(&old.found)?;
            agent_document::identity(&mut document, new, &key.id)?;
            document.set("policy_revision_idx", &0)?;
            document.set("updated_at", &time(new.at))?;
            for member in [
                "audit_unenrolled_reason",
                "audit_unenrolled_time",
                "unenrolled_at",
                "unenrolled_reason",
            ] {
                document.remove(member);
            }
            documents
                .replace(Index::Agents, id, old.found.version, &document, Visible::AtOnce)
                .await
        }
        (same, _) => {
            let document = agent_document::new_agent(new, &key.id, enrollment.collector.as_deref())?;
            match same {
                Some(old) => {
                    documents
                        .replace(Index::Agents, id, old.found.version, &document, Visible::AtOnce)
                        .await
                }
                None => {
                    documents
                        .create(Index::Agents, id, &document, Visible::AtOnce)
                        .await
                }
            }
        }
    };
    written.map_err(|failure| match (failure, same.is_some()) {
        (Failure::VersionConflict, true) => Conflict::Changed(format!("agent {id}")).into(),
        (Failure::VersionConflict, false) => Conflict::AgentExists(new.id.clone()).into(),
        (failure, _) => failure.into(),
    })
}

/// Of agents that were made at once with one enrollment id the first one stays: each looks behind its own making, so the
/// later one sees the earlier. One that has spoken since was answered before, wherever its last change stands.
async fn claim(
    documents: &Documents,
    enrollment: &Enrollment,
    id: &EnrollmentId,
    own: Version,
) -> Result<()> {
    if matches!(enrollment.replaces, Replacement::TakeOver { .. }) {
        return Ok(());
    }
    let rivals = rivals(documents, enrollment, id).await?;
    for rival in &rivals {
        let agent = agent_document::agent(rival)?;
        let has_spoken = agent.last_checkin.is_some() || agent.reported_policy.is_some();
        if has_spoken || rival.version.seq_no < own.seq_no {
            return Err(Conflict::EnrollmentIdTaken(id.clone()).into());
        }
    }
    Ok(())
}

/// Other agents with this enrollment id, but for the one that is to be removed.
async fn rivals(documents: &Documents, enrollment: &Enrollment, id: &EnrollmentId) -> Result<Vec<Found>> {
    let found = documents
        .search(Index::Agents, &with("enrollment_id", id.as_str(), 100))
        .await?;
    let is_rival = |found: &Found| {
        let is_removed = matches!(&enrollment.replaces, Replacement::Remove(old) if old.as_str() == found.id);
        found.id != enrollment.agent.id.as_str() && !is_removed
    };
    Ok(found.hits.into_iter().filter(is_rival).collect())
}
