//! O26: sizes.

use std::{fs, path::Path};

use rusqlite::Connection;
use store::StoreStats;

use super::{columns, fault::Outcome};

/// Counts; the queue is added by the caller.
pub(super) fn stats(connection: &Connection, path: &Path) -> Outcome<StoreStats> {
    let snapshot = connection.unchecked_transaction()?;
    let count = |sql: &str| -> Outcome<u64> {
        Ok(snapshot
            .prepare_cached(sql)?
            .query_row([], |row| columns::count(row, 0))?)
    };
    Ok(StoreStats {
        bytes: bytes(path),
        queue_length: 0,
        agents: count("SELECT coalesce(sum(agents), 0) FROM census")?,
        actions: count("SELECT count(*) FROM action")?,
        policies: count("SELECT count(*) FROM policy")?,
    })
}

/// The file with its log. A log that is not there has no bytes.
fn bytes(path: &Path) -> u64 {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    [path, Path::new(&log)]
        .iter()
        .filter_map(|path| fs::metadata(path).ok())
        .map(|file| file.len())
        .sum()
}
