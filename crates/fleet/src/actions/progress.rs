//! How far an action has come, over all its targets. Pure.

use store::{ActionProgress, Timestamp};
use strum::IntoStaticStr;

/// How far an action has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Over all its targets.
    pub counts: ActionProgress,
    /// After this no agent is given it any more.
    pub expiration: Option<Timestamp>,
}

/// State of an action: every one but the first is an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum ActionState {
    /// Some targets have not come to an end with it.
    InProgress,
    /// All targets did it.
    Complete,
    /// All targets are through, and some failed.
    Failed,
    /// All targets are through, none failed, and for some it was taken back.
    Cancelled,
    /// Its time is up before all targets were through.
    Expired,
}

impl Progress {
    /// The state at this time.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> ActionState {
        let counts = self.counts;
        if counts.succeeded + counts.failed + counts.cancelled < counts.targets {
            return match self.expiration {
                Some(expiration) if expiration <= now => ActionState::Expired,
                _ => ActionState::InProgress,
            };
        }
        match (counts.failed, counts.cancelled) {
            (0, 0) => ActionState::Complete,
            (0, _) => ActionState::Cancelled,
            _ => ActionState::Failed,
        }
    }
}

impl ActionState {
    /// Its name in the admin API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_has_an_end() {
        let at = Timestamp::from_millis;
        for (succeeded, failed, cancelled, now, state) in [
            (1, 0, 0, 0, "IN_PROGRESS"),
            (1, 0, 1, 9, "IN_PROGRESS"),
            (1, 0, 1, 10, "EXPIRED"),
            (3, 0, 0, 10, "COMPLETE"),
            (2, 0, 1, 0, "CANCELLED"),
            (1, 1, 1, 10, "FAILED"),
        ] {
            let progress = Progress {
                counts: ActionProgress {
                    targets: 3,
                    succeeded,
                    failed,
                    cancelled,
                },
                expiration: Some(at(10)),
            };
            assert_eq!(progress.state(at(now)).as_str(), state);
        }
    }
}
