//! Brings a file to the version of this program: numbered steps, forward only, each in one transaction, after
//! a copy of the file was put aside. The version stands in `PRAGMA user_version`, the owner in
//! `PRAGMA application_id`.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, TransactionBehavior, backup::Backup};
use store::Cause;

use super::{
    OpenError,
    connection::{create_private, is_unwritable, refused},
    ownership::{APPLICATION_ID, beside, expect_database},
};

/// One step. Its place in the list + 1 is the version that it leads to.
pub(super) type Migration = &'static str;

/// All steps of this program. Published ones never change.
pub(super) const MIGRATIONS: &[Migration] = &[
    include_str!("schema/v1.sql"),
    include_str!("schema/v2.sql"),
    include_str!("schema/v3.sql"),
    include_str!("schema/v4.sql"),
    include_str!("schema/v5.sql"),
    include_str!("schema/v6.sql"),
    include_str!("schema/v7.sql"),
    include_str!("schema/v8.sql"),
    include_str!("schema/v9.sql"),
];

/// Brings the file to the newest version of `migrations`.
pub(super) fn migrate(
    connection: &mut Connection,
    path: &Path,
    migrations: &[Migration],
) -> Result<(), OpenError> {
    let ours = newest(migrations);
    let Found { done, is_new } = examine(connection, path, migrations)?;
    if done < migrations.len() && !is_new {
        put_copy_aside(connection, path, ours)?;
    }
    for (migration, to) in migrations.iter().zip(1_i64..).skip(done) {
        step(connection, migration, to).map_err(|source| match is_unwritable(&source) {
            true => refused(path, source),
            false => OpenError::Migration {
                path: path.to_owned(),
                to,
                source,
            },
        })?;
        log::info!("file.path":% = path.display(); "the store is at version {to}");
    }
    Ok(())
}

/// What a file is to this program.
struct Found {
    /// Steps that it has behind it.
    done: usize,
    is_new: bool,
}

/// Whether this program could bring the file to its version. Reads only.
pub(super) fn check(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    examine(connection, path, MIGRATIONS).map(drop)
}

fn newest(migrations: &[Migration]) -> i64 {
    i64::try_from(migrations.len()).unwrap_or(i64::MAX)
}

fn examine(connection: &Connection, path: &Path, migrations: &[Migration]) -> Result<Found, OpenError> {
    let fails = |error: rusqlite::Error| refused(path, error);
    let ours = newest(migrations);
    let owner: i64 = pragma(connection, "application_id").map_err(fails)?;
    let file: i64 = pragma(connection, "user_version").map_err(fails)?;
    let objects: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(fails)?;
    let is_new = objects == 0 && file == 0 && (owner == 0 || owner == APPLICATION_ID);
    if !is_new && owner != APPLICATION_ID {
        return Err(OpenError::Foreign {
            path: path.to_owned(),
        });
    }
    if file > ours {
        return Err(OpenError::NewerVersion {
            path: path.to_owned(),
            file,
            ours,
        });
    }
    if !is_new {
        read_a_little(connection).map_err(fails)?;
    }
    let done = usize::try_from(file).map_err(|_| OpenError::Damaged {
        path: path.to_owned(),
        source: Cause::new(format!("its version is {file}")),
    })?;
    Ok(Found { done, is_new })
}

fn step(connection: &mut Connection, migration: Migration, to: i64) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(migration)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", to)?;
    transaction.commit()
}

/// Touches the root of every table and index, so that gross damage is found now and not at the first request.
/// Reading the whole file would make the start of a large store slow.
fn read_a_little(connection: &Connection) -> rusqlite::Result<()> {
    let mut tables = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?;
    let names = tables
        .query_map([], |row| row.get::<_, String>(0))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    for name in names {
        let quoted = name.replace('"', "\"\"");
        connection.query_row(
            &format!("SELECT count(*) FROM (SELECT 1 FROM \"{quoted}\" LIMIT 1)"),
            [],
            |_| Ok(()),
        )?;
    }
    Ok(())
}

/// A consistent copy `fleet.db.before-vN`. It gets that name only once it is complete and on the disk.
fn put_copy_aside(connection: &Connection, path: &Path, to: i64) -> Result<PathBuf, OpenError> {
    let kept = beside(path, &format!(".before-v{to}"));
    let partial = beside(path, &format!(".before-v{to}.partial"));
    let fails = |source| OpenError::NotWritable {
        path: kept.clone(),
        source,
    };
    expect_database(&kept)?;
    expect_database(&partial)?;
    if let Err(error) = fs::remove_file(&partial)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(fails(error));
    }
    create_private(&partial).map_err(fails)?;
    copy(connection, &partial).map_err(|error| refused(&kept, error))?;
    fs::File::open(&partial)
        .and_then(|file| file.sync_all())
        .map_err(fails)?;
    fs::rename(&partial, &kept).map_err(fails)?;
    if let Some(directory) = path.parent() {
        fs::File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(fails)?;
    }
    log::info!("file.path":% = kept.display(); "copied the store before migrating it: {}", kept.display());
    Ok(kept)
}

pub(super) fn copy(from: &Connection, to: &Path) -> rusqlite::Result<()> {
    let mut copy = Connection::open(to)?;
    Backup::new(from, &mut copy)?.run_to_completion(COPY_PAGES, Duration::ZERO, None)?;
    copy.close().map_err(|(_, error)| error)
}

fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}

/// All pages in one step: a writer is not kept from its work, and a copy in steps would begin anew at each commit of its.
const COPY_PAGES: i32 = i32::MAX;
