//! What a listener refuses before it does any work: too many requests at once, too many of one route, too fast.
//!
//! One [`Limiter`] belongs to one listener and is shared by its workers. It never waits: a request gets a
//! [`Permit`] or a [`Refusal`] at once. Time is an argument. It answers nothing itself; the gate does.

use std::{
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use crate::{bucket::Bucket, clients::Shares, route::Route};

/// Limits of one route on one listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteLimits {
    /// One request per this time on average; `None`: as fast as they come.
    pub interval: Option<Duration>,
    /// Requests that may come at once before `interval` counts; at least 1.
    pub burst: u32,
    /// Requests of this route in flight; `None`: any number, `Some(0)`: none at all.
    pub in_flight: Option<u32>,
    /// Bytes of a request's body on the wire; `None`: any number.
    pub body_bytes: Option<usize>,
    /// Bytes of a request's body after decompression; `None`: any number.
    pub decompressed_bytes: Option<usize>,
}

impl RouteLimits {
    /// No limit at all.
    pub const NONE: Self = Self {
        interval: None,
        burst: 1,
        in_flight: None,
        body_bytes: None,
        decompressed_bytes: None,
    };

    /// The defaults of agents.md 9.4 and 1.8.
    #[must_use]
    pub const fn default_of(route: Route) -> Self {
        let (interval_ms, burst, in_flight, body_bytes, decompressed_bytes) = match route {
            Route::Status => (5, 25, Some(50), None, None),
            Route::Enroll => (10, 50, Some(100), Some(524_288), None),
            Route::Checkin => (1, 1000, None, Some(1_048_576), Some(20_971_520)),
            Route::Acks => (10, 50, Some(100), Some(2_097_152), None),
            Route::AuditUnenroll => (10, 50, Some(100), Some(1024), None),
            Route::Artifact | Route::PgpRetrieval => (5, 25, Some(50), None, None),
            Route::UploadStart => (2000, 5, Some(10), Some(5_242_880), None),
            Route::UploadEnd => (2000, 5, Some(10), Some(1024), None),
            Route::UploadChunk => (3, 5, Some(10), Some(4_194_304), None),
            Route::FileDelivery => (100, 5, Some(10), None, None),
            Route::OpAmp => (1, 1000, None, Some(3_145_728), Some(3_145_728)),
            Route::Admin | Route::Other => return Self::NONE,
        };
        let interval = Some(Duration::from_millis(interval_ms));
        Self {
            interval,
            burst,
            in_flight,
            body_bytes,
            decompressed_bytes,
        }
    }
}

/// Limits of one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    max_connections: Option<u32>,
    routes: [RouteLimits; Route::LIMITED.len()],
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: None,
            routes: std::array::from_fn(|place| RouteLimits::default_of(Route::LIMITED[place])),
        }
    }
}

impl Limits {
    /// Sets how many requests may be in flight over all routes; `None`: any number.
    #[must_use]
    pub const fn with_max_connections(mut self, max: Option<u32>) -> Self {
        self.max_connections = max;
        self
    }

    /// The limits of `route`.
    #[must_use]
    pub fn of(&self, route: Route) -> RouteLimits {
        route
            .index()
            .and_then(|place| self.routes.get(place))
            .copied()
            .unwrap_or(RouteLimits::NONE)
    }

    /// Sets the limits of `route`; routes without a limit of their own ([`Route::Other`]) keep none.
    #[must_use]
    pub fn with(mut self, route: Route, limits: RouteLimits) -> Self {
        if let Some(slot) = route.index().and_then(|place| self.routes.get_mut(place)) {
            *slot = limits;
        }
        self
    }
}

/// Why a request was refused before any work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Too many requests without a good key came from the address.
    Failures {
        /// Time until the next one is accepted.
        retry_after: Duration,
    },
    /// The listener carries as many requests as it may.
    Capacity,
    /// The route's token bucket is empty.
    Rate {
        /// When the next token drops.
        retry_after: Duration,
    },
    /// The route carries as many requests as it may.
    InFlight,
    /// The work that is under way and queued takes longer than the request may wait.
    Busy {
        /// When the queue has drained.
        retry_after: Duration,
    },
}

impl Refusal {
    /// When it is worth trying again, if that is known.
    pub(crate) const fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Failures { retry_after } | Self::Rate { retry_after } | Self::Busy { retry_after } => {
                Some(retry_after)
            }
            Self::Capacity | Self::InFlight => None,
        }
    }
}

/// The state behind the limits of one listener.
#[derive(Debug)]
pub(crate) struct Limiter {
    limits: Limits,
    in_flight: Arc<AtomicU32>,
    shares: Shares,
    routes: [RouteState; Route::LIMITED.len()],
}

impl Limiter {
    /// A limiter with full buckets.
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            in_flight: Arc::default(),
            shares: Shares::default(),
            routes: Default::default(),
        }
    }

    /// Takes a place on the listener (the soft cap).
    ///
    /// # Errors
    /// [`Refusal::Capacity`].
    pub(crate) fn enter(&self) -> Result<Permit, Refusal> {
        Permit::take(&self.in_flight, self.limits.max_connections).ok_or(Refusal::Capacity)
    }

    /// Takes a token and a place of the route. A client that takes more than a fair part of the rate may use half of the
    /// burst only: the rest is there for the others. The token is spent even when no place is free (agents.md 1.10).
    /// `now` is the time since any fixed moment.
    ///
    /// # Errors
    /// [`Refusal::Rate`], then [`Refusal::InFlight`].
    pub(crate) fn admit(
        &self,
        route: Route,
        client: Option<impl Hash>,
        now: Duration,
    ) -> Result<Option<Permit>, Refusal> {
        let Some(state) = route.index().and_then(|place| self.routes.get(place)) else {
            return Ok(None);
        };
        self.spend(route, client, now)?;
        Permit::take(&state.in_flight, self.limits.of(route).in_flight)
            .map(Some)
            .ok_or(Refusal::InFlight)
    }

    /// Takes a token of the route alone, for one of many messages of a connection that has its place.
    ///
    /// # Errors
    /// [`Refusal::Rate`].
    pub(crate) fn spend(
        &self,
        route: Route,
        client: Option<impl Hash>,
        now: Duration,
    ) -> Result<(), Refusal> {
        let limits = self.limits.of(route);
        let state = route.index().and_then(|place| self.routes.get(place));
        let (Some(state), Some(interval)) = (state, limits.interval) else {
            return Ok(());
        };
        let share = (interval * FAIR_PART, limits.burst / FAIR_PART);
        let is_fair =
            client.is_none_or(|client| self.shares.take((route, client), share.0, share.1, now).is_ok());
        let usable = if is_fair { limits.burst } else { limits.burst / 2 };
        state
            .bucket
            .take(interval, limits.burst, usable, now)
            .map_err(|retry_after| Refusal::Rate { retry_after })
    }

    /// Requests in flight on the listener.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
struct RouteState {
    bucket: Bucket,
    in_flight: Arc<AtomicU32>,
}

/// A place in flight; free again when dropped.
#[derive(Debug)]
pub(crate) struct Permit(Arc<AtomicU32>);

impl Permit {
    fn take(count: &Arc<AtomicU32>, max: Option<u32>) -> Option<Self> {
        let max = max.unwrap_or(u32::MAX);
        count
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| {
                (taken < max).then(|| taken.saturating_add(1))
            })
            .ok()
            .map(|_| Self(Arc::clone(count)))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A client has its fair part of a rate while it takes no more than one of so many.
const FAIR_PART: u32 = 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const NOBODY: Option<&str> = None;

    fn limiter(limits: RouteLimits) -> Limiter {
        Limiter::new(Limits::default().with(Route::Status, limits))
    }

    #[test]
    fn gen_21_a_bucket_of_one_refuses_the_second_and_names_the_wait() {
        let hour = Duration::from_secs(3600);
        let limiter = limiter(RouteLimits {
            interval: Some(hour),
            burst: 1,
            ..RouteLimits::NONE
        });
        assert!(limiter.admit(Route::Status, NOBODY, SECOND).is_ok());
        let refused = limiter.admit(Route::Status, NOBODY, 2 * SECOND).unwrap_err();
        assert_eq!(
            refused,
            Refusal::Rate {
                retry_after: hour - SECOND
            }
        );
        assert!(
            limiter.admit(Route::Enroll, NOBODY, SECOND).is_ok(),
            "buckets are apart"
        );
        assert!(
            limiter.admit(Route::Status, NOBODY, hour + SECOND).is_ok(),
            "one token an hour"
        );
        assert!(limiter.admit(Route::Status, NOBODY, hour + SECOND).is_err());
    }

    #[test]
    fn gen_22_a_place_is_held_until_the_permit_is_dropped_and_the_token_is_spent() {
        let limits = RouteLimits {
            interval: Some(SECOND),
            burst: 3,
            in_flight: Some(1),
            ..RouteLimits::NONE
        };
        let limiter = limiter(limits);
        let permit = limiter.admit(Route::Status, NOBODY, SECOND).unwrap();
        assert_eq!(
            limiter.admit(Route::Status, NOBODY, SECOND).unwrap_err(),
            Refusal::InFlight
        );
        drop(permit);
        assert!(limiter.admit(Route::Status, NOBODY, SECOND).is_ok());
        assert!(matches!(
            limiter.admit(Route::Status, NOBODY, SECOND).unwrap_err(),
            Refusal::Rate { .. }
        ));
    }

    #[test]
    fn gen_23_the_soft_cap_counts_all_routes() {
        let limiter = Limiter::new(Limits::default().with_max_connections(Some(1)));
        let place = limiter.enter().unwrap();
        assert_eq!(limiter.enter().unwrap_err(), Refusal::Capacity);
        assert_eq!(limiter.in_flight(), 1);
        drop(place);
        assert!(limiter.enter().is_ok());
    }

    #[test]
    fn a_limit_of_no_place_refuses_everything_and_other_paths_have_no_limit() {
        let limiter = limiter(RouteLimits {
            in_flight: Some(0),
            ..RouteLimits::NONE
        });
        assert_eq!(
            limiter.admit(Route::Status, NOBODY, SECOND).unwrap_err(),
            Refusal::InFlight
        );
        assert!(limiter.admit(Route::Other, NOBODY, SECOND).unwrap().is_none());
    }

    #[test]
    fn attack_11_one_busy_client_leaves_room_for_the_others() {
        let limits = RouteLimits {
            interval: Some(Duration::from_millis(5)),
            burst: 100,
            ..RouteLimits::NONE
        };
        let limiter = limiter(limits);
        let (mut busy, mut others) = (0, 0);
        for millis in 1000..2000 {
            let now = Duration::from_millis(millis);
            for _ in 0..10 {
                busy += u32::from(limiter.admit(Route::Status, Some("busy"), now).is_ok());
            }
            if millis % 10 == 0 {
                others += u32::from(limiter.admit(Route::Status, Some(millis), now).is_ok());
            }
        }
        assert_eq!(others, 100, "nobody else is refused");
        assert!(busy >= 100, "what nobody else wants is the busy client's: {busy}");
    }

    #[test]
    fn permits_are_counted_right_across_threads() {
        let limiter = Arc::new(limiter(RouteLimits {
            in_flight: Some(3),
            ..RouteLimits::NONE
        }));
        let seen = Arc::new(AtomicU32::new(0));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (limiter, seen) = (Arc::clone(&limiter), Arc::clone(&seen));
                std::thread::spawn(move || {
                    for _ in 0..2000 {
                        if let Ok(permit) = limiter.admit(Route::Status, NOBODY, SECOND) {
                            assert!(seen.fetch_add(1, Ordering::SeqCst) < 3);
                            seen.fetch_sub(1, Ordering::SeqCst);
                            drop(permit);
                        }
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(
            limiter
                .routes
                .iter()
                .map(|route| route.in_flight.load(Ordering::SeqCst))
                .sum::<u32>(),
            0
        );
    }

    proptest! {
        /// Never more than `burst` tokens plus one for each interval that passed.
        #[test]
        fn a_bucket_never_gives_more_than_it_has(
            interval_ms in 1u64..1000,
            burst in 1u32..20,
            steps in proptest::collection::vec(0u64..500, 1..200),
        ) {
            let bucket = Bucket::default();
            let interval = Duration::from_millis(interval_ms);
            let mut now = Duration::ZERO;
            let mut given = 0u64;
            for step in steps {
                now += Duration::from_millis(step);
                match bucket.take(interval, burst, burst, now) {
                    Ok(()) => given += 1,
                    Err(wait) => {
                        prop_assert!(wait > Duration::ZERO && wait <= interval);
                    }
                }
                let most = u64::from(burst) + u64::try_from(now.as_millis()).unwrap() / interval_ms;
                prop_assert!(given <= most, "{given} tokens of {most}");
            }
        }

        /// After the wait that it named, there is a token.
        #[test]
        fn the_named_wait_suffices(interval_ms in 1u64..1000, burst in 1u32..10, at in 0u64..1_000_000) {
            let bucket = Bucket::default();
            let interval = Duration::from_millis(interval_ms);
            let now = Duration::from_millis(at);
            for _ in 0..burst {
                prop_assert!(bucket.take(interval, burst, burst, now).is_ok());
            }
            let wait = bucket.take(interval, burst, burst, now).unwrap_err();
            prop_assert!(bucket.take(interval, burst, burst, now + wait).is_ok());
        }
    }
}
