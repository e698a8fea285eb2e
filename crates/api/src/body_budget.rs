//! Bytes of request bodies that are held at once: bounded for one client and for all, so that bodies that stall half-way
//! take no more memory than somebody decided. Counts; never waits and holds no body itself.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, Hash, RandomState},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    limits::Limits,
    returns::{Returns, Turnover},
    route::Route,
};

/// What the bodies of one listener may hold.
#[derive(Debug)]
pub(crate) struct BodyBudget {
    held: AtomicUsize,
    most: usize,
    most_of_one: usize,
    /// Bytes of those who hold much.
    ones: Mutex<HashMap<u64, usize>>,
    hasher: RandomState,
    /// Of the bodies that count.
    turnover: Turnover,
    returns: Returns,
    epoch: Instant,
}

/// A bound is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoRoom {
    /// When one of the bodies is over.
    pub(crate) retry_after: Duration,
}

impl BodyBudget {
    /// Room for two of the largest bodies of one client, and for four of all: while they are read there are copies.
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        let largest = Route::LIMITED.iter().map(|route| {
            let limits = limits.of(*route);
            // What is unlimited by decision counts as little: its route has a limit in this version or no body.
            let (wire, inflated) = (limits.body_bytes, limits.decompressed_bytes);
            wire.unwrap_or(0).saturating_add(inflated.unwrap_or(0))
        });
        let most_of_one = largest.max().unwrap_or(0).saturating_mul(2).max(LEAST_OF_ONE);
        Self::bounded(most_of_one.saturating_mul(2).max(LEAST), most_of_one)
    }

    pub(crate) fn bounded(most: usize, most_of_one: usize) -> Arc<Self> {
        Arc::new(Self {
            held: AtomicUsize::new(0),
            most,
            most_of_one,
            ones: Mutex::default(),
            hasher: RandomState::new(),
            turnover: Turnover::default(),
            returns: Returns::default(),
            epoch: Instant::now(),
        })
    }

    /// Nothing yet, of this client's if there is one to tell from others.
    pub(crate) fn hold(self: &Arc<Self>, client: Option<impl Hash>) -> HeldBytes {
        HeldBytes {
            client: client.map(|client| self.hasher.hash_one(client)),
            budget: Arc::clone(self),
            bytes: 0,
            counted: 0,
            begun: Duration::ZERO,
        }
    }

    fn no_room(&self) -> NoRoom {
        let now = self.epoch.elapsed();
        // As if it were one body after the other: how many large ones fit is not known before they are there.
        let interval = self.turnover.interval(1, now);
        NoRoom {
            retry_after: self.returns.next(now, interval, interval),
        }
    }
}

/// Bytes that a body holds; given back when dropped.
#[derive(Debug)]
pub(crate) struct HeldBytes {
    budget: Arc<BodyBudget>,
    client: Option<u64>,
    bytes: usize,
    /// Of these, what counts: all that an ordinary body does not have.
    counted: usize,
    /// Since when it counts.
    begun: Duration,
}

impl HeldBytes {
    /// Room for so many more. What an ordinary body has is never refused: large ones cannot take its place.
    pub(crate) fn grow(&mut self, by: usize) -> Result<(), NoRoom> {
        let budget = &self.budget;
        let bytes = self.bytes.saturating_add(by);
        let more = bytes.saturating_sub(UNCOUNTED) - self.counted;
        if more > 0 {
            let mut ones = budget.ones.lock().unwrap_or_else(PoisonError::into_inner);
            let of_one = self
                .client
                .and_then(|client| ones.get(&client).copied())
                .unwrap_or(0);
            if self.client.is_some() && of_one.saturating_add(more) > budget.most_of_one {
                drop(ones);
                return Err(budget.no_room());
            }
            let fits = |held: usize| held.checked_add(more).filter(|held| *held <= budget.most);
            budget
                .held
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, fits)
                .map_err(|_| budget.no_room())?;
            if let Some(client) = self.client {
                ones.insert(client, of_one + more);
            }
        }
        if self.counted == 0 && more > 0 {
            self.begun = budget.epoch.elapsed();
        }
        self.bytes = bytes;
        self.counted += more;
        Ok(())
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        if self.counted == 0 {
            return;
        }
        self.budget.held.fetch_sub(self.counted, Ordering::AcqRel);
        let now = self.budget.epoch.elapsed();
        self.budget.turnover.ended(now.saturating_sub(self.begun), now);
        let Some(client) = self.client else { return };
        let mut ones = self.budget.ones.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = ones.get_mut(&client) {
            *held = held.saturating_sub(self.counted);
            if *held == 0 {
                ones.remove(&client);
            }
        }
    }
}

/// Ordinary bodies are smaller; of these there are only as many as there are requests.
pub(crate) const UNCOUNTED: usize = 64 * 1024;
const LEAST_OF_ONE: usize = 16 << 20;
const LEAST: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attack_04_bytes_in_flight_are_bounded_for_one_and_for_all() {
        let (one, all) = (UNCOUNTED * 3, UNCOUNTED * 6);
        let budget = BodyBudget::bounded(all, one);
        let mut first = budget.hold(Some("a"));
        assert_eq!(first.grow(UNCOUNTED * 3), Ok(()));
        let mut second = budget.hold(Some("a"));
        assert!(second.grow(UNCOUNTED * 3).is_err(), "the client's bound");
        assert_eq!(second.grow(UNCOUNTED * 2), Ok(()), "and what fits");
        let mut third = budget.hold(Some("b"));
        assert_eq!(third.grow(UNCOUNTED * 4), Ok(()));
        let mut last = budget.hold(Some("c"));
        assert!(last.grow(UNCOUNTED + 1).is_err(), "the bound of all");
        assert_eq!(last.grow(UNCOUNTED), Ok(()), "ordinary bodies always go on");
        assert!(last.grow(1).is_err());
        let mut nobody = budget.hold(None::<()>);
        assert!(nobody.grow(UNCOUNTED + 1).is_err(), "also of nobody");
        drop((first, second, third, last, nobody));
        assert_eq!(budget.held.load(Ordering::SeqCst), 0);
        assert!(budget.ones.lock().unwrap().is_empty());
    }
}
