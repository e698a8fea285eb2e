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
    time::{Duration, Instant},
};

use crate::{
    bucket::Bucket,
    clients::Shares,
    returns::{Returns, Turnover},
    route::Route,
};

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
    Capacity {
        /// When a place is free.
        retry_after: Duration,
    },
    /// The route's token bucket is empty.
    Rate {
        /// When there is a token that was promised to nobody else.
        retry_after: Duration,
    },
    /// The route, or the client, has as many requests under way as it may.
    InFlight {
        /// When a place is free.
        retry_after: Duration,
    },
    /// The work that is under way and queued takes longer than the request may wait.
    Busy {
        /// When the queue has drained, and those who were told so earlier have had their turn.
        retry_after: Duration,
    },
}

impl Refusal {
    /// When it is worth trying again.
    pub(crate) const fn retry_after(self) -> Duration {
        match self {
            Self::Failures { retry_after }
            | Self::Capacity { retry_after }
            | Self::Rate { retry_after }
            | Self::InFlight { retry_after }
            | Self::Busy { retry_after } => retry_after,
        }
    }
}

/// The state behind the limits of one listener.
#[derive(Debug)]
pub(crate) struct Limiter {
    limits: Limits,
    in_flight: Arc<Occupancy>,
    shares: Shares,
    routes: [RouteState; Route::LIMITED.len()],
}

impl Limiter {
    /// A limiter with full buckets, whose times count from `epoch`.
    pub(crate) fn new(limits: Limits, epoch: Instant) -> Self {
        Self {
            limits,
            in_flight: Occupancy::new(epoch),
            shares: Shares::default(),
            routes: std::array::from_fn(|_| RouteState::new(epoch)),
        }
    }

    /// Takes a place on the listener (the soft cap).
    ///
    /// # Errors
    /// [`Refusal::Capacity`].
    pub(crate) fn enter(&self, now: Duration) -> Result<Permit, Refusal> {
        Permit::take(&self.in_flight, self.limits.max_connections, now)
            .map_err(|retry_after| Refusal::Capacity { retry_after })
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
        Permit::take(&state.in_flight, self.limits.of(route).in_flight, now)
            .map(Some)
            .map_err(|retry_after| Refusal::InFlight { retry_after })
    }

    /// The answer to a client that has as many requests of `route` under way as one may: when one of them is over.
    pub(crate) fn own(&self, route: Route, now: Duration) -> Refusal {
        let retry_after = route
            .index()
            .and_then(|place| self.routes.get(place))
            .map_or(Duration::ZERO, |state| state.in_flight.turnover.interval(1, now));
        Refusal::InFlight { retry_after }
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
        let taken = state.bucket.take(interval, limits.burst, usable, now);
        taken.map_err(|_wait| {
            // There are never more than a burst at once, and half of it for one who has taken more than a fair part:
            // that it was refused counts too.
            let half = (limits.burst / 2).max(1);
            // Room for all who are told the same second.
            let at_least = state.bucket.wait(interval, half / 2, now);
            Refusal::Rate {
                retry_after: state.returns.next(now, at_least, interval.max(SECOND / half)),
            }
        })
    }

    /// Requests in flight on the listener.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.taken.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
struct RouteState {
    bucket: Bucket,
    returns: Returns,
    in_flight: Arc<Occupancy>,
}

impl RouteState {
    fn new(epoch: Instant) -> Self {
        Self {
            bucket: Bucket::default(),
            returns: Returns::default(),
            in_flight: Occupancy::new(epoch),
        }
    }
}

/// The places of a listener or a route.
#[derive(Debug)]
struct Occupancy {
    taken: AtomicU32,
    turnover: Turnover,
    returns: Returns,
    epoch: Instant,
}

impl Occupancy {
    fn new(epoch: Instant) -> Arc<Self> {
        Arc::new(Self {
            taken: AtomicU32::new(0),
            turnover: Turnover::default(),
            returns: Returns::default(),
            epoch,
        })
    }

    fn take(&self, max: Option<u32>, now: Duration) -> Result<(), Duration> {
        let max = max.unwrap_or(u32::MAX);
        let one_more = |taken: u32| (taken < max).then(|| taken.saturating_add(1));
        match self
            .taken
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more)
        {
            Ok(_before) => Ok(()),
            Err(_full) => {
                // However soon they are free, there are no more of them at once.
                let interval = self.turnover.interval(max, now).max(SECOND / max.max(1));
                // Those that hold them may have begun just now.
                Err(self
                    .returns
                    .next(now, interval.max(self.turnover.held()), interval))
            }
        }
    }

    fn give_back(&self, begun: Duration, now: Duration) {
        self.taken.fetch_sub(1, Ordering::AcqRel);
        self.turnover.ended(now.saturating_sub(begun), now);
    }
}

/// A place in flight; free again when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    places: Arc<Occupancy>,
    /// Milliseconds; they wrap after seven weeks. An agent that waits holds two permits: they are kept small.
    begun: u32,
}

impl Permit {
    fn take(places: &Arc<Occupancy>, max: Option<u32>, now: Duration) -> Result<Self, Duration> {
        places.take(max, now)?;
        Ok(Self {
            places: Arc::clone(places),
            begun: millis(now),
        })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let now = self.places.epoch.elapsed();
        let held = Duration::from_millis(millis(now).wrapping_sub(self.begun).into());
        self.places.give_back(now.saturating_sub(held), now);
    }
}

/// The last 32 bits of the milliseconds.
fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis() & u128::from(u32::MAX)).unwrap_or_default()
}

const SECOND: Duration = Duration::from_secs(1);
/// A client has its fair part of a rate while it takes no more than one of so many.
const FAIR_PART: u32 = 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOBODY: Option<&str> = None;

    fn limiter(limits: RouteLimits) -> Limiter {
        Limiter::new(Limits::default().with(Route::Status, limits), Instant::now())
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
        assert!(matches!(
            limiter.admit(Route::Status, NOBODY, SECOND),
            Err(Refusal::InFlight { .. })
        ));
        drop(permit);
        assert!(limiter.admit(Route::Status, NOBODY, SECOND).is_ok());
        assert!(matches!(
            limiter.admit(Route::Status, NOBODY, SECOND).unwrap_err(),
            Refusal::Rate { .. }
        ));
    }

    #[test]
    fn gen_23_the_soft_cap_counts_all_routes() {
        let limiter = Limiter::new(Limits::default().with_max_connections(Some(1)), Instant::now());
        let place = limiter.enter(SECOND).unwrap();
        assert!(matches!(limiter.enter(SECOND), Err(Refusal::Capacity { .. })));
        assert_eq!(limiter.in_flight(), 1);
        drop(place);
        assert!(limiter.enter(SECOND).is_ok());
    }

    #[test]
    fn a_limit_of_no_place_refuses_everything_and_other_paths_have_no_limit() {
        let limiter = limiter(RouteLimits {
            in_flight: Some(0),
            ..RouteLimits::NONE
        });
        assert!(matches!(
            limiter.admit(Route::Status, NOBODY, SECOND),
            Err(Refusal::InFlight { .. })
        ));
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
                .map(|route| route.in_flight.taken.load(Ordering::SeqCst))
                .sum::<u32>(),
            0
        );
    }

    /// Clients that come back when they were told, and how often one of them was refused again.
    fn refused_again(
        clients: u64,
        at: Duration,
        mut ask: impl FnMut(u64, Duration) -> Result<(), Duration>,
    ) -> usize {
        let mut due: std::collections::BTreeSet<_> = (0..clients).map(|client| (at, client, false)).collect();
        let mut again = 0;
        while let Some((now, client, is_return)) = due.pop_first() {
            if let Err(wait) = ask(client, now) {
                again += usize::from(is_return);
                due.insert((now + wait, client, true));
            }
        }
        again
    }

    proptest! {
        #[test]
        fn gen_21_who_comes_back_as_told_finds_a_token(
            interval_ms in 1u64..3000,
            burst in 1u32..200,
            clients in 1u64..400,
            at in 1000u64..3000,
        ) {
            let limiter = limiter(RouteLimits {
                interval: Some(Duration::from_millis(interval_ms)),
                burst,
                ..RouteLimits::NONE
            });
            // What can be promised within five minutes.
            let most = (70_000 / interval_ms).min(95 * u64::from((burst / 2).max(1)));
            let again = refused_again(clients.min(most), Duration::from_millis(at), |_, now| {
                let admitted = limiter.admit(Route::Status, NOBODY, now);
                admitted.map(drop).map_err(Refusal::retry_after)
            });
            prop_assert_eq!(again, 0);
        }

        #[test]
        fn gen_22_who_comes_back_as_told_finds_a_place(
            places in 1u32..50,
            held_ms in 1u64..6000,
            clients in 1u64..400,
            at in 1000u64..3000,
        ) {
            let (all, held) = (Occupancy::new(Instant::now()), Duration::from_millis(held_ms));
            all.turnover.ended(held, Duration::from_millis(at));
            let most = (70_000 * u64::from(places) / held_ms).min(70 * u64::from(places));
            let mut under_way = std::collections::VecDeque::new();
            let again = refused_again(clients.min(most), Duration::from_millis(at), |_, now| {
                while let Some(end) = under_way.pop_front_if(|end: &mut Duration| *end <= now) {
                    all.give_back(end - held, end);
                }
                all.take(Some(places), now)?;
                under_way.push_back(now + held);
                Ok(())
            });
            prop_assert_eq!(again, 0);
        }

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
