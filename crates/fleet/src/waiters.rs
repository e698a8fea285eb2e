//! The registry of waiting polls, and how one change reaches all of them.
//!
//! One entry per open poll, a few dozen bytes, and one poll per agent: a newer one takes over, the older is answered
//! empty at once. Dropping a poll removes its own entry and no other. Order of arrival is the order of the entries'
//! numbers.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use prometheus_client::{metrics::gauge::Gauge, registry::Registry};
use store::{AgentId, PolicyId, Timestamp};
use tokio::sync::Notify;

/// The registry of open polls.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    polls: Mutex<Polls>,
    waiting: Gauge,
}

#[derive(Debug, Default)]
struct Polls {
    next: u64,
    is_released: bool,
    entries: BTreeMap<u64, Poll>,
    by_agent: HashMap<AgentId, u64>,
    changed: Changed,
}

/// Agents whose record changed a short while ago. A check-in reads its agent before it has a poll that could be woken:
/// the poll of such an agent looks again.
#[derive(Debug, Default)]
struct Changed {
    at: HashMap<AgentId, Instant>,
    /// Until then, that is any agent.
    all_until: Option<Instant>,
}

impl Changed {
    fn note(&mut self, agent: &AgentId, now: Instant) {
        if self.at.len() >= MOST_CHANGED {
            self.at.retain(|_, at| now < *at + SHORT_WHILE);
        }
        if self.at.len() >= MOST_CHANGED {
            self.note_all(now);
        }
        self.at.insert(agent.clone(), now);
    }

    fn note_all(&mut self, now: Instant) {
        self.at = HashMap::new();
        self.all_until = Some(now + SHORT_WHILE);
    }

    fn holds(&self, agent: &AgentId, now: Instant) -> bool {
        self.all_until.is_some_and(|until| now < until)
            || self.at.get(agent).is_some_and(|at| now < *at + SHORT_WHILE)
    }
}

/// Longer than a check-in takes to send its body.
const SHORT_WHILE: Duration = Duration::from_secs(90);
const MOST_CHANGED: usize = 4096;

#[derive(Debug)]
struct Poll {
    agent: AgentId,
    policy: PolicyId,
    /// Revision that the agent has.
    revision: i64,
    /// When its last check-in record was made.
    recorded_at: Timestamp,
    wake: Arc<Wake>,
}

/// What woke a poll; several reasons may come together.
#[derive(Debug, Default)]
struct Wake {
    notify: Notify,
    reasons: std::sync::atomic::AtomicU8,
}

/// Reasons, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reasons(u8);

const ACTIONS: u8 = 1;
const POLICY: u8 = 2;
const AGENT: u8 = 4;
const RELEASED: u8 = 8;

impl Reasons {
    /// Actions were appended for the agent.
    pub(crate) const fn actions(self) -> bool {
        self.0 & ACTIONS != 0
    }

    /// Its policy has a newer revision.
    pub(crate) const fn policy(self) -> bool {
        self.0 & POLICY != 0
    }

    /// Its record changed: reassigned or unenrolled.
    pub(crate) const fn agent(self) -> bool {
        self.0 & AGENT != 0
    }

    /// The server stops, or a newer poll of the agent took over.
    pub(crate) const fn released(self) -> bool {
        self.0 & RELEASED != 0
    }
}

impl Wake {
    fn wake(&self, reason: u8) {
        self.reasons.fetch_or(reason, std::sync::atomic::Ordering::AcqRel);
        self.notify.notify_one();
    }
}

impl Waiters {
    /// An empty registry, whose count of polls is a metric.
    pub(crate) fn new(registry: &mut Registry) -> Arc<Self> {
        let waiting = Gauge::default();
        registry.register(
            "checkins_waiting",
            "Check-ins that wait for a change",
            waiting.clone(),
        );
        Arc::new(Self {
            polls: Mutex::default(),
            waiting,
        })
    }

    /// Adds a poll. Subscribe before looking for what is due (M3).
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        agent: AgentId,
        policy: PolicyId,
        revision: i64,
        now: Timestamp,
    ) -> Subscription {
        let wake = Arc::new(Wake::default());
        let mut polls = self.lock();
        if polls.is_released {
            wake.wake(RELEASED);
        }
        if polls.changed.holds(&agent, Instant::now()) {
            wake.wake(AGENT);
        }
        let number = polls.next;
        polls.next += 1;
        let older = polls.by_agent.insert(agent.clone(), number);
        if let Some(older) = older.and_then(|older| polls.entries.remove(&older)) {
            older.wake.wake(RELEASED);
        }
        let poll = Poll {
            agent,
            policy,
            revision,
            recorded_at: now,
            wake: Arc::clone(&wake),
        };
        polls.entries.insert(number, poll);
        self.show(&polls);
        drop(polls);
        Subscription {
            waiters: Arc::clone(self),
            number,
            wake,
        }
    }

    /// The poll of this agent.
    pub(crate) fn poll_of(&self, agent: &AgentId) -> Option<u64> {
        self.lock().by_agent.get(agent).copied()
    }

    /// Tells the poll of this agent that its record changed.
    pub(crate) fn wake_for_record(&self, agent: &AgentId) {
        self.lock().changed.note(agent, Instant::now());
        if let Some(poll) = self.poll_of(agent) {
            self.wake(poll, AGENT);
        }
    }

    /// Tells every poll to look for itself.
    pub(crate) fn wake_all(&self) {
        let mut polls = self.lock();
        // The feed begins so, before anybody has checked in.
        if polls.next > 0 {
            polls.changed.note_all(Instant::now());
        }
        for poll in polls.entries.values() {
            poll.wake.wake(ACTIONS | AGENT);
        }
    }

    /// Tells one poll of actions, if it still waits.
    pub(crate) fn wake_for_actions(&self, poll: u64) {
        self.wake(poll, ACTIONS);
    }

    /// Tells one poll of its policy, if it still waits.
    pub(crate) fn wake_for_policy(&self, poll: u64) {
        self.wake(poll, POLICY);
    }

    fn wake(&self, poll: u64, reason: u8) {
        if let Some(poll) = self.lock().entries.get(&poll) {
            poll.wake.wake(reason);
        }
    }

    /// The polls that wait for a newer revision than `revision`, in order of arrival.
    pub(crate) fn behind(&self, policy: &PolicyId, revision: i64) -> Vec<u64> {
        let polls = self.lock();
        let behind = |(number, poll): (&u64, &Poll)| {
            (poll.policy == *policy && poll.revision < revision).then_some(*number)
        };
        polls.entries.iter().filter_map(behind).collect()
    }

    /// Ends every poll, now and later.
    pub(crate) fn release(&self) {
        let mut polls = self.lock();
        polls.is_released = true;
        for poll in polls.entries.values() {
            poll.wake.wake(RELEASED);
        }
    }

    /// Agents whose last record is older than `before`; they count as recorded at `now`.
    pub(crate) fn due_for_record(&self, before: Timestamp, now: Timestamp) -> Vec<AgentId> {
        let mut polls = self.lock();
        let due = polls
            .entries
            .values_mut()
            .filter(|poll| poll.recorded_at <= before);
        due.map(|poll| {
            poll.recorded_at = now;
            poll.agent.clone()
        })
        .collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().entries.len()
    }

    fn show(&self, polls: &Polls) {
        self.waiting
            .set(i64::try_from(polls.entries.len()).unwrap_or(i64::MAX));
    }

    fn lock(&self) -> MutexGuard<'_, Polls> {
        // Nothing in here panics half-way through a change, so a poisoned registry is still whole.
        self.polls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One open poll; dropping it unsubscribes.
#[derive(Debug)]
pub(crate) struct Subscription {
    waiters: Arc<Waiters>,
    number: u64,
    wake: Arc<Wake>,
}

impl Subscription {
    /// Waits for a reason. Cancel-safe: a reason that was not taken stays.
    pub(crate) async fn woken(&self) -> Reasons {
        loop {
            let reasons = self.wake.reasons.swap(0, std::sync::atomic::Ordering::AcqRel);
            if reasons != 0 {
                return Reasons(reasons);
            }
            self.wake.notify.notified().await;
        }
    }

    /// The poll goes on, for another policy or revision.
    pub(crate) fn moved(&self, policy: &PolicyId, revision: i64) {
        if let Some(poll) = self.waiters.lock().entries.get_mut(&self.number) {
            poll.policy = policy.clone();
            poll.revision = revision;
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut polls = self.waiters.lock();
        if let Some(poll) = polls.entries.remove(&self.number)
            && let Entry::Occupied(number) = polls.by_agent.entry(poll.agent)
            && *number.get() == self.number
        {
            number.remove();
        }
        self.waiters.show(&polls);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::actors::checkin_writer::due_before;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn poll(waiters: &Arc<Waiters>, agent: &str, revision: i64) -> Subscription {
        waiters.subscribe(agent.into(), "p".into(), revision, at(0))
    }

    #[test]
    fn c26_a_newer_poll_of_an_agent_takes_over() {
        let waiters = Waiters::new(&mut Registry::default());
        let first = poll(&waiters, "a", 1);
        let second = poll(&waiters, "a", 1);
        assert!(first.woken().now_or_never().unwrap().released());
        assert_eq!(
            (waiters.count(), waiters.poll_of(&"a".into())),
            (1, Some(second.number))
        );
        drop(first);
        waiters.wake_for_actions(waiters.poll_of(&"a".into()).unwrap());
        assert!(second.woken().now_or_never().unwrap().actions());
        assert!(second.woken().now_or_never().is_none(), "a reason is taken once");
        drop(second);
        assert_eq!((waiters.count(), waiters.poll_of(&"a".into())), (0, None));
        assert!(waiters.lock().by_agent.is_empty(), "nothing is left behind");
    }

    #[test]
    fn a_change_of_the_record_before_there_was_a_poll_wakes_it() {
        let waiters = Waiters::new(&mut Registry::default());
        waiters.wake_for_record(&"a".into());
        assert!(poll(&waiters, "a", 1).woken().now_or_never().unwrap().agent());
        assert!(poll(&waiters, "b", 1).woken().now_or_never().is_none());
        for n in 0..=MOST_CHANGED {
            waiters.wake_for_record(&AgentId::from(n.to_string()));
        }
        assert!(waiters.lock().changed.at.len() <= MOST_CHANGED);
        assert!(
            poll(&waiters, "b", 1).woken().now_or_never().unwrap().agent(),
            "more than are remembered: it may be any"
        );
    }

    #[test]
    fn d4_those_behind_come_in_order_of_arrival() {
        let waiters = Waiters::new(&mut Registry::default());
        let polls: Vec<_> = [("a", 1), ("b", 2), ("c", 1), ("d", 3)]
            .into_iter()
            .map(|(agent, revision)| poll(&waiters, agent, revision))
            .collect();
        assert_eq!(
            waiters.behind(&"p".into(), 3),
            vec![polls[0].number, polls[1].number, polls[2].number]
        );
        assert!(waiters.behind(&"q".into(), 3).is_empty());
    }

    #[test]
    fn c17_a_release_ends_present_and_later_polls() {
        let waiters = Waiters::new(&mut Registry::default());
        let before = poll(&waiters, "a", 1);
        waiters.release();
        let after = poll(&waiters, "b", 1);
        assert!(before.woken().now_or_never().unwrap().released());
        assert!(after.woken().now_or_never().unwrap().released());
    }

    #[test]
    fn c18_a_poll_of_70_seconds_is_recorded_after_30_and_after_60() {
        let settings = crate::Settings::default();
        let (period, flush) = (settings.checkin_timestamp, settings.checkin_flush);
        let waiters = Waiters::new(&mut Registry::default());
        let _a = poll(&waiters, "a", 1);
        let second = |second: i64| at(second * 1000);
        // Wherever the flushes fall between the seconds of the poll.
        for first in 1..10 {
            let began = first * 1000;
            waiters.due_for_record(second(began), second(began));
            let recorded: Vec<i64> = (1..=7)
                .map(|flushes| flushes * 10 - first)
                .filter(|since| {
                    let now = second(began + since);
                    !waiters
                        .due_for_record(due_before(period, flush, now), now)
                        .is_empty()
                })
                .collect();
            let [one, other] = recorded[..] else {
                panic!("{first}: {recorded:?}")
            };
            assert!(
                (20..=40).contains(&one) && (20..=40).contains(&(other - one)),
                "{first}: {recorded:?}"
            );
        }
    }

    #[test]
    fn c18_each_poll_is_due_once_a_period() {
        let waiters = Waiters::new(&mut Registry::default());
        let _a = poll(&waiters, "a", 1);
        assert!(waiters.due_for_record(at(-1), at(5)).is_empty());
        assert_eq!(waiters.due_for_record(at(0), at(30)), vec![AgentId::from("a")]);
        assert!(waiters.due_for_record(at(10), at(40)).is_empty());
    }
}
