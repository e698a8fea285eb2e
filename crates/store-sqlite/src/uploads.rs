//! O20: uploads. Record, chunks and their bodies change together; what an upload frees is removed after the commit.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, Row};
use store::{
    AgentId, BODY_BLOCK_BYTES, Blob, BlobId, BlobRoom, BlobStream, BlobTerms, Chunk, Claims, Conflict,
    FileId, NewUpload, Page, PageRequest, RawJson, Result, StoreError, Timestamp, Upload, UploadEnd,
    UploadId, UploadState, UploadTerms, Uploads, chunk_blob,
};

use super::{
    SqliteStore,
    blobs::{self, Freed, Recorded, gauge},
    columns::{ReadColumn as _, count, params},
    fault::{Failure, Outcome},
    pages,
    unit::Unit,
};

#[async_trait]
impl Uploads for SqliteStore {
    async fn begin_upload(&self, new: NewUpload, terms: UploadTerms) -> Result<Upload> {
        self.freeing(1, move |unit| begin(unit, &new, terms)).await
    }

    async fn claims(&self, stale_before: Timestamp) -> Result<Claims> {
        self.read(move |connection| claims(connection, stale_before))
            .await
    }

    async fn upload(&self, id: &UploadId) -> Result<Option<Upload>> {
        let id = id.clone();
        self.read(move |connection| by_id(connection, &id)).await
    }

    async fn upload_document(&self, id: &UploadId) -> Result<Option<RawJson>> {
        let id = id.clone();
        self.read(move |connection| {
            let mut statement = connection.prepare_cached("SELECT document FROM upload WHERE id = ?1")?;
            Ok(statement.query_row(params![id], |row| row.read(0)).optional()?)
        })
        .await
    }

    async fn upload_of(&self, file: &FileId) -> Result<Option<Upload>> {
        let file = file.clone();
        self.read(move |connection| by_file(connection, &file)).await
    }

    async fn put_chunk(
        &self,
        id: &UploadId,
        number: u32,
        body: BlobStream,
        terms: BlobTerms,
    ) -> Result<Blob> {
        let staged = self.shared.blob_files.stage(body, terms).await?;
        let id = id.clone();
        self.record(staged, move |unit, staged| {
            open(unit, &id)?;
            let blob = chunk_blob(&id, number);
            let recorded = blobs::insert(unit, &blob, staged)?;
            if let Recorded::Kept(_) = recorded {
                add_chunk(unit, &id, number, &blob, staged.blob)?;
            }
            Ok(recorded)
        })
        .await
    }

    async fn chunks(&self, id: &UploadId) -> Result<Vec<Chunk>> {
        let id = id.clone();
        self.read(move |connection| chunks(connection, &id)).await
    }

    async fn end_upload(&self, id: &UploadId, end: UploadEnd, at: Timestamp) -> Result<()> {
        let id = id.clone();
        self.freeing(1, move |unit| {
            let upload = known(unit, &id)?;
            if !upload.state.leads_to(end.state()) {
                return Err(ended(upload).into());
            }
            let freed = match end {
                UploadEnd::Ready(transit) => {
                    unit.prepare_cached("UPDATE upload SET transit = ?2 WHERE id = ?1")?
                        .execute(params![id, transit])?;
                    Vec::new()
                }
                UploadEnd::Failed | UploadEnd::Deleted => free(unit, &id)?,
            };
            set_state(unit, &id, end.state(), upload.ended_at.unwrap_or(at))?;
            Ok(((), freed))
        })
        .await
    }

    async fn uploads(&self, agent: Option<&AgentId>, page: PageRequest) -> Result<Page<Upload>> {
        let agent = agent.cloned();
        self.read(move |connection| list(connection, agent.as_ref(), &page))
            .await
    }

    async fn expire_uploads(&self, before: Timestamp, at: Timestamp, limit: u32) -> Result<u64> {
        self.freeing(limit as usize, move |unit| {
            let stale: Vec<UploadId> = unit
                .prepare_cached("SELECT id FROM upload WHERE state = ?1 AND started_at < ?2 LIMIT ?3")?
                .query_map(params![UploadState::Open, before, limit], |row| row.read(0))?
                .collect::<rusqlite::Result<_>>()?;
            let mut freed = Vec::new();
            for id in &stale {
                freed.extend(free(unit, id)?);
                set_state(unit, id, UploadState::Expired, at)?;
            }
            Ok((stale.len() as u64, freed))
        })
        .await
    }

    async fn delete_uploads(&self, before: Timestamp, limit: u32) -> Result<u64> {
        self.freeing(limit as usize, move |unit| {
            let old: Vec<UploadId> = unit
                .prepare_cached("SELECT id FROM upload WHERE ended_at < ?1 LIMIT ?2")?
                .query_map(params![before, limit], |row| row.read(0))?
                .collect::<rusqlite::Result<_>>()?;
            let mut freed = Vec::new();
            for id in &old {
                freed.extend(forget(unit, id)?);
            }
            Ok((old.len() as u64, freed))
        })
        .await
    }
}

fn begin(unit: &Unit<'_>, new: &NewUpload, terms: UploadTerms) -> Outcome<(Upload, Vec<Freed>)> {
    let mut freed = Vec::new();
    if let Some(earlier) = by_file(unit, &new.file)? {
        // Parts of an id are not marked off in it: one text may be made of two actions and agents.
        if (&earlier.action, &earlier.agent) != (&new.action, &new.agent) {
            return Err(Conflict::IdTaken(format!("file {}", new.file)).into());
        }
        let is_stale = earlier.started_at < terms.stale_before;
        match earlier.state {
            UploadState::Open if earlier.bytes == new.bytes && !is_stale => return Ok((earlier, freed)),
            UploadState::Open | UploadState::Failed | UploadState::Expired => {
                freed = forget(unit, &earlier.id)?;
            }
            UploadState::Ready | UploadState::Deleted => return Err(ended(earlier).into()),
        }
    }
    make_room(unit, new, terms)?;
    insert(unit, new)?;
    Ok((known(unit, &new.id)?, freed))
}

/// Refuses what is more than the terms allow. An open upload takes what it announced.
fn make_room(unit: &Unit<'_>, new: &NewUpload, terms: UploadTerms) -> Outcome<()> {
    if let Some(most) = terms.open_of_agent {
        let open = unit
            .prepare_cached(
                "SELECT count(*) FROM upload WHERE agent = ?1 AND state = ?2 AND started_at >= ?3",
            )?
            .query_row(params![new.agent, UploadState::Open, terms.stale_before], |row| {
                count(row, 0)
            })?;
        if open >= u64::from(most) {
            let agent = new.agent.clone();
            return Err(Conflict::OpenUploads { agent, most }.into());
        }
    }
    let body = BlobRoom::in_chunks(new.bytes, new.chunk_bytes);
    let more = body.counted().saturating_add(new.document.as_str().len() as u64);
    if let Some(most_bytes) = terms.of_agent
        && of_agent(unit, &new.agent, terms.stale_before)?.saturating_add(more) > most_bytes
    {
        let agent = new.agent.clone();
        return Err(Conflict::AgentQuota { agent, most_bytes }.into());
    }
    let Claims { coming, record_bytes } = claims(unit, terms.stale_before)?;
    if let Some(most_bytes) = terms.of_all {
        let (bodies, bytes) = blobs::totals(unit)?;
        let taken = coming.and(BlobRoom { bodies, bytes }).counted();
        if taken.saturating_add(record_bytes).saturating_add(more) > most_bytes {
            return Err(Conflict::StoreQuota { most_bytes }.into());
        }
    }
    if !coming.and(body).fits(terms.on_disk) {
        let BlobRoom { bodies: files, bytes } = coming.left_of(terms.on_disk);
        return Err(Conflict::DiskRoom { bytes, files }.into());
    }
    Ok(())
}

/// Bytes that all uploads of an agent count. Of one that is stale, what came is there until it is removed.
fn of_agent(connection: &Connection, agent: &AgentId, stale_before: Timestamp) -> Outcome<u64> {
    let mut statement = connection.prepare_cached(
        "WITH kept AS (
            SELECT document_bytes, chunk_bytes,
                CASE WHEN state > ?3 THEN 0 WHEN state = ?2 AND started_at < ?4 THEN stored ELSE bytes END AS bytes
            FROM upload WHERE agent = ?1)
         SELECT coalesce(sum(document_bytes + bytes + ?5 * ((bytes + chunk_bytes - 1) / chunk_bytes)), 0) FROM kept",
    )?;
    let block = gauge(BODY_BLOCK_BYTES);
    let keys = params![agent, UploadState::Open, UploadState::Ready, stale_before, block];
    Ok(statement.query_row(keys, |row| count(row, 0))?)
}

/// Every chunk but the last is full, so that a length tells a number of chunks, also while some are missing.
fn claims(connection: &Connection, stale_before: Timestamp) -> Outcome<Claims> {
    let mut statement = connection.prepare_cached(
        "SELECT coalesce(sum((bytes + chunk_bytes - 1) / chunk_bytes - (stored + chunk_bytes - 1) / chunk_bytes), 0),
            coalesce(sum(bytes - stored), 0),
            (SELECT coalesce(sum(document_bytes), 0) FROM upload)
         FROM upload WHERE state = ?1 AND started_at >= ?2",
    )?;
    Ok(
        statement.query_row(params![UploadState::Open, stale_before], |row| {
            Ok(Claims {
                coming: BlobRoom {
                    bodies: count(row, 0)?,
                    bytes: count(row, 1)?,
                },
                record_bytes: count(row, 2)?,
            })
        })?,
    )
}

fn insert(unit: &Unit<'_>, new: &NewUpload) -> Outcome<()> {
    unit.prepare_cached(
        "INSERT INTO upload (id, file, action, agent, source, name, mime_type, bytes, chunk_bytes, namespaces,
            started_at, state, document_bytes, document)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
    )?
    .execute(params![
        new.id,
        new.file,
        new.action,
        new.agent,
        new.source,
        new.name,
        new.mime_type,
        gauge(new.bytes),
        gauge(new.chunk_bytes),
        new.namespaces,
        new.at,
        UploadState::Open,
        gauge(new.document.as_str().len() as u64),
        new.document,
    ])?;
    Ok(())
}

fn add_chunk(unit: &Unit<'_>, id: &UploadId, number: u32, name: &BlobId, blob: Blob) -> Outcome<()> {
    unit.prepare_cached("INSERT INTO upload_chunk (upload, number, blob) VALUES (?1, ?2, ?3)")?
        .execute(params![id, number, name])?;
    unit.prepare_cached("UPDATE upload SET stored = stored + ?2 WHERE id = ?1")?
        .execute(params![id, gauge(blob.bytes)])?;
    Ok(())
}

fn chunks(connection: &Connection, id: &UploadId) -> Outcome<Vec<Chunk>> {
    let mut statement = connection.prepare_cached(
        "SELECT c.number, b.bytes, b.digest FROM upload_chunk AS c JOIN blob AS b ON b.id = c.blob
         WHERE c.upload = ?1 ORDER BY c.number",
    )?;
    let chunk = |row: &Row<'_>| {
        Ok(Chunk {
            number: row.read(0)?,
            blob: Blob {
                bytes: count(row, 1)?,
                digest: row.read(2)?,
            },
        })
    };
    let found = statement.query_map(params![id], chunk)?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

fn free(unit: &Unit<'_>, id: &UploadId) -> Outcome<Vec<Freed>> {
    let names: Vec<BlobId> = unit
        .prepare_cached("DELETE FROM upload_chunk WHERE upload = ?1 RETURNING blob")?
        .query_map(params![id], |row| row.read(0))?
        .collect::<rusqlite::Result<_>>()?;
    unit.prepare_cached("UPDATE upload SET stored = 0 WHERE id = ?1")?
        .execute(params![id])?;
    let mut freed = Vec::new();
    for name in &names {
        freed.extend(blobs::delete(unit, name)?);
    }
    Ok(freed)
}

fn forget(unit: &Unit<'_>, id: &UploadId) -> Outcome<Vec<Freed>> {
    let freed = free(unit, id)?;
    unit.prepare_cached("DELETE FROM upload WHERE id = ?1")?
        .execute(params![id])?;
    Ok(freed)
}

fn set_state(unit: &Unit<'_>, id: &UploadId, state: UploadState, ended_at: Timestamp) -> Outcome<()> {
    unit.prepare_cached("UPDATE upload SET state = ?2, ended_at = ?3 WHERE id = ?1")?
        .execute(params![id, state, ended_at])?;
    Ok(())
}

fn known(connection: &Connection, id: &UploadId) -> Outcome<Upload> {
    by_id(connection, id)?.ok_or_else(|| Failure::missing("upload", id))
}

fn open(connection: &Connection, id: &UploadId) -> Outcome<()> {
    let upload = known(connection, id)?;
    match upload.state {
        UploadState::Open => Ok(()),
        _ => Err(ended(upload).into()),
    }
}

fn ended(upload: Upload) -> StoreError {
    Conflict::UploadEnded {
        upload: upload.id,
        state: upload.state,
    }
    .into()
}

fn by_id(connection: &Connection, id: &UploadId) -> Outcome<Option<Upload>> {
    one(connection, concat!(select!(), " WHERE id = ?1"), id.as_str())
}

fn by_file(connection: &Connection, file: &FileId) -> Outcome<Option<Upload>> {
    one(connection, concat!(select!(), " WHERE file = ?1"), file.as_str())
}

fn one(connection: &Connection, sql: &str, key: &str) -> Outcome<Option<Upload>> {
    Ok(connection
        .prepare_cached(sql)?
        .query_row([key], upload)
        .optional()?)
}

fn list(connection: &Connection, agent: Option<&AgentId>, request: &PageRequest) -> Outcome<Page<Upload>> {
    let (offset, after) = pages::start::<(i64, String)>(request)?;
    let (time, id) = after.unwrap_or((i64::MAX, String::new()));
    let snapshot = connection.unchecked_transaction()?;
    let total = snapshot
        .prepare_cached("SELECT count(*) FROM upload WHERE ?1 IS NULL OR agent = ?1")?
        .query_row(params![agent], |row| count(row, 0))?;
    let items = snapshot
        .prepare_cached(concat!(
            select!(),
            " WHERE (?1 IS NULL OR agent = ?1) AND (started_at, id) < (?4, ?5)
              ORDER BY started_at DESC, id DESC LIMIT ?2 OFFSET ?3"
        ))?
        .query_map(params![agent, request.limit, offset, time, id], upload)?
        .collect::<rusqlite::Result<_>>()?;
    Ok(pages::page(request, items, total, |last: &Upload| {
        (last.started_at.millis(), last.id.clone())
    })?)
}

/// The columns in the order in which [`upload`] reads them.
macro_rules! select {
    () => {
        "SELECT id, file, action, agent, source, name, mime_type, bytes, chunk_bytes, namespaces, started_at, state,
            ended_at, transit FROM upload"
    };
}
use select;

fn upload(row: &Row<'_>) -> rusqlite::Result<Upload> {
    Ok(Upload {
        id: row.read(0)?,
        file: row.read(1)?,
        action: row.read(2)?,
        agent: row.read(3)?,
        source: row.read(4)?,
        name: row.read(5)?,
        mime_type: row.read(6)?,
        bytes: count(row, 7)?,
        chunk_bytes: count(row, 8)?,
        namespaces: row.read(9)?,
        started_at: row.read(10)?,
        state: row.read(11)?,
        ended_at: row.read(12)?,
        transit: row.read(13)?,
    })
}
