//! Sizes in bytes: a bare number, or one with a unit (`10MiB`).

const UNITS: [(&str, u64); 12] = [
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
    ("b", 1),
];

/// Bytes of a size text; `None`: it is not a size.
pub fn parse(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let (number, unit) = UNITS
        .iter()
        .find_map(|(name, bytes)| Some((lower.strip_suffix(name)?, *bytes)))
        .unwrap_or((&lower, 1));
    let digits = number.trim_end().replace('_', "");
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_with_and_without_units() {
        for (text, bytes) in [
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
            ("+1", None),
            ("1.5MiB", None),
            ("99999999999999TiB", None),
            ("10 apples", None),
        ] {
            assert_eq!(parse(text), bytes, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_number_is_its_own_size(bytes in any::<u64>()) {
            prop_assert_eq!(parse(&bytes.to_string()), Some(bytes));
        }

        #[test]
        fn no_text_panics(text in "[-0-9kmgtibKMGTIB _.]{0,16}|\\PC{0,8}") {
            let _ = parse(&text);
        }
    }
}
