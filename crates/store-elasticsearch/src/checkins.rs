//! O4: what check-ins say, written in batches.
//!
//! In: records, several of one agent in any order. Out: one write an agent. The newest time counts and a position never goes
//! back, against what is stored as well. Usually a partial update; a whole document where an object or a member is replaced
//! or removed, since partial updates merge.

use std::sync::atomic::Ordering;

use serde::Deserialize;
use store::{AgentId, CheckinRecord, Position, Result, StoreError, Timestamp};

use crate::{
    ElasticStore, Failure, agent_document,
    agents::members,
    concurrent::at_once,
    document::{Members, Moment, or_default, time},
    documents::{Documents, Visible},
    engine::{TRIES, overtaken},
    index::Index,
};

impl ElasticStore {
    pub(crate) async fn write_checkins(&self, batch: Vec<CheckinRecord>) -> Result<()> {
        let documents = self.open().await?;
        let mut records: Vec<(AgentId, Vec<CheckinRecord>)> = Vec::new();
        let mut places = std::collections::HashMap::new();
        for record in batch {
            let place = *places.entry(record.agent.clone()).or_insert(records.len());
            if place == records.len() {
                records.push((record.agent.clone(), Vec::new()));
            }
            records[place].1.push(record);
        }
        let writing = records
            .iter()
            .map(|(agent, records)| write(&documents, agent, records));
        let outcomes = at_once(writing.collect()).await;
        self.has_late_writes.store(true, Ordering::Release);
        // Each record by itself: the others are written whatever became of one.
        outcomes.into_iter().collect()
    }
}

/// What is compared with a record.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Stored {
    #[serde(deserialize_with = "or_default")]
    active: bool,
    last_checkin: Moment,
    #[serde(deserialize_with = "or_default")]
    action_seq_no: Vec<i64>,
}

const COMPARED: [&str; 3] = ["active", "last_checkin", "action_seq_no"];

async fn write(documents: &Documents, agent: &AgentId, records: &[CheckinRecord]) -> Result<()> {
    let is_whole = records.iter().any(|record| {
        record.clears_audit
            || record.local_metadata.is_some()
            || record.components.is_some()
            || record.rollbacks.is_some()
            || record.collector.is_some()
    });
    for _ in 0..TRIES {
        let found = match is_whole {
            true => documents.get(Index::Agents, agent.as_str()).await?,
            false => {
                documents
                    .get_members(Index::Agents, agent.as_str(), &COMPARED)
                    .await?
            }
        };
        // An agent that was removed meanwhile has nothing to say.
        let Some(found) = found else { return Ok(()) };
        let stored: Stored =
            serde_json::from_str(found.source.get()).map_err(|error| StoreError::Corrupt {
                detail: format!("the document of agent {agent} has another shape"),
                source: Some(store::Cause::new(error)),
            })?;
        let mut document = if is_whole {
            members(&found)?
        } else {
            Members::default()
        };
        if !fold(&stored, records, &mut document)? {
            return Ok(());
        }
        let written = match is_whole {
            true => {
                documents
                    .replace(
                        Index::Agents,
                        agent.as_str(),
                        found.version,
                        &document,
                        Visible::Later,
                    )
                    .await
            }
            false => {
                documents
                    .update_seen(
                        Index::Agents,
                        agent.as_str(),
                        found.version,
                        &document,
                        Visible::Later,
                    )
                    .await
            }
        };
        match written {
            Ok(_) => return Ok(()),
            Err(Failure::VersionConflict) => {}
            Err(failure) => return Err(failure.into()),
        }
    }
    Err(overtaken("the agent"))
}

/// Puts the records over what is stored; answers whether anything is to be written.
fn fold(stored: &Stored, records: &[CheckinRecord], document: &mut Members) -> Result<bool> {
    let known = stored.action_seq_no.first().copied().filter(|place| *place >= 0);
    let mut furthest = known;
    let mut newest = stored.last_checkin.0;
    let mut is_changed = false;
    for record in records {
        for position in &record.positions {
            furthest = furthest.max(Some(sequence(position)?));
        }
        // What is stored has whole seconds.
        let seconds = Timestamp::from_millis(record.at.millis().div_euclid(1000) * 1000);
        if newest.is_some_and(|newest| seconds < newest) {
            continue;
        }
        newest = Some(seconds);
        is_changed = true;
        apply(stored.active, record, document)?;
    }
    if furthest > known {
        document.set("action_seq_no", &[furthest])?;
        is_changed = true;
    }
    Ok(is_changed)
}

fn apply(
    is_active: bool,
    record: &CheckinRecord,
    document: &mut Members,
) -> std::result::Result<(), Failure> {
    document.set("last_checkin", &time(record.at))?;
    document.set("updated_at", &time(record.at))?;
    document.set_some("last_checkin_status", record.status.as_ref())?;
    document.set_some("last_checkin_message", record.message.as_ref())?;
    if let Some(version) = &record.version {
        document.set_in("agent", "version", version)?;
    }
    document.set_some("local_metadata", record.local_metadata.as_ref())?;
    document.set_some("components", record.components.as_ref())?;
    document.set_some("unhealthy_reason", record.unhealthy_reason.as_ref())?;
    if let Some(rollbacks) = &record.rollbacks {
        document.set_in("upgrade", "rollbacks", rollbacks)?;
    }
    if let Some(report) = &record.collector {
        agent_document::report(document, report)?;
    }
    // Not for an agent that was unenrolled while the record waited: that date is not a leftover.
    if record.clears_audit && is_active {
        for member in [
            "audit_unenrolled_reason",
            "audit_unenrolled_time",
            "unenrolled_at",
        ] {
            document.remove(member);
        }
    }
    Ok(())
}

/// The number behind a position.
pub(crate) fn sequence(position: &Position) -> Result<i64> {
    position
        .as_str()
        .parse()
        .map_err(|_| StoreError::invalid("a position of another engine"))
}
