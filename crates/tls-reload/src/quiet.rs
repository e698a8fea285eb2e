//! The debounce, as a pure function of the time (reload.md 3.1): trailing, under a ceiling.

use std::time::{Duration, Instant};

/// A burst of changes, from its first sign to the moment it may be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quiet {
    debounce: Duration,
    ceiling: Duration,
    burst: Option<Burst>,
}

#[derive(Debug, Clone, Copy)]
struct Burst {
    first: Instant,
    due: Instant,
}

impl Quiet {
    pub(crate) fn new(debounce: Duration, ceiling: Duration) -> Self {
        Self {
            debounce,
            ceiling: ceiling.max(debounce),
            burst: None,
        }
    }

    /// Something changed at `at`. Returns when to read.
    pub(crate) fn touched(&mut self, at: Instant) -> Instant {
        self.settle_at(at, at + self.debounce)
    }

    /// The poll at `now` found a change that is `age` old by the file's own time: the quiet time counts from
    /// there, but never ends later than a debounce from now.
    pub(crate) fn found(&mut self, now: Instant, age: Duration) -> Instant {
        self.settle_at(now, now + self.debounce.saturating_sub(age))
    }

    /// When to read, if a burst is open.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.burst.map(|burst| burst.due)
    }

    /// The burst is read now. Returns its first sign.
    pub(crate) fn take(&mut self) -> Option<Instant> {
        self.burst.take().map(|burst| burst.first)
    }

    fn settle_at(&mut self, seen: Instant, due: Instant) -> Instant {
        let first = self.burst.map_or(seen, |burst| burst.first.min(seen));
        // A later sign never makes the read earlier, except that the ceiling holds.
        let latest = self.burst.map_or(due, |burst| burst.due.max(due));
        let due = latest.min(first + self.ceiling);
        self.burst = Some(Burst { first, due });
        due
    }
}

/// The wait before retry number `failures` (from 1): 1, 2, 4 … 60 s (reload.md 2.7, 3.3).
pub(crate) fn backoff(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(6);
    Duration::from_secs(1 << doublings).min(Duration::from_secs(60))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn millis(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    #[test]
    fn r09_trailing_under_a_ceiling() {
        let start = Instant::now();
        let mut quiet = Quiet::new(millis(100), millis(250));
        assert_eq!(quiet.due(), None);
        assert_eq!(quiet.touched(start), start + millis(100));
        assert_eq!(quiet.touched(start + millis(90)), start + millis(190));
        assert_eq!(
            quiet.touched(start + millis(180)),
            start + millis(250),
            "the ceiling"
        );
        assert_eq!(quiet.take(), Some(start));
        assert_eq!(quiet.due(), None);
    }

    #[test]
    fn a_change_found_by_the_poll_has_waited_already() {
        let now = Instant::now();
        let mut quiet = Quiet::new(millis(5000), millis(30_000));
        assert_eq!(quiet.found(now, millis(4000)), now + millis(1000));
        let mut quiet = Quiet::new(millis(5000), millis(30_000));
        assert_eq!(quiet.found(now, millis(90_000)), now, "old enough");
        let mut quiet = Quiet::new(millis(5000), millis(30_000));
        assert_eq!(
            quiet.found(now, Duration::ZERO),
            now + millis(5000),
            "clock of the file ahead of ours"
        );
    }

    #[test]
    fn r11_backoff_doubles_to_a_minute() {
        let waits: Vec<u64> = (1..=9).map(|failures| backoff(failures).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(backoff(u32::MAX).as_secs(), 60);
    }

    proptest! {
        /// Whatever the order: quiet time after the last sign or the ceiling after the first, whichever is first.
        #[test]
        fn r09_any_burst(debounce in 0u64..1000, extra in 0u64..3000, gaps in prop::collection::vec(0u64..800, 1..40)) {
            let start = Instant::now();
            let ceiling = debounce + extra;
            let mut quiet = Quiet::new(millis(debounce), millis(ceiling));
            let mut at = 0;
            let mut first = None;
            for gap in gaps {
                at += gap;
                if quiet.due().is_some_and(|due| due <= start + millis(at)) {
                    prop_assert_eq!(quiet.take(), first.map(|first| start + millis(first)));
                    first = None;
                }
                let since = *first.get_or_insert(at);
                let due = quiet.touched(start + millis(at));
                prop_assert_eq!(due, start + millis((at + debounce).min(since + ceiling)));
            }
        }
    }
}
