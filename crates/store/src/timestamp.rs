//! The one time type: milliseconds since the epoch, UTC.

use std::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

/// A moment in UTC with millisecond precision.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since 1970-01-01T00:00:00Z; clamped to the years 0–9999, which RFC 3339 can write.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        if millis < MIN {
            Self(MIN)
        } else if millis > MAX {
            Self(MAX)
        } else {
            Self(millis)
        }
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// The clock of this machine. Only the outermost layer reads it; everything below takes the time as an argument.
    #[must_use]
    pub fn now() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self::from_millis(match since {
            Ok(after) => i64::try_from(after.as_millis()).unwrap_or(MAX),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(MAX),
        })
    }

    /// Reads RFC 3339 with any offset and fraction.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let at = OffsetDateTime::parse(text, &Rfc3339)
            .ok()?
            .to_offset(UtcOffset::UTC);
        i64::try_from(at.unix_timestamp_nanos().div_euclid(1_000_000))
            .ok()
            .map(Self::from_millis)
    }

    /// Whole seconds, as agents read it: `2026-01-02T03:04:05Z`.
    #[must_use]
    pub fn to_seconds_text(self) -> String {
        Self(self.0.div_euclid(1000) * 1000).format(false)
    }

    /// With milliseconds, as Kibana's API writes it: `2026-01-02T03:04:05.123Z`.
    #[must_use]
    pub fn to_millis_text(self) -> String {
        self.format(true)
    }

    fn format(self, millis: bool) -> String {
        let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
        let (hour, minute, second) = (at.hour(), at.minute(), at.second());
        if millis {
            let ms = at.millisecond();
            format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
        } else {
            format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
        }
    }

    /// This moment plus `by`.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self::from_millis(
            self.0
                .saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// This moment minus `by`.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Self::from_millis(
            self.0
                .saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// Time from `earlier` to this moment; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_millis_text())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_millis_text())
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom(format!("not an RFC 3339 time: {text}")))
    }
}

/// 0000-01-01T00:00:00Z.
const MIN: i64 = -62_167_219_200_000;
/// 9999-12-31T23:59:59.999Z.
const MAX: i64 = 253_402_300_799_999;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_and_offsets_become_utc() {
        let at = Timestamp::parse("2026-01-02T05:04:05.1239+02:00").unwrap();
        assert_eq!(at.to_millis_text(), "2026-01-02T03:04:05.123Z");
        assert_eq!(at.to_seconds_text(), "2026-01-02T03:04:05Z");
        assert_eq!(Timestamp::parse(&at.to_millis_text()), Some(at));
        assert_eq!(Timestamp::parse("yesterday"), None);
    }

    #[test]
    fn extremes_stay_writable() {
        assert_eq!(
            Timestamp::from_millis(i64::MAX).to_millis_text(),
            "9999-12-31T23:59:59.999Z"
        );
        assert_eq!(
            Timestamp::from_millis(i64::MIN).to_seconds_text(),
            "0000-01-01T00:00:00Z"
        );
        assert_eq!(Timestamp::from_millis(0).plus(Duration::MAX).millis(), MAX);
        assert_eq!(
            Timestamp::from_millis(0).since(Timestamp::from_millis(5)),
            Duration::ZERO
        );
    }
}
