//! What outlives every rebuild of the actor.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use log::Level;

use crate::logging::{ACTION, OUTCOME, emit};
use crate::metrics::ReloadMetrics;
use crate::moment::Clock;
use crate::served::Served;
use crate::source::Settings;
use crate::watch::WatcherFactory;

pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) served: Arc<Served>,
    pub(super) metrics: ReloadMetrics,
    pub(super) clock: Clock,
    pub(super) watcher: WatcherFactory,
    /// A job this long means a file system that does not answer.
    pub(super) stuck_after: Duration,
}

impl Shared {
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.settings.paths()
    }

    /// reload.md 7.3: counted and told; the next actor starts from what is served.
    pub(super) fn reloader_panicked(&self) {
        self.metrics.restarted();
        self.served
            .update(|state| state.reloader_restarts = state.reloader_restarts.saturating_add(1));
        emit(
            Level::Error,
            "the certificate reloader panicked: certificates are still served, and it is built anew",
            &[(ACTION, "tls-reloader-restart"), (OUTCOME, "failure")],
        );
    }
}
