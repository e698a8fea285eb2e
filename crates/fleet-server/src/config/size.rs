//! Sizes in bytes: a bare number as the original writes them, or with a unit (`10MiB`).

use super::setting::{Refusal, Setting, Shown, must_be};

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

const UNITS: [(&str, u64); 11] = [
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("k", 1 << 10),
    ("m", 1 << 20),
    ("g", 1 << 30),
];

/// Bytes of a size text, or `None` if it is none.
pub fn parse(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let (number, unit) = UNITS
        .iter()
        .find_map(|(name, bytes)| Some((lower.strip_suffix(name)?, *bytes)))
        .or_else(|| Some((lower.strip_suffix('b')?, 1)))
        .unwrap_or((&lower, 1));
    let digits = number.trim_end().replace('_', "");
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

impl Setting for ByteSize {
    fn allowed() -> String {
        "a number of bytes such as 1048576 or 1MiB".to_owned()
    }
    fn unit() -> &'static str {
        "bytes"
    }
    fn from_text(text: &str) -> Result<Self, Refusal> {
        parse(text).map(Self).ok_or_else(must_be::<Self>)
    }
    fn shown(&self) -> Option<Shown> {
        Some(Shown::Bare(self.0.to_string()))
    }
}

/// A body limit: 0 takes the preset's, a negative one takes the limit away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BodyLimit(pub i64);

impl Setting for BodyLimit {
    fn allowed() -> String {
        "a number of bytes such as 1048576 or 1MiB, 0 for the preset, or -1 for no limit".to_owned()
    }
    fn unit() -> &'static str {
        "bytes"
    }
    fn from_text(text: &str) -> Result<Self, Refusal> {
        let bytes = match text.strip_prefix('-') {
            Some(size) => parse(size)
                .and_then(|bytes| i64::try_from(bytes).ok())
                .map(|bytes| -bytes),
            None => parse(text).and_then(|bytes| i64::try_from(bytes).ok()),
        };
        bytes.map(Self).ok_or_else(must_be::<Self>)
    }
    fn shown(&self) -> Option<Shown> {
        Some(Shown::Bare(self.0.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_with_and_without_units() {
        let cases = [
            ("1048576", Some(1_048_576)),
            ("10MiB", Some(10 << 20)),
            ("10 MiB", Some(10 << 20)),
            ("1k", Some(1024)),
            ("1kB", Some(1000)),
            ("5b", Some(5)),
            ("1_000", Some(1000)),
            ("", None),
            ("b", None),
            ("-1", None),
            ("1.5MiB", None),
            ("99999999999999TiB", None),
            ("10 apples", None),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse(text), bytes, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_number_is_its_own_size(bytes in any::<u64>()) {
            prop_assert_eq!(parse(&bytes.to_string()), Some(bytes));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[-0-9kmgtibKMGTIB _.]{0,16}|\\PC{0,8}") {
            let _ = parse(&text);
            let _ = BodyLimit::from_text(&text);
        }
    }
}
