//! A token bucket as a pure function of the clock: may the next one go?

use std::time::Duration;

use tokio::time::Instant;

use crate::settings::Pace;

#[derive(Debug)]
pub(super) struct Pacer {
    pace: Pace,
    /// When the bucket was, or will be, exactly full.
    full_at: Option<Instant>,
}

impl Pacer {
    pub(super) const fn new(pace: Pace) -> Self {
        Self { pace, full_at: None }
    }

    /// Takes one token, or says how long there will be none.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let full_at = self.full_at.unwrap_or(now).max(now) + self.pace.interval;
        let capacity = self.pace.interval * self.pace.burst.max(1);
        let wait = full_at.saturating_duration_since(now).saturating_sub(capacity);
        if wait.is_zero() {
            self.full_at = Some(full_at);
            Ok(())
        } else {
            Err(wait)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d4_burst_then_one_each_interval() {
        let pace = |interval, burst| Pace { interval, burst };
        let interval = Duration::from_millis(5);
        let mut pacer = Pacer::new(pace(interval, 2));
        let now = Instant::now();
        let takes: Vec<_> = (0..3).map(|_| pacer.take(now)).collect();
        assert_eq!(takes, [Ok(()), Ok(()), Err(interval)]);
        let early = now + Duration::from_millis(3);
        assert_eq!(pacer.take(early), Err(Duration::from_millis(2)));
        assert_eq!(pacer.take(now + interval), Ok(()));
        assert_eq!(pacer.take(now + interval), Err(interval));
        // A rest fills the bucket, no further than to its brim.
        let later = now + Duration::from_secs(1);
        let takes: Vec<_> = (0..3).map(|_| pacer.take(later)).collect();
        assert_eq!(takes, [Ok(()), Ok(()), Err(interval)]);
        let mut free = Pacer::new(pace(Duration::ZERO, 0));
        assert!((0..100).all(|_| free.take(now).is_ok()));
    }
}
