//! The store itself: the documents, the keys, and what is remembered between calls.
//!
//! In: operations of the store's traits. Out: documents and calls to Elasticsearch. It keeps nothing that another server on
//! the same cluster would have to know.

use std::{
    ops::Deref,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant, SystemTime},
};

use async_trait::async_trait;
use quick_cache::sync::Cache;
use serde_json::json;
use store::{Engine, EngineClass, KeyId, Result, StoreError, StoreHealth, StoreStats, chain};
use tokio::{
    sync::{OnceCell, RwLock, RwLockReadGuard, watch},
    task::JoinHandle,
};

use crate::{
    Connection, Failure, Flush,
    connection::{Body, Call},
    documents::Documents,
    feed::PoliciesSeen,
    index::Index,
    own_changes::OwnChanges,
    remembered::Remembered,
    verified::Verified,
};

/// The store on Elasticsearch. Kibana and other servers use the same documents at the same time.
#[derive(Debug)]
pub struct ElasticStore {
    pub(crate) connection: Arc<Connection>,
    pub(crate) verified: Arc<Verified>,
    /// Keys that were issued without waiting until searches find them.
    pub(crate) unseen: Cache<KeyId, Instant>,
    pub(crate) own_changes: OnceCell<OwnChanges>,
    pub(crate) policies_seen: PoliciesSeen,
    /// Whether check-ins were written that searches may not find yet.
    pub(crate) has_late_writes: AtomicBool,
    pub(crate) remembered: Remembered,
    documents: Documents,
    /// Held by each operation, so that the end waits for them.
    gate: RwLock<()>,
    closed: watch::Sender<bool>,
    watcher: JoinHandle<()>,
}

/// The documents while the store is open: the end waits until this is dropped.
pub(crate) struct Open<'a> {
    documents: &'a Documents,
    _gate: RwLockReadGuard<'a, ()>,
}

impl Deref for Open<'_> {
    type Target = Documents;

    fn deref(&self) -> &Documents {
        self.documents
    }
}

impl ElasticStore {
    /// Starts the store on this runtime. It makes no call by itself but the look at invalidated keys.
    #[must_use]
    pub fn start(connection: Connection, flush: Flush) -> Self {
        let connection = Arc::new(connection);
        let verified = Arc::new(Verified::new(REMEMBERED_KEYS));
        let watcher = tokio::spawn(watch_keys(Arc::clone(&connection), Arc::clone(&verified)));
        Self {
            documents: Documents::start(Arc::clone(&connection), flush),
            connection,
            verified,
            unseen: Cache::new(UNSEEN_KEYS),
            own_changes: OnceCell::new(),
            policies_seen: PoliciesSeen::default(),
            has_late_writes: AtomicBool::new(false),
            remembered: Remembered::default(),
            gate: RwLock::new(()),
            closed: watch::Sender::new(false),
            watcher,
        }
    }

    /// The documents, as long as the store is open. An operation asks once: whoever waits for the end lets nobody in.
    pub(crate) async fn open(&self) -> std::result::Result<Open<'_>, Failure> {
        let gate = self.gate.read().await;
        if *self.closed.borrow() {
            return Err(Failure::Closed);
        }
        Ok(Open {
            documents: &self.documents,
            _gate: gate,
        })
    }

    /// What `work` answers, or that the store was closed meanwhile.
    pub(crate) async fn unless_closed<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let mut closed = self.closed.subscribe();
        tokio::select! {
            biased;
            _ = closed.wait_for(|is_closed| *is_closed) => Err(Failure::Closed.into()),
            done = work => done,
        }
    }
}

impl Drop for ElasticStore {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

#[async_trait]
impl Engine for ElasticStore {
    fn class(&self) -> EngineClass {
        EngineClass::Document
    }

    async fn health(&self) -> StoreHealth {
        let asked = async {
            let documents = self.open().await?;
            documents
                .search(Index::Agents, &json!({"size": 0, "track_total_hits": false}))
                .await
        };
        let reason = asked.await.err().map(|failure| chain(&failure));
        StoreHealth {
            readable: reason.is_none(),
            writable: reason.is_none(),
            reason,
        }
    }

    async fn stats(&self) -> Result<StoreStats> {
        let documents = self.open().await?;
        let count = json!({"size": 0, "track_total_hits": true});
        let policies = json!({"size": 0, "aggs": {"policies": {"cardinality": {"field": "policy_id", "precision_threshold": 40_000}}}});
        let (agents, actions, policies) = tokio::try_join!(
            documents.search(Index::Agents, &count),
            documents.search(Index::Actions, &count),
            documents.search(Index::Policies, &policies),
        )?;
        Ok(StoreStats {
            bytes: self.bytes().await?,
            queue_length: 0,
            agents: agents.total,
            actions: actions.total,
            policies: policies.aggregations["policies"]["value"].as_u64().unwrap_or(0),
        })
    }

    async fn close(&self) -> Result<()> {
        self.closed.send_replace(true);
        let _everything_is_done = self.gate.write().await;
        Ok(())
    }
}

impl ElasticStore {
    /// What the indices take, as far as we may ask.
    async fn bytes(&self) -> std::result::Result<u64, Failure> {
        let path = "/.fleet-*/_stats/store?filter_path=_all.total.store.size_in_bytes&expand_wildcards=all";
        let stats: serde_json::Value = self
            .connection
            .json(Call::new(reqwest::Method::GET, path, Body::None))
            .await?;
        Ok(stats
            .pointer("/_all/total/store/size_in_bytes")
            .and_then(serde_json::Value::as_u64)
            .unwrap_or(0))
    }
}

/// Forgets keys that somebody else invalidated, as long as the store is there.
async fn watch_keys(connection: Arc<Connection>, verified: Arc<Verified>) {
    let mut covered = SystemTime::now();
    let mut is_failing = false;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let (began, began_wall) = (Instant::now(), SystemTime::now());
        match connection.invalidated_since(covered - OVERLAP).await {
            Ok(ids) => {
                verified.forget(&ids);
                verified.looked(began);
                covered = began_wall;
                is_failing = false;
            }
            Err(failure) if is_failing => {
                log::debug!("error.message":% = chain(&failure); "still no look at invalidated keys")
            }
            Err(failure) => {
                log::warn!("error.message":% = chain(&failure); "cannot look at the keys that were invalidated: known keys are verified anew each minute");
                is_failing = true;
            }
        }
    }
}

/// An answer that the store does not have a document for.
pub(crate) fn missing(what: &'static str, id: &impl ToString) -> StoreError {
    StoreError::NotFound {
        what,
        id: id.to_string(),
    }
}

/// A change that others overtook again and again.
pub(crate) fn overtaken(what: &str) -> StoreError {
    StoreError::Unavailable {
        reason: format!("{what} is changed by others all the time"),
        retry_after: Duration::from_secs(1),
        source: None,
    }
}

/// A change that others overtook is decided anew so many times.
pub(crate) const TRIES: usize = 8;
const REMEMBERED_KEYS: usize = 200_000;
/// A minute of enrolments.
const UNSEEN_KEYS: usize = 50_000;
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// What clocks may differ by, and what a refresh may take.
const OVERLAP: Duration = Duration::from_secs(60);
