//! When an action runs and when it ends (data.md 9.3). Pure.

use std::time::Duration;

use store::Timestamp;

use super::{ActionDraft, ActionKind, deliver};

/// When an action runs and when it ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Schedule {
    pub(super) start_time: Option<Timestamp>,
    pub(super) rollout_duration_seconds: Option<u32>,
    pub(super) expiration: Timestamp,
}

impl Schedule {
    /// That of a draft for so many agents; or why one of them would never run it.
    pub(super) fn of(draft: &ActionDraft, targets: usize, now: Timestamp) -> Result<Self, String> {
        let rollout = draft.rollout_duration_seconds.filter(|seconds| *seconds > 0);
        if draft.kind != ActionKind::Upgrade && (draft.start_time.is_some() || rollout.is_some()) {
            return Err(format!(
                "start_time and rollout_duration_seconds are for UPGRADE only: agents run {} when they get it",
                draft.kind.as_str()
            ));
        }
        let start = draft.start_time.or(rollout.map(|_| now));
        let span = rollout.map_or(LIFE_AFTER_START, |seconds| {
            let rollout = Duration::from_secs(seconds.into());
            if rollout <= LIFE_AFTER_START {
                2 * rollout
            } else {
                rollout
            }
        });
        let expiration = match (draft.expiration, start) {
            (Some(given), _) => given,
            (None, Some(start)) => start.plus(span),
            (None, None) => now.plus(DEFAULT_LIFE),
        };
        if expiration <= now {
            return Err(match draft.expiration {
                Some(_) => "expiration has passed".to_owned(),
                None => format!(
                    "start_time is so long ago that the action ended at {}",
                    expiration.to_seconds_text()
                ),
            });
        }
        let targets = u32::try_from(targets).unwrap_or(u32::MAX);
        let last = start.map(|start| deliver::spread(start, rollout, targets.saturating_sub(1), targets));
        if let Some(last) = last.filter(|last| *last >= expiration) {
            return Err(format!(
                "start_time: an agent that starts at {} would find it expired: its expiration is {}",
                last.to_seconds_text(),
                expiration.to_seconds_text()
            ));
        }
        Ok(Self {
            start_time: start,
            rollout_duration_seconds: rollout,
            expiration,
        })
    }
}

const DEFAULT_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Of what starts at a time; also the longest roll-out that is given twice its time.
const LIFE_AFTER_START: Duration = Duration::from_secs(7200);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    /// Of an upgrade that is posted at 100,000 s; the times in seconds.
    fn schedule(
        start: Option<i64>,
        rollout: Option<u32>,
        expiration: Option<i64>,
        targets: usize,
    ) -> Result<(Option<i64>, i64), String> {
        let draft = ActionDraft {
            start_time: start.map(at),
            rollout_duration_seconds: rollout,
            expiration: expiration.map(at),
            ..ActionDraft::new(ActionKind::Upgrade)
        };
        let schedule = Schedule::of(&draft, targets, at(100_000))?;
        let start = schedule.start_time.map(|start| start.millis() / 1000);
        Ok((start, schedule.expiration.millis() / 1000))
    }

    #[test]
    fn an_action_ends_after_its_last_start() {
        for (start, rollout, expiration, expected) in [
            (None, None, None, (None, 100_000 + 30 * 86_400)),
            (None, Some(0), None, (None, 100_000 + 30 * 86_400)),
            (Some(200_000), None, None, (Some(200_000), 207_200)),
            (Some(95_000), None, None, (Some(95_000), 102_200)),
            (None, Some(600), None, (Some(100_000), 101_200)),
            (Some(200_000), Some(7200), None, (Some(200_000), 214_400)),
            (Some(200_000), Some(7201), None, (Some(200_000), 207_201)),
            (Some(200_000), Some(600), Some(300_000), (Some(200_000), 300_000)),
        ] {
            assert_eq!(
                schedule(start, rollout, expiration, 3),
                Ok(expected),
                "{start:?} {rollout:?} {expiration:?}"
            );
        }
    }

    #[test]
    fn what_can_never_happen_is_refused() {
        for (start, rollout, expiration, targets, reason) in [
            (None, None, Some(100_000), 1, "expiration has passed"),
            (Some(92_800), None, None, 1, "so long ago"),
            (Some(200_000), None, Some(200_000), 1, "would find it expired"),
            (Some(200_000), None, Some(150_000), 1, "would find it expired"),
            // The third of three starts after two thirds of the roll-out.
            (
                Some(200_000),
                Some(600),
                Some(200_400),
                3,
                "would find it expired",
            ),
            (None, Some(600), Some(100_400), 3, "would find it expired"),
        ] {
            let told = schedule(start, rollout, expiration, targets).unwrap_err();
            assert!(told.contains(reason), "{told}");
        }
        assert!(schedule(Some(200_000), Some(600), Some(200_401), 3).is_ok());
        assert!(schedule(Some(200_000), Some(600), Some(200_400), 1).is_ok());
    }

    #[test]
    fn a_start_that_has_no_effect_is_refused() {
        for kind in ActionKind::ALL {
            let of = |start_time, rollout_duration_seconds| {
                let draft = ActionDraft {
                    start_time,
                    rollout_duration_seconds,
                    ..ActionDraft::new(*kind)
                };
                Schedule::of(&draft, 1, at(0)).is_ok()
            };
            let has_effect = *kind == ActionKind::Upgrade;
            assert_eq!(of(Some(at(10)), None), has_effect, "{kind:?}");
            assert_eq!(of(None, Some(600)), has_effect, "{kind:?}");
            assert!(of(None, Some(0)) && of(None, None), "{kind:?}");
        }
    }
}
