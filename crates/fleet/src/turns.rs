//! Takes turns: what is done to one agent is done one after the other, what is done to others meanwhile. Bounded: agents
//! share the locks.

use std::hash::{BuildHasher as _, RandomState};

use store::AgentId;
use tokio::sync::{Mutex, MutexGuard};

/// Locks by agent.
#[derive(Debug)]
pub(crate) struct Turns {
    locks: [Mutex<()>; 64],
    hasher: RandomState,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            locks: std::array::from_fn(|_| Mutex::new(())),
            hasher: RandomState::new(),
        }
    }
}

impl Turns {
    /// Waits for its turn, in order of arrival.
    pub(crate) async fn of(&self, agent: &AgentId) -> MutexGuard<'_, ()> {
        let [first, others @ ..] = &self.locks;
        let place = usize::try_from(self.hasher.hash_one(agent)).unwrap_or(0) % (others.len() + 1);
        let lock = place.checked_sub(1).and_then(|place| others.get(place));
        lock.unwrap_or(first).lock().await
    }
}
