//! Whether the engine takes writes, as its last attempt showed.

use std::sync::{Mutex, PoisonError};

use store::{StoreError, StoreMetrics};

/// Shared by the writer, which knows, and `health()`, which tells.
#[derive(Debug)]
pub(super) struct Condition {
    state: Mutex<State>,
    metrics: StoreMetrics,
}

#[derive(Debug, Default)]
struct State {
    /// Why the last write failed; `None` after a success.
    fault: Option<String>,
    /// Damage that was seen; it does not heal by itself.
    damage: Option<String>,
}

impl Condition {
    pub(super) fn new(metrics: StoreMetrics) -> Self {
        metrics.up.set(1);
        Self {
            state: Mutex::default(),
            metrics,
        }
    }

    pub(super) fn is_writable(&self) -> bool {
        self.state().fault.is_none()
    }

    /// Why not writable, else what damage was seen.
    pub(super) fn reason(&self) -> Option<String> {
        let state = self.state();
        state.fault.clone().or_else(|| state.damage.clone())
    }

    pub(super) fn recovered(&self) {
        if self.state().fault.take().is_some() {
            self.metrics.up.set(1);
            log::info!("the store takes writes again");
        }
    }

    /// A write failed for a reason that is not the caller's.
    pub(super) fn failed(&self, error: &StoreError) {
        self.damaged(error);
        self.metrics.up.set(0);
        let reason = store::chain(error);
        if self.state().fault.replace(reason.clone()).is_none() {
            log::error!("error.message" = reason.as_str(); "the store takes no writes: {reason}; it tries again each second, reads go on");
        }
    }

    /// Keeps in mind that damage was seen.
    pub(super) fn damaged(&self, error: &StoreError) {
        if let StoreError::Corrupt { .. } = error
            && self.state().damage.replace(store::chain(error)).is_none()
        {
            log::error!(
                "error.message":% = store::chain(error);
                "{error}; stop the server and restore a backup or salvage the file with sqlite3 .recover"
            );
        }
    }

    pub(super) fn closed(&self) {
        self.state().fault = Some("the store is closed".to_owned());
        self.metrics.up.set(0);
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
