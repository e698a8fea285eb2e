//! Files that operators lay down for agents (agents.md 12.1): who may have which, and their bytes by range.

use std::ops::Range;

use serde_json::{Value, json};
use store::{
    Agent, AgentFile, AgentId, BlobStream, BlobTerms, BodyFault, FileId, NewAgentFile, Page, PageRequest,
    StoreError, Timestamp, agent_file_blob,
};

use crate::{Fleet, FleetError, audit_log, uploads::UploadError};

/// For whom a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// These agents.
    Agents(Vec<AgentId>),
    /// Whoever may read this library.
    Library(String),
}

/// What an operator says of a file.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "names say it")]
pub struct FileDraft {
    pub name: String,
    pub mime_type: String,
    pub audience: Audience,
    /// Its length, if that is known before its bytes.
    pub bytes: Option<u64>,
}

/// Stores a file for agents; durable before the answer.
///
/// # Errors
/// [`FleetError::UnknownAgent`], [`UploadError::StoreFull`], or the store's fault.
pub async fn lay_down(
    fleet: &Fleet,
    draft: FileDraft,
    body: BlobStream,
    now: Timestamp,
) -> Result<AgentFile, FleetError> {
    let (agents, library) = match draft.audience {
        Audience::Agents(agents) => (agents, None),
        Audience::Library(library) => (Vec::new(), Some(library)),
    };
    for agent in &agents {
        match fleet.store.agent(agent).await? {
            Some(found) if found.is_active => {}
            Some(_) => return Err(FleetError::AgentInactive { agent: agent.clone() }),
            None => return Err(FleetError::UnknownAgent { agent: agent.clone() }),
        }
    }
    let room = fleet.file_room.reserve(draft.bytes, now).await?;
    let terms = BlobTerms {
        bytes: draft.bytes,
        ..BlobTerms::at_most(u64::MAX)
    };
    let new = NewAgentFile {
        id: FileId::from(uuid::Uuid::new_v4().to_string()),
        name: draft.name,
        mime_type: draft.mime_type,
        library,
        agents,
        at: now,
    };
    let what = json!({ "name": new.name, "library": new.library, "agents": new.agents.len() });
    audit_log::due(fleet, "file", new.id.as_str(), Value::Null, what);
    let body = room.filled_by(body);
    let stored = fleet.store.put_agent_file(new, body, terms).await;
    drop(room);
    let stored = stored.map_err(|error| match error {
        StoreError::Body(BodyFault::TooLong { most_bytes }) => UploadError::StoreFull {
            reason: format!("{most_bytes} bytes are left for files"),
        }
        .into(),
        other => FleetError::from(other),
    })?;
    log::info!(
        "event.action" = "file-lay-down", "fleet.file.id":% = stored.file.id, "file.size" = stored.blob.bytes;
        "a file for agents is laid down"
    );
    Ok(stored)
}

/// The file of this id, if it is for this agent; with `library`, if it is in that one.
///
/// # Errors
/// [`UploadError::UnknownFile`], also for a file of others; or the store's fault.
pub async fn find(
    fleet: &Fleet,
    agent: &Agent,
    id: &FileId,
    library: Option<&str>,
) -> Result<AgentFile, FleetError> {
    let found = fleet.store.agent_file(id).await?;
    found
        .filter(|found| match (&found.file.library, library) {
            (None, None) => found.file.agents.contains(&agent.id),
            (Some(of), Some(asked)) => of == asked,
            _ => false,
        })
        .ok_or_else(|| UploadError::UnknownFile { file: id.clone() }.into())
}

/// Bytes of a file.
///
/// # Errors
/// [`UploadError::UnknownFile`] if it was removed meanwhile; the store's fault.
pub async fn read(fleet: &Fleet, file: &AgentFile, range: Range<u64>) -> Result<BlobStream, FleetError> {
    let id = &file.file.id;
    let read = fleet.store.read_blob(&agent_file_blob(id), range).await;
    read.map_err(|error| match error {
        StoreError::NotFound { .. } => UploadError::UnknownFile { file: id.clone() }.into(),
        other => FleetError::from(other),
    })
}

/// All files for agents, newest first.
pub async fn list(fleet: &Fleet, page: PageRequest) -> Result<Page<AgentFile>, FleetError> {
    Ok(fleet.store.agent_files(page).await?)
}

/// Removes a file.
///
/// # Errors
/// [`UploadError::UnknownFile`], or the store's fault.
pub async fn delete(fleet: &Fleet, id: &FileId) -> Result<(), FleetError> {
    let known = fleet.store.agent_file(id).await?.is_some();
    audit_log::due(fleet, "file", id.as_str(), Value::Null, Value::Null);
    if !known || !fleet.store.delete_agent_file(id).await? {
        return Err(UploadError::UnknownFile { file: id.clone() }.into());
    }
    log::info!("event.action" = "file-delete", "fleet.file.id":% = id; "a file for agents is removed");
    Ok(())
}
