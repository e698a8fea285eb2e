//! How long a poll waits (agents.md 5.3).

use std::time::Duration;

use crate::settings::Settings;

const SHORTEST: Duration = Duration::from_secs(60);
const CLIENT_MARGIN: Duration = Duration::from_secs(120);
/// What is left when the time was used up before the wait began.
const USED_UP: Duration = Duration::from_millis(1);

/// The wait, from what the agent asked for, the time already spent, and a random number in `0.0..1.0`.
pub(crate) fn wait(asked: Option<Duration>, spent: Duration, random: f64, settings: &Settings) -> Duration {
    let poll = match asked.filter(|asked| !asked.is_zero()) {
        None => settings.long_poll,
        Some(asked) => asked
            .saturating_sub(CLIENT_MARGIN)
            .min(settings.checkin_max_poll)
            .max(SHORTEST),
    };
    let Some(left) = poll.checked_sub(spent).filter(|left| !left.is_zero()) else {
        return USED_UP;
    };
    let jitter = settings.checkin_jitter.mul_f64(random.clamp(0.0, 1.0));
    if jitter < left { left - jitter } else { left }
}

/// The first wait of an agent after a start of ours, if it is enrolled longer than that: until a poll returns, the
/// agent shows itself as failed. Spread, so that a fleet does not come back together.
pub(crate) fn first_after_start(wait: Duration, random: f64) -> Duration {
    wait.min(FIRST + FIRST.mul_f64(random.clamp(0.0, 1.0)))
}

const FIRST: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    proptest! {
        /// An agent gives a request 10 minutes, and says so in newer versions; older ones say nothing.
        #[test]
        fn ac_07_a_poll_with_default_settings_is_answered_within_10_minutes(
            spent in 0_u64..60, random in 0.0..1.0_f64, asked in prop::option::of(Just(600_u64)),
        ) {
            let settings = Settings::default();
            let wait = wait(asked.map(secs), secs(spent), random, &settings);
            // Two minutes are left for the answer to be made and sent.
            prop_assert!(secs(spent) + wait <= secs(480), "{wait:?}");
        }
    }

    #[test]
    fn c1_c2_chk_09_to_11_lengths_without_jitter() {
        let settings = Settings::default();
        for (asked, poll) in [
            (None, 300),
            (Some(0), 300),
            (Some(600), 480),
            (Some(150), 60),
            (Some(10), 60),
            (Some(180), 60),
            (Some(7200), 3600),
        ] {
            assert_eq!(
                wait(asked.map(secs), Duration::ZERO, 0.0, &settings),
                secs(poll),
                "{asked:?}"
            );
        }
        let short = Settings {
            checkin_max_poll: secs(1),
            ..Settings::default()
        };
        assert_eq!(
            wait(Some(secs(600)), Duration::ZERO, 0.0, &short),
            secs(60),
            "below a minute behaves as one"
        );
        assert_eq!(wait(None, secs(400), 0.0, &settings), USED_UP);
        assert_eq!(
            wait(None, secs(290), 0.9, &settings),
            secs(10),
            "a jitter that does not fit is dropped"
        );
    }

    #[test]
    fn the_first_poll_after_a_start_takes_10_to_20_seconds() {
        for (random, length) in [(0.0, 10), (0.5, 15), (1.0, 20)] {
            assert_eq!(first_after_start(secs(300), random), secs(length));
        }
        assert_eq!(
            first_after_start(secs(7), 0.5),
            secs(7),
            "never longer than asked"
        );
    }

    proptest! {
        #[test]
        fn never_longer_than_asked_and_never_zero(asked in 0u64..100_000, spent in 0u64..10_000, random in 0.0..1.0) {
            let settings = Settings::default();
            let wait = wait(Some(secs(asked)), secs(spent), random, &settings);
            prop_assert!(wait > Duration::ZERO);
            let ceiling = settings.checkin_max_poll.max(settings.long_poll);
            prop_assert!(wait <= ceiling);
        }
    }
}
