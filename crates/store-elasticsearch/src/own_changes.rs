//! Which agents this process enrolled, reassigned or ended, in the order of the index.
//!
//! In: an intent before each such write, its sequence number after it. Out: what may be told. A write's number is known
//! only after it, so nothing is told behind the number that was the highest when a write still under way began: that one
//! comes later in the index than anything that was answered before it began.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

/// The changes since the process began to count.
#[derive(Debug)]
pub(crate) struct OwnChanges {
    state: Mutex<State>,
    told: watch::Sender<i64>,
}

#[derive(Debug)]
struct State {
    /// What is not higher happened before the process began to count, or is not kept any more.
    floor: i64,
    changes: BTreeMap<i64, String>,
    highest: i64,
    /// Of writes under way, the highest number when they began.
    under_way: BTreeMap<u64, i64>,
    next: u64,
}

/// A write under way; dropped without a word, it changed nothing.
pub(crate) struct Intent<'a> {
    changes: &'a OwnChanges,
    number: u64,
}

impl OwnChanges {
    /// Nothing is known of what is not higher than `floor`.
    pub(crate) fn new(floor: i64) -> Self {
        let state = State {
            floor,
            changes: BTreeMap::new(),
            highest: floor,
            under_way: BTreeMap::new(),
            next: 0,
        };
        Self {
            state: Mutex::new(state),
            told: watch::Sender::new(floor),
        }
    }

    pub(crate) fn begin(&self) -> Intent<'_> {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        let highest = state.highest;
        state.under_way.insert(number, highest);
        Intent {
            changes: self,
            number,
        }
    }

    /// Up to where everything may be told.
    pub(crate) fn bound(&self) -> i64 {
        self.state().bound()
    }

    /// What is not told here: everything up to there.
    pub(crate) fn floor(&self) -> i64 {
        self.state().floor
    }

    /// The changes behind `after`, at most `limit`, and where the next reading goes on.
    pub(crate) fn after(&self, after: i64, limit: usize) -> (Vec<String>, i64) {
        let state = self.state();
        let bound = state.bound().max(after);
        let mut found = state
            .changes
            .range((Bound::Excluded(after), Bound::Included(bound)))
            .take(limit);
        let mut ids = Vec::new();
        let mut last = after;
        for (number, id) in found.by_ref() {
            ids.push(id.clone());
            last = *number;
        }
        let next = if ids.len() < limit { bound } else { last };
        (ids, next)
    }

    /// Wakes when more may be told.
    pub(crate) fn subscribe(&self) -> watch::Receiver<i64> {
        self.told.subscribe()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn bound(&self) -> i64 {
        self.under_way
            .values()
            .copied()
            .min()
            .unwrap_or(self.highest)
            .min(self.highest)
    }
}

impl Intent<'_> {
    /// The write is done, with this number.
    pub(crate) fn done(self, number: i64, agent: &str) {
        let mut state = self.changes.state();
        state.highest = state.highest.max(number);
        state.changes.insert(number, agent.to_owned());
        while state.changes.len() > KEPT {
            if let Some((number, _)) = state.changes.pop_first() {
                state.floor = number;
            }
        }
    }
}

impl Drop for Intent<'_> {
    fn drop(&mut self) {
        let mut state = self.changes.state();
        state.under_way.remove(&self.number);
        let bound = state.bound();
        drop(state);
        self.changes.told.send_replace(bound);
    }
}

/// Changes that are kept for readers.
const KEPT: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_told_before_what_may_still_come_before_it() {
        let changes = OwnChanges::new(10);
        let (slow, quick) = (changes.begin(), changes.begin());
        quick.done(13, "quick");
        assert_eq!(
            changes.after(10, 9),
            (vec![], 10),
            "a slower write may be 11 or 12"
        );
        let later = changes.begin();
        slow.done(11, "slow");
        assert_eq!(
            changes.after(10, 9),
            (vec!["slow".to_owned(), "quick".to_owned()], 13)
        );
        assert_eq!(changes.after(10, 1), (vec!["slow".to_owned()], 11));
        later.done(20, "later");
        assert_eq!(changes.after(13, 9), (vec!["later".to_owned()], 20));
        assert_eq!((changes.bound(), changes.floor()), (20, 10));
    }

    #[test]
    fn a_write_that_failed_holds_nothing_back() {
        let changes = OwnChanges::new(-1);
        let failed = changes.begin();
        changes.begin().done(0, "a");
        drop(failed);
        assert_eq!(changes.after(-1, 9), (vec!["a".to_owned()], 0));
    }

    #[test]
    fn the_oldest_are_forgotten_and_that_is_said() {
        let changes = OwnChanges::new(-1);
        for number in 0..=i64::try_from(KEPT).unwrap() {
            changes.begin().done(number, "a");
        }
        assert_eq!(changes.floor(), 0);
    }
}
