//! The store's change feed with the patience that a follower needs: it never ends and never runs hot.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use store::{ChangeKind, Cursor, Store, StoreError};

pub(crate) struct Feed {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) kind: ChangeKind,
    /// Where it stands; outlives the follower.
    pub(crate) place: Arc<Mutex<Cursor>>,
}

/// What a look at the feed brought.
pub(crate) enum News {
    /// Ids of what was committed since, maybe nothing.
    Changes(Vec<String>),
    /// More than the feed keeps: anything may have changed.
    Missed,
}

impl Feed {
    /// The news since the last call, waiting at most `wait` for some. A fault is a pause and no news.
    pub(crate) async fn next(&self, wait: Duration) -> News {
        let after = self.place.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (news, next) = match self.store.changes(self.kind, &after, BATCH, wait).await {
            Ok(changes) => (News::Changes(changes.ids), changes.next),
            Err(error @ StoreError::Trimmed { .. }) => match self.store.last_change(self.kind).await {
                Ok(last) => {
                    log::warn!("{error}: everything is looked at anew");
                    (News::Missed, last)
                }
                Err(error) => return pause(&error).await,
            },
            Err(error) => return pause(&error).await,
        };
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = next;
        news
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
