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
    /// Files that the disk still takes; `None` if it does not count them, or the engine cannot say.
    pub free_files: Option<u64>,
}

impl BlobSpace {
    /// What the stored bodies take.
    #[must_use]
    pub const fn taken(&self) -> BlobRoom {
        BlobRoom {
            bodies: self.blobs,
            bytes: self.bytes,
        }
    }
}

/// Room that bodies take, or that there is for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlobRoom {
    /// How many bodies.
    pub bodies: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl BlobRoom {
    /// Any number of bodies of any length.
    pub const ANY: Self = Self {
        bodies: u64::MAX,
        bytes: u64::MAX,
    };

    /// What a body of so many bytes takes.
    #[must_use]
    pub const fn of(bytes: u64) -> Self {
        Self { bodies: 1, bytes }
    }

    /// What a body of so many bytes takes that is kept in chunks.
    #[must_use]
    pub const fn in_chunks(bytes: u64, chunk_bytes: u64) -> Self {
        let chunk_bytes = if chunk_bytes == 0 { 1 } else { chunk_bytes };
        let bodies = bytes.div_ceil(chunk_bytes);
        Self { bodies, bytes }
    }

    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            bodies: self.bodies.saturating_add(other.bodies),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    /// What this leaves of `room`, of whose bytes the bodies' blocks are taken too.
    #[must_use]
    pub const fn left_of(self, room: Self) -> Self {
        Self {
            bodies: room.bodies.saturating_sub(self.bodies),
            bytes: room.bytes.saturating_sub(self.counted()),
        }
    }

    /// Whether this has room in `room`, of whose bytes the bodies' blocks are taken too.
    #[must_use]
    pub const fn fits(self, room: Self) -> bool {
        self.bodies <= room.bodies && self.counted() <= room.bytes
    }

    /// Bytes that this counts in quotas and on the disk.
    #[must_use]
    pub const fn counted(self) -> u64 {
        self.bytes
            .saturating_add(self.bodies.saturating_mul(BODY_BLOCK_BYTES))
    }
}

/// What each body counts beside its bytes: a file takes a block of the disk and an inode, however short it is.
pub const BODY_BLOCK_BYTES: u64 = 4096;

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
