//! Actions and the queue of each agent (O9–O11, O24).

use rusqlite::{Connection, OptionalExtension, Row};
use store::{
    Action, ActionDocId, ActionId, AddressedAction, AgentId, AgentMark, ChangeKind, Conflict, NewAction,
    Pending, PendingAction, Position, Recall, StoreError, Timestamp,
};

use super::{
    columns::{ReadColumn as _, params},
    fault::Outcome,
    results, secrets,
    unit::Unit,
};

/// O9: all of them in one unit.
pub(super) fn append(unit: &Unit<'_>, actions: Vec<NewAction>) -> Outcome<Vec<Action>> {
    actions
        .into_iter()
        .map(|action| append_one(unit, &action).map(|()| action.into()))
        .collect()
}

fn append_one(unit: &Unit<'_>, action: &NewAction) -> Outcome<()> {
    if sequence_of(unit, &action.doc)?.is_some() {
        return Err(Conflict::IdTaken(format!("action document {}", action.doc)).into());
    }
    let count = u32::try_from(action.agents.len())
        .map_err(|_| StoreError::invalid("more than 4294967295 targets"))?;
    let targets = &action.agents;
    unit.prepare_cached(
        "INSERT INTO action (doc, action, kind, is_deliverable, at, expiration, start_time,
            rollout_duration_seconds, timeout, input_type, user_id, namespaces, traceparent, target_count, data,
            signed, targets)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
    )?
    .execute(params![
        action.doc,
        action.action,
        action.kind,
        action.is_deliverable,
        action.at,
        action.expiration,
        action.start_time,
        action.rollout_duration_seconds,
        action.timeout,
        action.input_type,
        action.user_id,
        &action.namespaces,
        action.traceparent,
        count,
        action.data,
        action.signed,
        targets,
    ])?;
    let sequence = unit.last_insert_rowid();
    // Without an end it is never delivered (data.md 1.3), so it needs no place in a queue.
    if action.is_deliverable && action.expiration.is_some() {
        enqueue(unit, sequence, &action.agents)?;
    }
    if let Some(recall) = &action.recall {
        take_back(unit, recall, action.at)?;
    }
    for secret in &action.secrets {
        secrets::put(unit, secret)?;
    }
    if let Some(mark) = action.mark {
        mark_targets(unit, mark, &action.agents, action.at)?;
    }
    unit.announce(ChangeKind::Action, action.doc.as_str())
}

fn enqueue(unit: &Unit<'_>, sequence: i64, agents: &[AgentId]) -> Outcome<()> {
    // A target named twice keeps its first place.
    let mut insert = unit.prepare_cached(
        "INSERT INTO agent_queue (agent, sequence, place) VALUES (?1, ?2, ?3)
         ON CONFLICT (agent, sequence) DO NOTHING",
    )?;
    for (agent, place) in agents.iter().zip(0_u32..) {
        insert.execute(params![agent, sequence, place])?;
    }
    Ok(())
}

fn take_back(unit: &Unit<'_>, recall: &Recall, at: Timestamp) -> Outcome<()> {
    let mut insert = unit.prepare_cached(
        "INSERT INTO action_result (action, agent, timestamp, received_at, error, namespaces, outcome)
         SELECT action.action, q.agent, ?3, ?4, ?5, action.namespaces, 2
         FROM action JOIN agent_queue AS q ON q.sequence = action.sequence AND q.agent = ?2
            JOIN presence ON presence.agent = q.agent
         WHERE action.action = ?1 AND q.sequence > coalesce(presence.action_position, -1)
         ORDER BY q.sequence
         ON CONFLICT (action, agent) DO NOTHING",
    )?;
    for agent in &recall.agents {
        insert.execute(params![
            recall.action,
            agent,
            at.to_seconds_text(),
            at,
            recall.reason
        ])?;
    }
    Ok(())
}

fn mark_targets(unit: &Unit<'_>, mark: AgentMark, agents: &[AgentId], at: Timestamp) -> Outcome<()> {
    let mut update = unit.prepare_cached(match mark {
        AgentMark::UnenrollmentStarted => {
            "UPDATE presence SET unenrollment_started_at = ?2, updated_at = ?2 WHERE agent = ?1"
        }
        AgentMark::UpgradeStarted => {
            "UPDATE presence SET upgrade_started_at = ?2, upgraded_at = NULL, updated_at = ?2 WHERE agent = ?1"
        }
    })?;
    for agent in agents {
        update.execute(params![agent, at])?;
    }
    Ok(())
}

/// O10: a short range scan of the agent's own queue, from one snapshot; and whether nothing at all is left in it.
pub(super) fn pending(
    connection: &Connection,
    (agent, token, stored): (&AgentId, Option<&ActionDocId>, Option<&Position>),
    now: Timestamp,
    limit: u32,
) -> Outcome<(Pending, bool)> {
    let snapshot = connection.unchecked_transaction()?;
    let named = match token {
        Some(token) => sequence_of(&snapshot, token)?,
        None => None,
    };
    let after = named.max(stored.map(sequence).transpose()?);
    let actions = snapshot
        .prepare_cached(concat!(
            select!(),
            ", q.place, target_count
             FROM agent_queue AS q JOIN action ON action.sequence = q.sequence
             WHERE q.agent = ?1 AND q.sequence > ?2 AND expiration > ?3
                AND NOT EXISTS (SELECT 1 FROM action_result AS answer
                    WHERE answer.action = action.action AND answer.agent = q.agent AND answer.outcome = 2)
             ORDER BY q.sequence LIMIT ?4"
        ))?
        .query_map(params![agent, after.unwrap_or(-1), now, limit], |row| {
            Ok(PendingAction {
                action: action(row)?,
                index: row.read(14)?,
                targets: row.read(15)?,
            })
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let is_empty = actions.is_empty()
        && !snapshot
            .prepare_cached("SELECT 1 FROM agent_queue WHERE agent = ?1 AND sequence > ?2")?
            .exists(params![agent, after.unwrap_or(-1)])?;
    let position = after.map(|sequence| sequence.to_string().into());
    Ok((Pending { actions, position }, is_empty))
}

/// The number behind a position.
pub(super) fn sequence(position: &Position) -> Result<i64, StoreError> {
    position
        .as_str()
        .parse()
        .map_err(|_| StoreError::invalid("a position of another engine"))
}

/// What an ack token names, if the document still exists.
fn sequence_of(connection: &Connection, doc: &ActionDocId) -> Outcome<Option<i64>> {
    Ok(connection
        .prepare_cached("SELECT sequence FROM action WHERE doc = ?1")?
        .query_row(params![doc], |row| row.get(0))
        .optional()?)
}

/// With what came of them there.
pub(super) fn addressed(
    connection: &Connection,
    agent: &AgentId,
    kind: &str,
) -> Outcome<Vec<AddressedAction>> {
    let addressed = connection
        .prepare_cached(concat!(
            select!(),
            ", (SELECT answer.outcome FROM action_result AS answer
                WHERE answer.action = action.action AND answer.agent = q.agent),
              (SELECT answer.error IS NOT NULL FROM action_result AS answer
                WHERE answer.action = action.action AND answer.agent = q.agent)
             FROM agent_queue AS q JOIN action ON action.sequence = q.sequence
             WHERE q.agent = ?1 AND kind = ?2 ORDER BY q.sequence"
        ))?
        .query_map(params![agent, kind], |row| {
            let has_error: Option<bool> = row.read(15)?;
            let outcome = match has_error {
                None => None,
                Some(has_error) => Some(results::outcome(row.read(14)?, has_error)),
            };
            Ok(AddressedAction {
                action: action(row)?,
                outcome,
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(addressed)
}

/// O11: the newest document.
pub(super) fn by_id(connection: &Connection, id: &ActionId) -> Outcome<Option<Action>> {
    Ok(connection
        .prepare_cached(concat!(
            select!(),
            " FROM action WHERE action = ?1 ORDER BY sequence DESC LIMIT 1"
        ))?
        .query_row(params![id], action)
        .optional()?)
}

/// The targets as they were given.
pub(super) fn targets(connection: &Connection, doc: &ActionDocId) -> Outcome<Vec<AgentId>> {
    let targets = connection
        .prepare_cached("SELECT targets FROM action WHERE doc = ?1")?
        .query_row(params![doc], |row| row.read(0))
        .optional()?;
    targets.ok_or_else(|| super::fault::Failure::missing("action document", doc))
}

/// O24: actions with their queue entries and secrets, oldest end first; the answers go with the last document of an action. Stops early where
/// that is much.
pub(super) fn delete_expired(unit: &Unit<'_>, before: Timestamp, limit: u32) -> Outcome<u64> {
    let expired = unit
        .prepare_cached(
            "SELECT sequence, doc, action, targets FROM action WHERE expiration < ?1 ORDER BY expiration LIMIT ?2",
        )?
        .query_map(params![before, limit], |row| {
            Ok((row.read(0)?, row.read(1)?, row.read(2)?, row.read(3)?))
        })?
        .collect::<rusqlite::Result<Vec<(i64, ActionDocId, ActionId, Vec<AgentId>)>>>()?;
    let (mut removed, mut rows) = (0, 0);
    for (sequence, doc, action, targets) in &expired {
        secrets::delete_of_action(unit, doc)?;
        for agent in targets {
            unit.prepare_cached("DELETE FROM agent_queue WHERE agent = ?1 AND sequence = ?2")?
                .execute(params![agent, sequence])?;
        }
        unit.prepare_cached("DELETE FROM action WHERE sequence = ?1")?
            .execute([sequence])?;
        let answers = unit
            .prepare_cached(
                "DELETE FROM action_result WHERE action = ?1
                    AND NOT EXISTS (SELECT 1 FROM action WHERE action.action = ?1)",
            )?
            .execute(params![action])?;
        removed += 1;
        rows += targets.len() + answers;
        if rows > MOST_ROWS {
            break;
        }
    }
    Ok(removed)
}

/// Rows after which a batch of removals ends: others want to write too.
const MOST_ROWS: usize = 10_000;

/// O18: those of which an agent may still be given something, and whose data have this text.
pub(super) fn with_text(connection: &Connection, text: &str, now: Timestamp) -> Outcome<Vec<Action>> {
    Ok(connection
        .prepare_cached(concat!(
            select!(),
            " FROM action WHERE is_deliverable = 1 AND (expiration IS NULL OR expiration > ?2)
                AND instr(data, ?1) > 0 ORDER BY sequence"
        ))?
        .query_map(params![text, now], action)?
        .collect::<rusqlite::Result<_>>()?)
}

/// The columns in the order in which [`action`] reads them.
macro_rules! select {
    () => {
        "SELECT doc, action, kind, input_type, data, at, expiration, start_time,
            rollout_duration_seconds, timeout, user_id, namespaces, signed, traceparent"
    };
}
use select;

fn action(row: &Row<'_>) -> rusqlite::Result<Action> {
    Ok(Action {
        doc: row.read(0)?,
        action: row.read(1)?,
        kind: row.read(2)?,
        input_type: row.read(3)?,
        data: row.read(4)?,
        at: row.read(5)?,
        expiration: row.read(6)?,
        start_time: row.read(7)?,
        rollout_duration_seconds: row.read(8)?,
        timeout: row.read(9)?,
        user_id: row.read(10)?,
        namespaces: row.read(11)?,
        signed: row.read(12)?,
        traceparent: row.read(13)?,
    })
}
