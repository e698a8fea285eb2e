//! O26: the engine as a whole: its class, health, sizes and end.

use async_trait::async_trait;

use crate::{Result, StoreHealth, StoreStats};

/// What an engine guarantees about an operation that touches several documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineClass {
    /// All of it or none of it (the embedded engine, PostgreSQL).
    Transactional,
    /// Each document by itself, in the order that the operation documents (Elasticsearch): an answered operation is
    /// complete, and what a crash left is repaired as the operation documents.
    Document,
}

/// The engine as a whole.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// The class of guarantees that it gives.
    fn class(&self) -> EngineClass;

    /// O26: whether it takes reads and writes now. Never fails: a fault is reported in the answer.
    async fn health(&self) -> StoreHealth;

    /// O26: bytes on disk, length of the write queue, and document counts.
    async fn stats(&self) -> Result<StoreStats>;

    /// Writes out everything that was accepted and closes the engine; later calls answer `Unavailable`.
    async fn close(&self) -> Result<()>;
}
