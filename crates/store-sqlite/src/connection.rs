//! The file on disk and the connections to it. The file is private to its owner (0600, a new directory 0700);
//! SQLite gives `-wal` and `-shm` the mode of the database file.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, config::DbConfig};
use store::Cause;

use super::{
    OpenError,
    ownership::{APPLICATION_ID, beside},
};

/// Makes the directory if it is missing.
pub(super) fn create_directory(directory: &Path) -> Result<(), OpenError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|source| OpenError::NotWritable {
            path: directory.to_owned(),
            source,
        })
}

/// Makes an empty private file if it is missing, and takes the rights of others from one that exists.
pub(super) fn create_private(path: &Path) -> io::Result<()> {
    let file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    let mode = file.metadata()?.permissions().mode();
    if mode & 0o077 != 0 {
        file.set_permissions(fs::Permissions::from_mode(mode & 0o700))?;
    }
    Ok(())
}

/// Makes the file of a new store if there is none, and says whether it did. It gets its name only with a header in
/// it: after a crash there is no file or one of ours, so that an empty one is always a loss.
pub(super) fn ensure_file(path: &Path) -> Result<bool, OpenError> {
    let fails = |source: io::Error| OpenError::NotWritable {
        path: path.to_owned(),
        source,
    };
    match fs::metadata(path) {
        Ok(found) if found.is_file() && found.len() == 0 => Err(OpenError::Empty {
            path: path.to_owned(),
        }),
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create_store(path)?;
            Ok(true)
        }
        Err(error) => Err(fails(error)),
    }
}

fn create_store(path: &Path) -> Result<(), OpenError> {
    let fails = |source: io::Error| OpenError::NotWritable {
        path: path.to_owned(),
        source,
    };
    let partial = beside(path, ".partial");
    // What a crash left behind; the directory's lock is held.
    if let Err(error) = fs::remove_file(&partial)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(fails(error));
    }
    create_private(&partial).map_err(fails)?;
    let begun = Connection::open_with_flags(&partial, OpenFlags::SQLITE_OPEN_READ_WRITE).and_then(|new| {
        new.pragma_update(None, "application_id", APPLICATION_ID)?;
        new.close().map_err(|(_, error)| error)
    });
    begun.map_err(|error| refused(path, error))?;
    fs::File::open(&partial)
        .and_then(|file| file.sync_all())
        .and_then(|()| fs::rename(&partial, path))
        .and_then(|()| match path.parent() {
            Some(directory) => fs::File::open(directory)?.sync_all(),
            None => Ok(()),
        })
        .map_err(fails)
}

/// The one connection that writes.
pub(super) fn open_writer(path: &Path) -> Result<Connection, OpenError> {
    create_private(path).map_err(|source| OpenError::NotWritable {
        path: path.to_owned(),
        source,
    })?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|error| refused(path, error))?;
    set_up_writer(&connection).map_err(|error| refused(path, error))?;
    Ok(connection)
}

fn set_up_writer(connection: &Connection) -> rusqlite::Result<()> {
    set_up(connection, WRITER_CACHE_KIB)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    // Every commit is on the disk before it is answered; group commit shares the cost (docs/adr/0003-store.md).
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update_and_check(None, "journal_size_limit", WAL_KEPT_BYTES, |_| Ok(()))
}

/// A connection that can only read.
pub(super) fn open_reader(path: &Path) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || {
        let connection = Connection::open_with_flags(path, flags)?;
        set_up(&connection, READER_CACHE_KIB)?;
        Ok(connection)
    };
    open().map_err(|error| refused(path, error))
}

fn set_up(connection: &Connection, cache_kib: i64) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // A plan depends on the statement alone. Otherwise SQLite prepares some anew for each new parameter.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "cache_size", -cache_kib)?;
    // Sorting goes on when the disk is full.
    connection.pragma_update(None, "temp_store", "memory")?;
    // What stands in the file is data, never code.
    connection.pragma_update(None, "trusted_schema", false)
}

/// Why SQLite would not open the file.
pub(super) fn refused(path: &Path, error: rusqlite::Error) -> OpenError {
    let path = PathBuf::from(path);
    match error.sqlite_error_code() {
        // No code: a stored value of the wrong type.
        None | Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown) => {
            OpenError::Damaged {
                path,
                source: Cause::new(error),
            }
        }
        Some(_) if is_unwritable(&error) => OpenError::NotWritable {
            source: match free_bytes(&path) {
                Some(free) if free < LITTLE => io::Error::new(
                    io::ErrorKind::StorageFull,
                    format!("{error}; the disk is full ({free} bytes are free)"),
                ),
                _ => io::Error::other(error),
            },
            path,
        },
        Some(_) => OpenError::Refused { path, source: error },
    }
}

/// Whether the file system is to blame, not the file.
pub(super) fn is_unwritable(error: &rusqlite::Error) -> bool {
    use ErrorCode::{CannotOpen, DiskFull, PermissionDenied, ReadOnly, SystemIoFailure};
    matches!(
        error.sqlite_error_code(),
        Some(DiskFull | SystemIoFailure | CannotOpen | ReadOnly | PermissionDenied)
    )
}

/// Space left where `path` lies: SQLite calls a full disk an I/O error where it maps memory.
fn free_bytes(path: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(path.parent()?).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Less than an empty store needs.
const LITTLE: u64 = 512 * 1024;
/// Prepared statements kept by each connection: more than there are.
const STATEMENTS: usize = 128;
/// Nobody else writes (M10); this covers a checkpoint of a foreign tool.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// At most; a large batch that changes more pages writes some of them twice.
const WRITER_CACHE_KIB: i64 = 64 * 1024;
const READER_CACHE_KIB: i64 = 4 * 1024;
/// 16 MiB of log between checkpoints.
const CHECKPOINT_PAGES: i64 = 4096;
/// A log that a long batch made large is cut back to this after its checkpoint.
const WAL_KEPT_BYTES: i64 = 64 * 1024 * 1024;
