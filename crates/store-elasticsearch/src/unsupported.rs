//! What this store does not keep yet: operators' keys with roles, secrets, large bodies, files from and for agents. Each call says so; nothing is
//! written or lost silently.

use std::ops::Range;

use std::sync::Arc;

use async_trait::async_trait;
use store::{
    AgentFile, AgentFiles, AgentId, ApiKey, Audit, AuditDraft, AuditEntry, AuditQuery, Blob, BlobId,
    BlobSpace, BlobStream, BlobTerms, Blobs, Chunk, Claims, FileId, KeyId, NewAgentFile, NewAudit,
    NewOperatorKey, NewUpload, OperatorKey, OperatorKeys, Page, PageRequest, RawJson, Result, SealedSecret,
    SecretId, Secrets, Store, StoreError, Timestamp, Upload, UploadEnd, UploadId, UploadTerms, Uploads,
};

use crate::ElasticStore;

fn cannot<T>(what: &'static str) -> Result<T> {
    Err(StoreError::Unsupported { what })
}

const OPERATOR_KEYS: &str = "keep operators' keys";
const AUDIT: &str = "keep an audit log";
const SECRETS: &str = "keep secrets";
const BODIES: &str = "keep large bodies";
const UPLOADS: &str = "keep files of agents";
const FILES: &str = "keep files for agents";

#[async_trait]
impl Audit for ElasticStore {
    fn audited(&self, _draft: Arc<AuditDraft>) -> Option<Arc<dyn Store>> {
        None
    }
    async fn append_audit(&self, _entry: NewAudit) -> Result<()> {
        cannot(AUDIT)
    }
    async fn audit(&self, _query: &AuditQuery, _page: PageRequest) -> Result<Page<AuditEntry>> {
        cannot(AUDIT)
    }
    /// There is none to be removed.
    async fn delete_audit(&self, _before: Timestamp, _limit: u32) -> Result<u64> {
        Ok(0)
    }
}

#[async_trait]
impl OperatorKeys for ElasticStore {
    async fn create_operator_key(&self, _key: NewOperatorKey) -> Result<(OperatorKey, ApiKey)> {
        cannot(OPERATOR_KEYS)
    }
    async fn operator_key(&self, _id: &KeyId) -> Result<Option<OperatorKey>> {
        cannot(OPERATOR_KEYS)
    }
    async fn operator_keys(&self, _page: PageRequest) -> Result<Page<OperatorKey>> {
        cannot(OPERATOR_KEYS)
    }
    async fn revoke_operator_key(&self, _id: &KeyId, _at: Timestamp) -> Result<()> {
        cannot(OPERATOR_KEYS)
    }
}

#[async_trait]
impl Secrets for ElasticStore {
    async fn put_secret(&self, _secret: SealedSecret) -> Result<()> {
        cannot(SECRETS)
    }
    async fn secret(&self, _id: &SecretId) -> Result<Option<SealedSecret>> {
        cannot(SECRETS)
    }
    async fn secrets(&self, _page: PageRequest) -> Result<Page<SealedSecret>> {
        cannot(SECRETS)
    }
    async fn delete_secret(&self, _id: &SecretId) -> Result<()> {
        cannot(SECRETS)
    }
    async fn secret_keys(&self) -> Result<Vec<String>> {
        cannot(SECRETS)
    }
    async fn reseal_secrets(&self, _secrets: Vec<SealedSecret>) -> Result<()> {
        cannot(SECRETS)
    }
}

#[async_trait]
impl Blobs for ElasticStore {
    async fn put_blob(&self, _id: &BlobId, _body: BlobStream, _terms: BlobTerms) -> Result<Blob> {
        cannot(BODIES)
    }
    async fn blob(&self, _id: &BlobId) -> Result<Option<Blob>> {
        cannot(BODIES)
    }
    async fn read_blob(&self, _id: &BlobId, _range: Range<u64>) -> Result<BlobStream> {
        cannot(BODIES)
    }
    async fn delete_blobs(&self, _ids: &[BlobId]) -> Result<()> {
        cannot(BODIES)
    }
    async fn blob_space(&self) -> Result<BlobSpace> {
        cannot(BODIES)
    }
}

#[async_trait]
impl Uploads for ElasticStore {
    async fn begin_upload(&self, _new: NewUpload, _terms: UploadTerms) -> Result<Upload> {
        cannot(UPLOADS)
    }
    async fn claims(&self, _stale_before: Timestamp) -> Result<Claims> {
        cannot(UPLOADS)
    }
    async fn upload(&self, _id: &UploadId) -> Result<Option<Upload>> {
        cannot(UPLOADS)
    }
    async fn upload_document(&self, _id: &UploadId) -> Result<Option<RawJson>> {
        cannot(UPLOADS)
    }
    async fn upload_of(&self, _file: &FileId) -> Result<Option<Upload>> {
        cannot(UPLOADS)
    }
    async fn put_chunk(
        &self,
        _id: &UploadId,
        _number: u32,
        _body: BlobStream,
        _terms: BlobTerms,
    ) -> Result<Blob> {
        cannot(UPLOADS)
    }
    async fn chunks(&self, _id: &UploadId) -> Result<Vec<Chunk>> {
        cannot(UPLOADS)
    }
    async fn end_upload(&self, _id: &UploadId, _end: UploadEnd, _at: Timestamp) -> Result<()> {
        cannot(UPLOADS)
    }
    async fn uploads(&self, _agent: Option<&AgentId>, _page: PageRequest) -> Result<Page<Upload>> {
        cannot(UPLOADS)
    }
    async fn expire_uploads(&self, _before: Timestamp, _at: Timestamp, _limit: u32) -> Result<u64> {
        cannot(UPLOADS)
    }
    async fn delete_uploads(&self, _before: Timestamp, _limit: u32) -> Result<u64> {
        cannot(UPLOADS)
    }
}

#[async_trait]
impl AgentFiles for ElasticStore {
    async fn put_agent_file(
        &self,
        _new: NewAgentFile,
        _body: BlobStream,
        _terms: BlobTerms,
    ) -> Result<AgentFile> {
        cannot(FILES)
    }
    async fn agent_file(&self, _id: &FileId) -> Result<Option<AgentFile>> {
        cannot(FILES)
    }
    async fn agent_files(&self, _page: PageRequest) -> Result<Page<AgentFile>> {
        cannot(FILES)
    }
    async fn delete_agent_file(&self, _id: &FileId) -> Result<bool> {
        cannot(FILES)
    }
    async fn delete_agent_files(&self, _before: Timestamp, _limit: u32) -> Result<u64> {
        cannot(FILES)
    }
}
