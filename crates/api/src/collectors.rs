//! The names by which collectors of the original read a server (agents.md 9.1): the tree of `/stats`, and `http_server_…`
//! in the Prometheus text. Our own metrics stand beside them under `fleet_server_…`.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, gauge::ConstGauge, info::Info},
    registry::Registry,
};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    metrics::{HttpMetrics, Reason, RouteCounts},
    route::Route,
};

/// Connections that the agents' listeners have opened and closed since the start. The binary counts them.
pub type Connections = Arc<dyn Fn() -> (u64, u64) + Send + Sync>;

/// The counters of a server as collectors see them.
#[derive(Clone)]
pub(crate) struct Collected {
    metrics: HttpMetrics,
    connections: Connections,
    full: Arc<Rate>,
    refused_checkins: Arc<Rate>,
}

impl fmt::Debug for Collected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collected").finish_non_exhaustive()
    }
}

/// `http_server` of `/stats`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct HttpServer {
    tcp_open: u64,
    tcp_close: u64,
    tcp_active: u64,
    tcp_rejected_rate: u64,
    pub(crate) routes: BTreeMap<&'static str, RouteStats>,
}

/// One route.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RouteStats {
    #[serde(flatten)]
    counts: RouteCounts,
    limit_max_rate: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_found: Option<u64>,
    /// Fetches are never throttled here.
    #[serde(skip_serializing_if = "Option::is_none")]
    throttle: Option<u64>,
}

impl Collected {
    pub(crate) fn new(metrics: HttpMetrics, connections: Connections) -> Self {
        Self {
            metrics,
            connections,
            full: Arc::default(),
            refused_checkins: Arc::default(),
        }
    }

    /// The registry whose text joins our own.
    pub(crate) fn registry(&self, version: &str) -> Registry {
        let mut registry = Registry::default();
        let info = [
            ("name", "fleet-server".to_owned()),
            ("version", version.to_owned()),
        ];
        registry.register("service", "The program and its version", Info::new(info.to_vec()));
        registry.register_collector(Box::new(self.clone()));
        registry
    }

    pub(crate) fn http_server(&self) -> HttpServer {
        let now = Instant::now();
        let (tcp_open, tcp_close) = (self.connections)();
        let full = NAMES
            .iter()
            .map(|(route, _)| self.metrics.refused(*route, Reason::Capacity));
        let of = |(route, name): &(Route, &'static str)| {
            let counts = self.metrics.counts(*route);
            let stats = RouteStats {
                limit_max_rate: match route {
                    Route::Checkin => self.refused_checkins.of(counts.limit_max(), now),
                    _ => 0,
                },
                not_found: (*route == Route::Artifact).then(|| self.metrics.with_status(*route, 404)),
                throttle: (*route == Route::Artifact).then_some(0),
                counts,
            };
            (*name, stats)
        };
        HttpServer {
            tcp_open,
            tcp_close,
            tcp_active: tcp_open.saturating_sub(tcp_close),
            tcp_rejected_rate: self.full.of(full.sum(), now),
            routes: NAMES.iter().map(of).collect(),
        }
    }
}

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let server = serde_json::to_value(self.http_server()).map_err(|_| fmt::Error)?;
        // The text has the tree's names: each number under its path.
        let mut numbers = Vec::new();
        flatten("http_server", &server, &mut numbers);
        for (name, number) in numbers {
            let encoder = encoder.encode_descriptor(&name, "As in /stats", None, MetricType::Gauge)?;
            ConstGauge::new(number).encode(encoder)?;
        }
        Ok(())
    }
}

fn flatten(name: &str, value: &serde_json::Value, into: &mut Vec<(String, i64)>) {
    match value {
        serde_json::Value::Object(members) => {
            for (member, value) in members {
                flatten(&format!("{name}_{member}"), value, into);
            }
        }
        number => into.push((name.to_owned(), number.as_i64().unwrap_or(i64::MAX))),
    }
}

/// The original's names of the routes.
const NAMES: [(Route, &str); 12] = [
    (Route::Checkin, "checkin"),
    (Route::Enroll, "enroll"),
    (Route::Artifact, "artifacts"),
    (Route::Acks, "acks"),
    (Route::Status, "status"),
    (Route::OpAmp, "opAMP"),
    (Route::UploadStart, "uploadStart"),
    (Route::UploadChunk, "uploadChunk"),
    (Route::UploadEnd, "uploadEnd"),
    (Route::FileDelivery, "deliverFile"),
    (Route::PgpRetrieval, "getPGPKey"),
    (Route::AuditUnenroll, "auditUnenroll"),
];

/// How much a counter grew in a second, looked at every ten seconds at most.
#[derive(Debug, Default)]
struct Rate(Mutex<Option<(Instant, u64, u64)>>);

impl Rate {
    fn of(&self, count: u64, now: Instant) -> u64 {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, before, rate) = *last.get_or_insert((now, count, 0));
        let passed = now.saturating_duration_since(at);
        if passed < SAMPLED {
            return rate;
        }
        let millis = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX).max(1);
        let grown = count.saturating_sub(before).saturating_mul(1000);
        let rate = grown.saturating_add(millis / 2) / millis;
        *last = Some((now, count, rate));
        rate
    }
}

const SAMPLED: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn met_02_a_rate_is_of_ten_seconds_and_rounded_half_up() {
        let (rate, start) = (Rate::default(), Instant::now());
        assert_eq!(rate.of(100, start), 0);
        assert_eq!(rate.of(900, start + SAMPLED / 2), 0, "not yet");
        assert_eq!(rate.of(125, start + SAMPLED), 3, "2.5 a second");
        assert_eq!(rate.of(125, start + SAMPLED * 3 / 2), 3);
        assert_eq!(rate.of(125, start + SAMPLED * 2), 0);
        assert_eq!(rate.of(5, start + SAMPLED * 3), 0, "it began anew");
    }
}
