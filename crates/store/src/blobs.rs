//! Large bodies (artifacts, chunks of uploads, files for agents).
//!
//! Only the shape, so that engines are planned with it: no engine implements it yet, and it is not part of
//! [`crate::Store`] until the first file route needs it.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use crate::{BlobId, Result};

/// A body in pieces; never whole in memory.
pub type BlobStream = BoxStream<'static, Result<Bytes>>;

/// Large bodies by id.
#[async_trait]
pub trait Blobs: Send + Sync + 'static {
    /// Stores the body, durable before the answer; answers its length. A body cut short leaves nothing. A repeat with
    /// equal bytes is harmless.
    ///
    /// # Errors
    /// [`crate::Conflict::IdTaken`] if the id holds other bytes.
    async fn put_blob(&self, id: &BlobId, body: BlobStream) -> Result<u64>;

    /// The bytes of `range`, as far as the body reaches.
    ///
    /// # Errors
    /// [`crate::StoreError::NotFound`].
    async fn blob(&self, id: &BlobId, range: Range<u64>) -> Result<BlobStream>;

    /// Removes the body; does nothing for an unknown id.
    async fn delete_blob(&self, id: &BlobId) -> Result<()>;
}
