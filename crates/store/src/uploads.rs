//! O20: files that agents send, in numbered chunks.
//!
//! The store keeps an upload's record and its chunks, and lets its state go one way only. What a file may be, who may send
//! it and when it is complete, the domain decides.

use async_trait::async_trait;

use crate::{
    ActionId, AgentId, Blob, BlobId, BlobRoom, BlobStream, BlobTerms, Digest, FileId, Page, PageRequest,
    RawJson, Result, Timestamp, UploadId, UploadState,
};

/// A file that an agent sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewUpload {
    /// The handle for its chunks.
    pub id: UploadId,
    /// Its document: one for an action and an agent.
    pub file: FileId,
    /// The action that asked for it.
    pub action: ActionId,
    /// Who sends it.
    pub agent: AgentId,
    /// `src`.
    pub source: String,
    /// `file.name`.
    pub name: String,
    /// `file.mime_type`.
    pub mime_type: String,
    /// `file.size`.
    pub bytes: u64,
    /// Bytes of each chunk but the last.
    pub chunk_bytes: u64,
    /// The agent's.
    pub namespaces: Vec<String>,
    /// What the agent said, whole.
    pub document: RawJson,
    /// When it began.
    pub at: Timestamp,
}

/// What a new upload meets. `None`: any number. What an open one announced counts before it came, and each body as
/// [`BlobRoom::counted`] has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadTerms {
    /// Bytes of one agent's uploads.
    pub of_agent: Option<u64>,
    /// Uploads that one agent may have open.
    pub open_of_agent: Option<u32>,
    /// Bytes of everything that is stored as a body.
    pub of_all: Option<u64>,
    /// What the disk takes beside what is on it.
    pub on_disk: BlobRoom,
    /// An open one that began before has expired, whether [`Uploads::expire_uploads`] came by or not; what did not come of
    /// it takes no room.
    pub stale_before: Timestamp,
}

/// What uploads take beside the bodies that are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// What open ones announced and did not come yet.
    pub coming: BlobRoom,
    /// Bytes of all records.
    pub record_bytes: u64,
}

/// An upload on record, but for what the agent said of it ([`Uploads::upload_document`]).
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields of NewUpload")]
pub struct Upload {
    pub id: UploadId,
    pub file: FileId,
    pub action: ActionId,
    pub agent: AgentId,
    pub source: String,
    pub name: String,
    pub mime_type: String,
    pub bytes: u64,
    pub chunk_bytes: u64,
    pub namespaces: Vec<String>,
    pub started_at: Timestamp,
    pub state: UploadState,
    /// When it left [`UploadState::Open`].
    pub ended_at: Option<Timestamp>,
    /// SHA-256 over its chunks' SHA-256s; only of one that is ready.
    pub transit: Option<Digest>,
}

/// A chunk on record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// From 0.
    pub number: u32,
    /// Its bytes.
    pub blob: Blob,
}

/// How an upload leaves its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadEnd {
    /// [`UploadState::Ready`], with the SHA-256 over its chunks' SHA-256s.
    Ready(Digest),
    /// [`UploadState::Failed`].
    Failed,
    /// [`UploadState::Deleted`].
    Deleted,
}

impl UploadEnd {
    /// The state that it leads to.
    #[must_use]
    pub const fn state(self) -> UploadState {
        match self {
            Self::Ready(_) => UploadState::Ready,
            Self::Failed => UploadState::Failed,
            Self::Deleted => UploadState::Deleted,
        }
    }
}

/// The body of a chunk.
#[must_use]
pub fn chunk_blob(upload: &UploadId, number: u32) -> BlobId {
    BlobId::from(format!("upload/{upload}/{number}"))
}

/// Files that agents send.
#[async_trait]
pub trait Uploads: Send + Sync + 'static {
    /// Begins an upload. An open one of the same file and length is answered as it is; an open one of another length, a
    /// failed or an expired one makes room with all its chunks.
    ///
    /// # Errors
    /// [`crate::Conflict::UploadEnded`] if the file is ready or was deleted; [`crate::Conflict::IdTaken`] if the file's id
    /// is that of another action's or agent's; [`crate::Conflict::AgentQuota`], [`crate::Conflict::OpenUploads`],
    /// [`crate::Conflict::StoreQuota`], [`crate::Conflict::DiskRoom`] if there is no room under the terms.
    async fn begin_upload(&self, new: NewUpload, terms: UploadTerms) -> Result<Upload>;

    /// What uploads take beside stored bodies. An open one that began before `stale_before` has expired.
    async fn claims(&self, stale_before: Timestamp) -> Result<Claims>;

    /// The upload of this handle.
    async fn upload(&self, id: &UploadId) -> Result<Option<Upload>>;

    /// What the agent said of it, as it was sent.
    async fn upload_document(&self, id: &UploadId) -> Result<Option<RawJson>>;

    /// The upload of this document.
    async fn upload_of(&self, file: &FileId) -> Result<Option<Upload>>;

    /// Stores a chunk under the terms of [`crate::Blobs::put_blob`]. A repeat with equal bytes is harmless.
    ///
    /// # Errors
    /// [`crate::StoreError::NotFound`]; [`crate::Conflict::UploadEnded`]; [`crate::Conflict::IdTaken`] if the chunk has
    /// other bytes; those of `put_blob`.
    async fn put_chunk(&self, id: &UploadId, number: u32, body: BlobStream, terms: BlobTerms)
    -> Result<Blob>;

    /// The chunks that are there, in order.
    async fn chunks(&self, id: &UploadId) -> Result<Vec<Chunk>>;

    /// Ends an upload. Chunks of one that does not become ready are removed.
    ///
    /// # Errors
    /// [`crate::StoreError::NotFound`]; [`crate::Conflict::UploadEnded`] if its state does not lead there.
    async fn end_upload(&self, id: &UploadId, end: UploadEnd, at: Timestamp) -> Result<()>;

    /// Uploads of one agent or of all, newest first.
    async fn uploads(&self, agent: Option<&AgentId>, page: PageRequest) -> Result<Page<Upload>>;

    /// O24: lets open uploads that began before `before` expire, at most `limit`; answers how many.
    async fn expire_uploads(&self, before: Timestamp, at: Timestamp, limit: u32) -> Result<u64>;

    /// O24: removes records and chunks of uploads that ended before `before`, at most `limit`; answers how many.
    async fn delete_uploads(&self, before: Timestamp, limit: u32) -> Result<u64>;
}
