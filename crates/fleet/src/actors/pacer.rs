//! A token bucket as a pure function of the clock: when may the next one go?

use std::time::Duration;

use tokio::time::Instant;

use crate::settings::Pace;

#[derive(Debug)]
pub(crate) struct Pacer {
    pace: Pace,
    /// When the bucket was, or will be, exactly full.
    full_at: Option<Instant>,
}

impl Pacer {
    pub(crate) const fn new(pace: Pace) -> Self {
        Self { pace, full_at: None }
    }

    /// Takes one token; the wait until it may be used.
    pub(crate) fn take(&mut self, now: Instant) -> Duration {
        if self.pace.interval.is_zero() {
            return Duration::ZERO;
        }
        let full_at = self.full_at.unwrap_or(now).max(now) + self.pace.interval;
        self.full_at = Some(full_at);
        let capacity = self.pace.interval * self.pace.burst.max(1);
        full_at.saturating_duration_since(now).saturating_sub(capacity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d4_burst_then_one_each_interval() {
        let mut pacer = Pacer::new(Pace {
            interval: Duration::from_millis(5),
            burst: 2,
        });
        let now = Instant::now();
        let waits: Vec<_> = (0..4).map(|_| pacer.take(now).as_millis()).collect();
        assert_eq!(waits, [0, 0, 5, 10]);
        assert_eq!(
            pacer.take(now + Duration::from_secs(1)).as_millis(),
            0,
            "a rest fills the bucket"
        );
        let mut free = Pacer::new(Pace {
            interval: Duration::ZERO,
            burst: 0,
        });
        assert_eq!(free.take(now), Duration::ZERO);
    }
}
