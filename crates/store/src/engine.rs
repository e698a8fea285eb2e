//! O26: the engine itself, whatever it holds.

use async_trait::async_trait;

use crate::{Result, StoreHealth, StoreStats};

/// What an engine guarantees about an operation that touches several documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineClass {
    /// All of it or none of it (the embedded engine, PostgreSQL).
    Transactional,
    /// Each document by itself, in the order that the operation documents (Elasticsearch): what was answered is
    /// whole, and what a crash left is repaired by whom the operation names.
    Document,
}

/// The engine.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// What it guarantees.
    fn class(&self) -> EngineClass;

    /// O26: whether it takes reads and writes now. Never fails: a fault is the answer.
    async fn health(&self) -> StoreHealth;

    /// O26: sizes.
    async fn stats(&self) -> Result<StoreStats>;

    /// Writes out everything that was accepted and closes the engine; later calls answer `Unavailable`.
    async fn close(&self) -> Result<()>;
}
