//! Which requests of one listener are admitted, and where all of them are counted.

use std::{
    hash::Hash,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    body_budget::BodyBudget,
    clients::{OwnRequest, OwnRequests, Shares},
    error::Audience,
    limits::{Limiter, Limits, Permit, Refusal},
    log_budget::{LogBudget, Logged},
    metrics::HttpMetrics,
    route::Route,
    work::Work,
};

/// What the requests of one listener share, on all workers.
pub(crate) struct Admission {
    limiter: Limiter,
    failures: Shares,
    own_requests: OwnRequests,
    log: LogBudget,
    /// The limiter's time counts from here.
    epoch: Instant,
    pub(crate) work: Arc<Work>,
    pub(crate) bodies: Arc<BodyBudget>,
    pub(crate) metrics: HttpMetrics,
    /// `server.address` in the log: the listener as it is configured.
    pub(crate) address: String,
    pub(crate) audience: Audience,
}

/// A place on the listener and one of the route.
pub(crate) type Places = (Permit, Option<Permit>);

impl Admission {
    pub(crate) fn new(audience: Audience, limits: Limits, metrics: HttpMetrics, address: String) -> Self {
        let epoch = Instant::now();
        Self {
            work: Work::of_this_machine(),
            bodies: BodyBudget::new(&limits),
            limiter: Limiter::new(limits, epoch),
            failures: Shares::default(),
            own_requests: OwnRequests::default(),
            log: LogBudget::default(),
            epoch,
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

    /// Soft cap, then the limits of a route that anybody may ask; those of the others are applied once the caller is known.
    /// The places are free again when the permits are dropped.
    pub(crate) fn enter(&self, route: Route, peer: Option<IpAddr>, now: Instant) -> Result<Places, Refusal> {
        let place = self.limiter.enter(self.since(now))?;
        let of_route = match route.knows_its_client() {
            true => None,
            false => self.limiter.admit(route, peer.map(network), self.since(now))?,
        };
        Ok((place, of_route))
    }

    /// The limits of a route whose client has shown a good key.
    pub(crate) fn admit_known(&self, route: Route, now: Instant) -> Result<Option<Permit>, Refusal> {
        self.limiter.admit(route, None::<()>, self.since(now))
    }

    /// The rate of a route alone.
    pub(crate) fn spend(&self, route: Route, now: Instant) -> Result<(), Refusal> {
        self.limiter.spend(route, None::<()>, self.since(now))
    }

    /// Those limits for an agent, which has only a few requests under way and is the first to be refused if it takes
    /// more than its part.
    pub(crate) fn admit_agent(
        &self,
        route: Route,
        agent: impl Hash,
        now: Instant,
    ) -> Result<(OwnRequest, Option<Permit>), Refusal> {
        let now = self.since(now);
        let own = self.own_requests.take(&agent);
        let own = own.ok_or_else(|| self.limiter.own(route, now))?;
        Ok((own, self.limiter.admit(route, Some(agent), now)?))
    }

    /// Counts a request without a good key; an address that sends too many of them is told so.
    pub(crate) fn failed(&self, peer: Option<IpAddr>, now: Instant) -> Result<(), Refusal> {
        let Some(peer) = peer else { return Ok(()) };
        self.failures
            .take(network(peer), FAILURE_INTERVAL, FAILURE_BURST, self.since(now))
            .map_err(|retry_after| Refusal::Failures { retry_after })
    }

    /// Whether a request of somebody unknown is logged now; counts those that are not.
    pub(crate) fn logs_stranger(&self, now: Instant) -> bool {
        let logged = self.log.take(self.since(now));
        if logged != Logged::Yes {
            self.metrics.not_logged();
        }
        if logged == Logged::NoWithNotice {
            log::warn!(
                "server.address" = self.address.as_str();
                "Too many requests without a good key: they are counted (requests_not_logged) and not logged for a while"
            );
        }
        logged == Logged::Yes
    }

    fn since(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.epoch)
    }
}

/// One client's addresses: a network of IPv6 is given to one.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        v4 => v4,
    }
}

const FAILURE_INTERVAL: Duration = Duration::from_millis(100);
const FAILURE_BURST: u32 = 100;
