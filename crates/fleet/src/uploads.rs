//! Files that agents send (agents.md 10.1 to 10.4): who may send what, in which order, and when a file is whole.
//!
//! In: an agent whose key was verified, what it says of the file, and chunks as streams. Out: the store's records and
//! bodies. Never holds a chunk in memory, and never looks at an upload for somebody whose key it has not seen.

mod error;

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};
use prometheus_client::{
    metrics::counter::Counter,
    registry::{Registry, Unit},
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use store::{
    ActionId, Agent, AgentId, BlobStream, BlobTerms, BodyFault, Chunk, Conflict, Digest, FileId, NewUpload,
    Page, PageRequest, RawJson, StoreError, Timestamp, Upload, UploadEnd, UploadId, UploadState, chunk_blob,
};

use crate::{Fleet, FleetError, audit_log};

pub use error::UploadError;

/// Bytes of every chunk but the last.
pub const CHUNK_BYTES: u64 = 4 * 1024 * 1024;

/// What files may take. `None`: any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileLimits {
    /// Bytes of one file; 0: none is taken.
    pub of_file: Option<u64>,
    /// Bytes of all files of one agent.
    pub of_agent: Option<u64>,
    /// Uploads that one agent may have open.
    pub open_of_agent: Option<u32>,
    /// Bytes of all stored files, what open uploads announced included.
    pub of_all: Option<u64>,
    /// Bytes that stay free on the disk, so that it takes other writes when it takes no file any more.
    pub free: u64,
    /// How long an upload may take.
    pub open_for: Duration,
    /// How long a file is kept after its end.
    pub kept: Duration,
}

impl Default for FileLimits {
    fn default() -> Self {
        Self {
            of_file: None,
            of_agent: Some(1 << 30),
            open_of_agent: Some(16),
            of_all: Some(10 << 30),
            free: 1 << 30,
            open_for: Duration::from_secs(24 * 3600),
            kept: Duration::from_secs(30 * 24 * 3600),
        }
    }
}

/// What an agent says of a file.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the members of the request")]
pub struct UploadRequest {
    pub action_id: Option<String>,
    pub agent_id: Option<String>,
    pub source: Option<String>,
    pub name: Option<String>,
    pub mime_type: Option<String>,
    pub size: Option<i64>,
    pub document: RawJson,
}

/// Begins an upload; the answer's handle takes the chunks. The request's `agent_id` must be the agent's own.
///
/// # Errors
/// [`FleetError::WrongIdentity`], an [`UploadError`], or the store's fault.
pub async fn begin(
    fleet: &Fleet,
    agent: &Agent,
    request: UploadRequest,
    now: Timestamp,
) -> Result<Upload, FleetError> {
    let limits = fleet.settings.files;
    match request.agent_id.as_deref() {
        None | Some("") => return Err(UploadError::AgentMissing.into()),
        Some(named) if named != agent.id.as_str() => {
            return Err(FleetError::WrongIdentity { agent: named.into() });
        }
        Some(_) => {}
    }
    if limits.of_file == Some(0) {
        return Err(UploadError::Off.into());
    }
    let name = member("file.name", request.name)?;
    let mime_type = member("file.mime_type", request.mime_type)?;
    let action = member("action_id", request.action_id)?;
    crate::ids::action_id(&action)?;
    let source = member("src", request.source)?;
    if !source
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte))
    {
        let reason = "it may have lower-case letters, digits, _ and - only";
        return Err(UploadError::MemberInvalid {
            member: "src",
            reason,
        }
        .into());
    }
    let bytes = match request.size {
        None => return Err(UploadError::SizeMissing.into()),
        Some(size) => u64::try_from(size)
            .ok()
            .filter(|bytes| *bytes > 0)
            .ok_or(UploadError::SizeInvalid { size })?,
    };
    // Chunks are counted in 32 bits.
    let most_bytes = limits
        .of_file
        .unwrap_or(u64::MAX)
        .min(u64::from(u32::MAX) * CHUNK_BYTES);
    if bytes > most_bytes {
        return Err(UploadError::FileTooLarge { most_bytes }.into());
    }
    let new = NewUpload {
        id: UploadId::from(uuid::Uuid::new_v4().to_string()),
        file: FileId::from(format!("{action}.{}", agent.id)),
        action: ActionId::from(action),
        agent: agent.id.clone(),
        source,
        name,
        mime_type,
        bytes,
        chunk_bytes: CHUNK_BYTES,
        namespaces: agent.namespaces.clone(),
        document: request.document,
        at: now,
    };
    let file = new.file.clone();
    let begun = fleet.file_room.begin(new).await;
    let upload = begun.map_err(|error| refused(error, file))?;
    log::info!(
        "event.action" = "upload-begin", "fleet.agent.id":% = upload.agent, "fleet.action.id":% = upload.action,
        "fleet.upload.id":% = upload.id, "file.size" = upload.bytes; "an agent begins to send a file"
    );
    Ok(upload)
}

/// The member, if it has text that is no mere space.
fn member(member: &'static str, value: Option<String>) -> Result<String, UploadError> {
    let value = value
        .filter(|value| !value.trim().is_empty())
        .ok_or(UploadError::MemberMissing { member })?;
    if value.len() > MOST_TEXT {
        let reason = "it has more than 1024 bytes";
        return Err(UploadError::MemberInvalid { member, reason });
    }
    Ok(value)
}

/// The upload of this handle, if it is this agent's.
///
/// # Errors
/// [`UploadError::Unknown`], [`FleetError::WrongIdentity`], or the store's fault.
pub async fn of_agent(fleet: &Fleet, agent: &Agent, id: &UploadId) -> Result<Upload, FleetError> {
    let upload = fleet.store.upload(id).await?;
    let upload = upload.ok_or_else(|| UploadError::Unknown { upload: id.clone() })?;
    if upload.agent != agent.id {
        return Err(FleetError::WrongIdentity {
            agent: agent.id.clone(),
        });
    }
    Ok(upload)
}

/// What chunk `number` of an upload that takes chunks must be, and its number.
///
/// # Errors
/// [`UploadError::Expired`], [`UploadError::Stopped`], [`UploadError::ChunkNumber`], [`UploadError::StoreFull`].
pub async fn chunk_terms(
    fleet: &Fleet,
    upload: &Upload,
    number: i64,
    digest: &str,
    now: Timestamp,
) -> Result<(u32, BlobTerms), FleetError> {
    in_time(fleet, upload, now)?;
    if upload.state != UploadState::Open {
        return Err(stopped(upload.id.clone(), upload.state).into());
    }
    let number = u32::try_from(number)
        .ok()
        .filter(|number| *number < chunks_of(upload))
        .ok_or_else(|| UploadError::ChunkNumber {
            number: number.to_string(),
        })?;
    let digest = digest.trim().parse().map_err(|_| UploadError::ChunkHash)?;
    let before = u64::from(number) * upload.chunk_bytes;
    let bytes = (upload.bytes - before).min(upload.chunk_bytes);
    fleet.file_room.chunk(bytes).await?;
    let terms = BlobTerms {
        most_bytes: bytes,
        bytes: Some(bytes),
        digest: Some(digest),
    };
    Ok((number, terms))
}

/// Stores a chunk under the terms of [`chunk_terms`]; durable before the answer.
///
/// # Errors
/// An [`UploadError`], or the store's fault.
pub async fn chunk(
    fleet: &Fleet,
    upload: &Upload,
    number: u32,
    body: BlobStream,
    terms: BlobTerms,
) -> Result<(), FleetError> {
    let put = fleet.store.put_chunk(&upload.id, number, body, terms).await;
    let blob = put.map_err(|error| match error {
        StoreError::Body(BodyFault::WrongDigest { .. }) => UploadError::ChunkHash.into(),
        StoreError::Body(BodyFault::TooLong { most_bytes: bytes })
        | StoreError::Body(BodyFault::WrongLength { expected: bytes, .. }) => {
            UploadError::ChunkLength { bytes }.into()
        }
        StoreError::Conflict(Conflict::IdTaken(_)) => UploadError::ChunkTaken { number }.into(),
        StoreError::Conflict(Conflict::UploadEnded { upload, state }) => stopped(upload, state).into(),
        StoreError::NotFound { .. } => UploadError::Unknown {
            upload: upload.id.clone(),
        }
        .into(),
        other => FleetError::from(other),
    })?;
    fleet.upload_metrics.bytes.inc_by(blob.bytes);
    Ok(())
}

/// Ends an upload whose chunks are all there and have the SHA-256 over their SHA-256s that the agent says. With another
/// one the upload has failed and its chunks are removed.
///
/// # Errors
/// [`UploadError::Expired`], [`UploadError::HashMissing`], [`UploadError::Ended`], [`UploadError::ChunksMissing`],
/// [`UploadError::TransitHash`], or the store's fault.
pub async fn complete(
    fleet: &Fleet,
    upload: &Upload,
    transit_hash: Option<&str>,
    now: Timestamp,
) -> Result<(), FleetError> {
    in_time(fleet, upload, now)?;
    let said = transit_hash.map(str::trim).filter(|hash| !hash.is_empty());
    let said = said.ok_or(UploadError::HashMissing)?;
    if upload.state != UploadState::Open {
        return Err(UploadError::Ended {
            upload: upload.id.clone(),
            state: upload.state,
        }
        .into());
    }
    let (chunks, there) = (chunks_of(upload), fleet.store.chunks(&upload.id).await?);
    let found = u32::try_from(there.len()).unwrap_or(u32::MAX);
    if found < chunks {
        let missing = chunks - found;
        return Err(UploadError::ChunksMissing { missing, chunks }.into());
    }
    let transit = transit_hash_of(&there);
    let is_whole = said.parse() == Ok(transit);
    let end = if is_whole {
        UploadEnd::Ready(transit)
    } else {
        UploadEnd::Failed
    };
    fleet
        .store
        .end_upload(&upload.id, end, now)
        .await
        .map_err(|error| match error {
            // The collector came first.
            StoreError::Conflict(Conflict::UploadEnded {
                upload,
                state: UploadState::Expired,
            }) => UploadError::Expired { upload }.into(),
            StoreError::Conflict(Conflict::UploadEnded { upload, state }) => {
                UploadError::Ended { upload, state }.into()
            }
            other => FleetError::from(other),
        })?;
    log::info!(
        "event.action" = "upload-end", "fleet.agent.id":% = upload.agent, "fleet.action.id":% = upload.action,
        "fleet.upload.id":% = upload.id, "file.size" = upload.bytes; "upload is {}", end.state().as_str()
    );
    if is_whole {
        Ok(())
    } else {
        Err(UploadError::TransitHash.into())
    }
}

/// Uploads of an agent, newest first.
///
/// # Errors
/// [`FleetError::UnknownAgent`], or the store's fault.
pub async fn list(fleet: &Fleet, agent: &AgentId, page: PageRequest) -> Result<Page<Upload>, FleetError> {
    if fleet.store.agent(agent).await?.is_none() {
        return Err(FleetError::UnknownAgent { agent: agent.clone() });
    }
    Ok(fleet.store.uploads(Some(agent), page).await?)
}

/// A file that is there, and its bytes.
///
/// # Errors
/// [`UploadError::UnknownFile`], [`UploadError::NotReady`], or the store's fault.
pub async fn read(fleet: &Fleet, file: &FileId) -> Result<(Upload, BlobStream), FleetError> {
    let upload = known(fleet, file).await?;
    if upload.state != UploadState::Ready {
        return Err(UploadError::NotReady {
            file: file.clone(),
            state: upload.state,
        }
        .into());
    }
    let (store, id, chunks) = (fleet.store.clone(), upload.id.clone(), chunks_of(&upload));
    let bodies = futures_util::stream::iter(0..chunks).then(move |number| {
        let (store, blob) = (store.clone(), chunk_blob(&id, number));
        async move { store.read_blob(&blob, 0..u64::MAX).await }
    });
    Ok((upload, bodies.try_flatten().boxed()))
}

/// Removes a file's bytes; the record stays until its time is over.
///
/// # Errors
/// [`UploadError::UnknownFile`], [`UploadError::NotReady`] if it is removed already, or the store's fault.
pub async fn delete(fleet: &Fleet, file: &FileId, now: Timestamp) -> Result<(), FleetError> {
    let upload = known(fleet, file).await?;
    audit_log::due(fleet, "upload", file.as_str(), Value::Null, Value::Null);
    fleet
        .store
        .end_upload(&upload.id, UploadEnd::Deleted, now)
        .await
        .map_err(|error| match error {
            StoreError::Conflict(Conflict::UploadEnded { state, .. }) => UploadError::NotReady {
                file: file.clone(),
                state,
            }
            .into(),
            other => FleetError::from(other),
        })?;
    log::info!("event.action" = "file-delete", "fleet.file.id":% = file; "a file of an agent is removed");
    Ok(())
}

async fn known(fleet: &Fleet, file: &FileId) -> Result<Upload, FleetError> {
    let upload = fleet.store.upload_of(file).await?;
    Ok(upload.ok_or_else(|| UploadError::UnknownFile { file: file.clone() })?)
}

/// Refuses an upload whose time is over, whether the collector has found it or not.
fn in_time(fleet: &Fleet, upload: &Upload, now: Timestamp) -> Result<(), UploadError> {
    let is_late = upload.started_at < now.minus(fleet.settings.files.open_for);
    match upload.state {
        UploadState::Open if !is_late => Ok(()),
        UploadState::Open | UploadState::Expired => Err(UploadError::Expired {
            upload: upload.id.clone(),
        }),
        _ => Ok(()),
    }
}

fn stopped(upload: UploadId, state: UploadState) -> UploadError {
    match state {
        UploadState::Expired => UploadError::Expired { upload },
        state => UploadError::Stopped { upload, state },
    }
}

fn chunks_of(upload: &Upload) -> u32 {
    u32::try_from(upload.bytes.div_ceil(upload.chunk_bytes)).unwrap_or(u32::MAX)
}

/// SHA-256 over the chunks' SHA-256s in their order.
fn transit_hash_of(chunks: &[Chunk]) -> Digest {
    let mut hash = Sha256::new();
    for chunk in chunks {
        hash.update(chunk.blob.digest.as_bytes());
    }
    Digest::from(<[u8; 32]>::from(hash.finalize()))
}

fn refused(error: StoreError, file: FileId) -> FleetError {
    match error {
        StoreError::Conflict(Conflict::IdTaken(_)) => UploadError::FileIdTaken { file }.into(),
        StoreError::Conflict(Conflict::UploadEnded { upload: _, state }) => {
            UploadError::AlreadyThere { state }.into()
        }
        StoreError::Conflict(Conflict::AgentQuota { agent, most_bytes }) => {
            UploadError::AgentQuota { agent, most_bytes }.into()
        }
        StoreError::Conflict(Conflict::OpenUploads { agent, most }) => {
            UploadError::TooManyOpen { agent, most }.into()
        }
        StoreError::Conflict(conflict @ Conflict::DiskRoom { .. }) => UploadError::StoreFull {
            reason: conflict.to_string(),
        }
        .into(),
        StoreError::Conflict(Conflict::StoreQuota { most_bytes }) => UploadError::StoreFull {
            reason: format!("stored files may take {most_bytes} bytes together"),
        }
        .into(),
        other => FleetError::from(other),
    }
}

/// What the file transfers count.
#[derive(Clone, Debug, Default)]
pub(crate) struct UploadMetrics {
    bytes: Counter,
}

impl UploadMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register_with_unit(
            "upload",
            "Size of the chunks that agents sent and that were stored",
            Unit::Bytes,
            metrics.bytes.clone(),
        );
        metrics
    }
}

/// Longest text of a member that is kept by itself.
const MOST_TEXT: usize = 1024;
