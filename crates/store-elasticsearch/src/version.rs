//! Which versions of Elasticsearch are good enough.

use std::{cmp::Ordering, fmt, str::FromStr};

/// A release: what stands behind a hyphen does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

/// The first release with every call that is made: keys that were invalidated since a moment
/// (`_security/_query/api_key` on `invalidation`) came last.
pub const OLDEST: Version = Version {
    major: 8,
    minor: 12,
    patch: 0,
};

/// What a version means for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// The agents' version or newer.
    Good,
    /// It has every call, but is older than the agents' version: a warning in log and health.
    Older,
    /// A call is missing: refused.
    TooOld,
}

impl Version {
    /// What this Elasticsearch is to a server that is compatible with `ours`, of which the patch does not count.
    #[must_use]
    pub fn fit(self, ours: Self) -> Fit {
        let wanted = Self { patch: 0, ..ours };
        match (self.cmp(&OLDEST), self.cmp(&wanted)) {
            (Ordering::Less, _) => Fit::TooOld,
            (_, Ordering::Less) => Fit::Older,
            _ => Fit::Good,
        }
    }
}

/// A text that does not begin with three numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a version is written as three numbers with dots between them")]
pub struct NotAVersion;

impl FromStr for Version {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let release = text.split_once('-').map_or(text, |(release, _)| release);
        let mut parts = release
            .splitn(3, '.')
            .map(|part| part.parse().map_err(|_| NotAVersion));
        let mut next = || parts.next().unwrap_or(Err(NotAVersion));
        Ok(Self {
            major: next()?,
            minor: next()?,
            patch: next()?,
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_call_is_refused_an_older_release_warned_of_a_newer_one_taken() {
        let ours: Version = "9.6.2".parse().unwrap();
        for (text, expected) in [
            ("7.17.28", Fit::TooOld),
            ("8.11.4", Fit::TooOld),
            ("8.12.0", Fit::Older),
            ("9.5.9", Fit::Older),
            ("9.6.0", Fit::Good),
            ("9.6.0-SNAPSHOT", Fit::Good),
            ("10.0.0-rc1+build", Fit::Good),
        ] {
            assert_eq!(text.parse::<Version>().unwrap().fit(ours), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for text in ["", "9", "9.6", "9.6.x", "-", "9..0", "9.6.0.1", "99999999999.0.0"] {
            assert_eq!(text.parse::<Version>(), Err(NotAVersion), "{text}");
        }
    }
}
