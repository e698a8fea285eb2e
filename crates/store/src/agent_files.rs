//! O21: files for agents: one body, a list of who may have it.

use async_trait::async_trait;

use crate::{AgentId, Blob, BlobId, BlobStream, BlobTerms, FileId, Page, PageRequest, Result, Timestamp};

/// A file that an operator lays down for agents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAgentFile {
    /// Its id.
    pub id: FileId,
    /// Its name, as the operator gave it.
    pub name: String,
    /// Its type.
    pub mime_type: String,
    /// The library that it is in: any agent that may read the library may have it.
    pub library: Option<String>,
    /// Who may have it, if it is in no library.
    pub agents: Vec<AgentId>,
    /// When it was laid down.
    pub at: Timestamp,
}

/// A file for agents on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentFile {
    /// What its laying down said.
    pub file: NewAgentFile,
    /// Its bytes.
    pub blob: Blob,
}

/// The body of a file for agents.
#[must_use]
pub fn agent_file_blob(file: &FileId) -> BlobId {
    BlobId::from(format!("file/{file}"))
}

/// Files for agents.
#[async_trait]
pub trait AgentFiles: Send + Sync + 'static {
    /// Stores record and body in one unit, under the terms of [`crate::Blobs::put_blob`].
    ///
    /// # Errors
    /// [`crate::Conflict::IdTaken`]; those of `put_blob`.
    async fn put_agent_file(
        &self,
        new: NewAgentFile,
        body: BlobStream,
        terms: BlobTerms,
    ) -> Result<AgentFile>;

    /// The file of this id.
    async fn agent_file(&self, id: &FileId) -> Result<Option<AgentFile>>;

    /// All of them, newest first.
    async fn agent_files(&self, page: PageRequest) -> Result<Page<AgentFile>>;

    /// Removes record and body; answers whether there was one.
    async fn delete_agent_file(&self, id: &FileId) -> Result<bool>;

    /// O24: removes files of no library that were laid down before `before`, at most `limit`; answers how many.
    async fn delete_agent_files(&self, before: Timestamp, limit: u32) -> Result<u64>;
}
