//! The agents' answers to actions (O12, O13). They outlive the agent, and go with the action.

use rusqlite::Connection;
use store::{ActionId, ActionOutcome, ActionProgress, ActionResult, Inserted, Page, PageRequest};

use super::{
    columns::{ReadColumn as _, count, params},
    fault::Outcome,
    pages,
    unit::Unit,
};

/// Stores a result, or lays it over the stored one.
macro_rules! put {
    () => {
        "INSERT INTO action_result (action, agent, timestamp, received_at, error, namespaces, details, outcome)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT (action, agent) DO UPDATE SET timestamp = excluded.timestamp,
            received_at = excluded.received_at, error = excluded.error, details = excluded.details,
            outcome = excluded.outcome"
    };
}

/// O12: the first answer that is an end stands (M7).
pub(super) fn insert(unit: &Unit<'_>, result: &ActionResult) -> Outcome<Inserted> {
    let stored = put(
        unit,
        result,
        concat!(
            put!(),
            " WHERE action_result.outcome = 1 AND (excluded.outcome IS NULL OR excluded.outcome <> 1)"
        ),
    )?;
    Ok(if stored > 0 {
        Inserted::New
    } else {
        Inserted::Already
    })
}

/// O12: it stands in place of an earlier one.
pub(super) fn replace(unit: &Unit<'_>, result: &ActionResult) -> Outcome<()> {
    put(unit, result, put!()).map(drop)
}

fn put(unit: &Unit<'_>, result: &ActionResult, sql: &str) -> Outcome<usize> {
    // What failed has an error, as in version 1.
    let error = match (result.outcome, &result.error) {
        (ActionOutcome::Failed, None) => Some(String::new()),
        (ActionOutcome::Succeeded, _) => None,
        (_, error) => error.clone(),
    };
    let outcome = match result.outcome {
        ActionOutcome::Succeeded | ActionOutcome::Failed => None,
        ActionOutcome::Acknowledged => Some(1_i64),
        ActionOutcome::Cancelled => Some(2_i64),
    };
    Ok(unit.prepare_cached(sql)?.execute(params![
        result.action,
        result.agent,
        result.timestamp,
        result.received_at,
        error,
        &result.namespaces,
        result.details,
        outcome,
    ])?)
}

/// What came of it, from the columns `outcome` and `error`.
pub(super) fn outcome(stored: Option<i64>, has_error: bool) -> ActionOutcome {
    match (stored, has_error) {
        (Some(1), _) => ActionOutcome::Acknowledged,
        (Some(_), _) => ActionOutcome::Cancelled,
        (None, false) => ActionOutcome::Succeeded,
        (None, true) => ActionOutcome::Failed,
    }
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
            "SELECT action, agent, timestamp, received_at, error, namespaces, details, outcome, number
             FROM action_result WHERE action = ?1 AND number > ?4 ORDER BY number LIMIT ?2 OFFSET ?3",
        )?
        .query_map(
            params![action, request.limit, offset, after.map_or(0, |[last]| last)],
            |row| {
                last = row.read(8)?;
                let error: Option<String> = row.read(4)?;
                Ok(ActionResult {
                    action: row.read(0)?,
                    agent: row.read(1)?,
                    timestamp: row.read(2)?,
                    received_at: row.read(3)?,
                    outcome: outcome(row.read(7)?, error.is_some()),
                    error,
                    namespaces: row.read(5)?,
                    details: row.read(6)?,
                })
            },
        )?
        .collect::<rusqlite::Result<_>>()?;
    Ok(pages::page(request, items, total, |_| [last])?)
}

pub(super) fn progress(connection: &Connection, action: &ActionId) -> Outcome<ActionProgress> {
    let snapshot = connection.unchecked_transaction()?;
    let targets = snapshot
        .prepare_cached("SELECT coalesce(sum(target_count), 0) FROM action WHERE action = ?1")?
        .query_row(params![action], |row| count(row, 0))?;
    let (succeeded, failed, cancelled) = snapshot
        .prepare_cached(
            "SELECT count(*) FILTER (WHERE outcome IS NULL AND error IS NULL),
                count(*) FILTER (WHERE outcome IS NULL AND error IS NOT NULL),
                count(*) FILTER (WHERE outcome = 2) FROM action_result WHERE action = ?1",
        )?
        .query_row(params![action], |row| {
            Ok((count(row, 0)?, count(row, 1)?, count(row, 2)?))
        })?;
    Ok(ActionProgress {
        targets,
        succeeded,
        failed,
        cancelled,
    })
}
