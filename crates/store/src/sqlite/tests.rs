//! The embedded engine under the conformance suite, and what is its own: one process, files, faults, versions.

use std::sync::Arc;

use async_trait::async_trait;

use super::{OpenOptions, SqliteStore};
use crate::{Store, StoreMetrics, conformance::Bench};

/// A store in a directory of its own.
struct Directory {
    store: Option<Arc<SqliteStore>>,
    path: tempfile::TempDir,
}

impl Directory {
    fn new() -> Self {
        let path = tempfile::tempdir().unwrap();
        let store = Some(Arc::new(open(path.path()).unwrap()));
        Self { store, path }
    }
}

#[async_trait]
impl Bench for Directory {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone().unwrap()
    }

    async fn restart(&mut self) {
        if let Some(store) = self.store.take() {
            store.close().await.unwrap();
        }
        self.store = Some(Arc::new(open(self.path.path()).unwrap()));
    }
}

fn open(directory: &std::path::Path) -> Result<SqliteStore, super::OpenError> {
    SqliteStore::open(OpenOptions::new(directory), StoreMetrics::unregistered())
}

async fn bench() -> Directory {
    Directory::new()
}

mod conformance {
    crate::conformance_suite!(super::bench);
}
