//! Durations and sizes as settings.

use std::time::Duration;

use notation::{
    duration::{format, parse_or_seconds, parse_with_days},
    size,
};

use super::setting::{Refusal, Shown, setting};

const DURATION: &str = "a duration such as 500ms, 30s or 1h30m (a bare number is seconds)";

/// A duration as text that is read back to the same value.
pub(crate) fn text(duration: Duration) -> String {
    format(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
}

setting!(
    Duration [unit "duration"],
    DURATION,
    |text| {
        let nanos = parse_or_seconds(text).ok_or(Refusal::Unfit)?;
        u64::try_from(nanos)
            .map(Duration::from_nanos)
            .map_err(|_| Refusal::MustBe("a duration of 0 or more".to_owned()))
    },
    |duration| Shown::Bare(text(*duration))
);

/// A duration in nanoseconds that may be negative: limits read that as "off".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Interval(pub i64);

setting!(
    Interval [unit "duration"],
    DURATION,
    |text| parse_or_seconds(text).map(Self),
    |interval| Shown::Bare(format(interval.0))
);

/// A duration that is usually given in days: `30d`, also `36h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Days(pub Duration);

impl Days {
    /// Whole days.
    pub const fn of(days: u64) -> Self {
        Self(Duration::from_secs(days * 86_400))
    }
}

setting!(
    Days [unit "duration, also days: 30d"],
    "a duration such as 30d, 36h or 10m",
    |text| {
        let nanos = parse_with_days(text).or_else(|| parse_or_seconds(text))?;
        u64::try_from(nanos).ok().map(|nanos| Self(Duration::from_nanos(nanos)))
    },
    |days| {
        let seconds = days.0.as_secs();
        let is_whole = days.0.subsec_nanos() == 0 && seconds > 0 && seconds.is_multiple_of(86_400);
        Shown::Bare(if is_whole { format!("{}d", seconds / 86_400) } else { text(days.0) })
    }
);

/// How long an expired action is kept, in the original's grammar: `<int><y|M|w|d|h|H|m|s>`. Any other text
/// counts as 30 days, as there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    text: String,
    /// The length; a month counts 30 days and a year 365.
    pub length: Duration,
}

impl Retention {
    /// Parses the text; never fails.
    pub fn new(text: &str) -> Self {
        let seconds = text.char_indices().last().and_then(|(end, unit)| {
            let count: u64 = text.get(..end)?.parse().ok()?;
            let unit = match unit {
                'y' => 365 * 86_400,
                'M' => 30 * 86_400,
                'w' => 7 * 86_400,
                'd' => 86_400,
                'h' | 'H' => 3_600,
                'm' => 60,
                's' => 1,
                _ => return None,
            };
            count.checked_mul(unit)
        });
        let (text, seconds) = seconds.map_or(("30d", 30 * 86_400), |seconds| (text, seconds));
        Self {
            text: text.to_owned(),
            length: Duration::from_secs(seconds),
        }
    }
}

setting!(
    Retention [unit "<number><y|M|w|d|h|m|s>"],
    "a whole number and one of y, M, w, d, h, m, s, such as 30d",
    |text| Some(Self::new(text)),
    |retention| Shown::Bare(retention.text.clone())
);

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

setting!(
    ByteSize [unit "bytes"],
    "a number of bytes such as 1048576 or 1MiB",
    |text| size::parse(text).map(Self),
    |size| Shown::Bare(size.0.to_string())
);

/// A body limit: 0 takes the preset's, a negative one takes the limit away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BodyLimit(pub i64);

setting!(
    BodyLimit [unit "bytes"],
    "a number of bytes such as 1048576 or 1MiB, 0 for the preset, or -1 for no limit",
    |text| {
        let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
        let bytes = i64::try_from(size::parse(digits)?).ok()?;
        Some(Self(sign * bytes))
    },
    |limit| Shown::Bare(limit.0.to_string())
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g9_retention_falls_back_to_thirty_days() {
        let length = |text: &str| Retention::new(text).length.as_secs();
        assert_eq!(length("2w"), 14 * 86_400);
        assert_eq!(length("1H"), 3_600);
        for bad in ["", "d", "5", "1.5d", "-1d", "1ü", "99999999999999999999d"] {
            assert_eq!(length(bad), 30 * 86_400, "{bad}");
        }
    }
}
