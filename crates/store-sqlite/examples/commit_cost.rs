//! What durable commits cost, for docs/adr/0003-store.md: one connection with `synchronous=FULL` and group
//! commit against two connections, of which the second writes check-ins with `NORMAL`.
//!
//! `cargo run --release -p store-sqlite --example commit_cost [DIRECTORY]` (a directory on the disk to be measured).

#![expect(clippy::print_stdout, reason = "an example that prints what it measured")]

use std::{
    path::Path,
    time::{Duration, Instant},
};

use rusqlite::{Connection, params};

/// Requests that want their answer durable, of many clients at once.
const DURABLE: usize = 2_000;
/// Check-in batches in between, and their agents.
const BATCHES: usize = 20;
const BATCH: usize = 1_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let parent = std::env::args_os()
        .nth(1)
        .unwrap_or_else(|| std::env::temp_dir().into_os_string());
    println!("{DURABLE} durable writes, {BATCHES} batches of {BATCH} check-ins");
    for group in [1, 8, 64] {
        let one = measure(Path::new(&parent), group, false)?;
        let two = measure(Path::new(&parent), group, true)?;
        println!(
            "groups of {group:2}: FULL {one:7.0?}, FULL and NORMAL {two:7.0?}, ratio {:.2}",
            one.as_secs_f64() / two.as_secs_f64()
        );
    }
    Ok(())
}

fn measure(parent: &Path, group: usize, two: bool) -> Result<Duration, Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir_in(parent)?;
    let path = directory.path().join("cost.db");
    let durable = open(&path, "full")?;
    durable.execute_batch(
        "CREATE TABLE result (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;
         CREATE TABLE presence (agent TEXT PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;",
    )?;
    let relaxed = if two { Some(open(&path, "normal")?) } else { None };
    let checkins = relaxed.as_ref().unwrap_or(&durable);
    let started = Instant::now();
    let mut written = 0;
    for batch in 0..BATCHES {
        while written < DURABLE * (batch + 1) / BATCHES {
            durable.execute_batch("BEGIN IMMEDIATE")?;
            for _ in 0..group {
                durable
                    .prepare_cached("INSERT INTO result (text) VALUES (?1)")?
                    .execute(["an answer"])?;
                written += 1;
            }
            durable.execute_batch("COMMIT")?;
        }
        checkins.execute_batch("BEGIN IMMEDIATE")?;
        for agent in 0..BATCH {
            checkins
                .prepare_cached(
                    "INSERT INTO presence (agent, at) VALUES (?1, ?2) ON CONFLICT (agent) DO UPDATE SET at = ?2",
                )?
                .execute(params![format!("agent-{agent:08}"), i64::try_from(batch)?])?;
        }
        checkins.execute_batch("COMMIT")?;
    }
    Ok(started.elapsed())
}

fn open(path: &Path, synchronous: &str) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", synchronous)?;
    Ok(connection)
}
