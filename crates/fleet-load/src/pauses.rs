//! How long an agent waits before it asks again (agents.md 8.6).

use std::time::Duration;

/// The agents' own times, or shorter ones for a test in a hurry.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Pauses {
    /// Whether there is no pause between an answer and the next poll.
    pub(crate) eager: bool,
    /// The shortest wait after a first failed check-in; the agents' is 60 s, and everything else is in proportion.
    pub(crate) backoff: Duration,
}

impl Pauses {
    /// Between an answer and the next poll: 1.0 to 1.5 s.
    pub(crate) fn between_polls(self, chance: f64) -> Option<Duration> {
        (!self.eager).then(|| Duration::from_secs_f64(0.5f64.mul_add(chance, 1.0)))
    }

    /// After so many check-ins that failed in a row (1: the first).
    pub(crate) fn after_failures(self, failures: usize, chance: f64) -> Duration {
        self.of(&CHECKIN, failures, chance)
    }

    /// After so many enrolments that failed in a row (1: the first).
    pub(crate) fn before_enrolment(self, failures: usize, chance: f64) -> Duration {
        self.of(&ENROLMENT, failures, chance)
    }

    fn of(self, steps: &[(f64, f64)], failures: usize, chance: f64) -> Duration {
        let (least, most) = steps[failures.saturating_sub(1).min(steps.len() - 1)];
        let seconds = (most - least).mul_add(chance, least);
        self.backoff.mul_f64(seconds / CHECKIN[0].0)
    }
}

/// Seconds, at least and at most.
const CHECKIN: [(f64, f64); 5] = [
    (60.0, 120.0),
    (120.0, 240.0),
    (240.0, 480.0),
    (300.0, 780.0),
    (300.0, 900.0),
];
const ENROLMENT: [(f64, f64); 8] = [
    (5.0, 10.0),
    (10.0, 20.0),
    (20.0, 40.0),
    (40.0, 80.0),
    (80.0, 160.0),
    (160.0, 320.0),
    (300.0, 620.0),
    (300.0, 900.0),
];

#[cfg(test)]
mod tests {
    use super::*;

    const AGENTS: Pauses = Pauses {
        eager: false,
        backoff: Duration::from_secs(60),
    };

    #[test]
    fn an_agent_waits_as_it_is_written() {
        let seconds =
            |failures| [0.0, 1.0].map(|chance| AGENTS.after_failures(failures, chance).as_secs_f64().round());
        assert_eq!(seconds(1), [60.0, 120.0]);
        assert_eq!(seconds(3), [240.0, 480.0]);
        assert_eq!(seconds(4), [300.0, 780.0]);
        assert_eq!(seconds(99), [300.0, 900.0]);
        assert_eq!(AGENTS.before_enrolment(1, 0.0), Duration::from_secs(5));
        assert_eq!(AGENTS.between_polls(0.5), Some(Duration::from_millis(1250)));
    }

    #[test]
    fn an_eager_one_asks_at_once_and_backs_off_in_proportion() {
        let eager = Pauses {
            eager: true,
            backoff: Duration::from_millis(600),
        };
        assert_eq!(eager.between_polls(0.9), None);
        assert_eq!(eager.after_failures(2, 0.0), Duration::from_millis(1200));
        assert_eq!(eager.before_enrolment(1, 1.0), Duration::from_millis(100));
    }
}
