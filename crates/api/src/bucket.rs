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
        let interval = nanos(interval);
        let now = nanos(now);
        let slack = interval.saturating_mul(u64::from(usable.min(burst).max(1)).saturating_sub(1));
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
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
