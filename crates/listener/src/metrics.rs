//! The listeners' metrics, labelled by listener name.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::open_connections::ConnectionCounters;

/// Connection counters of all listeners. Register once, pass to the server.
#[derive(Clone, Debug, Default)]
pub struct ListenerMetrics {
    opened: Family<ListenerLabel, Counter>,
    closed: Family<ListenerLabel, Counter>,
    refused: Family<ListenerLabel, Counter>,
    broken: Family<ListenerLabel, Counter>,
    open: Family<ListenerLabel, Gauge>,
    active_requests: Family<ListenerLabel, Gauge>,
    panics: Family<ListenerLabel, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListenerLabel {
    listener: String,
}

impl ListenerMetrics {
    /// Registers the metrics; the caller's registry carries the prefix (`fleet_server`).
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "connections_opened",
            "Connections admitted since the start",
            metrics.opened.clone(),
        );
        registry.register(
            "connections_closed",
            "Connections ended since the start",
            metrics.closed.clone(),
        );
        registry.register(
            "connections_refused",
            "Connections closed unanswered because the listener's cap was reached",
            metrics.refused.clone(),
        );
        registry.register(
            "connections_broken",
            "Connections ended because the client broke the protocol, took too long or went away in the middle",
            metrics.broken.clone(),
        );
        registry.register("connections_open", "Connections open now", metrics.open.clone());
        registry.register(
            "requests_active",
            "Requests being answered now, long polls included",
            metrics.active_requests.clone(),
        );
        registry.register(
            "handler_panics",
            "Requests answered 500 because their handler panicked",
            metrics.panics.clone(),
        );
        metrics
    }

    /// Connections of a listener that were opened and closed since the start.
    #[must_use]
    pub fn connections(&self, listener: &str) -> (u64, u64) {
        let counters = self.of(listener);
        (counters.opened.get(), counters.closed.get())
    }

    pub(crate) fn of(&self, listener: &str) -> ConnectionCounters {
        let label = ListenerLabel {
            listener: listener.to_owned(),
        };
        ConnectionCounters {
            opened: self.opened.get_or_create_owned(&label),
            closed: self.closed.get_or_create_owned(&label),
            refused: self.refused.get_or_create_owned(&label),
            broken: self.broken.get_or_create_owned(&label),
            open: self.open.get_or_create_owned(&label),
            active_requests: self.active_requests.get_or_create_owned(&label),
            panics: self.panics.get_or_create_owned(&label),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels_as_dashboards_use_them() {
        let mut registry = Registry::with_prefix("fleet_server");
        let metrics = ListenerMetrics::register(&mut registry);
        metrics.of("agents").opened.inc();
        metrics.of("agents").open.inc();
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(
            text.contains("fleet_server_connections_opened_total{listener=\"agents\"} 1"),
            "{text}"
        );
        assert!(
            text.contains("fleet_server_connections_open{listener=\"agents\"} 1"),
            "{text}"
        );
    }
}
