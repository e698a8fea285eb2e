//! A moment as operators write it: a time, or Kibana's duration from now.

use std::time::Duration;

use fleet::Timestamp;

use crate::error::ApiError;

/// The time that `text` states; `None` for an absent text. `name` is the parameter's, for the error.
pub(super) fn moment(text: Option<&str>, name: &str, now: Timestamp) -> Result<Option<Timestamp>, ApiError> {
    text.map(|text| {
        Timestamp::parse(text)
            .or_else(|| Some(now.plus(duration(text)?)))
            .ok_or_else(|| {
                let shown: String = text.chars().take(64).collect();
                ApiError::Invalid(
                    format!(
                        "{name} \"{shown}\" is neither a duration like 7d or 12h nor a time like 2026-01-02T03:04:05Z"
                    )
                    .into(),
                )
            })
    })
    .transpose()
}

/// The time that `text` states; `None` for an absent text.
pub(super) fn time(text: Option<&str>, name: &str) -> Result<Option<Timestamp>, ApiError> {
    text.map(|text| {
        Timestamp::parse(text).ok_or_else(|| {
            ApiError::Invalid(format!("parameter {name} must be a time like 2026-01-02T03:04:05Z").into())
        })
    })
    .transpose()
}

/// A whole number with one of Elasticsearch's units.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let seconds = |each: u64| number.checked_mul(each).map(Duration::from_secs);
    let length = match unit {
        "d" => seconds(24 * 3600),
        "h" => seconds(3600),
        "m" => seconds(60),
        "s" => seconds(1),
        "ms" => Some(Duration::from_millis(number)),
        "micros" => Some(Duration::from_micros(number)),
        "nanos" => Some(Duration::from_nanos(number)),
        _ => None,
    };
    // More than a thousand years is a typing error, and would overflow a timestamp.
    length.filter(|length| *length <= Duration::from_secs(1000 * 366 * 24 * 3600))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Timestamp, ApiError> {
        moment(Some(text), "expiration", Timestamp::from_millis(1000)).map(Option::unwrap)
    }

    #[test]
    fn case_07_durations_and_times() {
        for (text, millis) in [
            ("7d", 7 * 86_400_000 + 1000),
            ("12h", 12 * 3_600_000 + 1000),
            ("30m", 1_801_000),
            ("5s", 6000),
            ("20ms", 1020),
            ("0d", 1000),
            ("1970-01-01T00:00:02Z", 2000),
        ] {
            assert_eq!(read(text).unwrap(), Timestamp::from_millis(millis), "{text}");
        }
        for bad in [
            "",
            "7",
            "d",
            "-1d",
            "7 d",
            "1.5h",
            "7w",
            "1h30m",
            "99999999999999999999d",
            "9999999999d",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[0-9]{0,22}(d|h|m|s|ms|micros|nanos)|.{0,12}") {
            let _ = read(&text);
        }
    }
}
