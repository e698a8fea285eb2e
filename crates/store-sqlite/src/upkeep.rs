//! What is done to a store from outside, also while a server has it open: a copy, and a look at all of it (O27).
//!
//! In: directories. Out: what was copied, what is wrong. Takes no lock and changes nothing but the copy. Blocks.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OptionalExtension as _, params};
use sha2::{Digest as _, Sha256};
use store::Cause;

use super::{
    OpenError, SqliteStore,
    blob_files::BlobFiles,
    connection::{create_directory, create_private, open_reader, refused},
    migration,
};

/// What a copy holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Files of bodies.
    pub blobs: u64,
    /// Bytes of the database and of all files.
    pub bytes: u64,
}

/// What a look at all of it found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Files of bodies that were looked at.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files without a record: a body under way, or what a crash left; the next start removes those.
    pub leftovers: u64,
    /// What is wrong, a line for each.
    pub faults: Vec<String>,
}

/// A row of the table of bodies.
struct Recorded {
    id: String,
    file: String,
    bytes: u64,
    digest: [u8; 32],
}

impl SqliteStore {
    /// Copies the store in `from` to `to`, which is made or empty: database and bodies of one moment. A body that is removed
    /// meanwhile is removed from the copy too.
    ///
    /// # Errors
    /// See [`OpenError`]; a copy that is not whole has no `fleet.db`.
    pub fn backup(from: &Path, to: &Path) -> Result<Copied, OpenError> {
        let (source, target) = (from.join(DATABASE), to.join(DATABASE));
        let live = open_reader(&source)?;
        migration::check(&live, &source)?;
        create_directory(to)?;
        // Nothing that lies there is ever written over.
        if fs::read_dir(to).map_err(not_writable(to))?.next().is_some() {
            return Err(not_writable(to)(io::ErrorKind::DirectoryNotEmpty.into()));
        }
        let partial = to.join("fleet.db.partial");
        create_private(&partial).map_err(not_writable(&partial))?;
        migration::copy(&live, &partial).map_err(|error| refused(&partial, error))?;
        let copy = Connection::open(&partial).map_err(|error| refused(&partial, error))?;
        let copied = copy_bodies(&live, from, &copy, to);
        let closed = copy.close().map_err(|(_, error)| refused(&partial, error));
        let (blobs, bytes) = copied.and_then(|copied| closed.map(|()| copied))?;
        let database = fs::File::open(&partial)
            .and_then(|file| file.sync_all().and_then(|()| file.metadata()))
            .map_err(not_writable(&partial))?;
        fs::rename(&partial, &target)
            .and_then(|()| fs::File::open(to)?.sync_all())
            .map_err(not_writable(&target))?;
        Ok(Copied {
            blobs,
            bytes: bytes + database.len(),
        })
    }

    /// Looks at the whole store in `directory`: the database's own check, and each body's file against its record; with
    /// `is_quick` its length alone. Changes nothing.
    ///
    /// # Errors
    /// See [`OpenError`]: the store cannot be read at all.
    pub fn examine(directory: &Path, is_quick: bool) -> Result<Checked, OpenError> {
        let path = directory.join(DATABASE);
        let live = open_reader(&path)?;
        migration::check(&live, &path)?;
        let mut checked = Checked {
            faults: database_faults(&live).map_err(|error| refused(&path, error))?,
            ..Checked::default()
        };
        let files = BlobFiles::of(directory);
        for body in recorded(&live).map_err(|error| refused(&path, error))? {
            match body_fault(&files.path(&body.file), &body, is_quick) {
                None => {
                    checked.blobs += 1;
                    checked.bytes += body.bytes;
                }
                // It may have been removed since the record was read.
                Some(fault) if still_there(&live, &body).map_err(|error| refused(&path, error))? => {
                    checked.faults.push(format!("body {}: {fault}", body.id));
                }
                Some(_) => {}
            }
        }
        if !files.path("").is_dir() {
            return Ok(checked);
        }
        let names = files.names().map_err(not_writable(&files.path("")))?;
        for name in names {
            let name = name.map_err(not_writable(&files.path("")))?;
            let mut known = live
                .prepare_cached("SELECT 1 FROM blob WHERE file = ?1")
                .map_err(|error| refused(&path, error))?;
            if !known.exists([&name]).map_err(|error| refused(&path, error))? {
                checked.leftovers += 1;
            }
        }
        Ok(checked)
    }
}

/// Copies what the copy of the database names.
fn copy_bodies(
    live: &Connection,
    from: &Path,
    copy: &Connection,
    to: &Path,
) -> Result<(u64, u64), OpenError> {
    let database = to.join(DATABASE);
    let fails = |error: rusqlite::Error| refused(&database, error);
    let (source, target) = (BlobFiles::of(from), BlobFiles::open(to)?);
    let (mut blobs, mut bytes) = (0, 0);
    for body in recorded(copy).map_err(fails)? {
        let (path, into) = (source.path(&body.file), target.path(&body.file));
        match fs::copy(&path, &into) {
            Ok(copied) if copied == body.bytes => {
                let synced = fs::File::open(&into).and_then(|file| file.sync_all());
                synced.map_err(not_writable(&into))?;
                blobs += 1;
                bytes += copied;
            }
            Ok(_) => return Err(damaged(&path, "it has another length than its record says")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if still_there(live, &body).map_err(fails)? {
                    return Err(damaged(
                        &path,
                        "it is missing: fleet-server fsck names all that are",
                    ));
                }
                forget(copy, &body.id).map_err(fails)?;
            }
            Err(error) => return Err(not_writable(&into)(error)),
        }
    }
    fs::File::open(target.path(""))
        .and_then(|directory| directory.sync_all())
        .map_err(not_writable(&target.path("")))?;
    Ok((blobs, bytes))
}

/// Takes a body that was removed meanwhile, and what it belonged to, out of the copy.
fn forget(copy: &Connection, blob: &str) -> rusqlite::Result<()> {
    let upload: Option<String> = copy
        .query_row("SELECT upload FROM upload_chunk WHERE blob = ?1", [blob], |row| {
            row.get(0)
        })
        .optional()?;
    if let Some(upload) = upload {
        copy.execute(
            "UPDATE upload SET state = 4, ended_at = coalesce(ended_at, started_at) WHERE id = ?1",
            [&upload],
        )?;
        copy.execute("DELETE FROM upload_chunk WHERE blob = ?1", [blob])?;
    }
    copy.execute("DELETE FROM agent_file WHERE blob = ?1", [blob])?;
    copy.execute("DELETE FROM blob WHERE id = ?1", [blob]).map(drop)
}

fn database_faults(live: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut faults: Vec<String> = live
        .prepare("PRAGMA integrity_check")?
        .query_map([], |row| row.get::<_, String>(0))?
        .collect::<rusqlite::Result<_>>()?;
    faults.retain(|line| line != "ok");
    let mut orphans = live.prepare("PRAGMA foreign_key_check")?;
    let tables = orphans.query_map([], |row| row.get::<_, String>(0))?;
    for table in tables {
        faults.push(format!("a row of table {} refers to one that is gone", table?));
    }
    Ok(faults)
}

fn body_fault(path: &Path, body: &Recorded, is_quick: bool) -> Option<String> {
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) => return Some(format!("{}: {error}", path.display())),
    };
    if found.len() != body.bytes {
        return Some(format!(
            "{} has {} bytes, not {}",
            path.display(),
            found.len(),
            body.bytes
        ));
    }
    if is_quick {
        return None;
    }
    match digest(path) {
        Ok(digest) if digest == body.digest => None,
        Ok(_) => Some(format!("{} has other bytes than were stored", path.display())),
        Err(error) => Some(format!("{}: {error}", path.display())),
    }
}

fn digest(path: &Path) -> io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    let (mut file, mut piece) = (fs::File::open(path)?, vec![0; 1 << 16]);
    loop {
        match io::Read::read(&mut file, &mut piece)? {
            0 => return Ok(hash.finalize().into()),
            read => hash.update(piece.get(..read).unwrap_or_default()),
        }
    }
}

fn recorded(connection: &Connection) -> rusqlite::Result<Vec<Recorded>> {
    let has_bodies = "SELECT 1 FROM sqlite_schema WHERE name = 'blob'";
    if !connection.prepare(has_bodies)?.exists([])? {
        // A store of an earlier version.
        return Ok(Vec::new());
    }
    let mut rows = connection.prepare("SELECT id, file, bytes, digest FROM blob")?;
    let bodies = rows.query_map([], |row| {
        Ok(Recorded {
            id: row.get(0)?,
            file: row.get(1)?,
            bytes: super::columns::count(row, 2)?,
            digest: row.get(3)?,
        })
    })?;
    bodies.collect()
}

fn still_there(live: &Connection, body: &Recorded) -> rusqlite::Result<bool> {
    live.prepare_cached("SELECT 1 FROM blob WHERE id = ?1 AND file = ?2")?
        .exists(params![body.id, body.file])
}

fn not_writable(path: &Path) -> impl FnOnce(io::Error) -> OpenError + use<> {
    let path = PathBuf::from(path);
    move |source| OpenError::NotWritable { path, source }
}

fn damaged(path: &Path, detail: &str) -> OpenError {
    OpenError::Damaged {
        path: path.to_owned(),
        source: Cause::new(detail),
    }
}

const DATABASE: &str = "fleet.db";
