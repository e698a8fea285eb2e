//! O19 to O21: large bodies (artifacts, chunks of uploads, files for agents), streamed in and out.
//!
//! A body is stored whole and durable, or not at all. The store counts what it holds and what the disk has left; who may
//! store how much, the domain decides.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use crate::{BlobId, Digest, Result};

/// A body in pieces; never whole in memory.
pub type BlobStream = BoxStream<'static, Result<Bytes>>;

/// What a body must be. One that is not is refused with a [`BodyFault`] and leaves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobTerms {
    /// Its bytes at most: reading stops there.
    pub most_bytes: u64,
    /// Its bytes exactly, if they are known before.
    pub bytes: Option<u64>,
    /// Its SHA-256, if it is known before.
    pub digest: Option<Digest>,
}

impl BlobTerms {
    /// Any body of at most so many bytes.
    #[must_use]
    pub const fn at_most(bytes: u64) -> Self {
        Self {
            most_bytes: bytes,
            bytes: None,
            digest: None,
        }
    }
}

/// A stored body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256.
    pub digest: Digest,
}

/// What all bodies take, and what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobSpace {
    /// Stored bodies.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes that the disk still takes; `None` for an engine that cannot say.
    pub free_bytes: Option<u64>,
}

/// Why a body was not stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the texts and the fields' names say it")]
pub enum BodyFault {
    #[error("the body has more than {most_bytes} bytes")]
    TooLong { most_bytes: u64 },
    #[error("the body has {bytes} bytes, not {expected}")]
    WrongLength { expected: u64, bytes: u64 },
    #[error("the body has the SHA-256 {digest}, not {expected}")]
    WrongDigest { expected: Digest, digest: Digest },
    #[error("the body ended early: {reason}")]
    CutShort { reason: String },
}

/// Large bodies by id.
#[async_trait]
pub trait Blobs: Send + Sync + 'static {
    /// Stores the body, durable before the answer. A body cut short, or one that is not what `terms` say, leaves
    /// nothing; so does a caller that goes away before the body's end. A repeat with equal bytes is harmless.
    ///
    /// # Errors
    /// [`crate::Conflict::IdTaken`] if the id holds other bytes; [`crate::StoreError::Body`]; [`crate::StoreError::Full`]
    /// if the disk has no room for it; an error that `body` yields, as it is.
    async fn put_blob(&self, id: &BlobId, body: BlobStream, terms: BlobTerms) -> Result<Blob>;

    /// Length and SHA-256 of a stored body.
    async fn blob(&self, id: &BlobId) -> Result<Option<Blob>>;

    /// The bytes of `range`, as far as the body reaches. A body that is deleted meanwhile is read to its end.
    ///
    /// # Errors
    /// [`crate::StoreError::NotFound`]; [`crate::StoreError::Corrupt`] if the body is not what was stored.
    async fn read_blob(&self, id: &BlobId, range: Range<u64>) -> Result<BlobStream>;

    /// Removes the bodies; does nothing for unknown ids.
    async fn delete_blobs(&self, ids: &[BlobId]) -> Result<()>;

    /// What is stored, and what is left.
    async fn blob_space(&self) -> Result<BlobSpace>;
}
