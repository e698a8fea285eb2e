//! Durations as agents write them (agents.md 1.7): `1h30m`, `0.5ms`, `-2m`, `0`.

use std::time::Duration;

/// A signed duration; `None` if the text is none.
pub(crate) fn parse(text: &str) -> Option<Parsed> {
    let (is_negative, text) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let nanos = if text == "0" { 0 } else { sum(text)? };
    Some(Parsed {
        length: Duration::from_nanos(nanos),
        is_negative: is_negative && nanos != 0,
    })
}

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parsed {
    pub length: Duration,
    pub is_negative: bool,
}

/// The largest span the agents' own parser knows.
const MAX_NANOS: u128 = 9_223_372_036_854_775_807;

fn sum(mut text: &str) -> Option<u64> {
    let mut total = 0u128;
    if text.is_empty() {
        return None;
    }
    while !text.is_empty() {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, rest) = text.split_at(end);
        let unit_end = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let (unit, rest) = rest.split_at(unit_end);
        total = total
            .checked_add(scaled(number, nanos_of(unit)?)?)
            .filter(|total| *total <= MAX_NANOS)?;
        text = rest;
    }
    u64::try_from(total).ok()
}

/// `number` (a decimal) times `unit`, in whole nanoseconds.
fn scaled(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut nanos = whole.checked_mul(unit)?;
    let mut weight = unit;
    for digit in fraction.chars() {
        weight /= 10;
        nanos = nanos.checked_add(weight.checked_mul(u128::from(digit.to_digit(10)?))?)?;
    }
    Some(nanos)
}

fn nanos_of(unit: &str) -> Option<u128> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn positive(text: &str) -> Option<Duration> {
        parse(text)
            .filter(|parsed| !parsed.is_negative)
            .map(|parsed| parsed.length)
    }

    #[test]
    fn chk_08_grammar() {
        assert_eq!(positive("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(positive("0.5ms"), Some(Duration::from_micros(500)));
        assert_eq!(positive("1.5h"), Some(Duration::from_secs(5400)));
        assert_eq!(positive("3µs"), Some(Duration::from_micros(3)));
        assert_eq!(positive("0"), Some(Duration::ZERO));
        assert_eq!(positive("+2s"), Some(Duration::from_secs(2)));
        assert_eq!(
            parse("-2m"),
            Some(Parsed {
                length: Duration::from_secs(120),
                is_negative: true
            })
        );
        for bad in [
            "",
            "not a timeout",
            "10",
            "s",
            ".s",
            "1.2.3s",
            "1d",
            "5 m",
            "-",
            "9999999h",
            "1m2",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[-+0-9.hmsunµ]{0,20}|.{0,10}") {
            let _ = parse(&text);
        }

        #[test]
        fn whole_units_round_trip(hours in 0u64..1000, minutes in 0u64..60, millis in 0u64..1000) {
            let text = format!("{hours}h{minutes}m{millis}ms");
            let expected = Duration::from_secs(hours * 3600 + minutes * 60) + Duration::from_millis(millis);
            prop_assert_eq!(positive(&text), Some(expected));
        }
    }
}
