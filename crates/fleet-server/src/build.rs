//! Version, commit and time of this build.

/// Version of this program, which is not the release that agents are told (`fleet.compatible`).
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit, if the build set it.
#[must_use]
pub(crate) const fn commit() -> &'static str {
    match option_env!("FLEET_SERVER_COMMIT") {
        Some(commit) => commit,
        None => "unknown",
    }
}

/// When it was built (RFC 3339), if the build set it.
#[must_use]
pub(crate) const fn time() -> &'static str {
    match option_env!("FLEET_SERVER_BUILD_TIME") {
        Some(time) => time,
        None => "0001-01-01T00:00:00Z",
    }
}
