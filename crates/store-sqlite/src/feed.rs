//! The change feed: rows written with the change itself, and a wake-up after the commit.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row};
use store::{Change, ChangeKind, ChangeSequence, Result, StoreError};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use super::{
    columns::{ReadColumn as _, params},
    fault::Outcome,
    readers::Readers,
    writer::closed,
};

/// Appends a change inside the writer's transaction.
pub(super) fn append(connection: &Connection, kind: ChangeKind, id: &str) -> Outcome<ChangeSequence> {
    connection
        .prepare_cached("INSERT INTO change (kind, id) VALUES (?1, ?2)")?
        .execute(params![code(kind), id])?;
    Ok(connection.last_insert_rowid())
}

/// Removes changes up to `upto`, at most a few more than were just added: the feed shrinks in small steps.
pub(super) fn trim(connection: &Connection, upto: ChangeSequence, added: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "DELETE FROM change WHERE sequence <= ?1 AND sequence < (SELECT min(sequence) FROM change) + ?2",
        )?
        .execute([upto, 2 * added + 16])
        .map(|_| ())
}

/// The newest change.
pub(super) fn last(connection: &Connection) -> Outcome<ChangeSequence> {
    // The counter, not the newest row: it survives trimming.
    let last = connection
        .prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'change'")?
        .query_row([], |row| row.read(0))
        .optional()?;
    Ok(last.unwrap_or(0))
}

/// Changes after `after`; waits for one until `wait` is over.
pub(super) async fn follow(
    readers: &Readers,
    mut committed: watch::Receiver<ChangeSequence>,
    after: ChangeSequence,
    limit: u32,
    wait: Duration,
) -> Result<Vec<Change>> {
    let deadline = Instant::now() + wait.min(LONGEST_WAIT);
    loop {
        // Seen before the read, so that a commit between the read and the wait wakes at once (M3).
        let seen = *committed.borrow_and_update();
        if seen > after {
            let changes = readers
                .run(move |connection| read(connection, after, limit))
                .await?;
            if !changes.is_empty() || limit == 0 {
                return Ok(changes);
            }
        }
        match timeout_at(deadline, committed.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(closed()),
            Err(_) => return Ok(Vec::new()),
        }
    }
}

fn read(connection: &Connection, after: ChangeSequence, limit: u32) -> Outcome<Vec<Change>> {
    let changes = connection
        .prepare_cached(
            "SELECT sequence, kind, id FROM change WHERE sequence > ?1 ORDER BY sequence LIMIT ?2",
        )?
        .query_map(params![after, limit], change)?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    match changes.first() {
        // The counter has no holes, so a gap before the first row is what was trimmed.
        Some(first) if first.sequence > after.max(0) + 1 => Err(StoreError::Trimmed {
            oldest: first.sequence,
        }
        .into()),
        _ => Ok(changes),
    }
}

fn change(row: &Row<'_>) -> rusqlite::Result<Change> {
    let kind = match row.read::<i64>(1)? {
        1 => ChangeKind::Policy,
        2 => ChangeKind::Action,
        3 => ChangeKind::Agent,
        4 => ChangeKind::Token,
        5 => ChangeKind::Key,
        other => return Err(rusqlite::Error::IntegralValueOutOfRange(1, other)),
    };
    Ok(Change {
        sequence: row.read(0)?,
        kind,
        id: row.read(2)?,
    })
}

/// How a kind stands in the table.
const fn code(kind: ChangeKind) -> i64 {
    match kind {
        ChangeKind::Policy => 1,
        ChangeKind::Action => 2,
        ChangeKind::Agent => 3,
        ChangeKind::Token => 4,
        ChangeKind::Key => 5,
    }
}

/// Bounds the arithmetic on the clock.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);
