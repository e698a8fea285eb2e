//! The audit log (O28).

use rusqlite::{Connection, Row};
use store::{AuditActor, AuditEntry, AuditQuery, AuditTarget, NewAudit, Page, PageRequest, Timestamp};

use super::{
    columns::{ReadColumn as _, count, params},
    fault::Outcome,
    pages,
    unit::Unit,
};

pub(super) fn append(unit: &Unit<'_>, entry: &NewAudit) -> Outcome<()> {
    unit.prepare_cached(
        "INSERT INTO audit (at, actor_key, actor_name, actor_role, action, target_kind, target, before, after,
            address, request)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?
    .execute(params![
        entry.at,
        entry.actor.key,
        entry.actor.name,
        entry.actor.role,
        entry.action,
        entry.target.as_ref().map(|target| target.kind.as_str()),
        entry.target.as_ref().map(|target| target.id.as_str()),
        entry.before,
        entry.after,
        entry.address,
        entry.request
    ])?;
    Ok(())
}

/// Newest first.
pub(super) fn page(
    connection: &Connection,
    query: &AuditQuery,
    request: &PageRequest,
) -> Outcome<Page<AuditEntry>> {
    let (offset, after) = pages::start::<[i64; 1]>(request)?;
    let last = after.map_or(i64::MAX, |[last]| last);
    let snapshot = connection.unchecked_transaction()?;
    let total = snapshot
        .prepare_cached(concat!("SELECT count(*) FROM audit", filter!()))?
        .query_row(
            params![query.actor, query.action, query.target, query.from, query.until],
            |row| count(row, 0),
        )?;
    let items = snapshot
        .prepare_cached(concat!(
            "SELECT number, at, actor_key, actor_name, actor_role, action, target_kind, target, before, after,
                address, request
             FROM audit",
            filter!(),
            " AND number < ?6 ORDER BY number DESC LIMIT ?7 OFFSET ?8"
        ))?
        .query_map(
            params![
                query.actor,
                query.action,
                query.target,
                query.from,
                query.until,
                last,
                request.limit,
                offset
            ],
            entry,
        )?
        .collect::<rusqlite::Result<_>>()?;
    Ok(pages::page(request, items, total, |last: &AuditEntry| {
        [last.number]
    })?)
}

/// The oldest go first.
pub(super) fn delete(unit: &Unit<'_>, before: Timestamp, limit: u32) -> Outcome<u64> {
    let removed = unit
        .prepare_cached(
            "DELETE FROM audit WHERE number IN (SELECT number FROM audit WHERE at < ?1 ORDER BY at LIMIT ?2)",
        )?
        .execute(params![before, limit])?;
    Ok(removed as u64)
}

/// The conditions of an [`AuditQuery`]: what is absent excludes nothing.
macro_rules! filter {
    () => {
        " WHERE (?1 IS NULL OR actor_key = ?1 OR actor_name = ?1)
            AND (?2 IS NULL OR action = ?2 OR substr(action, 1, length(?2) + 1) = ?2 || '.')
            AND (?3 IS NULL OR target = ?3) AND (?4 IS NULL OR at >= ?4) AND (?5 IS NULL OR at < ?5)"
    };
}
use filter;

fn entry(row: &Row<'_>) -> rusqlite::Result<AuditEntry> {
    let kind: Option<String> = row.read(6)?;
    let id: Option<String> = row.read(7)?;
    Ok(AuditEntry {
        number: row.read(0)?,
        said: NewAudit {
            at: row.read(1)?,
            actor: AuditActor {
                key: row.read(2)?,
                name: row.read(3)?,
                role: row.read(4)?,
            },
            action: row.read(5)?,
            target: kind.zip(id).map(|(kind, id)| AuditTarget { kind, id }),
            before: row.read(8)?,
            after: row.read(9)?,
            address: row.read(10)?,
            request: row.read(11)?,
        },
    })
}
