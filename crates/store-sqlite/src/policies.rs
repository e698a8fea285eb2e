//! Policies and their revisions (O14, O15).

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row};
use store::{
    ChangeKind, Conflict, NewRevision, Page, PageRequest, PolicyId, PolicyRevision, PolicySummary, Timestamp,
};

use super::{
    columns::{ReadColumn as _, count, params},
    fault::{Failure, Outcome},
    pages,
    unit::Unit,
};

/// O14: a compare-and-set on the newest revision.
pub(super) fn append_revision(
    unit: &Unit<'_>,
    expected_previous: Option<i64>,
    new: NewRevision,
) -> Outcome<PolicyRevision> {
    let current: Option<(i64, Timestamp)> = unit
        .prepare_cached("SELECT revision, created_at FROM policy WHERE id = ?1")?
        .query_row(params![new.policy], |row| Ok((row.read(0)?, row.read(1)?)))
        .optional()?;
    let (newest, created_at) = current.unwrap_or((0, new.at));
    if current.map(|(revision, _)| revision) != expected_previous {
        return Err(Conflict::Revision {
            policy: new.policy,
            current: newest,
        }
        .into());
    }
    let revision = newest + 1;
    let timeout = new.inactivity_timeout.map(millis);
    unit.prepare_cached(
        "INSERT INTO policy (id, revision, inactivity_timeout, created_at) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (id) DO UPDATE SET revision = ?2, inactivity_timeout = ?3",
    )?
    .execute(params![new.policy, revision, timeout, new.at])?;
    unit.prepare_cached(
        "INSERT INTO policy_revision (policy, revision, at, inactivity_timeout, namespaces, settings, data)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        new.policy,
        revision,
        new.at,
        timeout,
        new.namespaces,
        new.settings,
        new.data
    ])?;
    unit.announce(ChangeKind::Policy, new.policy.as_str())?;
    Ok(PolicyRevision {
        policy: new.policy,
        revision,
        data: new.data,
        settings: new.settings,
        namespaces: new.namespaces,
        inactivity_timeout: timeout.map(duration),
        at: new.at,
        created_at,
    })
}

/// O15: the newest revision.
pub(super) fn latest(connection: &Connection, id: &PolicyId) -> Outcome<Option<PolicyRevision>> {
    Ok(connection
        .prepare_cached(concat!(select!(), " WHERE p.id = ?1 AND r.revision = p.revision"))?
        .query_row(params![id], revision)
        .optional()?)
}

pub(super) fn by_revision(
    connection: &Connection,
    id: &PolicyId,
    number: i64,
) -> Outcome<Option<PolicyRevision>> {
    Ok(connection
        .prepare_cached(concat!(select!(), " WHERE p.id = ?1 AND r.revision = ?2"))?
        .query_row(params![id, number], revision)
        .optional()?)
}

/// O15: newest first (S13).
pub(super) fn history(
    connection: &Connection,
    id: &PolicyId,
    request: &PageRequest,
) -> Outcome<Page<PolicyRevision>> {
    let (offset, after) = pages::start::<[i64; 1]>(request)?;
    let snapshot = connection.unchecked_transaction()?;
    let total = snapshot
        .prepare_cached("SELECT count(*) FROM policy_revision WHERE policy = ?1")?
        .query_row(params![id], |row| count(row, 0))?;
    let items = snapshot
        .prepare_cached(concat!(
            select!(),
            " WHERE p.id = ?1 AND r.revision < ?4 ORDER BY r.revision DESC LIMIT ?2 OFFSET ?3"
        ))?
        .query_map(
            params![id, request.limit, offset, after.map_or(i64::MAX, |[last]| last)],
            revision,
        )?
        .collect::<rusqlite::Result<_>>()?;
    Ok(pages::page(request, items, total, |last: &PolicyRevision| {
        [last.revision]
    })?)
}

/// O24: the newest `kept` of each policy stay.
pub(super) fn trim(unit: &Unit<'_>, kept: u32, limit: u32) -> Outcome<u64> {
    let removed = unit
        .prepare_cached(
            "DELETE FROM policy_revision WHERE rowid IN (
                SELECT r.rowid FROM policy AS p JOIN policy_revision AS r
                    ON r.policy = p.id AND r.revision <= p.revision - ?1
                LIMIT ?2)",
        )?
        .execute(params![kept.max(1), limit])?;
    Ok(removed as u64)
}

/// O15: oldest policy first, with the agents that the census counts.
pub(super) fn summaries(connection: &Connection, request: &PageRequest) -> Outcome<Page<PolicySummary>> {
    let (offset, after) = pages::start::<(i64, String)>(request)?;
    let (time, id) = after.unwrap_or((i64::MIN, String::new()));
    let snapshot = connection.unchecked_transaction()?;
    let total = snapshot
        .prepare_cached("SELECT count(*) FROM policy")?
        .query_row([], |row| count(row, 0))?;
    let items = snapshot
        .prepare_cached(concat!(
            select!(),
            " WHERE r.revision = p.revision AND (p.created_at, p.id) > (?3, ?4)
              ORDER BY p.created_at, p.id LIMIT ?1 OFFSET ?2"
        ))?
        .query_map(params![request.limit, offset, time, id], |row| {
            let latest = revision(row)?;
            let (agents, pending) = snapshot
                .prepare_cached(
                    "SELECT coalesce(sum(agents), 0), coalesce(sum(agents) FILTER (WHERE revision <> ?2), 0)
                     FROM census WHERE policy = ?1 AND state <> 0",
                )?
                .query_row(params![latest.policy, latest.revision], |row| {
                    Ok((count(row, 0)?, count(row, 1)?))
                })?;
            Ok(PolicySummary {
                latest,
                agents,
                pending,
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(pages::page(request, items, total, |last: &PolicySummary| {
        (last.latest.created_at.millis(), last.latest.policy.clone())
    })?)
}

/// Deletes a policy that no active agent is assigned to; its tokens are revoked beside it.
pub(super) fn delete(unit: &Unit<'_>, id: &PolicyId) -> Outcome<()> {
    if !exists(unit, id)? {
        return Err(Failure::missing("policy", id));
    }
    let agents: u64 = unit
        .prepare_cached("SELECT coalesce(sum(agents), 0) FROM census WHERE policy = ?1 AND state <> 0")?
        .query_row(params![id], |row| count(row, 0))?;
    if agents > 0 {
        return Err(Conflict::AgentsAssigned {
            policy: id.clone(),
            agents,
        }
        .into());
    }
    unit.prepare_cached("DELETE FROM policy WHERE id = ?1")?
        .execute(params![id])?;
    unit.announce(ChangeKind::Policy, id.as_str())
}

pub(super) fn exists(connection: &Connection, id: &PolicyId) -> Outcome<bool> {
    Ok(connection
        .prepare_cached("SELECT 1 FROM policy WHERE id = ?1")?
        .exists(params![id])?)
}

/// The columns in the order in which [`revision`] reads them.
macro_rules! select {
    () => {
        "SELECT r.policy, r.revision, r.data, r.settings, r.namespaces, r.inactivity_timeout, r.at, p.created_at
         FROM policy AS p JOIN policy_revision AS r ON r.policy = p.id"
    };
}
use select;

fn revision(row: &Row<'_>) -> rusqlite::Result<PolicyRevision> {
    Ok(PolicyRevision {
        policy: row.read(0)?,
        revision: row.read(1)?,
        data: row.read(2)?,
        settings: row.read(3)?,
        namespaces: row.read(4)?,
        inactivity_timeout: row.get::<_, Option<i64>>(5)?.map(duration),
        at: row.read(6)?,
        created_at: row.read(7)?,
    })
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn duration(millis: i64) -> Duration {
    Duration::from_millis(millis.unsigned_abs())
}
