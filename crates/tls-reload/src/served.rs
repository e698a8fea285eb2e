//! What is served now and how the reloader is doing: all that metrics and handles read of it.

use std::sync::Arc;

use tokio::sync::watch;

use crate::resolver::Resolver;
use crate::state::ReloadState;

/// One TLS set as its readers see it. Outlives every rebuild of the actor.
pub(crate) struct Served {
    pub(crate) resolver: Resolver,
    state: watch::Sender<Arc<ReloadState>>,
}

impl Served {
    pub(crate) fn new(resolver: Resolver, state: ReloadState) -> Arc<Self> {
        Arc::new(Self {
            resolver,
            state: watch::Sender::new(Arc::new(state)),
        })
    }

    pub(crate) fn state(&self) -> Arc<ReloadState> {
        self.state.borrow().clone()
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<ReloadState>> {
        self.state.subscribe()
    }

    /// Publishes a changed state; one that is the same wakes nobody.
    pub(crate) fn update(&self, change: impl FnOnce(&mut ReloadState)) {
        self.state.send_if_modified(|state| {
            let mut next = (**state).clone();
            change(&mut next);
            let differs = next != **state;
            if differs {
                *state = Arc::new(next);
            }
            differs
        });
    }
}
