//! The change feed: rows written with the change itself, and a wake-up after the commit. All kinds share one counter;
//! a reader of one kind is woken for that kind alone, and its place moves over the others'.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};
use store::{ChangeKind, Changes, Cursor, Result, StoreError};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use super::{
    columns::params,
    fault::{Outcome, closed},
    readers::Readers,
};

/// The newest changes that were committed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heads {
    newest: i64,
    by_kind: [i64; ChangeKind::ALL.len()],
}

impl Heads {
    /// Of a store that is opened: nothing of any kind is newer.
    pub(super) fn opened_at(last: i64) -> Self {
        Self {
            newest: last,
            by_kind: [last; ChangeKind::ALL.len()],
        }
    }

    pub(super) fn add(&mut self, kind: ChangeKind, sequence: i64) {
        self.newest = sequence;
        self.by_kind[kind as usize] = sequence;
    }

    pub(super) fn advance(&mut self, later: Self) {
        self.newest = self.newest.max(later.newest);
        for (head, later) in self.by_kind.iter_mut().zip(later.by_kind) {
            *head = later.max(*head);
        }
    }

    /// The newest change of all; 0 if there is none.
    pub(super) fn newest(self) -> i64 {
        self.newest
    }
}

/// Appends a change inside the writer's transaction.
pub(super) fn append(connection: &Connection, kind: ChangeKind, id: &str) -> Outcome<i64> {
    connection
        .prepare_cached("INSERT INTO change (kind, id) VALUES (?1, ?2)")?
        .execute(params![code(kind), id])?;
    Ok(connection.last_insert_rowid())
}

/// Removes changes up to `upto`, at most a few more than were just added: the feed shrinks in small steps.
pub(super) fn trim(connection: &Connection, upto: i64, added: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "DELETE FROM change WHERE sequence <= ?1 AND sequence < (SELECT min(sequence) FROM change) + ?2",
        )?
        .execute([upto, 2 * added + 16])
        .map(|_| ())
}

pub(super) fn last(connection: &Connection) -> Outcome<i64> {
    // The counter, not the newest row: it survives trimming.
    let last = connection
        .prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'change'")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(last.unwrap_or(0))
}

/// Changes after `after`; waits for one until `wait` is over.
pub(super) async fn follow(
    readers: &Readers,
    mut committed: watch::Receiver<Heads>,
    kind: ChangeKind,
    after: &Cursor,
    limit: u32,
    wait: Duration,
) -> Result<Changes> {
    let deadline = Instant::now() + wait.min(LONGEST_WAIT);
    let mut after = after
        .as_str()
        .parse()
        .map_err(|_| StoreError::invalid("a cursor of another engine"))?;
    loop {
        // Seen before the read, so that a commit between the read and the wait wakes at once (M3).
        let seen = *committed.borrow_and_update();
        if seen.by_kind[kind as usize] > after {
            let (ids, next) = readers
                .run(move |connection| read(connection, kind, after, limit))
                .await?;
            if !ids.is_empty() || limit == 0 {
                return Ok(Changes {
                    ids,
                    next: cursor(next),
                });
            }
            after = next;
        } else {
            after = seen.newest.max(after);
        }
        match timeout_at(deadline, committed.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(closed()),
            Err(_) => {
                return Ok(Changes {
                    ids: Vec::new(),
                    next: cursor(after),
                });
            }
        }
    }
}

/// Ids, and where the reader stands then.
fn read(connection: &Connection, kind: ChangeKind, after: i64, limit: u32) -> Outcome<(Vec<String>, i64)> {
    let snapshot = connection.unchecked_transaction()?;
    let newest = last(&snapshot)?;
    let oldest = snapshot
        .prepare_cached("SELECT min(sequence) FROM change")?
        .query_row([], |row| row.get::<_, Option<i64>>(0))?;
    // The counter has no holes, so a gap before the first row is what was trimmed.
    if oldest.unwrap_or(newest + 1) > after.max(0) + 1 {
        return Err(StoreError::Trimmed { kind }.into());
    }
    let rows = snapshot
        .prepare_cached(
            "SELECT id, sequence FROM change WHERE sequence > ?1 AND kind = ?2 ORDER BY sequence LIMIT ?3",
        )?
        .query_map(params![after, code(kind), limit], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect::<rusqlite::Result<Vec<(String, i64)>>>()?;
    let next = match rows.last() {
        Some((_, last)) if rows.len() >= limit as usize => *last,
        _ => newest,
    };
    Ok((rows.into_iter().map(|(id, _)| id).collect(), next))
}

/// A place in the feed as readers keep it.
pub(super) fn cursor(sequence: i64) -> Cursor {
    sequence.to_string().into()
}

/// How a kind stands in the table. 5 was once a key's.
const fn code(kind: ChangeKind) -> i64 {
    kind as i64 + 1
}

/// Bounds the arithmetic on the clock.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);
