//! What the actor does next, as a pure function of the time and of what it is told (reload.md 3.1 to 3.3): when a
//! burst is over, when a retry is due, whether a job may start. Files, timers and mailboxes are the actor's; a test
//! runs this against a simulated disk and clock.

use std::time::{Duration, Instant};

use super::job::{Arm, Found};
use crate::quiet::{Quiet, backoff};
use crate::state::Trigger;

/// The decisions of one reloader. `P` is what identifies a state of the disk.
pub(super) struct Course<P> {
    quiet: Quiet,
    /// When the burst is looked at again; `None` also while it waits for the running job.
    quiet_at: Option<Instant>,
    burst_trigger: Trigger,
    /// The first sign of the change that is not served yet.
    since: Option<Instant>,
    retry: Option<(Instant, Trigger)>,
    failures: u32,
    /// What was read last, served or refused; `None` if it could not be read in peace.
    seen: Option<P>,
    /// A job runs: there is one at a time.
    is_busy: bool,
    /// Read as soon as the running job has ended.
    next: Option<Trigger>,
}

impl<P> Course<P> {
    pub(super) fn new(quiet: Quiet, seen: P) -> Self {
        Self {
            quiet,
            quiet_at: None,
            burst_trigger: Trigger::Poll,
            since: None,
            retry: None,
            failures: 0,
            seen: Some(seen),
            is_busy: false,
            next: None,
        }
    }

    pub(super) fn seen(&self) -> Option<&P> {
        self.seen.as_ref()
    }

    pub(super) fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// When [`tick`](Self::tick) is due.
    pub(super) fn due(&self) -> Option<Instant> {
        let retry = self.retry.map(|(at, _)| at);
        self.quiet_at.into_iter().chain(retry).min()
    }

    /// An event came, the first of its burst at `first`.
    pub(super) fn woken(&mut self, first: Instant) {
        if self.quiet_at.is_none() {
            self.burst_trigger = Trigger::Event;
            self.quiet_at = Some(self.quiet.touched(first));
        }
    }

    /// Whether the next tick asks for the last event of the burst.
    pub(super) fn is_settling(&self, now: Instant) -> bool {
        self.quiet_at.is_some_and(|at| at <= now)
    }

    /// A time that was due has come; `last` is the last event since the last tick. Returns what to read for.
    pub(super) fn tick(&mut self, now: Instant, last: Option<Instant>) -> Option<Trigger> {
        if self.is_settling(now) {
            let due = match last {
                Some(last) => self.quiet.touched(last),
                None => self.quiet.due().unwrap_or(now),
            };
            self.quiet_at = (due > now).then_some(due);
            if self.quiet_at.is_none() {
                return Some(self.burst_trigger);
            }
        }
        let (_, trigger) = self.retry.take_if(|(at, _)| *at <= now)?;
        // In the middle of a burst the read that ends it is the retry: half a file is not worth reading.
        self.quiet.due().is_none().then_some(trigger)
    }

    /// Whether the safety poll looks: a burst ends in a read, and so does a retry of what could not be read.
    pub(super) fn polls(&self) -> bool {
        self.quiet.due().is_none() && !self.is_retried()
    }

    /// A look begins, unless a job runs.
    pub(super) fn begin_look(&mut self) -> bool {
        !std::mem::replace(&mut self.is_busy, true)
    }

    /// The look has ended; `None`: it failed.
    pub(super) fn looked(&mut self, now: Instant, arm: Arm, found: Option<Found<P>>) {
        self.is_busy = false;
        match found {
            Some(Found::Confirmed(picture)) => self.seen = Some(*picture),
            Some(Found::Changed { age }) if self.polls() => {
                self.burst_trigger = Trigger::Poll;
                // A look that follows a read found what was written meanwhile: that is fresh.
                let age = if arm == Arm::All { Duration::ZERO } else { age };
                self.quiet_at = Some(self.quiet.found(now, age));
            }
            Some(Found::Changed { .. } | Found::Same) | None => {}
        }
    }

    /// A read begins; or it is kept for the end of the running job.
    pub(super) fn begin_read(&mut self, trigger: Trigger) -> bool {
        self.retry = None;
        if self.is_busy {
            self.next = Some(trigger);
            return false;
        }
        self.is_busy = true;
        self.quiet_at = None;
        let first = self.quiet.take();
        self.since = self.since.or(first);
        true
    }

    /// The read has ended with a set that is served now, or is already. Returns the first sign of the change.
    pub(super) fn taken(&mut self, picture: P) -> Option<Instant> {
        self.is_busy = false;
        self.seen = Some(picture);
        self.failures = 0;
        self.since.take()
    }

    /// The read has ended with a refusal, perhaps the same as before. Returns how long the retry waits.
    pub(super) fn refused(
        &mut self,
        now: Instant,
        picture: Option<P>,
        is_same: bool,
        trigger: Trigger,
    ) -> Duration {
        self.is_busy = false;
        self.seen = picture;
        self.failures = if is_same {
            self.failures.saturating_add(1)
        } else {
            1
        };
        let wait = backoff(self.failures);
        self.retry = Some((now + wait, trigger));
        wait
    }

    /// What was asked for while a job ran.
    pub(super) fn read_next(&mut self) -> Option<Trigger> {
        self.next.take()
    }

    /// What could not even be read in peace differs by nature: its retry is on its way.
    fn is_retried(&self) -> bool {
        self.seen.is_none() && self.retry.is_some()
    }
}

#[cfg(test)]
mod tests;
