//! Which `User-Agent`s and which API versions the server accepts.

use fleet::Version;

/// The one version of the agents' API.
pub const API_VERSION: &str = "2023-06-01";

/// The version of the operators' API.
pub const ADMIN_API_VERSION: &str = "2023-10-31";

/// Why an agent's `User-Agent` was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UserAgentError {
    /// It does not have the form of an agent's.
    Invalid,
    /// The agent is too old or newer than the server.
    Unsupported,
}

/// The version of the agent that sent this `User-Agent`, if a server of version `server` accepts it.
pub(crate) fn accept_user_agent(value: &str, server: Version) -> Result<Version, UserAgentError> {
    // agents.md 2.3: lower case, prefix, cut at the first '-', then MAJOR[.MINOR[.PATCH…]] with optional 'v' and
    // build metadata.
    const PREFIX: &str = "elastic agent ";
    let prefix = value.get(..PREFIX.len()).ok_or(UserAgentError::Invalid)?;
    if !prefix.eq_ignore_ascii_case(PREFIX) {
        return Err(UserAgentError::Invalid);
    }
    let rest = value.get(PREFIX.len()..).unwrap_or_default();
    let rest = rest.split('-').next().unwrap_or_default().trim();
    let version = Version::parse(rest).ok_or(UserAgentError::Invalid)?;
    server
        .admits(version)
        .then_some(version)
        .ok_or(UserAgentError::Unsupported)
}

/// Why an `Elastic-Api-Version` was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ApiVersionError {
    /// It is not a date.
    Format,
    /// It is a date, but no version of this API.
    Unsupported,
}

/// Whether the API speaks the asked version, of which there is only `supported`. Absent and empty mean that one.
pub(crate) fn negotiate(asked: Option<&str>, supported: &str) -> Result<(), ApiVersionError> {
    match asked {
        None | Some("") => Ok(()),
        Some(asked) if asked == supported => Ok(()),
        Some(asked) if is_date(asked) => Err(ApiVersionError::Unsupported),
        Some(_) => Err(ApiVersionError::Format),
    }
}

/// `dddd-dd-dd`, nothing around it.
fn is_date(text: &str) -> bool {
    text.len() == 10
        && text.bytes().enumerate().all(|(place, byte)| {
            if matches!(place, 4 | 7) {
                byte == b'-'
            } else {
                byte.is_ascii_digit()
            }
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use fleet::COMPATIBLE_VERSION;

    use super::*;

    const V7_13: Version = Version {
        major: 7,
        minor: 13,
        patch: 0,
    };
    const V8: Version = Version {
        major: 8,
        minor: 0,
        patch: 0,
    };

    fn accepted(value: &str, server: Version) -> Result<String, UserAgentError> {
        accept_user_agent(value, server).map(|version| version.to_string())
    }

    #[test]
    fn gen_28_examples() {
        use UserAgentError::{Invalid, Unsupported};
        assert_eq!(accepted("eLaStIc AGeNt v7.13.1", V7_13), Ok("7.13.1".to_owned()));
        assert_eq!(accepted("elastic agent 7.12.5", V7_13), Err(Unsupported));
        assert_eq!(accepted("elastic agent 7.14.0", V7_13), Err(Unsupported));
        assert_eq!(accepted("elastic agent 8.0.0", V7_13), Err(Unsupported));
        for invalid in [
            "elastic-agent 7.13.0",
            "Elastic Agent",
            "Elastic Agent ",
            "",
            "curl/8",
            "elastic agent x",
        ] {
            assert_eq!(accepted(invalid, V7_13), Err(Invalid), "{invalid}");
        }
        assert_eq!(
            accepted("Elastic Agent v8.0.0-anything", V8),
            Ok("8.0.0".to_owned())
        );
        assert_eq!(accepted("Elastic Agent v7.15.0-x", V8), Ok("7.15.0".to_owned()));
    }

    #[test]
    fn gen_25_26_27_older_newer_minor_and_newer_patch() {
        assert_eq!(
            accepted("elastic agent 8.6.0", COMPATIBLE_VERSION),
            Ok("8.6.0".to_owned())
        );
        assert_eq!(
            accepted("Elastic Agent v9.7.0", COMPATIBLE_VERSION),
            Err(UserAgentError::Unsupported)
        );
        assert_eq!(
            accepted("Elastic Agent v9.6.99", COMPATIBLE_VERSION),
            Ok("9.6.99".to_owned())
        );
        assert_eq!(
            accepted("Elastic Agent v9.6.0-SNAPSHOT", COMPATIBLE_VERSION),
            Ok("9.6.0".to_owned())
        );
        assert_eq!(
            accepted("Elastic Agent v9.6.0+build20260821", COMPATIBLE_VERSION),
            Ok("9.6.0".to_owned())
        );
        assert_eq!(
            accepted("Elastic Agent 9", COMPATIBLE_VERSION),
            Ok("9.0.0".to_owned())
        );
        assert_eq!(
            accepted("Elastic Agent 9.6.2147483648", COMPATIBLE_VERSION),
            Err(UserAgentError::Unsupported)
        );
    }

    #[test]
    fn gen_08_09_versions_of_the_api() {
        assert_eq!(negotiate(None, API_VERSION), Ok(()));
        assert_eq!(negotiate(Some(""), API_VERSION), Ok(()));
        assert_eq!(negotiate(Some("2023-06-01"), API_VERSION), Ok(()));
        assert_eq!(
            negotiate(Some("1990-01-01"), API_VERSION),
            Err(ApiVersionError::Unsupported)
        );
        for odd in [
            "iamnotvalid",
            "2023-06-01 ",
            "2023-6-1",
            "x2023-06-01",
            "2023_06_01",
            "２023-06-0",
        ] {
            assert_eq!(
                negotiate(Some(odd), API_VERSION),
                Err(ApiVersionError::Format),
                "{odd}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_user_agent_panics(value in ".{0,60}") {
            let _ = accept_user_agent(&value, COMPATIBLE_VERSION);
            let _ = accept_user_agent(&format!("Elastic Agent {value}"), COMPATIBLE_VERSION);
        }

        #[test]
        fn releases_round_trip(major in 8u64..9, minor in 0u64..100, patch in 0u64..1000, tail in "(-[a-z0-9.]{0,8})?") {
            let text = format!("{major}.{minor}.{patch}");
            prop_assert_eq!(accepted(&format!("Elastic Agent v{text}{tail}"), COMPATIBLE_VERSION), Ok(text));
        }
    }
}
