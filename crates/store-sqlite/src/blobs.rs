//! O19 to O21: the records of large bodies, and how file and record come and go together. The file is durable before its
//! record; a record is gone before its file. A crash between the two leaves a file without a record, which the next start
//! removes.

use std::{io, ops::Range, path::Path};

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _};
use store::{
    Blob, BlobId, BlobSpace, BlobStream, BlobTerms, Blobs, Cause, Conflict, Digest, Result, StoreError,
};

use super::{
    OpenError, SqliteStore,
    blob_files::{self, BlobFiles, Staged},
    columns::{self, ReadColumn as _, params},
    connection::refused,
    fault::{Outcome, closed, panicked},
    unit::Unit,
    writer::Size,
};

/// What became of a staged file.
pub(super) enum Recorded<T> {
    /// It has a record now.
    Kept(T),
    /// What it holds was there already.
    Unneeded(T),
}

/// A file whose record is gone.
pub(super) struct Freed {
    file: String,
    bytes: u64,
}

#[async_trait]
impl Blobs for SqliteStore {
    async fn put_blob(&self, id: &BlobId, body: BlobStream, terms: BlobTerms) -> Result<Blob> {
        let staged = self.shared.blob_files.stage(body, terms).await?;
        let id = id.clone();
        self.record(staged, move |unit, staged| insert(unit, &id, staged))
            .await
    }

    async fn blob(&self, id: &BlobId) -> Result<Option<Blob>> {
        let id = id.clone();
        let found = self.read(move |connection| find(connection, &id)).await?;
        Ok(found.map(|staged| staged.blob))
    }

    async fn read_blob(&self, id: &BlobId, range: Range<u64>) -> Result<BlobStream> {
        let asked = id.clone();
        let found = self.read(move |connection| find(connection, &asked)).await?;
        let Staged { file, blob } = found.ok_or_else(|| StoreError::NotFound {
            what: "body",
            id: id.to_string(),
        })?;
        let read = self.shared.blob_files.read(&file, blob, range).await;
        if let Err(error) = &read {
            self.shared.condition.damaged(error);
        }
        read
    }

    async fn delete_blobs(&self, ids: &[BlobId]) -> Result<()> {
        let ids = ids.to_vec();
        self.freeing(ids.len(), move |unit| {
            let mut freed = Vec::new();
            for id in &ids {
                freed.extend(delete(unit, id)?);
            }
            Ok(((), freed))
        })
        .await
    }

    async fn blob_space(&self) -> Result<BlobSpace> {
        let (blobs, bytes) = self.read(totals).await?;
        let (free_bytes, free_files) = self.shared.blob_files.free().await?;
        Ok(BlobSpace {
            blobs,
            bytes,
            free_bytes: Some(free_bytes),
            free_files,
        })
    }
}

impl SqliteStore {
    /// Gives a staged file its record by `work`. A file that gets none is removed, also when the caller has gone away.
    pub(super) async fn record<T: Send + 'static>(
        &self,
        staged: Staged,
        work: impl FnOnce(&Unit<'_>, &Staged) -> Outcome<Recorded<T>> + Send + 'static,
    ) -> Result<T> {
        let (queue, files, metrics) = (
            self.queue.clone(),
            self.shared.blob_files.clone(),
            self.shared.metrics.clone(),
        );
        let recording = tokio::spawn(async move {
            let (file, bytes) = (staged.file.clone(), staged.blob.bytes);
            let outcome = queue.run(Size::Small, move |unit| work(unit, &staged)).await;
            match outcome {
                Ok(Recorded::Kept(value)) => {
                    metrics.blobs.inc();
                    metrics.blob_bytes.inc_by(gauge(bytes));
                    Ok(value)
                }
                Ok(Recorded::Unneeded(value)) => {
                    files.remove(vec![file]).await;
                    Ok(value)
                }
                Err(error) => {
                    files.remove(vec![file]).await;
                    Err(error)
                }
            }
        });
        finished(recording.await)
    }

    /// Removes records by `work`, then their files, also when the caller has gone away.
    pub(super) async fn freeing<T: Send + 'static>(
        &self,
        rows: usize,
        work: impl FnOnce(&Unit<'_>) -> Outcome<(T, Vec<Freed>)> + Send + 'static,
    ) -> Result<T> {
        let (queue, files, metrics) = (
            self.queue.clone(),
            self.shared.blob_files.clone(),
            self.shared.metrics.clone(),
        );
        let removing = tokio::spawn(async move {
            let (value, freed) = queue.run(Size::of(rows), work).await?;
            metrics.blobs.dec_by(gauge(freed.len() as u64));
            metrics
                .blob_bytes
                .dec_by(gauge(freed.iter().map(|freed| freed.bytes).sum()));
            files
                .remove(freed.into_iter().map(|freed| freed.file).collect())
                .await;
            Ok(value)
        });
        finished(removing.await)
    }
}

fn finished<T>(outcome: std::result::Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    outcome.unwrap_or_else(|error| match error.is_panic() {
        true => Err(panicked()),
        false => Err(closed()),
    })
}

/// Records the body, unless the id has one.
pub(super) fn insert(unit: &Unit<'_>, id: &BlobId, staged: &Staged) -> Outcome<Recorded<Blob>> {
    match find(unit, id)? {
        None => {
            unit.prepare_cached("INSERT INTO blob (id, file, bytes, digest) VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![
                    id,
                    staged.file,
                    gauge(staged.blob.bytes),
                    staged.blob.digest
                ])?;
            Ok(Recorded::Kept(staged.blob))
        }
        Some(found) if found.blob == staged.blob => Ok(Recorded::Unneeded(found.blob)),
        Some(_) => Err(Conflict::IdTaken(format!("body {id}")).into()),
    }
}

pub(super) fn delete(unit: &Unit<'_>, id: &BlobId) -> Outcome<Option<Freed>> {
    let mut statement = unit.prepare_cached("DELETE FROM blob WHERE id = ?1 RETURNING file, bytes")?;
    let freed = statement
        .query_row(params![id], |row| {
            Ok(Freed {
                file: row.read(0)?,
                bytes: columns::count(row, 1)?,
            })
        })
        .optional()?;
    Ok(freed)
}

fn find(connection: &Connection, id: &BlobId) -> Outcome<Option<Staged>> {
    let mut statement = connection.prepare_cached("SELECT file, bytes, digest FROM blob WHERE id = ?1")?;
    let found = statement
        .query_row(params![id], |row| {
            Ok(Staged {
                file: row.read(0)?,
                blob: Blob {
                    bytes: columns::count(row, 1)?,
                    digest: row.read::<Digest>(2)?,
                },
            })
        })
        .optional()?;
    Ok(found)
}

pub(super) fn totals(connection: &Connection) -> Outcome<(u64, u64)> {
    let mut statement = connection.prepare_cached("SELECT blobs, bytes FROM blob_total")?;
    Ok(statement.query_row([], |row| Ok((columns::count(row, 0)?, columns::count(row, 1)?)))?)
}

/// At the start: removes files that have no record, tells how many records have no file. Blocks.
pub(super) fn recover(
    connection: &Connection,
    files: &BlobFiles,
    path: &Path,
) -> std::result::Result<(u64, u64), OpenError> {
    let not_listed = |source: io::Error| OpenError::NotWritable {
        path: files.path(""),
        source,
    };
    let (mut recorded, mut leftovers) = (0, 0);
    let mut statement = connection
        .prepare("SELECT 1 FROM blob WHERE file = ?1")
        .map_err(|error| refused(path, error))?;
    for name in files.names().map_err(not_listed)? {
        let name = name.map_err(not_listed)?;
        match statement.exists([&name]).map_err(|error| refused(path, error))? {
            true => recorded += 1,
            false => {
                blob_files::remove(&files.path(&name));
                leftovers += 1;
            }
        }
    }
    let (blobs, bytes) = totals(connection).map_err(|failure| OpenError::Damaged {
        path: path.to_owned(),
        source: Cause::new(StoreError::from(failure)),
    })?;
    if leftovers > 0 {
        log::info!(leftovers; "removed {leftovers} files of bodies that were not stored to their end");
    }
    if recorded < blobs {
        let missing = blobs - recorded;
        log::error!(missing; "{missing} stored files are missing under {}: restore them from a backup", files.path("").display());
    }
    Ok((blobs, bytes))
}

/// Sizes in columns and gauges are signed.
pub(super) fn gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
