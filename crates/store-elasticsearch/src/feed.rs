//! O23: changes by the sequence numbers of each index, up to its global checkpoint (data.md 10.6).
//!
//! In: a cursor, which is a sequence number. Out: what changed behind it. A checkpoint that is lower than the cursor means
//! that the index was made anew or restored: the reader is told to read everything. Agents are told of by what this
//! process changed, since each check-in changes their documents as well.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use store::{ChangeKind, Changes, Cursor, Feed, Result, StoreError};

use crate::{
    ElasticStore, Failure,
    connection::{Body, Call},
    documents::{Documents, Found},
    index::Index,
    own_changes::OwnChanges,
    policies,
};

#[async_trait]
impl Feed for ElasticStore {
    async fn changes(&self, kind: ChangeKind, after: &Cursor, limit: u32, wait: Duration) -> Result<Changes> {
        let after: i64 = after
            .as_str()
            .parse()
            .map_err(|_| StoreError::invalid("a cursor of another engine"))?;
        let deadline = Instant::now() + wait;
        self.unless_closed(async {
            match kind {
                ChangeKind::Agent => self.agent_changes(after, limit, deadline).await,
                _ => self.index_changes(kind, after, limit, deadline).await,
            }
        })
        .await
    }

    async fn last_change(&self, kind: ChangeKind) -> Result<Cursor> {
        let documents = self.open().await?;
        let place = match kind {
            ChangeKind::Agent => self.own_changes().await?.bound(),
            _ => self.settled(&documents, index(kind)).await?,
        };
        if kind == ChangeKind::Policy {
            self.policies_seen.know(&documents).await?;
        }
        Ok(place.to_string().into())
    }
}

impl ElasticStore {
    async fn index_changes(
        &self,
        kind: ChangeKind,
        mut after: i64,
        limit: u32,
        deadline: Instant,
    ) -> Result<Changes> {
        let index = index(kind);
        loop {
            let checkpoint = self.settled(&*self.open().await?, index).await?;
            if checkpoint < after {
                return Err(StoreError::Trimmed { kind });
            }
            if checkpoint > after {
                let documents = self.open().await?;
                let (ids, next) = self.between(&documents, kind, after, checkpoint, limit).await?;
                after = next;
                if !ids.is_empty() {
                    let next = next.to_string().into();
                    return Ok(Changes { ids, next });
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let next = after.to_string().into();
                return Ok(Changes {
                    ids: Vec::new(),
                    next,
                });
            }
            self.await_checkpoint(index, after, left.min(LOOK_BACK)).await?;
        }
    }

    /// What was written with numbers behind `after`, up to the checkpoint.
    async fn between(
        &self,
        documents: &Documents,
        kind: ChangeKind,
        after: i64,
        checkpoint: i64,
        limit: u32,
    ) -> Result<(Vec<String>, i64)> {
        let body = json!({
            "query": {"range": {"_seq_no": {"gt": after, "lte": checkpoint}}},
            "sort": [{"_seq_no": "asc"}],
            "size": limit,
            "_source": ["policy_id"],
            "seq_no_primary_term": true,
            "track_total_hits": false,
        });
        let found = documents.search_at(index(kind), checkpoint, &body).await?.hits;
        let is_full = found.len() >= limit as usize;
        let next = match found.last() {
            Some(last) if is_full => last.version.seq_no,
            _ => checkpoint,
        };
        let mut ids: Vec<_> = found.iter().map(|found| id(kind, found)).collect();
        if kind == ChangeKind::Policy {
            // A revision is made once and never changed: a number without a document was a removal.
            let has_gap = i64::try_from(ids.len()).is_ok_and(|count| count < next - after);
            self.policies_seen.made(&ids);
            if has_gap && !is_full {
                ids.extend(self.policies_seen.removed(documents, after, next).await?);
            }
        }
        documents.note_written(index(kind), checkpoint);
        Ok((ids, next))
    }

    async fn agent_changes(&self, after: i64, limit: u32, deadline: Instant) -> Result<Changes> {
        let own = self.own_changes().await?;
        let mut woken = own.subscribe();
        if after < own.floor() {
            return self.agent_documents(after, own.floor(), limit).await;
        }
        loop {
            woken.mark_unchanged();
            let (ids, next) = own.after(after, limit as usize);
            let left = deadline.saturating_duration_since(Instant::now());
            if !ids.is_empty() || left.is_zero() {
                let next = next.to_string().into();
                return Ok(Changes { ids, next });
            }
            // Late is as good as woken: the deadline is looked at again.
            let _late = tokio::time::timeout(left, woken.changed()).await;
        }
    }

    /// A reader from before this process is told of every agent whose document changed since: more than it needs.
    async fn agent_documents(&self, after: i64, floor: i64, limit: u32) -> Result<Changes> {
        let checkpoint = self.checkpoint(Index::Agents).await?;
        if checkpoint < after {
            return Err(StoreError::Trimmed {
                kind: ChangeKind::Agent,
            });
        }
        let documents = self.open().await?;
        let (ids, next) = self
            .between(&documents, ChangeKind::Agent, after, floor, limit)
            .await?;
        let next = next.to_string().into();
        Ok(Changes { ids, next })
    }

    /// The changes of this process, counted from its first use on.
    pub(crate) async fn own_changes(&self) -> std::result::Result<&OwnChanges, Failure> {
        let counted = self.own_changes.get_or_try_init(async || {
            let floor = self.checkpoint(Index::Agents).await?;
            Ok::<_, Failure>(OwnChanges::new(floor))
        });
        counted.await
    }

    /// Up to where everything in the index is durable and in order; -1 without an index.
    pub(crate) async fn checkpoint(&self, index: Index) -> std::result::Result<i64, Failure> {
        let path = format!("/{}/_fleet/global_checkpoints", index.name());
        match self
            .connection
            .json(Call::new(Method::GET, path, Body::None))
            .await
        {
            Ok(Checkpoints {
                global_checkpoints: [checkpoint],
            }) => Ok(checkpoint),
            Err(Failure::IndexMissing) => Ok(-1),
            Err(failure) => Err(failure),
        }
    }

    /// The checkpoint behind everything that this process wrote: Elasticsearch tells it a moment after a write.
    async fn settled(&self, documents: &Documents, index: Index) -> std::result::Result<i64, Failure> {
        let deadline = Instant::now() + SETTLED_WITHIN;
        loop {
            let checkpoint = self.checkpoint(index).await?;
            let left = deadline.saturating_duration_since(Instant::now());
            if documents
                .written(index)
                .is_none_or(|written| written <= checkpoint)
            {
                return Ok(checkpoint);
            }
            if left.is_zero() {
                documents.forget_written(index);
                return Ok(checkpoint);
            }
            self.await_checkpoint(index, checkpoint, left).await?;
        }
    }

    /// Waits until the checkpoint is higher, at most so long.
    async fn await_checkpoint(
        &self,
        index: Index,
        known: i64,
        wait: Duration,
    ) -> std::result::Result<(), Failure> {
        let path = format!(
            "/{}/_fleet/global_checkpoints?wait_for_advance=true&wait_for_index=true&checkpoints={known}&timeout={}ms",
            index.name(),
            wait.as_millis().max(1)
        );
        let call = Call {
            patience: wait,
            ..Call::new(Method::GET, path, Body::None)
        };
        match self.connection.json::<Checkpoints>(call).await {
            Ok(_) | Err(Failure::Timeout | Failure::IndexMissing | Failure::Refused { status: 504, .. }) => {
                Ok(())
            }
            Err(failure) => Err(failure),
        }
    }
}

/// The policies that readers were told of, so that a removal has a name.
#[derive(Debug, Default)]
pub(crate) struct PoliciesSeen(Mutex<Option<Seen>>);

#[derive(Debug)]
struct Seen {
    ids: BTreeSet<String>,
    /// Removed ones, each with the checkpoint at which that was seen.
    removed: Vec<(i64, String)>,
}

impl PoliciesSeen {
    /// Begins to keep them.
    async fn know(&self, documents: &Documents) -> Result<()> {
        if self.with(|seen| seen.is_some()) {
            return Ok(());
        }
        let ids = ids(documents).await?;
        self.with(|seen| {
            seen.get_or_insert_with(|| Seen {
                ids,
                removed: Vec::new(),
            });
        });
        Ok(())
    }

    fn made(&self, made: &[String]) {
        self.with(|seen| {
            if let Some(seen) = seen {
                seen.ids.extend(made.iter().cloned());
            }
        });
    }

    /// Those that were removed between `after` and `checkpoint`.
    async fn removed(&self, documents: &Documents, after: i64, checkpoint: i64) -> Result<Vec<String>> {
        let now = ids(documents).await?;
        let told = self.with(|seen| {
            let seen = seen.as_mut()?;
            let gone: Vec<_> = seen.ids.extract_if(.., |id| !now.contains(id)).collect();
            seen.removed.extend(gone.into_iter().map(|id| (checkpoint, id)));
            let excess = seen.removed.len().saturating_sub(KEPT_REMOVALS);
            seen.removed.drain(..excess);
            let told = seen
                .removed
                .iter()
                .filter(|(at, _)| (after + 1..=checkpoint).contains(at));
            Some(told.map(|(_, id)| id.clone()).collect())
        });
        let kind = ChangeKind::Policy;
        told.ok_or(StoreError::Trimmed { kind })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Option<Seen>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn ids(documents: &Documents) -> Result<BTreeSet<String>> {
    let known = policies::known(documents).await?;
    Ok(known.into_iter().map(|policy| policy.id.to_string()).collect())
}

const fn index(kind: ChangeKind) -> Index {
    match kind {
        ChangeKind::Policy => Index::Policies,
        ChangeKind::Action => Index::Actions,
        ChangeKind::Agent => Index::Agents,
        ChangeKind::Token => Index::Tokens,
    }
}

fn id(kind: ChangeKind, found: &Found) -> String {
    let source: Value = match kind {
        ChangeKind::Policy => serde_json::from_str(found.source.get()).unwrap_or_default(),
        _ => Value::Null,
    };
    source["policy_id"].as_str().unwrap_or(&found.id).to_owned()
}

#[derive(Deserialize)]
struct Checkpoints {
    /// Of one shard: its order is the index's.
    global_checkpoints: [i64; 1],
}

/// So often it is seen that the checkpoint went back.
const LOOK_BACK: Duration = Duration::from_secs(30);
const SETTLED_WITHIN: Duration = Duration::from_secs(5);
const KEPT_REMOVALS: usize = 10_000;
