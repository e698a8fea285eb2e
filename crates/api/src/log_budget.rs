//! How much of the log those may fill whom the server does not know: so many requests an hour, and of what they send only
//! the beginning. What is left out is counted.

use std::{borrow::Cow, time::Duration};

use crate::bucket::Bucket;

/// The budget of one listener.
#[derive(Debug, Default)]
pub(crate) struct LogBudget {
    requests: Bucket,
    notice: Bucket,
}

/// Whether a request is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Logged {
    Yes,
    No,
    /// It is not, and it is time to say that some are not.
    NoWithNotice,
}

impl LogBudget {
    /// Takes the place of one request. `now` is the time since any fixed moment.
    pub(crate) fn take(&self, now: Duration) -> Logged {
        if self.requests.take(HOUR / AN_HOUR, AT_ONCE, AT_ONCE, now).is_ok() {
            Logged::Yes
        } else if self.notice.take(HOUR, 1, 1, now).is_ok() {
            Logged::NoWithNotice
        } else {
            Logged::No
        }
    }
}

/// The beginning of what a client sent, with a mark if there was more.
pub(crate) fn shown(text: &str, most: usize) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        None => Cow::Borrowed(text),
        Some((end, _)) => {
            let (beginning, rest) = text.split_at(end);
            Cow::Owned(format!("{beginning}… ({} more bytes)", rest.len()))
        }
    }
}

const HOUR: Duration = Duration::from_secs(3600);
/// Requests of strangers that are logged in an hour, after those at once.
const AN_HOUR: u32 = 500;
const AT_ONCE: u32 = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_of_strangers_fills_no_more_than_the_budget() {
        let budget = LogBudget::default();
        let (mut logged, mut notices) = (0, 0);
        for millis in (0..3_600_000_u64).step_by(100) {
            match budget.take(Duration::from_millis(millis) + HOUR) {
                Logged::Yes => logged += 1,
                Logged::NoWithNotice => notices += 1,
                Logged::No => {}
            }
        }
        assert!((500..=1000).contains(&logged), "{logged}");
        assert_eq!(notices, 1);
    }

    #[test]
    fn only_the_beginning_is_shown() {
        assert_eq!(shown("äbc", 3), "äbc");
        assert_eq!(shown("äbcdü", 3), "äbc… (3 more bytes)");
    }
}
