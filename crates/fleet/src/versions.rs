//! Which releases of agents this server works with. Pure.

use std::fmt;

/// The release that this server is towards agents: it admits agents up to this minor version and names it in
/// `GET /api/status`. It is not the version of the program.
pub const COMPATIBLE_VERSION: Version = Version {
    major: 9,
    minor: 6,
    patch: 0,
};

/// The oldest agents that are admitted.
const OLDEST: (u64, u64) = (7, 13);

/// Any patch of the server's own minor version is admitted, up to the largest 32-bit number.
const MAX_PATCH: u64 = 2_147_483_647;

/// A release number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Version {
    pub major: u64,
    pub minor: u64,
    pub patch: u64,
}

impl Version {
    /// Reads `MAJOR[.MINOR[.PATCH…]]` with an optional `v` before it and build metadata behind it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
        let (numbers, metadata) = text
            .split_once('+')
            .map_or((text, None), |(numbers, meta)| (numbers, Some(meta)));
        if metadata.is_some_and(|meta| !is_build_metadata(meta)) {
            return None;
        }
        let mut parsed = [0u64; 3];
        for (place, part) in numbers.split('.').enumerate() {
            if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            let number: u64 = part.parse().ok()?;
            if let Some(slot) = parsed.get_mut(place) {
                *slot = number;
            }
        }
        let [major, minor, patch] = parsed;
        Some(Self { major, minor, patch })
    }

    /// Whether a server of this version works with an agent of that one.
    #[must_use]
    pub fn admits(self, agent: Self) -> bool {
        let minor = (agent.major, agent.minor);
        (OLDEST..=(self.major, self.minor)).contains(&minor) && agent.patch <= MAX_PATCH
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

fn is_build_metadata(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'~'))
}

/// Why no agent may be upgraded to this version: an agent of it would be shut out.
pub(crate) fn check_upgrade(version: &str) -> Result<(), String> {
    // As agents read it: all three numbers, then `-SNAPSHOT` and the like.
    let release = version.split('-').next().unwrap_or_default();
    let is_whole = release.split('+').next().unwrap_or_default().split('.').count() == 3;
    let Some(target) = Version::parse(release).filter(|_| is_whole && !version.starts_with(['v', 'V']))
    else {
        let shown: String = version.chars().take(64).collect();
        return Err(format!(
            "data.version \"{shown}\" is not a version like {COMPATIBLE_VERSION}"
        ));
    };
    if COMPATIBLE_VERSION.admits(target) {
        return Ok(());
    }
    let Version { major, minor, .. } = COMPATIBLE_VERSION;
    let (old_major, old_minor) = OLDEST;
    Err(format!(
        "agents of version {version} are not admitted by this server: the newest that it admits is {major}.{minor} with \
         any patch, the oldest {old_major}.{old_minor}.0"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_01_no_agent_is_upgraded_to_a_version_that_is_shut_out() {
        for good in [
            "9.6.0",
            "9.6.99",
            "8.19.0",
            "9.6.1-SNAPSHOT",
            "9.6.0+build20260821",
            "7.13.0",
        ] {
            assert_eq!(check_upgrade(good), Ok(()), "{good}");
        }
        for (bad, part) in [
            ("9.7.0", "the newest that it admits is 9.6"),
            ("10.0.0", "the newest that it admits is 9.6"),
            ("9.6.2147483648", "the newest that it admits is 9.6"),
            ("7.12.9", "the oldest 7.13.0"),
            ("abc", "\"abc\" is not a version"),
            ("9.6", "is not a version"),
            ("v9.6.0", "is not a version"),
            ("9.6.0 ", "is not a version"),
            ("-9.6.0", "is not a version"),
        ] {
            let said = check_upgrade(bad).unwrap_err();
            assert!(said.contains(part), "{bad}: {said}");
        }
    }
}
