//! What is counted for HTTP requests. The parent passes the prefix `fleet_server`.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder},
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};

use serde::Serialize;

use crate::route::Route;

/// Counters of all listeners of the process.
#[derive(Clone, Debug)]
pub struct HttpMetrics {
    requests: Family<RequestLabels, Counter>,
    duration: Family<RouteLabels, Histogram, fn() -> Histogram>,
    rejected: Family<RejectedLabels, Counter>,
    panics: Counter,
    not_logged: Counter,
    totals: Arc<[AtomicU64; Route::ALL.len()]>,
}

/// One route's numbers for `/stats`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct RouteStats {
    /// Requests answered.
    total: u64,
    /// Of these refused for the rate.
    limit_rate: u64,
    /// Of these refused for the number in flight.
    limit_max: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: Route,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: Route,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RejectedLabels {
    route: Route,
    reason: Reason,
}

/// Which limit refused a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    Rate,
    InFlight,
    Capacity,
    BodySize,
    BodyTime,
    BodyBytes,
    Failures,
    Busy,
}

impl Reason {
    const ALL: [Self; 8] = [
        Self::Rate,
        Self::InFlight,
        Self::Capacity,
        Self::BodySize,
        Self::BodyTime,
        Self::BodyBytes,
        Self::Failures,
        Self::Busy,
    ];
}

impl EncodeLabelValue for Reason {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        let text = match self {
            Self::Rate => "rate_limit",
            Self::InFlight => "max_limit",
            Self::Capacity => "max_connections",
            Self::BodySize => "body_size",
            Self::BodyTime => "body_timeout",
            Self::BodyBytes => "body_bytes_in_flight",
            Self::Failures => "failed_attempts",
            Self::Busy => "queueing_time",
        };
        EncodeLabelValue::encode(&text, encoder)
    }
}

impl HttpMetrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::unregistered();
        // Known from the start, so that the first refusal shows as an increase.
        for route in [Route::Status, Route::Enroll, Route::Checkin, Route::Acks] {
            for reason in Reason::ALL {
                drop(metrics.rejected.get_or_create(&RejectedLabels { route, reason }));
            }
        }
        registry.register(
            "http_requests",
            "Requests answered, by route and status code (499: the client went away)",
            metrics.requests.clone(),
        );
        registry.register_with_unit(
            "http_request_duration",
            "Time from the request's head to its answer, long polls included",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        registry.register(
            "rejected",
            "Requests refused by a limit, by route and limit",
            metrics.rejected.clone(),
        );
        registry.register(
            "http_panics",
            "Requests that ended in a panic and were answered 500",
            metrics.panics.clone(),
        );
        registry.register(
            "requests_not_logged",
            "Requests without a good key that were left out of the log because there were too many",
            metrics.not_logged.clone(),
        );
        metrics
    }

    /// Metrics outside any registry, for tests.
    #[must_use]
    pub fn unregistered() -> Self {
        Self {
            requests: Family::default(),
            duration: Family::new_with_constructor(new_histogram),
            rejected: Family::default(),
            panics: Counter::default(),
            not_logged: Counter::default(),
            totals: Arc::new(std::array::from_fn(|_| AtomicU64::new(0))),
        }
    }

    pub(crate) fn answered(&self, route: Route, code: u16, took: Duration) {
        self.requests.get_or_create(&RequestLabels { route, code }).inc();
        if let Some(total) = Route::ALL
            .iter()
            .position(|of| *of == route)
            .and_then(|place| self.totals.get(place))
        {
            total.fetch_add(1, Ordering::Relaxed);
        }
        self.duration
            .get_or_create(&RouteLabels { route })
            .observe(took.as_secs_f64());
    }

    pub(crate) fn rejected(&self, route: Route, reason: Reason) {
        self.rejected
            .get_or_create(&RejectedLabels { route, reason })
            .inc();
    }

    pub(crate) fn not_logged(&self) {
        self.not_logged.inc();
    }

    pub(crate) fn panicked(&self) {
        self.panics.inc();
    }

    /// All routes' numbers by name.
    pub(crate) fn stats(&self) -> BTreeMap<&'static str, RouteStats> {
        let rejected = |route, reason| {
            self.rejected
                .get(&RejectedLabels { route, reason })
                .map_or(0, |counter| counter.get())
        };
        let of = |route, total: &AtomicU64| RouteStats {
            total: total.load(Ordering::Relaxed),
            limit_rate: rejected(route, Reason::Rate),
            limit_max: rejected(route, Reason::InFlight),
        };
        Route::ALL
            .iter()
            .zip(self.totals.iter())
            .map(|(route, total)| (route.as_str(), of(*route, total)))
            .collect()
    }

    /// Panics survived so far.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.panics.get()
    }
}

/// Fast answers and long polls of up to an hour share the scale.
fn new_histogram() -> Histogram {
    Histogram::new([
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 300.0, 600.0,
        3600.0,
    ])
}
