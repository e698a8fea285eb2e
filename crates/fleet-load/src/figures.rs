//! What a part of the fleet counted and timed, in a shape that can be added up and sent from process to process.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::ledger::Finding;

/// What took time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Step {
    /// TCP and TLS.
    Connect,
    /// An enrolment, without its connection.
    Enroll,
    /// From sending a check-in to its answer.
    Checkin,
    /// An acknowledgement.
    Ack,
    /// A chunk of an upload.
    Chunk,
    /// A whole upload.
    Upload,
    /// From the change to what an agent had read.
    Delivery,
    /// From the outage to the agent's poll on a new connection.
    Return,
}

impl Step {
    /// What to call it in front of people.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Enroll => "enroll",
            Self::Checkin => "check-in",
            Self::Ack => "ack",
            Self::Chunk => "chunk",
            Self::Upload => "upload",
            Self::Delivery => "delivery",
            Self::Return => "return",
        }
    }
}

/// How far a part of the fleet is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Agents that got a key.
    pub(crate) enrolled: u64,
    /// Agents that have their first policy.
    pub(crate) settled: u64,
    /// Agents whose poll is out and unanswered now.
    pub(crate) waiting: u64,
    /// Agents whose poll is out on a connection that is newer than the outage.
    pub(crate) returned: u64,
    /// Check-ins answered with 200.
    pub(crate) answered: u64,
    /// Policies delivered.
    pub(crate) policies: u64,
    /// Other actions delivered.
    pub(crate) actions: u64,
    /// Acknowledgements that were taken.
    pub(crate) acked: u64,
    /// Files uploaded whole.
    pub(crate) uploads: u64,
    /// Bytes of chunks that the server took.
    pub(crate) uploaded_bytes: u64,
    /// Calls that failed.
    pub(crate) failed: u64,
    /// Agents that left of their own will.
    pub(crate) left: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Self) {
        self.enrolled += other.enrolled;
        self.settled += other.settled;
        self.waiting += other.waiting;
        self.returned += other.returned;
        self.answered += other.answered;
        self.policies += other.policies;
        self.actions += other.actions;
        self.acked += other.acked;
        self.uploads += other.uploads;
        self.uploaded_bytes += other.uploaded_bytes;
        self.failed += other.failed;
        self.left += other.left;
    }
}

/// Times, failures and findings of one stretch of a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) times: BTreeMap<Step, Times>,
    /// Failed calls by kind.
    pub(crate) failures: BTreeMap<String, u64>,
    pub(crate) findings: BTreeMap<Finding, u64>,
    /// The first of the failures and findings, in words.
    pub(crate) samples: Vec<String>,
    /// Revision of each delivered policy, and when it was read.
    pub(crate) deliveries: Vec<(i64, u64)>,
    /// Agent and digest of each delivered action, and when it was read.
    pub(crate) actions: Vec<(usize, u64, u64)>,
    /// Bytes of the bodies of answers that brought something, as they came.
    pub(crate) delivered_bytes: u64,
    /// When agents began to poll on a connection that is newer than the outage.
    pub(crate) returns: Vec<u64>,
    /// When the last agent enrolled.
    pub(crate) last_enrolled: u64,
}

impl Figures {
    pub(crate) fn time(&mut self, step: Step, took: Duration) {
        self.times.entry(step).or_default().record(took);
    }

    pub(crate) fn failure(&mut self, kind: String, words: impl FnOnce() -> String) {
        *self.failures.entry(kind).or_default() += 1;
        self.sample(words);
    }

    pub(crate) fn finding(&mut self, finding: Finding, words: impl FnOnce() -> String) {
        *self.findings.entry(finding).or_default() += 1;
        self.sample(words);
    }

    fn sample(&mut self, words: impl FnOnce() -> String) {
        if self.samples.len() < SAMPLES {
            self.samples.push(words());
        }
    }

    /// Failed calls whose kind satisfies `of`.
    pub(crate) fn failed(&self, of: impl Fn(&str) -> bool) -> u64 {
        let these = self.failures.iter().filter(|(kind, _)| of(kind));
        these.map(|(_, count)| count).sum()
    }

    pub(crate) fn add(&mut self, other: Self) {
        for (step, times) in other.times {
            self.times.entry(step).or_default().add(&times);
        }
        for (kind, count) in other.failures {
            *self.failures.entry(kind).or_default() += count;
        }
        for (finding, count) in other.findings {
            *self.findings.entry(finding).or_default() += count;
        }
        for words in other.samples {
            self.sample(|| words);
        }
        self.deliveries.extend(other.deliveries);
        self.actions.extend(other.actions);
        self.returns.extend(other.returns);
        self.delivered_bytes += other.delivered_bytes;
        self.last_enrolled = self.last_enrolled.max(other.last_enrolled);
    }
}

/// A distribution of times in microseconds, to three digits.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "Vec<(u64, u64)>", into = "Vec<(u64, u64)>")]
pub(crate) struct Times(Histogram<u64>);

impl Times {
    pub(crate) fn record(&mut self, took: Duration) {
        self.0.saturating_record(micros(took));
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (value, count) in <Vec<(u64, u64)>>::from(other.clone()) {
            self.0.saturating_record_n(value, count);
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The time that this part (0 to 1) of all did not exceed.
    pub(crate) fn at(&self, part: f64) -> Duration {
        Duration::from_micros(self.0.value_at_quantile(part))
    }

    pub(crate) fn least(&self) -> Duration {
        Duration::from_micros(if self.0.is_empty() { 0 } else { self.0.min() })
    }

    pub(crate) fn most(&self) -> Duration {
        Duration::from_micros(self.0.max())
    }

    pub(crate) fn mean(&self) -> Duration {
        Duration::from_secs_f64(self.0.mean() / 1e6)
    }
}

impl Default for Times {
    fn default() -> Self {
        // Longer times count as a day.
        let day = micros(Duration::from_secs(86_400));
        Self(
            Histogram::new_with_bounds(1, day, 3)
                .unwrap_or_else(|_| unreachable!("bounds that are possible")),
        )
    }
}

impl From<Vec<(u64, u64)>> for Times {
    fn from(pairs: Vec<(u64, u64)>) -> Self {
        let mut times = Self::default();
        for (value, count) in pairs {
            times.0.saturating_record_n(value, count);
        }
        times
    }
}

impl From<Times> for Vec<(u64, u64)> {
    fn from(times: Times) -> Self {
        let recorded = times.0.iter_recorded();
        recorded
            .map(|at| (at.value_iterated_to(), at.count_at_value()))
            .collect()
    }
}

/// Nanoseconds of the system's monotonic clock, which all processes of the machine share.
pub(crate) fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or_default()
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// So many failures are told in words.
const SAMPLES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_survive_the_way_to_another_process_and_add_up() {
        let mut one = Figures::default();
        for millis in 1..=1000 {
            one.time(Step::Checkin, Duration::from_millis(millis));
        }
        one.failure("status 429".into(), || "agent 7: status 429".into());
        one.finding(Finding::Doubled, || "agent 8: twice".into());
        let text = serde_json::to_string(&one).unwrap();
        let mut sum: Figures = serde_json::from_str(&text).unwrap();
        sum.add(one);
        let times = &sum.times[&Step::Checkin];
        assert_eq!(times.count(), 2000);
        let near = |part: f64, millis: u128| times.at(part).as_millis().abs_diff(millis) <= 1;
        assert!(near(0.5, 500) && near(0.99, 990) && near(1.0, 1000), "{times:?}");
        assert_eq!(
            (
                sum.failed(|kind| kind == "status 429"),
                sum.findings[&Finding::Doubled]
            ),
            (2, 2)
        );
    }
}
