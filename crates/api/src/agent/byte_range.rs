//! The `Range` header as agents.md 12.2 reads it: one range at most.

use std::ops::Range;

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Whole,
    /// These bytes, which are there.
    Part(Range<u64>),
}

/// Why a range is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RangeError {
    /// It cannot be read, or nothing of it is there.
    Unsatisfiable,
    /// It asks for several parts.
    Several,
}

/// Reads a header for a body of `size` bytes.
pub(crate) fn wanted(header: Option<&str>, size: u64) -> Result<Wanted, RangeError> {
    let Some(header) = header else {
        return Ok(Wanted::Whole);
    };
    let specs = header.strip_prefix("bytes=").ok_or(RangeError::Unsatisfiable)?;
    let (mut parts, mut is_beyond) = (Vec::new(), false);
    for spec in specs.split(',').map(str::trim).filter(|spec| !spec.is_empty()) {
        match part(spec, size)? {
            Some(part) => parts.push(part),
            None => is_beyond = true,
        }
    }
    let asked = parts.iter().fold(0_u64, |sum, part: &Range<u64>| {
        sum.saturating_add(part.end - part.start)
    });
    match parts.as_slice() {
        [] if is_beyond => Err(RangeError::Unsatisfiable),
        [] => Ok(Wanted::Whole),
        _ if asked > size => Ok(Wanted::Whole),
        [one] => Ok(Wanted::Part(one.clone())),
        _ => Err(RangeError::Several),
    }
}

/// One range, its end cut to the body's; `None` if it begins behind the body.
fn part(spec: &str, size: u64) -> Result<Option<Range<u64>>, RangeError> {
    let (first, last) = spec.split_once('-').ok_or(RangeError::Unsatisfiable)?;
    let (first, last) = (first.trim(), last.trim());
    if first.is_empty() {
        let suffix = number(last)?;
        return match suffix {
            0 => Err(RangeError::Unsatisfiable),
            _ if size == 0 => Ok(None),
            suffix => Ok(Some(size.saturating_sub(suffix)..size)),
        };
    }
    let first = number(first)?;
    let end = match last {
        "" => size,
        last => match number(last)? {
            last if last < first => return Err(RangeError::Unsatisfiable),
            last => last.saturating_add(1).min(size),
        },
    };
    Ok((first < size).then_some(first..end))
}

/// Digits only: `u64`'s own reader takes a sign.
fn number(text: &str) -> Result<u64, RangeError> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match is_number {
        true => Ok(text.parse().unwrap_or(u64::MAX)),
        false => Err(RangeError::Unsatisfiable),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fil_03_to_06_the_table_of_ranges() {
        for (header, expected) in [
            (None, Ok(Wanted::Whole)),
            (Some("bytes="), Ok(Wanted::Whole)),
            (Some("bytes= , "), Ok(Wanted::Whole)),
            (Some("bytes=103-443"), Ok(Wanted::Part(103..444))),
            (Some("bytes=-150"), Ok(Wanted::Part(450..600))),
            (Some("bytes=405-"), Ok(Wanted::Part(405..600))),
            (Some("bytes=590-9999"), Ok(Wanted::Part(590..600))),
            (Some("bytes=-9999"), Ok(Wanted::Part(0..600))),
            (Some("bytes=0-599"), Ok(Wanted::Part(0..600))),
            (Some("bytes=0-599, 0-0"), Ok(Wanted::Whole)),
            (Some("bytes=900-1200, 5-6"), Ok(Wanted::Part(5..7))),
            (Some("bytes=900-1200"), Err(RangeError::Unsatisfiable)),
            (Some("bytes=600-"), Err(RangeError::Unsatisfiable)),
            (Some("bytes=100-20"), Err(RangeError::Unsatisfiable)),
            (Some("bytes=0-50, 100-150"), Err(RangeError::Several)),
            (Some("bytes 9-99"), Err(RangeError::Unsatisfiable)),
            (Some("bytes=-0"), Err(RangeError::Unsatisfiable)),
            (Some("bytes=5"), Err(RangeError::Unsatisfiable)),
            (Some("bytes=a-b"), Err(RangeError::Unsatisfiable)),
            (Some("bytes=+1-2"), Err(RangeError::Unsatisfiable)),
            (Some("bytes=--5"), Err(RangeError::Unsatisfiable)),
            (Some("bytes=-"), Err(RangeError::Unsatisfiable)),
        ] {
            assert_eq!(wanted(header, 600), expected, "{header:?}");
        }
        assert_eq!(wanted(Some("bytes=-5"), 0), Err(RangeError::Unsatisfiable));
        assert_eq!(wanted(Some("bytes=0-"), 0), Err(RangeError::Unsatisfiable));
    }

    proptest! {
        #[test]
        fn a_part_is_never_empty_and_within_the_body(header in "bytes=[-0-9, ]{0,40}|\\PC{0,40}", size in 0u64..2000) {
            if let Ok(Wanted::Part(part)) = wanted(Some(&header), size) {
                prop_assert!(part.start < part.end && part.end <= size, "{} {:?}", header, part);
            }
        }
    }
}
