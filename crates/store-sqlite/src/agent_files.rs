//! O21: files for agents. Record and body come and go in one unit.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, Row};
use store::{
    AgentFile, AgentFiles, Blob, BlobStream, BlobTerms, Conflict, FileId, NewAgentFile, Page, PageRequest,
    Result, Timestamp, agent_file_blob,
};

use super::{
    SqliteStore,
    blobs::{self, Freed, Recorded},
    columns::{ReadColumn as _, count, params},
    fault::Outcome,
    pages,
    unit::Unit,
};

#[async_trait]
impl AgentFiles for SqliteStore {
    async fn put_agent_file(
        &self,
        new: NewAgentFile,
        body: BlobStream,
        terms: BlobTerms,
    ) -> Result<AgentFile> {
        let staged = self.shared.blob_files.stage(body, terms).await?;
        self.record(staged, move |unit, staged| {
            if find(unit, &new.id)?.is_some() {
                return Err(Conflict::IdTaken(format!("file {}", new.id)).into());
            }
            let body = agent_file_blob(&new.id);
            let recorded = blobs::insert(unit, &body, staged)?;
            unit.prepare_cached(
                "INSERT INTO agent_file (id, blob, name, mime_type, library, agents, at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                new.id,
                body,
                new.name,
                new.mime_type,
                new.library,
                new.agents,
                new.at
            ])?;
            let stored = |blob| AgentFile { file: new, blob };
            Ok(match recorded {
                Recorded::Kept(blob) => Recorded::Kept(stored(blob)),
                Recorded::Unneeded(blob) => Recorded::Unneeded(stored(blob)),
            })
        })
        .await
    }

    async fn agent_file(&self, id: &FileId) -> Result<Option<AgentFile>> {
        let id = id.clone();
        self.read(move |connection| find(connection, &id)).await
    }

    async fn agent_files(&self, page: PageRequest) -> Result<Page<AgentFile>> {
        self.read(move |connection| list(connection, &page)).await
    }

    async fn delete_agent_file(&self, id: &FileId) -> Result<bool> {
        let id = id.clone();
        self.freeing(1, move |unit| {
            let freed = delete(unit, &id)?;
            Ok((freed.is_some(), freed.into_iter().collect()))
        })
        .await
    }

    async fn delete_agent_files(&self, before: Timestamp, limit: u32) -> Result<u64> {
        self.freeing(limit as usize, move |unit| {
            let old: Vec<FileId> = unit
                .prepare_cached("SELECT id FROM agent_file WHERE library IS NULL AND at < ?1 LIMIT ?2")?
                .query_map(params![before, limit], |row| row.read(0))?
                .collect::<rusqlite::Result<_>>()?;
            let mut freed = Vec::new();
            for id in &old {
                freed.extend(delete(unit, id)?);
            }
            Ok((old.len() as u64, freed))
        })
        .await
    }
}

fn delete(unit: &Unit<'_>, id: &FileId) -> Outcome<Option<Freed>> {
    let removed = unit
        .prepare_cached("DELETE FROM agent_file WHERE id = ?1")?
        .execute(params![id])?;
    match removed {
        0 => Ok(None),
        _ => blobs::delete(unit, &agent_file_blob(id)),
    }
}

fn find(connection: &Connection, id: &FileId) -> Outcome<Option<AgentFile>> {
    Ok(connection
        .prepare_cached(concat!(select!(), " WHERE f.id = ?1"))?
        .query_row(params![id], file)
        .optional()?)
}

fn list(connection: &Connection, request: &PageRequest) -> Outcome<Page<AgentFile>> {
    let (offset, after) = pages::start::<(i64, String)>(request)?;
    let (time, id) = after.unwrap_or((i64::MAX, String::new()));
    let snapshot = connection.unchecked_transaction()?;
    let total = snapshot
        .prepare_cached("SELECT count(*) FROM agent_file")?
        .query_row([], |row| count(row, 0))?;
    let items = snapshot
        .prepare_cached(concat!(
            select!(),
            " WHERE (f.at, f.id) < (?3, ?4) ORDER BY f.at DESC, f.id DESC LIMIT ?1 OFFSET ?2"
        ))?
        .query_map(params![request.limit, offset, time, id], file)?
        .collect::<rusqlite::Result<_>>()?;
    Ok(pages::page(request, items, total, |last: &AgentFile| {
        (last.file.at.millis(), last.file.id.clone())
    })?)
}

/// The columns in the order in which [`file`] reads them.
macro_rules! select {
    () => {
        "SELECT f.id, f.name, f.mime_type, f.library, f.agents, f.at, b.bytes, b.digest
         FROM agent_file AS f JOIN blob AS b ON b.id = f.blob"
    };
}
use select;

fn file(row: &Row<'_>) -> rusqlite::Result<AgentFile> {
    Ok(AgentFile {
        file: NewAgentFile {
            id: row.read(0)?,
            name: row.read(1)?,
            mime_type: row.read(2)?,
            library: row.read(3)?,
            agents: row.read(4)?,
            at: row.read(5)?,
        },
        blob: Blob {
            bytes: count(row, 6)?,
            digest: row.read(7)?,
        },
    })
}
