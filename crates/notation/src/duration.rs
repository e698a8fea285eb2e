//! Durations in the agents' grammar: `1h30m`, `0.5ms`, `-2m`, `0`. The configuration also takes days and bare seconds.

/// Nanoseconds of each unit.
const UNITS: [(&str, i128); 8] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ns", 1),
];
const DAY: i128 = 24 * 3_600_000_000_000;

/// Nanoseconds of a duration text; `None`: it is not a duration, or longer than 292 years.
pub fn parse(text: &str) -> Option<i64> {
    nanos(text, |name| {
        UNITS
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, unit)| *unit)
    })
}

/// Like [`parse`], with the unit `d` besides.
pub fn parse_with_days(text: &str) -> Option<i64> {
    nanos(text, |name| match name {
        "d" => Some(DAY),
        _ => UNITS
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, unit)| *unit),
    })
}

/// Like [`parse`], and a number without a unit is seconds.
pub fn parse_or_seconds(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        parse(&format!("{text}s"))
    } else {
        parse(text)
    }
}

fn nanos(text: &str, unit: impl Fn(&str) -> Option<i128>) -> Option<i64> {
    let (sign, mut rest) = match text.as_bytes().first()? {
        b'-' => (-1, text.get(1..)?),
        b'+' => (1, text.get(1..)?),
        _ => (1, text),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total: i128 = 0;
    loop {
        let (number, after) = rest.split_at(rest.find(|c: char| !is_of_number(c))?);
        let (name, after) = after.split_at(after.find(is_of_number).unwrap_or(after.len()));
        total = total.checked_add(scaled(number, unit(name)?)?)?;
        if after.is_empty() {
            return i64::try_from(sign * total).ok();
        }
        rest = after;
    }
}

fn is_of_number(c: char) -> bool {
    c.is_ascii_digit() || c == '.'
}

/// `12.5` of a unit in nanoseconds; fractions of a nanosecond are cut off.
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

/// A text that [`parse`] reads back to the same value.
pub fn format(nanos: i64) -> String {
    let mut rest = i128::from(nanos).abs();
    let mut text = String::from(if nanos < 0 { "-" } else { "" });
    for (name, unit) in UNITS.iter().filter(|(name, _)| name.is_ascii()) {
        if rest >= *unit {
            text.push_str(&format!("{}{name}", rest / unit));
            rest %= unit;
        }
    }
    if nanos == 0 { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn chk_08_the_grammar_of_agents() {
        for (text, nanos) in [
            ("5s", Some(5_000_000_000)),
            ("1h30m", Some(5_400_000_000_000)),
            ("1.5h", Some(5_400_000_000_000)),
            ("0.5ms", Some(500_000)),
            (".5s", Some(500_000_000)),
            ("3µs", Some(3_000)),
            ("3μs", Some(3_000)),
            ("7us", Some(7_000)),
            ("0", Some(0)),
            ("-0", Some(0)),
            ("-2m", Some(-120_000_000_000)),
            ("+2s", Some(2_000_000_000)),
            ("", None),
            ("-", None),
            ("s", None),
            (".s", None),
            ("10", None),
            ("1.2.3s", None),
            ("5 s", None),
            ("5x", None),
            ("1d", None),
            ("1m30", None),
            ("9999999h", None),
            ("not a timeout", None),
        ] {
            assert_eq!(parse(text), nanos, "{text}");
        }
    }

    #[test]
    fn the_configuration_also_takes_days_and_bare_seconds() {
        assert_eq!(parse_with_days("30d"), Some(30 * 86_400_000_000_000));
        assert_eq!(parse_with_days("1d12h"), Some(36 * 3_600_000_000_000));
        assert_eq!(parse_with_days("30"), None);
        for (text, nanos) in [
            ("30", Some(30_000_000_000)),
            ("1.5", Some(1_500_000_000)),
            ("-1", Some(-1_000_000_000)),
            ("0", Some(0)),
            ("30m", Some(1_800_000_000_000)),
            ("", None),
            ("-", None),
            ("30d", None),
            ("1m30", None),
            ("99999999999h", None),
        ] {
            assert_eq!(parse_or_seconds(text), nanos, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(nanos in any::<i64>()) {
            prop_assert_eq!(parse(&format(nanos)), Some(nanos));
        }

        #[test]
        fn no_text_panics(text in "[-+0-9.hmsunµd ]{0,20}|\\PC{0,10}") {
            let _ = (parse(&text), parse_with_days(&text), parse_or_seconds(&text));
        }

        #[test]
        fn parts_add_up(hours in 0_i64..1000, minutes in 0_i64..1000, millis in 0_i64..1000) {
            let text = format!("{hours}h{minutes}m{millis}ms");
            prop_assert_eq!(parse(&text), Some((hours * 3_600_000 + minutes * 60_000 + millis) * 1_000_000));
        }
    }
}
