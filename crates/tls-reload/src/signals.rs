//! What the watcher's thread leaves for the actor: that something moved, when, and whether the watcher failed.
//!
//! Events arrive on a foreign thread. All that happens there is a time stamp and at most one `try_send`, so it
//! can neither block nor fill a mailbox (a burst of 100,000 events is one message).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::watch_failure::WatchFailure;

/// Where a watcher reports. Dropping it means that the watcher is gone.
pub struct EventSink {
    signals: Arc<Signals>,
    /// Its watcher is ended on purpose: that is no failure.
    pub(crate) is_retired: Arc<AtomicBool>,
}

/// What the foreign thread leaves for the actor.
pub(crate) struct Signals {
    base: Instant,
    pending: AtomicBool,
    first: AtomicU64,
    last: AtomicU64,
    failure: AtomicU8,
    /// Set once the watch is armed: a watcher that fails before tells it by its result.
    is_live: AtomicBool,
    wake: Box<dyn Fn() -> bool + Send + Sync>,
}

impl EventSink {
    /// Something in a watched directory was created, modified, moved or deleted, or its attributes changed.
    pub fn changed(&self) {
        let signals = &*self.signals;
        let now = signals.nanos(Instant::now());
        signals.last.store(now, Ordering::Release);
        if !signals.pending.swap(true, Ordering::AcqRel) {
            signals.first.store(now, Ordering::Release);
            if !(signals.wake)() {
                // The mailbox is full or gone: let the next event try again. The safety poll is there, too.
                signals.pending.store(false, Ordering::Release);
            }
        }
    }

    /// The watcher failed. Only an overflow lets it go on.
    pub fn failed(&self, failure: WatchFailure) {
        if !self.is_retired.load(Ordering::Acquire) {
            self.signals.failed(failure);
        }
    }
}

impl Drop for EventSink {
    fn drop(&mut self) {
        self.failed(WatchFailure::Died);
    }
}

impl Signals {
    /// `wake` must not block; it returns whether the actor will look.
    pub(crate) fn new(wake: impl Fn() -> bool + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            base: Instant::now(),
            pending: AtomicBool::new(false),
            first: AtomicU64::new(0),
            last: AtomicU64::new(0),
            failure: AtomicU8::new(0),
            is_live: AtomicBool::new(false),
            wake: Box::new(wake),
        })
    }

    pub(crate) fn sink(self: &Arc<Self>) -> EventSink {
        EventSink {
            signals: self.clone(),
            is_retired: Arc::default(),
        }
    }

    /// The first and the last event since the last [`rest`](Self::rest), if there were any.
    pub(crate) fn burst(&self) -> Option<(Instant, Instant)> {
        let at = |nanos: &AtomicU64| self.base + Duration::from_nanos(nanos.load(Ordering::Acquire));
        self.pending
            .load(Ordering::Acquire)
            .then(|| (at(&self.first), at(&self.last)))
    }

    /// The next event sends a message again.
    pub(crate) fn rest(&self) {
        self.pending.store(false, Ordering::Release);
    }

    /// From now on failures are told; one that came before is found by the next [`take_failure`](Self::take_failure).
    pub(crate) fn go_live(&self) {
        self.is_live.store(true, Ordering::Release);
    }

    pub(crate) fn take_failure(&self) -> Option<WatchFailure> {
        if !self.is_live.load(Ordering::Acquire) {
            return None;
        }
        WatchFailure::from_repr(self.failure.swap(0, Ordering::AcqRel))
    }

    fn failed(&self, failure: WatchFailure) {
        self.failure.store(failure as u8, Ordering::Release);
        if self.is_live.load(Ordering::Acquire) {
            // If nobody hears it now, the next tick of the poll finds it.
            let _heard = (self.wake)();
        }
    }

    fn nanos(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.base).as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t73_a_burst_is_one_message() {
        let sent = Arc::new(AtomicU64::new(0));
        let counter = sent.clone();
        let signals = Signals::new(move || {
            counter.fetch_add(1, Ordering::Relaxed);
            true
        });
        let sink = signals.sink();
        for _ in 0..100_000 {
            sink.changed();
        }
        assert_eq!(sent.load(Ordering::Relaxed), 1);
        let (first, last) = signals.burst().unwrap();
        assert!(first <= last);
        signals.rest();
        assert!(signals.burst().is_none());
        sink.changed();
        assert_eq!(sent.load(Ordering::Relaxed), 2);
        drop(sink);
        assert_eq!(
            signals.take_failure(),
            None,
            "not armed yet: the result of arming tells"
        );
        signals.go_live();
        assert_eq!(signals.take_failure(), Some(WatchFailure::Died));
        assert_eq!(signals.take_failure(), None);
    }

    #[test]
    fn a_full_mailbox_loses_no_later_event() {
        let signals = Signals::new(|| false);
        signals.sink().changed();
        assert!(
            signals.burst().is_none(),
            "nobody was told, so the next event must try again"
        );
    }
}
