//! The store's change feed with the patience that a follower needs: it never ends and never runs hot.
//!
//! It begins, and begins anew after a restart, where the feed stands then, and says first that anything may have
//! changed before: so no follower has to keep its place.

use std::{sync::Arc, time::Duration};

use store::{Change, ChangeSequence, Store, StoreError};

use super::health_monitor::FaultReporter;

pub(super) struct Feed {
    store: Arc<dyn Store>,
    after: Option<ChangeSequence>,
    faults: FaultReporter,
}

/// What a look at the feed brought.
pub(super) enum News {
    /// What was committed since, maybe nothing.
    Changes(Vec<Change>),
    /// Anything may have changed: the feed is followed from here on, or keeps less than was missed.
    Anything,
}

impl Feed {
    pub(super) const fn new(store: Arc<dyn Store>, faults: FaultReporter) -> Self {
        Self {
            store,
            after: None,
            faults,
        }
    }

    /// The news since the last call, waiting at most `wait` for some. A fault is a pause and no news.
    pub(super) async fn next(&mut self, wait: Duration) -> News {
        match self.read(wait).await {
            Ok(news) => {
                self.faults.well();
                news
            }
            Err(error) => {
                log::error!("error.message":% = error; "the change feed cannot be read, next try in {RETRY:?}");
                self.faults.fault(format!("changes are not noticed: {error}"));
                tokio::time::sleep(RETRY).await;
                News::Changes(Vec::new())
            }
        }
    }

    async fn read(&mut self, wait: Duration) -> Result<News, StoreError> {
        let Some(after) = self.after else {
            self.after = Some(self.store.last_change().await?);
            return Ok(News::Anything);
        };
        match self.store.changes(after, BATCH, wait).await {
            Ok(changes) => {
                self.after = Some(changes.last().map_or(after, |change| change.sequence));
                Ok(News::Changes(changes))
            }
            Err(StoreError::Trimmed { oldest }) => {
                log::warn!("the change feed begins at {oldest} by now, everything is looked at anew");
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
