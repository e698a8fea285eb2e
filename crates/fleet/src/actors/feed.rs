//! The store's change feed with the patience that a follower needs: it never ends and never runs hot.

use std::{sync::Arc, time::Duration};

use store::{Change, ChangeSequence, Store, StoreError};

pub(crate) struct Feed {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) after: ChangeSequence,
}

/// What a look at the feed brought.
pub(crate) enum News {
    /// What was committed since, maybe nothing.
    Changes(Vec<Change>),
    /// More than the feed keeps: anything may have changed.
    Missed,
}

impl Feed {
    /// The news since the last call, waiting at most `wait` for some. A fault is a pause and no news.
    pub(crate) async fn next(&mut self, wait: Duration) -> News {
        match self.store.changes(self.after, BATCH, wait).await {
            Ok(changes) => {
                self.after = changes.last().map_or(self.after, |change| change.sequence);
                News::Changes(changes)
            }
            Err(StoreError::Trimmed { oldest }) => match self.store.last_change().await {
                Ok(last) => {
                    log::warn!("the change feed begins at {oldest} by now, everything is looked at anew");
                    self.after = last;
                    News::Missed
                }
                Err(error) => pause(&error).await,
            },
            Err(error) => pause(&error).await,
        }
    }
}

async fn pause(error: &StoreError) -> News {
    log::error!("error.message":% = error; "the change feed can not be read, next try in {RETRY:?}");
    tokio::time::sleep(RETRY).await;
    News::Changes(Vec::new())
}

/// Between two tries after a fault.
pub(crate) const RETRY: Duration = Duration::from_secs(1);
const BATCH: u32 = 1000;
