//! Agents of which a change is on its way to the store, or was a moment ago.
//!
//! A check-in says only what differs from the store. While a change waits to be written, "as stored" means what was
//! before it: an agent that takes its change back must say so in full, or the change would be written after all.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use store::AgentId;

/// Marks are dropped at the third turn after they were made. Turns are made when a batch is in the store, not more often
/// than each [`LEAST_TURN`]: the batch of the first may have begun before the mark's record came, that of the second has
/// it, and until the third everybody who read the store before it is done with what was read.
#[derive(Debug)]
pub(super) struct Unsettled(Mutex<Marks>);

#[derive(Debug)]
struct Marks {
    newest_first: [HashSet<AgentId>; 3],
    turned: Instant,
}

impl Unsettled {
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new(Marks {
            newest_first: Default::default(),
            turned: now,
        }))
    }

    /// Before the change is handed over.
    pub(super) fn mark(&self, agent: &AgentId) {
        self.with(|marks| marks.newest_first[0].insert(agent.clone()));
    }

    pub(super) fn contains(&self, agent: &AgentId) -> bool {
        self.with(|marks| marks.newest_first.iter().any(|marked| marked.contains(agent)))
    }

    /// A batch is in the store.
    pub(super) fn written(&self, now: Instant) {
        self.with(|marks| {
            if now.saturating_duration_since(marks.turned) >= LEAST_TURN {
                marks.turned = now;
                marks.newest_first.rotate_right(1);
                marks.newest_first[0] = HashSet::new();
            }
        });
    }

    fn with<T>(&self, work: impl FnOnce(&mut Marks) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

const LEAST_TURN: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_outlives_two_batches_that_were_begun_after_it() {
        let start = Instant::now();
        let unsettled = Unsettled::new(start);
        let agent = AgentId::from("a");
        unsettled.mark(&agent);
        for turn in 1..=2 {
            unsettled.written(start + LEAST_TURN * turn);
            unsettled.written(start + LEAST_TURN * turn + LEAST_TURN / 2);
            assert!(unsettled.contains(&agent), "turn {turn}");
        }
        unsettled.written(start + LEAST_TURN * 3);
        assert!(!unsettled.contains(&agent));
    }
}
