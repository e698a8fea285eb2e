//! Durations as the contract writes them (http-api 1.9): `1h30m`, `0.5ms`, a bare number of seconds.

use std::{fmt, time::Duration};

use super::setting::{Refusal, Setting, Shown, must_be};

const NANOS: [(&str, i128); 7] = [
    // Longest names first, so that `ms` is not read as `m`.
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];
const DAY: i128 = 24 * 3_600_000_000_000;

/// Nanoseconds of a duration text, or `None` if it is none. `days` allows the unit `d`.
pub fn parse(text: &str, days: bool) -> Option<i64> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if unsigned.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    let mut rest = unsigned;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at_checked(end)?;
        let (unit, after) = if after.is_empty() && number.len() == unsigned.len() {
            (NANOS[4].1, after)
        } else if let Some(after) = after.strip_prefix('d').filter(|_| days) {
            (DAY, after)
        } else {
            let (name, nanos) = NANOS
                .iter()
                .chain(&[("μs", 1_000)])
                .filter(|(name, _)| after.starts_with(name))
                .max_by_key(|(name, _)| name.chars().count())?;
            (*nanos, after.strip_prefix(name)?)
        };
        total = total.checked_add(scaled(number, unit)?)?;
        rest = after;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

/// `12.5` of a unit, in nanoseconds; what is smaller than one is cut.
fn scaled(number: &str, unit: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut total = whole.checked_mul(unit)?;
    let mut scale = unit;
    for digit in fraction.chars() {
        scale /= 10;
        total = total.checked_add(scale.checked_mul(i128::from(digit.to_digit(10)?))?)?;
    }
    Some(total)
}

/// The shortest text that [`parse`] reads back to the same value.
pub fn format(nanos: i64) -> String {
    if nanos == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    if nanos < 0 {
        text.push('-');
    }
    let mut rest = i128::from(nanos).abs();
    for (name, unit) in [NANOS[6], NANOS[5], NANOS[4], NANOS[3], NANOS[1], NANOS[0]] {
        if rest >= unit {
            text.push_str(&format!("{}{name}", rest / unit));
            rest %= unit;
        }
    }
    text
}

const ALLOWED: &str = "a duration such as 500ms, 30s or 1h30m (a bare number is seconds)";

impl Setting for Duration {
    fn allowed() -> String {
        ALLOWED.to_owned()
    }
    fn unit() -> &'static str {
        "duration"
    }
    fn from_text(text: &str) -> Result<Self, Refusal> {
        let nanos = parse(text, false).ok_or_else(must_be::<Self>)?;
        u64::try_from(nanos)
            .map(Self::from_nanos)
            .map_err(|_| Refusal::MustBe("a duration of 0 or more".to_owned()))
    }
    fn shown(&self) -> Option<Shown> {
        Some(Shown::Bare(format(
            i64::try_from(self.as_nanos()).unwrap_or(i64::MAX),
        )))
    }
}

/// A duration that may be negative: limits read that as "off".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interval {
    /// Its length in nanoseconds.
    pub nanos: i64,
}

impl Interval {
    /// From microseconds, as the presets are written.
    pub const fn micros(micros: i64) -> Self {
        Self {
            nanos: micros * 1_000,
        }
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format(self.nanos))
    }
}

impl Setting for Interval {
    fn allowed() -> String {
        ALLOWED.to_owned()
    }
    fn unit() -> &'static str {
        "duration"
    }
    fn from_text(text: &str) -> Result<Self, Refusal> {
        parse(text, false)
            .map(|nanos| Self { nanos })
            .ok_or_else(must_be::<Self>)
    }
    fn shown(&self) -> Option<Shown> {
        Some(Shown::Bare(self.to_string()))
    }
}

/// A duration that people count in days: `30d`, also `36h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Days(pub Duration);

impl Days {
    /// Whole days.
    pub const fn of(days: u64) -> Self {
        Self(Duration::from_secs(days * 86_400))
    }
}

impl Setting for Days {
    fn allowed() -> String {
        "a duration such as 30d, 36h or 10m".to_owned()
    }
    fn unit() -> &'static str {
        "duration, also days: 30d"
    }
    fn from_text(text: &str) -> Result<Self, Refusal> {
        let nanos = parse(text, true)
            .and_then(|nanos| u64::try_from(nanos).ok())
            .ok_or_else(must_be::<Self>)?;
        Ok(Self(Duration::from_nanos(nanos)))
    }
    fn shown(&self) -> Option<Shown> {
        let seconds = self.0.as_secs();
        if self.0.subsec_nanos() == 0 && seconds > 0 && seconds.is_multiple_of(86_400) {
            return Some(Shown::Bare(format!("{}d", seconds / 86_400)));
        }
        self.0.shown()
    }
}

/// How long an expired action is kept, in the original's own grammar: `<int><y|M|w|d|h|H|m|s>` (http-api 3.3).
/// What does not fit is 30 days, as there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    text: String,
    /// The length; a month counts 30 days and a year 365.
    pub length: Duration,
}

impl Retention {
    /// 30 days.
    pub fn thirty_days() -> Self {
        Self {
            text: "30d".to_owned(),
            length: Duration::from_secs(30 * 86_400),
        }
    }
}

impl Setting for Retention {
    fn allowed() -> String {
        "a whole number and one of y, M, w, d, h, m, s, such as 30d".to_owned()
    }
    fn unit() -> &'static str {
        "<number><y|M|w|d|h|m|s>"
    }
    fn from_text(text: &str) -> Result<Self, Refusal> {
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
        Ok(seconds.map_or_else(Self::thirty_days, |seconds| Self {
            text: text.to_owned(),
            length: Duration::from_secs(seconds),
        }))
    }
    fn shown(&self) -> Option<Shown> {
        Some(Shown::Bare(self.text.clone()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_grammar_of_the_contract() {
        let cases = [
            ("5s", Some(5_000_000_000)),
            ("1h30m", Some(5_400_000_000_000)),
            ("0.5ms", Some(500_000)),
            ("-1s", Some(-1_000_000_000)),
            ("+2m", Some(120_000_000_000)),
            ("30", Some(30_000_000_000)),
            ("1.5", Some(1_500_000_000)),
            ("0", Some(0)),
            (".5s", Some(500_000_000)),
            ("3µs", Some(3_000)),
            ("3μs", Some(3_000)),
            ("7us", Some(7_000)),
            ("", None),
            ("s", None),
            ("-", None),
            (".s", None),
            ("1.2.3s", None),
            ("5 s", None),
            ("5x", None),
            ("1m30", None),
            ("30d", None),
            ("99999999999h", None),
        ];
        for (text, nanos) in cases {
            assert_eq!(parse(text, false), nanos, "{text}");
        }
        assert_eq!(parse("30d", true), Some(30 * 86_400_000_000_000));
        assert_eq!(parse("1d12h", true), Some(36 * 3_600_000_000_000));
    }

    #[test]
    fn retention_falls_back_to_thirty_days() {
        let length = |text: &str| Retention::from_text(text).map(|it| it.length.as_secs());
        assert_eq!(length("2w"), Ok(14 * 86_400));
        assert_eq!(length("1H"), Ok(3_600));
        for bad in ["", "d", "5", "1.5d", "-1d", "1ü", "99999999999999999999d"] {
            assert_eq!(length(bad), Ok(30 * 86_400), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(nanos in any::<i64>()) {
            prop_assume!(nanos != i64::MIN);
            prop_assert_eq!(parse(&format(nanos), false), Some(nanos));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[-+0-9.hmsunµd ]{0,20}|\\PC{0,10}") {
            let _ = parse(&text, true);
            prop_assert!(Retention::from_text(&text).is_ok());
        }

        #[test]
        fn parts_add_up(hours in 0_i64..1000, minutes in 0_i64..1000, seconds in 0_i64..1000) {
            let text = format!("{hours}h{minutes}m{seconds}s");
            let expected = (hours * 3600 + minutes * 60 + seconds) * 1_000_000_000;
            prop_assert_eq!(parse(&text, false), Some(expected));
        }
    }
}
