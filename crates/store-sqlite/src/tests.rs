//! The embedded engine under the conformance suite, and what is its own: one process (S26), sudden death (S21),
//! faults of the disk (S22), versions of the file (S27), the writer's groups.

mod blobs;
mod child;
mod damage;
mod death;
mod files;
mod full_disk;
mod groups;
mod keys;
mod recent;
mod upkeep;
mod versions;

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use store::{Engine as _, Store, StoreMetrics, conformance::Bench};

use super::{OpenError, OpenOptions, SqliteStore};

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

fn open(directory: &Path) -> Result<SqliteStore, OpenError> {
    SqliteStore::open(OpenOptions::new(directory), StoreMetrics::unregistered())
}

async fn bench() -> Directory {
    Directory::new()
}

mod conformance {
    store::conformance_suite!(Transactional, super::bench);
}

/// S17 and S28 in sizes of their own. A debug build beside other tests is given 20 times the
/// time, a release build with a machine to itself twice.
mod sizes {
    use store::conformance::{s17_with, s28_with};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn s28_a_hundred_thousand_agents() {
        s28_with(&mut super::bench().await, 100_000, 20).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "torture: make torture"]
    async fn s17_a_hundred_thousand_agents() {
        s17_with(&mut super::bench().await, 100_000).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "torture: make torture (release build)"]
    async fn s28_a_million_agents() {
        s28_with(&mut super::bench().await, 1_000_000, 2).await;
    }
}
