//! Which requests of one listener are admitted, and where all of them are counted.

use std::time::{Duration, Instant};

use crate::{
    error::Audience,
    limits::{Limiter, Permit, Refusal},
    metrics::HttpMetrics,
    route::Route,
};

/// What the requests of one listener share, on all workers.
pub(crate) struct Admission {
    limiter: Limiter,
    /// The limiter's time counts from here.
    epoch: Instant,
    pub(crate) metrics: HttpMetrics,
    /// `server.address` in the log: the listener as it is configured.
    pub(crate) address: String,
    pub(crate) audience: Audience,
}

/// A place on the listener and one of the route.
pub(crate) type Places = (Permit, Option<Permit>);

impl Admission {
    pub(crate) fn new(audience: Audience, limiter: Limiter, metrics: HttpMetrics, address: String) -> Self {
        Self {
            limiter,
            epoch: Instant::now(),
            metrics,
            address,
            audience,
        }
    }

    /// Requests in flight on the listener.
    pub(crate) fn in_flight(&self) -> u32 {
        self.limiter.in_flight()
    }

    /// What a request to `path` counts as.
    pub(crate) fn route(&self, path: &str) -> Route {
        match self.audience {
            Audience::Agent => Route::of(path),
            Audience::Operator => Route::Admin,
        }
    }

    /// Soft cap, then the route's limits. The places are free again when the permits are dropped.
    pub(crate) fn admit(&self, route: Route, now: Instant) -> Result<Places, Refusal> {
        let place = self.limiter.enter()?;
        let since: Duration = now.saturating_duration_since(self.epoch);
        let of_route = self.limiter.admit(route, since)?;
        Ok((place, of_route))
    }
}
