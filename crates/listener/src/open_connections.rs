//! Counts the connections of a listener over all workers, caps them, and tells when the last one is gone.
//!
//! A [`Place`] is taken at accept and lives inside the connection, so the count cannot drift: whatever ends a
//! connection (close, time-out, panic, forced stop) drops its place.

use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use tokio::sync::Notify;

/// All connections of the server: what a drain waits for.
#[derive(Debug, Default)]
pub(crate) struct OpenConnections {
    open: AtomicUsize,
    last_closed: Notify,
}

impl OpenConnections {
    pub(crate) fn count(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Resolves when no connection is open.
    pub(crate) async fn none_left(&self) {
        loop {
            let closed = self.last_closed.notified();
            if self.count() == 0 {
                return;
            }
            closed.await;
        }
    }
}

/// The connections of one listener.
#[derive(Debug)]
pub(crate) struct ListenerConnections {
    cap: Option<usize>,
    open: AtomicUsize,
    server: Arc<OpenConnections>,
    counters: ConnectionCounters,
}

/// The metrics of one listener's connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConnectionCounters {
    pub(crate) opened: Counter,
    pub(crate) closed: Counter,
    pub(crate) refused: Counter,
    /// Ended by an error of the client's.
    pub(crate) broken: Counter,
    pub(crate) open: Gauge,
    /// Requests being answered, long polls included.
    pub(crate) active_requests: Gauge,
    pub(crate) panics: Counter,
}

impl ListenerConnections {
    pub(crate) fn new(
        cap: Option<usize>,
        server: Arc<OpenConnections>,
        counters: ConnectionCounters,
    ) -> Arc<Self> {
        Arc::new(Self {
            cap,
            open: AtomicUsize::new(0),
            server,
            counters,
        })
    }

    pub(crate) fn counters(&self) -> &ConnectionCounters {
        &self.counters
    }

    /// Takes a place for one more connection; `None` above the cap (agents.md 1.3, GEN-24).
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Place> {
        let before = self.open.fetch_add(1, Ordering::AcqRel);
        if self.cap.is_some_and(|cap| before >= cap) {
            self.open.fetch_sub(1, Ordering::AcqRel);
            self.counters.refused.inc();
            return None;
        }
        self.server.open.fetch_add(1, Ordering::AcqRel);
        self.counters.opened.inc();
        self.counters.open.inc();
        Some(Place {
            listener: Arc::clone(self),
        })
    }
}

/// One admitted connection.
#[derive(Debug)]
pub(crate) struct Place {
    listener: Arc<ListenerConnections>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.listener.open.fetch_sub(1, Ordering::AcqRel);
        self.listener.counters.closed.inc();
        self.listener.counters.open.dec();
        if self.listener.server.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.listener.server.last_closed.notify_waiters();
        }
    }
}

/// One request, from the end of its head to the end of its response.
pub(crate) struct ActiveRequest {
    counters: Rc<ConnectionCounters>,
}

impl ActiveRequest {
    pub(crate) fn begin(counters: Rc<ConnectionCounters>) -> Self {
        counters.active_requests.inc();
        Self { counters }
    }

    pub(crate) fn counters(&self) -> &ConnectionCounters {
        &self.counters
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.counters.active_requests.dec();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn gen_24_places_end_at_the_cap_and_come_back() {
        let listener = ListenerConnections::new(Some(2), Arc::default(), ConnectionCounters::default());
        let first = listener.enter().unwrap();
        let _second = listener.enter().unwrap();
        assert!(listener.enter().is_none());
        assert!(listener.enter().is_none());
        drop(first);
        assert!(listener.enter().is_some());
        let counters = listener.counters();
        assert_eq!(
            (
                counters.opened.get(),
                counters.closed.get(),
                counters.refused.get()
            ),
            (3, 2, 2)
        );
        assert_eq!(counters.open.get(), 1);
    }

    #[actix_rt::test]
    async fn the_last_connection_of_any_listener_ends_the_wait() {
        let server: Arc<OpenConnections> = Arc::default();
        let agents = ListenerConnections::new(None, Arc::clone(&server), ConnectionCounters::default());
        let admin = ListenerConnections::new(None, Arc::clone(&server), ConnectionCounters::default());
        let places = [agents.enter(), admin.enter()];
        let mut wait = Box::pin(server.none_left());
        assert!((&mut wait).now_or_never().is_none());
        drop(places);
        wait.await;
        assert_eq!(server.count(), 0);
    }
}
