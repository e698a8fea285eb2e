//! A token bucket. Time is an argument; nothing waits.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// A token bucket as one number: the time (ns) at which it is full again (the generic cell rate algorithm, so
/// that workers share it without a lock).
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    full_at: AtomicU64,
}

impl Bucket {
    /// Takes one token, or tells how long until there is one. `usable` is how far down the bucket may be emptied.
    pub(crate) fn take(
        &self,
        interval: Duration,
        burst: u32,
        usable: u32,
        now: Duration,
    ) -> Result<(), Duration> {
        let (slack, interval, now) = (slack(interval, usable.min(burst)), nanos(interval), nanos(now));
        let mut wait = 0;
        let taken = self
            .full_at
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |full_at| {
                let missing = full_at.saturating_sub(now);
                wait = missing.saturating_sub(slack);
                (wait == 0).then(|| full_at.max(now).saturating_add(interval))
            });
        taken.map(|_| ()).map_err(|_| Duration::from_nanos(wait))
    }

    /// How long until there is a token for one who may empty the bucket by so many; takes none.
    pub(crate) fn wait(&self, interval: Duration, usable: u32, now: Duration) -> Duration {
        let missing = self.full_at.load(Ordering::Acquire).saturating_sub(nanos(now));
        Duration::from_nanos(missing.saturating_sub(slack(interval, usable)))
    }
}

fn slack(interval: Duration, usable: u32) -> u64 {
    nanos(interval).saturating_mul(u64::from(usable.max(1)) - 1)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
