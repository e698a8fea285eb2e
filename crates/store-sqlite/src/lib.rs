//! The embedded engine: one SQLite file with its log, one thread that writes, a few that read.
//!
//! ```text
//! async caller ──► bounded queue ──► writer thread: group of savepoints ──► COMMIT (fsync) ──► answers, feed
//!              └─► bounded queue ──► reader threads: snapshots
//! ```
//!
//! `DIR/fleet.db` is the file, `DIR/blobs` holds large bodies, `DIR/fleet.lock` is the exclusive lock that names its holder. No call runs SQLite
//! on the caller's thread. Guarantees and their price: `docs/adr/0003-store.md`.

mod actions;
mod agent_files;
mod agent_list;
mod agents;
mod audit;
mod blob_files;
mod blobs;
mod checkins;
mod collectors;
mod columns;
mod condition;
mod connection;
mod engine;
mod enrollment;
mod fault;
mod feed;
mod key_hash;
mod keys;
mod lifecycle;
mod lock;
mod migration;
mod open_error;
mod operator_keys;
mod ownership;
mod pages;
mod policies;
mod readers;
mod recent;
mod results;
mod secrets;
mod sizes;
mod tokens;
mod unit;
mod upkeep;
mod uploads;
mod writer;

#[cfg(test)]
mod tests;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use rusqlite::Connection;
use store::{Cause, Result, StoreError, StoreMetrics};
use tokio::sync::watch;

pub use lock::holder_of;
pub use open_error::OpenError;
pub use upkeep::{Checked, Copied};

use blob_files::BlobFiles;
use condition::Condition;
use fault::Outcome;
use feed::Heads;
use lock::DirectoryLock;
use readers::Readers;
use recent::{Changed, Recent};
use unit::Unit;
use writer::{Queue, Size, Writer};

/// Where the store lives and how much it may queue.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// The directory; made (0700) if it is missing.
    pub directory: PathBuf,
    /// Threads that read.
    pub readers: usize,
    /// Writes that may wait; the next one is refused with `Unavailable`. As many reads may wait.
    pub queue_capacity: usize,
    /// Changes kept in the feed; a reader further behind is told [`store::StoreError::Trimmed`].
    pub kept_changes: u32,
}

impl OpenOptions {
    /// The usual sizes.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            readers: 4,
            queue_capacity: 4096,
            kept_changes: 100_000,
        }
    }
}

/// The embedded store, or one of its handles. Dropping the last waits for what was accepted; [`store::Engine::close`] does so without
/// blocking the caller's thread.
pub struct SqliteStore {
    shared: Arc<Shared>,
    /// With the audit entry of one request, if this handle is its own.
    queue: Arc<Queue>,
}

/// What all handles on one open store share.
struct Shared {
    path: PathBuf,
    is_new: bool,
    whole_queue: Arc<Queue>,
    blob_files: BlobFiles,
    readers: Readers,
    recent: Recent,
    condition: Arc<Condition>,
    metrics: StoreMetrics,
    committed: watch::Receiver<Heads>,
    closed: watch::Receiver<bool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl SqliteStore {
    /// Whether this program could open the store in `directory`, also while another process has it open. Reads only,
    /// and does not take the lock. A store that does not exist yet could be made. Blocks.
    pub fn check(directory: &Path) -> std::result::Result<(), OpenError> {
        let path = directory.join("fleet.db");
        if !path.exists() {
            return Ok(());
        }
        migration::check(&connection::open_reader(&path)?, &path)
    }

    /// Opens the store, or makes it. Blocks: call it off the event loop.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing was changed then, except that migrations before a failed one stand.
    pub fn open(options: OpenOptions, metrics: StoreMetrics) -> std::result::Result<Self, OpenError> {
        connection::create_directory(&options.directory)?;
        let lock = DirectoryLock::take(&options.directory)?;
        let path = options.directory.join("fleet.db");
        ownership::check(&path)?;
        let is_new = connection::ensure_file(&path)?;
        let mut writing = connection::open_writer(&path)?;
        migration::migrate(&mut writing, &path, migration::MIGRATIONS)?;
        let last = feed::last(&writing).map_err(|failure| OpenError::Damaged {
            path: path.clone(),
            source: Cause::new(StoreError::from(failure)),
        })?;
        let blob_files = BlobFiles::open(&options.directory)?;
        let (blobs, blob_bytes) = blobs::recover(&writing, &blob_files, &path)?;
        metrics.blobs.set(blobs::gauge(blobs));
        metrics.blob_bytes.set(blobs::gauge(blob_bytes));
        let changed = Changed::watch(&writing).map_err(|error| connection::refused(&path, error))?;
        let recent = Recent::default();
        let reading = (0..options.readers.max(1))
            .map(|_| connection::open_reader(&path))
            .collect::<std::result::Result<Vec<_>, _>>()?;

        let condition = Arc::new(Condition::new(metrics.clone()));
        let (queue, jobs) = Queue::new(options.queue_capacity, metrics.clone());
        let (committed, seen) = watch::channel(Heads::opened_at(last));
        let (ended, closed) = watch::channel(false);
        let (readers, threads) = Readers::start(reading, options.queue_capacity, Arc::clone(&condition))
            .map_err(OpenError::NoThread)?;
        let writer = Writer {
            connection: writing,
            jobs,
            condition: Arc::clone(&condition),
            committed,
            metrics: metrics.clone(),
            kept_changes: options.kept_changes.into(),
            held: None,
            changed,
            recent: recent.clone(),
        };
        let work = {
            let condition = Arc::clone(&condition);
            move || {
                let connection = writer.run();
                end(connection, threads, &condition);
                drop(lock);
                ended.send_replace(true);
            }
        };
        let thread = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(work)
            .map_err(OpenError::NoThread)?;
        let queue = Arc::new(queue);
        let shared = Arc::new(Shared {
            path,
            is_new,
            whole_queue: Arc::clone(&queue),
            blob_files,
            readers,
            recent,
            condition,
            metrics,
            committed: seen,
            closed,
            thread: Mutex::new(Some(thread)),
        });
        Ok(Self { shared, queue })
    }

    /// Whether this opening made the file.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.shared.is_new
    }

    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Unit<'_>) -> Outcome<T> + Send + 'static,
    ) -> Result<T> {
        self.queue.run(Size::Small, work).await
    }

    async fn write_bulk<T: Send + 'static>(
        &self,
        rows: usize,
        work: impl FnOnce(&Unit<'_>) -> Outcome<T> + Send + 'static,
    ) -> Result<T> {
        self.queue.run(Size::of(rows), work).await
    }

    async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> Outcome<T> + Send + 'static,
    ) -> Result<T> {
        self.shared.readers.run(question).await
    }

    /// A question about one thing.
    async fn find<K: Clone + Send + 'static, T: Send + 'static>(
        &self,
        key: &K,
        question: fn(&Connection, &K) -> Outcome<T>,
    ) -> Result<T> {
        let key = key.clone();
        self.read(move |connection| question(connection, &key)).await
    }
}

impl Shared {
    fn stop_accepting(&self) {
        self.whole_queue.close();
        self.readers.close();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop_accepting();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            log::error!("the writer of the store panicked");
        }
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore")
            .field("path", &self.shared.path)
            .finish_non_exhaustive()
    }
}

/// The writer's last work: everything is in the one file, and nobody reads it any more.
fn end(connection: Connection, readers: Vec<JoinHandle<()>>, condition: &Condition) {
    for reader in readers {
        if reader.join().is_err() {
            log::error!("a reader of the store panicked");
        }
    }
    condition.closed();
    // What the log holds is durable already; a failure here costs only the time to read it at the next start.
    if let Err(error) = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
        log::warn!("error.message":% = error; "the store's write-ahead log could not be merged into its file");
    }
    if let Err((_, error)) = connection.close() {
        log::warn!("error.message":% = error; "the store's file could not be closed");
    }
}
