//! Settings that cannot hold, each with its remedy.

use std::time::Duration;

use thiserror::Error;

/// A setting that cannot hold.
#[expect(missing_docs, reason = "the texts and the fields' names say it")]
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SettingsError {
    #[error("unknown {what} `{word}`: known are {known}")]
    UnknownWord {
        /// What the word should name.
        what: &'static str,
        word: String,
        /// The words that are understood.
        known: String,
    },
    #[error("{what} `{word}` cannot be served: {reason}; known are {known}")]
    UnsupportedWord {
        /// What the word names.
        what: &'static str,
        word: String,
        reason: &'static str,
        /// The words that can be served.
        known: String,
    },
    #[error(
        "protocol `{word}` cannot be served: versions before TLSv1.2 are broken, and rustls has none of them"
    )]
    ObsoleteProtocol { word: String },
    #[error("`{word}` is not the base64 of a SHA-256 digest")]
    BadPin { word: String },
    #[error("no certificate is configured")]
    NoPair,
    #[error("client authentication is {mode}, but no client CA is configured")]
    NoClientAuthorities {
        /// The mode, as it is configured.
        mode: &'static str,
    },
    #[error("`{name}` is neither a host name nor a wildcard of one label")]
    BadName { name: String },
    #[error("debounce of {}s is longer than 10m", .given.as_secs_f64())]
    DebounceRange { given: Duration },
    #[error("max_debounce of {}s is shorter than debounce of {}s", .ceiling.as_secs_f64(), .debounce.as_secs_f64())]
    CeilingBelowDebounce {
        /// The configured ceiling.
        ceiling: Duration,
        /// The debounce it must reach.
        debounce: Duration,
    },
    #[error("reload_interval of {}s is neither 0 nor between 1s and 24h", .given.as_secs_f64())]
    IntervalRange { given: Duration },
    #[error("an expiry warning of 0 would come when it is too late")]
    EmptyWarning,
}

impl SettingsError {
    /// The remedy.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::UnknownWord { .. } | Self::UnsupportedWord { .. } => "use one of the known names",
            Self::ObsoleteProtocol { .. } => "use TLSv1.2 and TLSv1.3",
            Self::BadPin { .. } => {
                "openssl x509 -in ca.crt -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64"
            }
            Self::NoPair => "set certificate and key",
            Self::NoClientAuthorities { .. } => "set certificate_authorities, or client_authentication: none",
            Self::BadName { .. } => "write host.example.com or *.example.com",
            Self::DebounceRange { .. } => "use a value between 0 and 10m",
            Self::CeilingBelowDebounce { .. } => "raise max_debounce, or leave it out",
            Self::IntervalRange { .. } => "use a value between 1s and 24h, or 0 for no safety poll",
            Self::EmptyWarning => "use a time before the end, for example 7d",
        }
    }
}
