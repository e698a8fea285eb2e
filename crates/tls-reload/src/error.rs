//! Errors: a set that cannot be loaded, with its findings, and a reloader that cannot start.
//!
//! Each variant is a cause with what is needed to act on it; `Display` is one lower-case line, `hint()` the
//! remedy. No variant ever holds key material or a passphrase.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use thiserror::Error;

use crate::form::Form;
use crate::moment::rfc3339;
use crate::mounted_volume;
use crate::settings_error::SettingsError;
use crate::state::FailureReason;
use crate::warning::Warning;

/// Why a TLS set cannot be loaded. `role` says what the file is for (`certificate`, `client CA`, …), `file` is its path or
/// says that the PEM is inline, `reason` is the text of the parser or the system, `limit` counts what `found` counts.
#[expect(
    missing_docs,
    reason = "each text says what happened; fields are named for what they hold, the four common ones above"
)]
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LoadError {
    #[error("{role} {file}: no such file ({} does not exist)", .missing.display())]
    NotFound {
        role: &'static str,
        file: String,
        /// The first component of the path that is missing.
        missing: PathBuf,
        /// What stands beside it, if its directory is a mounted Kubernetes volume.
        volume: Option<Vec<String>>,
    },
    #[error("{role} {file}: permission denied")]
    PermissionDenied { role: &'static str, file: String },
    #[error("{role} {file}: cannot be read: {reason}")]
    Unreadable {
        role: &'static str,
        file: String,
        reason: String,
    },
    /// reload.md 4.3: a directory, FIFO, device or socket.
    #[error("{role} {file}: is {found}, not a regular file")]
    NotRegular {
        role: &'static str,
        file: String,
        found: &'static str,
    },
    #[error("{role} {file}: too many levels of symbolic links")]
    LinkLoop { role: &'static str, file: String },
    /// reload.md 4.3.
    #[error("{role} {file}: larger than {limit} bytes")]
    TooLarge {
        role: &'static str,
        file: String,
        limit: u64,
    },
    /// reload.md 4.2.
    #[error("the files of the set keep changing: read {attempts} times, never twice the same")]
    Unsettled { attempts: u32 },
    #[error("{role} {file}: is empty")]
    Empty { role: &'static str, file: String },
    /// Text or bytes without a PEM section, or a section in a form that is not read.
    #[error("{role} {file}: {}{form}", line_prefix(*.line))]
    NotPem {
        role: &'static str,
        file: String,
        form: Form,
        /// Where the section begins, if it is one.
        line: Option<usize>,
    },
    #[error("{role} {file}: broken PEM in line {line}: {reason}")]
    BrokenPem {
        role: &'static str,
        file: String,
        line: usize,
        reason: &'static str,
    },
    #[error("{role} {file}: holds no certificate{}", instead(.inventory))]
    NoCertificate {
        role: &'static str,
        file: String,
        inventory: String,
    },
    /// reload.md 4.3.
    #[error("{role} {file}: holds {found} certificates, more than {limit}")]
    TooManyCertificates {
        role: &'static str,
        file: String,
        found: usize,
        limit: usize,
    },
    #[error("{role} {file}: certificate number {position} cannot be read: {reason}")]
    BadCertificate {
        role: &'static str,
        file: String,
        /// Its place in the file, from 1.
        position: usize,
        reason: String,
    },
    #[error("key {file}: holds no private key{}", instead(.inventory))]
    NoKey { file: String, inventory: String },
    /// reload.md 4.3: opening an encrypted key takes seconds, and each would be tried.
    #[error("key {file}: holds {found} private keys, more than {limit}")]
    TooManyKeys {
        file: String,
        found: usize,
        limit: usize,
    },
    #[error("key {file}: is encrypted, and no passphrase is configured")]
    PassphraseMissing { file: String },
    /// T13, T49.
    #[error("cannot decrypt {file}: the passphrase does not fit")]
    CannotDecrypt { file: String },
    #[error("key {file}: is encrypted in a way that is not read: {reason}")]
    UnsupportedEncryption { file: String, reason: String },
    #[error("key {file}: cannot be used: {reason}")]
    UnusableKey { file: String, reason: String },
    /// reload.md 5.2.
    #[error("key {file}: RSA with {bits} bits is weak, 2048 are needed")]
    WeakKey { file: String, bits: usize },
    /// reload.md 5.1.
    #[error("certificate {certificate} does not match key {key}")]
    Mismatch { certificate: String, key: String },
    /// reload.md 5.3.
    #[error("certificate {file}: expired at {}", rfc3339(*.not_after))]
    Expired { file: String, not_after: SystemTime },
    /// reload.md 5.3.
    #[error("certificate {file}: is not valid before {}", rfc3339(*.not_before))]
    NotYetValid { file: String, not_before: SystemTime },
    /// reload.md 5.3: neither is valid now, and the served one lasts longer.
    #[error("certificate {file}: is not valid now and ends at {}, before the served one", rfc3339(*.not_after))]
    EndsEarlier { file: String, not_after: SystemTime },
    #[error("client CA {file}: certificate number {position} cannot be trusted: {reason}")]
    BadAuthority {
        file: String,
        /// Its place in the file, from 1.
        position: usize,
        reason: String,
    },
    #[error("none of the client CAs has a public key of ca_sha256")]
    NoPinnedAuthority,
    #[error("revocation list {file}: cannot be used: {reason}")]
    BadRevocationList { file: String, reason: String },
    #[error("the TLS settings cannot be served together: {reason}")]
    Configuration { reason: String },
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A defect of this crate, caught (reload.md 7.3).
    #[error("the reader stopped unexpectedly: {reason}")]
    Panicked { reason: String },
}

impl LoadError {
    /// The remedy.
    #[must_use]
    pub fn hint(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::NotFound {
                file,
                volume: Some(keys),
                ..
            } => return Cow::Owned(mounted_volume::sentence(Path::new(file), keys)),
            Self::NotFound { .. } => "create the file, or correct the path",
            Self::PermissionDenied { .. } => {
                "let the server's user read it, and search every directory above it"
            }
            Self::Unreadable { .. } => "see that the file system is mounted and healthy",
            Self::NotRegular { .. } | Self::LinkLoop { .. } => "point the setting at a regular file",
            Self::TooLarge { .. } | Self::TooManyCertificates { .. } => {
                "point the setting at the server's own chain, not at a bundle"
            }
            Self::TooManyKeys { .. } => "leave only the key of the certificate in the file",
            Self::Unsettled { .. } => "write to a temporary name and rename, so that a change is one step",
            Self::Empty { .. } => "write the PEM into it; an empty file is often a renewal that failed",
            Self::NotPem { file, form, .. } => return form.hint(file),
            Self::BrokenPem { .. } => "see that the file was copied whole, and mend that line",
            Self::NoCertificate { .. } | Self::BadCertificate { .. } => {
                "put the chain there, leaf first, as `-----BEGIN CERTIFICATE-----` sections"
            }
            Self::NoKey { .. } => "set key, or put the private key into the certificate's file",
            Self::PassphraseMissing { .. } => "set key_passphrase_path or key_passphrase",
            Self::CannotDecrypt { .. } => "correct key_passphrase_path or key_passphrase",
            Self::UnsupportedEncryption { .. } => {
                "encrypt it anew: openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA256 -in OLD.key -out NEW.key"
            }
            Self::UnusableKey { .. } => {
                "use RSA from 2048 bits, ECDSA over P-256, P-384 or P-521, or Ed25519"
            }
            Self::WeakKey { .. } => "issue a certificate for a stronger key",
            Self::Mismatch { .. } => "put the key that the certificate was issued for beside it",
            Self::Expired { .. } | Self::EndsEarlier { .. } => "renew the certificate",
            Self::NotYetValid { .. } => "check the clock, or wait with the rollout",
            Self::BadAuthority { .. } => "remove it from certificate_authorities",
            Self::NoPinnedAuthority => "correct ca_sha256, or add the CA to certificate_authorities",
            Self::BadRevocationList { .. } => "fetch the list again from its CA: openssl crl -in FILE -text",
            Self::Configuration { .. } => "compare supported_protocols, cipher_suites and curve_types",
            Self::Settings(error) => error.hint(),
            Self::Panicked { .. } => "report this with the log: it is a defect of the server",
        })
    }

    /// The class of the cause, for metrics.
    #[must_use]
    pub fn reason(&self) -> FailureReason {
        match self {
            Self::NotFound { .. } => FailureReason::NotFound,
            Self::PermissionDenied { .. } | Self::Unreadable { .. } => FailureReason::Unreadable,
            Self::NotRegular { .. } | Self::LinkLoop { .. } => FailureReason::NotRegular,
            Self::TooLarge { .. } | Self::TooManyCertificates { .. } | Self::TooManyKeys { .. } => {
                FailureReason::TooLarge
            }
            Self::Unsettled { .. } => FailureReason::Unsettled,
            Self::Empty { .. } => FailureReason::Empty,
            Self::NotPem { .. }
            | Self::BrokenPem { .. }
            | Self::NoCertificate { .. }
            | Self::BadCertificate { .. }
            | Self::NoKey { .. } => FailureReason::Malformed,
            Self::PassphraseMissing { .. }
            | Self::CannotDecrypt { .. }
            | Self::UnsupportedEncryption { .. } => FailureReason::Passphrase,
            Self::UnusableKey { .. } | Self::WeakKey { .. } => FailureReason::WeakKey,
            Self::Mismatch { .. } => FailureReason::Mismatch,
            Self::Expired { .. } | Self::EndsEarlier { .. } => FailureReason::Expired,
            Self::NotYetValid { .. } => FailureReason::NotYetValid,
            Self::BadAuthority { .. } | Self::NoPinnedAuthority => FailureReason::ClientAuthorities,
            Self::BadRevocationList { .. } => FailureReason::RevocationLists,
            Self::Configuration { .. } | Self::Settings(_) => FailureReason::Configuration,
            Self::Panicked { .. } => FailureReason::Panic,
        }
    }
}

/// Errors and warnings of one load, apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Reasons to refuse the set.
    pub errors: Vec<LoadError>,
    /// Findings that do not refuse the set.
    pub warnings: Vec<Warning>,
}

impl Findings {
    /// The first error and how many more there are.
    #[must_use]
    pub fn summary(&self) -> String {
        match self.errors.as_slice() {
            [] => "no error".to_owned(),
            [only] => only.to_string(),
            [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
        }
    }
}

/// A set that was refused: every error that was found, and the warnings beside them. Holds at least one
/// error.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}", .findings.summary())]
pub struct Rejected {
    /// Errors and warnings apart.
    pub findings: Findings,
}

impl Rejected {
    /// The first error decides what is reported.
    #[must_use]
    pub fn first(&self) -> Option<&LoadError> {
        self.findings.errors.first()
    }

    /// The remedy for the first error.
    #[must_use]
    pub fn hint(&self) -> Cow<'static, str> {
        self.first().map_or(Cow::Borrowed(""), LoadError::hint)
    }

    /// The class of the first error.
    #[must_use]
    pub fn reason(&self) -> FailureReason {
        self.first().map_or(FailureReason::Panic, LoadError::reason)
    }
}

impl From<LoadError> for Rejected {
    fn from(error: LoadError) -> Self {
        Self {
            findings: Findings {
                errors: vec![error],
                warnings: Vec::new(),
            },
        }
    }
}

/// Why a reloader did not start.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "the texts and the fields' names say it")]
pub enum StartError {
    /// reload.md 7.1: the set cannot be served.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    #[error("no actix system runs on this thread")]
    NoSystem,
    #[error("the reloader's thread cannot be started")]
    Thread(#[from] io::Error),
}

impl StartError {
    /// The remedy.
    #[must_use]
    pub fn hint(&self) -> Cow<'static, str> {
        match self {
            Self::Rejected(rejected) => rejected.hint(),
            Self::NoSystem => "call start from inside actix_rt::System, or use spawn_system".into(),
            Self::Thread(_) => "raise the limit of threads (ulimit -u, pids cgroup)".into(),
        }
    }
}

fn line_prefix(line: Option<usize>) -> String {
    line.map_or_else(String::new, |line| format!("line {line} "))
}

fn instead(inventory: &str) -> String {
    if inventory.is_empty() {
        return String::new();
    }
    format!(", but {inventory}")
}
