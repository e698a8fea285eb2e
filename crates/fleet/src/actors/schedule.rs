//! Polls that are to be woken, paced. Pure: what is due is a function of the clock.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;

use super::pacer::Pacer;
use crate::settings::Pace;

#[derive(Debug)]
pub(super) struct Schedule {
    /// Numbers of the polls; the lowest began to wait first.
    polls: BTreeSet<u64>,
    pacer: Pacer,
}

impl Schedule {
    pub(super) const fn new(pace: Pace) -> Self {
        Self {
            polls: BTreeSet::new(),
            pacer: Pacer::new(pace),
        }
    }

    pub(super) fn add(&mut self, polls: Vec<u64>) {
        self.polls.extend(polls);
    }

    /// The polls that are woken now, and after which time to ask again.
    pub(super) fn due(&mut self, now: Instant) -> (Vec<u64>, Option<Duration>) {
        let mut due = Vec::new();
        while let Some(first) = self.polls.first().copied() {
            if let Err(wait) = self.pacer.take(now) {
                return (due, Some(wait));
            }
            self.polls.remove(&first);
            due.push(first);
        }
        (due, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d4_each_poll_once_in_order_of_arrival_and_paced() {
        let interval = Duration::from_millis(5);
        let mut schedule = Schedule::new(Pace { interval, burst: 1 });
        let now = Instant::now();
        schedule.add(vec![3, 2, 3]);
        schedule.add(vec![1]);
        assert_eq!(schedule.due(now), (vec![1], Some(interval)));
        assert_eq!(schedule.due(now + interval), (vec![2], Some(interval)));
        assert_eq!(schedule.due(now + interval * 2), (vec![3], None));
    }

    #[test]
    fn without_a_pace_all_are_due_at_once() {
        let mut schedule = Schedule::new(Pace {
            interval: Duration::ZERO,
            burst: 1,
        });
        schedule.add((0..1000).collect());
        assert_eq!(schedule.due(Instant::now()).0.len(), 1000);
    }
}
