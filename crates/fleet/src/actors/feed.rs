//! The store's change feed of one kind, for a follower: it pauses after a fault instead of ending or spinning.
//!
//! It begins, also after a restart, where the feed stands then, and says first that anything may have
//! changed before: so no follower has to keep its place.

use std::{sync::Arc, time::Duration};

use store::{ChangeKind, Cursor, Store, StoreError};

use super::health_monitor::FaultReporter;

pub(super) struct Feed {
    store: Arc<dyn Store>,
    kind: ChangeKind,
    after: Option<Cursor>,
    faults: FaultReporter,
}

/// What a look at the feed brought.
pub(super) enum News {
    /// The ids of what was committed since, maybe nothing.
    Changes(Vec<String>),
    /// Anything may have changed: the feed is followed from here on, or keeps less than was missed.
    Anything,
}

impl Feed {
    pub(super) const fn new(store: Arc<dyn Store>, kind: ChangeKind, faults: FaultReporter) -> Self {
        Self {
            store,
            kind,
            after: None,
            faults,
        }
    }

    /// The news since the last call, waiting at most `wait` for some. After a fault it pauses and has no news.
    pub(super) async fn next(&mut self, wait: Duration) -> News {
        match self.read(wait).await {
            Ok(news) => {
                self.faults.well();
                news
            }
            Err(error) => {
                log::error!("error.message":% = store::chain(&error); "the change feed of {} cannot be read, next try in {RETRY:?}", self.kind);
                self.faults.fault(format!(
                    "changes of {} are not noticed: {}",
                    self.kind,
                    store::chain(&error)
                ));
                tokio::time::sleep(RETRY).await;
                News::Changes(Vec::new())
            }
        }
    }

    async fn read(&mut self, wait: Duration) -> Result<News, StoreError> {
        let Some(after) = &self.after else {
            self.after = Some(self.store.last_change(self.kind).await?);
            return Ok(News::Anything);
        };
        match self.store.changes(self.kind, after, BATCH, wait).await {
            Ok(changes) => {
                self.after = Some(changes.next);
                Ok(News::Changes(changes.ids))
            }
            Err(error @ StoreError::Trimmed { .. }) => {
                log::warn!("error.message":% = store::chain(&error); "{error}: everything is read again");
                self.after = None;
                Ok(News::Changes(Vec::new()))
            }
            Err(error) => Err(error),
        }
    }
}

/// Between two tries after a fault.
pub(super) const RETRY: Duration = Duration::from_secs(1);
const BATCH: u32 = 1000;
