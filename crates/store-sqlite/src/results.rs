//! The agents' answers to actions (O12, O13). They outlive action and agent.

use rusqlite::Connection;
use store::{ActionId, ActionProgress, ActionResult, Inserted, Page, PageRequest};

use super::{
    columns::{ReadColumn as _, count, params},
    fault::Outcome,
    pages,
    unit::Unit,
};

/// O12: the first answer stands (M7).
pub(super) fn insert(unit: &Unit<'_>, result: &ActionResult) -> Outcome<Inserted> {
    let stored = unit
        .prepare_cached(
            "INSERT INTO action_result (action, agent, timestamp, received_at, error, namespaces, details)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (action, agent) DO NOTHING",
        )?
        .execute(params![
            result.action,
            result.agent,
            result.timestamp,
            result.received_at,
            result.error,
            &result.namespaces,
            result.details,
        ])?;
    Ok(if stored > 0 {
        Inserted::New
    } else {
        Inserted::Already
    })
}

/// O13: oldest first.
pub(super) fn page(
    connection: &Connection,
    action: &ActionId,
    request: &PageRequest,
) -> Outcome<Page<ActionResult>> {
    let (offset, after) = pages::start::<[i64; 1]>(request)?;
    let snapshot = connection.unchecked_transaction()?;
    let total = snapshot
        .prepare_cached("SELECT count(*) FROM action_result WHERE action = ?1")?
        .query_row(params![action], |row| count(row, 0))?;
    let mut last: i64 = 0;
    let items = snapshot
        .prepare_cached(
            "SELECT action, agent, timestamp, received_at, error, namespaces, details, number FROM action_result
             WHERE action = ?1 AND number > ?4 ORDER BY number LIMIT ?2 OFFSET ?3",
        )?
        .query_map(params![action, request.limit, offset, after.map_or(0, |[last]| last)], |row| {
            last = row.read(7)?;
            Ok(ActionResult {
                action: row.read(0)?,
                agent: row.read(1)?,
                timestamp: row.read(2)?,
                received_at: row.read(3)?,
                error: row.read(4)?,
                namespaces: row.read(5)?,
                details: row.read(6)?,
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(pages::page(request, items, total, |_| [last])?)
}

/// O13.
pub(super) fn progress(connection: &Connection, action: &ActionId) -> Outcome<ActionProgress> {
    let snapshot = connection.unchecked_transaction()?;
    let targets = snapshot
        .prepare_cached("SELECT coalesce(sum(target_count), 0) FROM action WHERE action = ?1")?
        .query_row(params![action], |row| count(row, 0))?;
    let (succeeded, failed) = snapshot
        .prepare_cached("SELECT count(*) - count(error), count(error) FROM action_result WHERE action = ?1")?
        .query_row(params![action], |row| Ok((count(row, 0)?, count(row, 1)?)))?;
    Ok(ActionProgress {
        targets,
        succeeded,
        failed,
    })
}
