//! What is counted for HTTP requests. The parent passes the prefix `fleet_server`.

use std::{
    fmt::{self, Write as _},
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
use strum::{IntoStaticStr, VariantArray};

use crate::route::Route;

/// Counters of all listeners of the process.
#[derive(Clone, Debug)]
pub struct HttpMetrics {
    requests: Family<RequestLabels, Counter>,
    duration: Family<RouteLabels, Histogram, fn() -> Histogram>,
    rejected: Family<RejectedLabels, Counter>,
    panics: Counter,
    not_logged: Counter,
    totals: Arc<[RouteTotals; Route::ALL.len()]>,
}

/// One route's numbers for `/stats`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub(crate) struct RouteCounts {
    /// Requests being answered now, long polls included.
    active: u64,
    total: u64,
    /// Of these refused for the rate.
    limit_rate: u64,
    /// Of these refused for the number in flight, or because they could not begin in time.
    limit_max: u64,
    /// Of these failed otherwise.
    fail: u64,
    /// Of these given up by their client.
    drop: u64,
    /// Bytes of requests' bodies, as announced.
    body_in: u64,
    /// Bytes of answers' bodies.
    body_out: u64,
}

impl RouteCounts {
    pub(crate) const fn limit_max(&self) -> u64 {
        self.limit_max
    }
}

#[derive(Debug, Default)]
struct RouteTotals {
    active: AtomicU64,
    total: AtomicU64,
    fail: AtomicU64,
    drop: AtomicU64,
    body_in: AtomicU64,
    body_out: AtomicU64,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, IntoStaticStr, VariantArray)]
pub(crate) enum Reason {
    #[strum(serialize = "rate_limit")]
    Rate,
    #[strum(serialize = "max_limit")]
    InFlight,
    #[strum(serialize = "max_connections")]
    Capacity,
    #[strum(serialize = "body_size")]
    BodySize,
    #[strum(serialize = "body_timeout")]
    BodyTime,
    #[strum(serialize = "body_bytes_in_flight")]
    BodyBytes,
    #[strum(serialize = "failed_attempts")]
    Failures,
    #[strum(serialize = "queueing_time")]
    Busy,
}

impl EncodeLabelValue for Reason {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(self.into())
    }
}

impl HttpMetrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::unregistered();
        // Known from the start, so that the first refusal shows as an increase.
        for route in [Route::Status, Route::Enroll, Route::Checkin, Route::Acks] {
            for reason in Reason::VARIANTS.iter().copied() {
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
            totals: Arc::default(),
        }
    }

    fn totals(&self, route: Route) -> &RouteTotals {
        &self.totals[route as usize]
    }

    /// A request came, with a body of so many bytes.
    pub(crate) fn begun(&self, route: Route, body: u64) {
        let totals = self.totals(route);
        totals.active.fetch_add(1, Ordering::Relaxed);
        totals.body_in.fetch_add(body, Ordering::Relaxed);
    }

    /// A request that has begun was answered, or given up by its client. `reason`: the limit that refused it.
    pub(crate) fn answered(
        &self,
        route: Route,
        code: u16,
        took: Duration,
        body: u64,
        reason: Option<Reason>,
    ) {
        self.requests.get_or_create(&RequestLabels { route, code }).inc();
        if let Some(reason) = reason {
            self.rejected
                .get_or_create(&RejectedLabels { route, reason })
                .inc();
        }
        let totals = self.totals(route);
        totals.active.fetch_sub(1, Ordering::Relaxed);
        totals.total.fetch_add(1, Ordering::Relaxed);
        totals.body_out.fetch_add(body, Ordering::Relaxed);
        match (code, reason) {
            (CLIENT_GONE, _) => drop(totals.drop.fetch_add(1, Ordering::Relaxed)),
            (400.., None) => drop(totals.fail.fetch_add(1, Ordering::Relaxed)),
            _ => {}
        }
        self.duration
            .get_or_create(&RouteLabels { route })
            .observe(took.as_secs_f64());
    }

    pub(crate) fn not_logged(&self) {
        self.not_logged.inc();
    }

    pub(crate) fn panicked(&self) {
        self.panics.inc();
    }

    /// How many requests of the route this limit has refused.
    pub(crate) fn refused(&self, route: Route, reason: Reason) -> u64 {
        let counter = self.rejected.get(&RejectedLabels { route, reason });
        counter.map_or(0, |counter| counter.get())
    }

    /// How many requests of the route were answered so.
    pub(crate) fn with_status(&self, route: Route, code: u16) -> u64 {
        let counter = self.requests.get(&RequestLabels { route, code });
        counter.map_or(0, |counter| counter.get())
    }

    pub(crate) fn counts(&self, route: Route) -> RouteCounts {
        let totals = self.totals(route);
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RouteCounts {
            active: of(&totals.active),
            total: of(&totals.total),
            limit_rate: self.refused(route, Reason::Rate),
            limit_max: self.refused(route, Reason::InFlight) + self.refused(route, Reason::Busy),
            fail: of(&totals.fail),
            drop: of(&totals.drop),
            body_in: of(&totals.body_in),
            body_out: of(&totals.body_out),
        }
    }

    /// Panics survived so far.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.panics.get()
    }
}

/// Counted and logged, not sent: the client did not wait for the answer.
pub(crate) const CLIENT_GONE: u16 = 499;

/// Fast answers and long polls of up to an hour share the scale.
fn new_histogram() -> Histogram {
    Histogram::new([
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 300.0, 600.0,
        3600.0,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_counts_once_under_what_became_of_it() {
        let metrics = HttpMetrics::unregistered();
        let (route, took) = (Route::Checkin, Duration::ZERO);
        for (code, reason) in [
            (200, None),
            (429, Some(Reason::Rate)),
            (429, Some(Reason::InFlight)),
            (429, Some(Reason::Busy)),
            (CLIENT_GONE, None),
            (500, None),
        ] {
            metrics.begun(route, 10);
            metrics.answered(route, code, took, 3, reason);
        }
        metrics.begun(route, 10);
        let expected = RouteCounts {
            active: 1,
            total: 6,
            limit_rate: 1,
            limit_max: 2,
            fail: 1,
            drop: 1,
            body_in: 70,
            body_out: 18,
        };
        assert_eq!(metrics.counts(route), expected);
        assert_eq!(metrics.with_status(route, 429), 3);
        assert_eq!(metrics.counts(Route::Enroll), RouteCounts::default());
    }
}
