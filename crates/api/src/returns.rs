//! When a refused client is told to come back.
//!
//! Each is told a second of its own as far as there are seconds, so that those who come back as told find what they were
//! refused for: who is told "one second" together with a thousand others is refused again. Half of what becomes free is
//! promised so; the other half is for those who come without having been told. Time is an argument; nothing waits.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// The returns of those whom one limit refused.
#[derive(Debug, Default)]
pub(crate) struct Returns(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    /// The second of the first entry.
    first: u64,
    /// How many return in each second.
    seconds: VecDeque<u32>,
}

impl Returns {
    /// The wait, in whole seconds, of one who is refused `now`: not before `at_least` has passed, and no more in any
    /// second than half of what is free by then, where one becomes free each `interval`.
    ///
    /// Beyond [`FARTHEST`] nothing is promised: then that is told, or `at_least` if it is more.
    pub(crate) fn next(&self, now: Duration, at_least: Duration, interval: Duration) -> Duration {
        let soonest = whole_seconds(now.saturating_add(at_least)).max(now.as_secs() + 1);
        let farthest = now.as_secs() + FARTHEST.as_secs();
        let promised = interval.saturating_mul(2).max(Duration::from_nanos(1));
        // One in so many seconds, or so many in one second.
        let apart = whole_seconds(promised).max(1);
        let together = u32::try_from(SECOND.as_nanos() / promised.as_nanos()).unwrap_or(u32::MAX);
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.forget_before(now.as_secs());
        let mut second = soonest;
        while second <= farthest
            && let Some(taken) = told.in_the_way(second, apart, together.max(1))
        {
            second = taken + apart;
        }
        let free = (second <= farthest).then_some(second);
        if let Some(second) = free {
            told.add(second);
        }
        // In the second that begins then, whatever part of the present one has passed.
        Duration::from_secs(free.unwrap_or(farthest.max(soonest)) - now.as_secs())
    }
}

impl Told {
    fn forget_before(&mut self, second: u64) {
        let passed = usize::try_from(second.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.seconds.drain(..passed.min(self.seconds.len()));
        self.first = self.first.max(second);
    }

    /// The last second near this one that leaves it no room: none before that one and `apart` has any.
    fn in_the_way(&self, second: u64, apart: u64, together: u32) -> Option<u64> {
        let place = |second: u64| usize::try_from(second.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let end = place(second.saturating_add(apart)).min(self.seconds.len());
        let begin = place(second.saturating_sub(apart - 1)).min(end);
        let near = self.seconds.range(begin..end);
        if near.clone().sum::<u32>() < together {
            return None;
        }
        let last = near.clone().rposition(|told| *told > 0)?;
        Some(self.first + u64::try_from(begin + last).unwrap_or(u64::MAX))
    }

    fn add(&mut self, second: u64) {
        let Ok(place) = usize::try_from(second.saturating_sub(self.first)) else {
            return;
        };
        if self.seconds.len() <= place {
            self.seconds.resize(place + 1, 0);
        }
        self.seconds[place] = self.seconds[place].saturating_add(1);
    }
}

/// How fast what is held becomes free, learned from what was held.
#[derive(Debug, Default)]
pub(crate) struct Turnover {
    /// Nanoseconds that one was held, averaged over the last few dozen; 0: none has ended yet.
    held: AtomicU64,
    /// When the last one ended, nanoseconds.
    last: AtomicU64,
}

impl Turnover {
    pub(crate) fn ended(&self, held: Duration, now: Duration) {
        let held = nanos(held).max(1);
        let average = |before: u64| {
            Some(match before {
                0 => held,
                _ => before - before / 32 + held / 32,
            })
        };
        // Never fails, as the function always gives a value.
        let _before = self
            .held
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, average);
        self.last.store(nanos(now), Ordering::Relaxed);
    }

    /// The mean time between two that become free, while `taken` are held. If none became free for longer than that, the
    /// past says little about those that are held now: then it is the time since.
    pub(crate) fn interval(&self, taken: u32, now: Duration) -> Duration {
        let quiet = now.saturating_sub(Duration::from_nanos(self.last.load(Ordering::Relaxed)));
        match self.held.load(Ordering::Relaxed) {
            0 => quiet.max(UNKNOWN / taken.max(1)),
            held => quiet.max(Duration::from_nanos(held) / taken.max(1)),
        }
    }

    /// The mean time that one was held.
    pub(crate) fn held(&self) -> Duration {
        Duration::from_nanos(self.held.load(Ordering::Relaxed))
    }
}

fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

const SECOND: Duration = Duration::from_secs(1);
/// Who would have to wait longer is told so much.
const FARTHEST: Duration = Duration::from_secs(300);
/// How long one is held, as long as none has ended.
const UNKNOWN: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn each_is_told_a_second_with_room() {
        let returns = Returns::default();
        let told: Vec<_> = (0..6)
            .map(|_| {
                returns
                    .next(Duration::from_millis(1500), Duration::ZERO, SECOND / 4)
                    .as_secs()
            })
            .collect();
        assert_eq!(told, [1, 1, 2, 2, 3, 3], "half of four a second");
        let slow = Returns::default();
        let told: Vec<_> = (0..3)
            .map(|_| slow.next(seconds(1), seconds(2), seconds(2)).as_secs())
            .collect();
        assert_eq!(told, [2, 6, 10], "half of one in two seconds");
    }

    #[test]
    fn what_has_passed_is_forgotten_and_nothing_is_told_beyond_the_farthest() {
        let returns = Returns::default();
        let told = (0..1000)
            .map(|_| returns.next(seconds(1), Duration::ZERO, SECOND))
            .max();
        assert_eq!(told, Some(FARTHEST));
        assert_eq!(returns.next(seconds(400), Duration::ZERO, SECOND), SECOND);
        assert_eq!(returns.0.lock().unwrap().seconds.len(), 2);
    }

    #[test]
    fn what_is_held_tells_when_the_next_is_free() {
        let turnover = Turnover::default();
        assert_eq!(turnover.interval(10, Duration::ZERO), SECOND, "nothing is known");
        for end in 1..=100 {
            turnover.ended(seconds(4), seconds(end));
        }
        assert_eq!(turnover.interval(8, seconds(100)), SECOND / 2);
        assert_eq!(
            turnover.interval(8, seconds(107)),
            seconds(7),
            "none ended for 7 s"
        );
    }

    proptest! {
        /// No second is promised to more than half of those for whom there is room.
        #[test]
        fn no_second_is_promised_twice(
            interval_ms in 1u64..5000,
            steps in proptest::collection::vec((0u64..700, 0u64..3000), 1..300),
        ) {
            let returns = Returns::default();
            let mut now = Duration::ZERO;
            let mut told = std::collections::BTreeMap::<u64, u64>::new();
            for (step, at_least) in steps {
                now += Duration::from_millis(step);
                let at_least = Duration::from_millis(at_least);
                let wait = returns.next(now, at_least, Duration::from_millis(interval_ms));
                prop_assert!(wait >= at_least && wait >= SECOND && wait <= FARTHEST);
                if wait < FARTHEST {
                    *told.entry((now + wait).as_secs()).or_default() += 1;
                }
            }
            let apart = (2 * interval_ms).div_ceil(1000);
            let together = (1000 / (2 * interval_ms)).max(1);
            for second in told.keys() {
                let sum: u64 = told.range(second.saturating_sub(apart - 1)..=*second).map(|(_, n)| n).sum();
                prop_assert!(sum <= together, "{sum} of {together} in {apart} s");
            }
        }
    }
}
