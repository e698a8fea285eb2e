//! Findings about a set that is served nevertheless.

use std::time::SystemTime;

use thiserror::Error;

use crate::chain_fault::ChainFault;
use crate::moment::rfc3339;

/// A finding that does not keep a set from being served.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[expect(
    missing_docs,
    reason = "the fields are named for what they hold: the file, the subject, the time"
)]
pub enum Warning {
    /// reload.md 5.3: served although expired.
    #[error("certificate {file} expired at {} and is served all the same", rfc3339(*.not_after))]
    Expired { file: String, not_after: SystemTime },
    /// reload.md 5.3: served although it begins later.
    #[error("certificate {file} is not valid before {} and is served all the same", rfc3339(*.not_before))]
    NotYetValid { file: String, not_before: SystemTime },
    /// reload.md 5.4: the order was put right.
    #[error("certificate {file}: the chain was out of order and is served in order")]
    ChainShuffled { file: String },
    /// reload.md 5.4: kept at the end of the chain.
    #[error("certificate {file}: `{subject}` does not belong to the leaf's chain")]
    Unrelated { file: String, subject: String },
    /// reload.md 5.4: the leaf's issuer is not in the file.
    #[error("certificate {file}: the issuer `{issuer}` is missing from the chain")]
    MissingIntermediate { file: String, issuer: String },
    /// reload.md 5.5.
    #[error("certificate {file}: has no subject alternative name")]
    NoNames { file: String },
    /// reload.md 5.5.
    #[error("certificate {file}: is not meant for servers (no serverAuth)")]
    NoServerAuth { file: String },
    #[error("certificate {file}: `{subject}` {fault}")]
    Chain {
        file: String,
        subject: String,
        fault: ChainFault,
    },
    /// reload.md 5.5.
    #[error("certificate {file}: the leaf is a CA")]
    AuthorityAsLeaf { file: String },
    /// reload.md 5.5.
    #[error("key {file}: everybody can read it (mode {mode:04o})")]
    WorldReadableKey { file: String, mode: u32 },
    /// reload.md 5.5.
    #[error("certificate {file}: is valid for {days} days, more than 398")]
    LongLived { file: String, days: u64 },
    /// reload.md 5.1: more than one private key; the one that fits was taken.
    #[error("key {file}: holds {count} keys, the one that fits is used")]
    SeveralKeys { file: String, count: usize },
    #[error("{role} {file}: the section {label} in line {line} is not used")]
    SectionUnused {
        role: &'static str,
        file: String,
        label: String,
        line: usize,
    },
    /// `Proc-Type: 4,ENCRYPTED`: one round of MD5 stands between the file and the key.
    #[error(
        "key {file}: is encrypted in the old form of OpenSSL (Proc-Type: 4,ENCRYPTED), which is easy to guess and deprecated"
    )]
    LegacyEncryption { file: String },
    #[error(
        "{file} is mounted as a single file, and that was replaced outside: the new one is never seen here"
    )]
    ReplacedOutside { file: String },
    #[error("the name {name} is in several pairs: the first serves it")]
    DuplicateName { name: String },
    #[error("client CA {file}: `{subject}` expired at {}", rfc3339(*.not_after))]
    AuthorityExpired {
        file: String,
        subject: String,
        not_after: SystemTime,
    },
    #[error("client CA {file}: `{subject}` is not a CA")]
    NotAnAuthority { file: String, subject: String },
    #[error("client CA {file}: `{subject}` is not among ca_sha256 and is not trusted")]
    NotPinned { file: String, subject: String },
    #[error("client CAs are configured, but client authentication is none")]
    AuthoritiesUnused,
    #[error("client certificates are accepted unverified (verification_mode none)")]
    VerificationOff,
    #[error("revocation list {file}: was due for renewal at {}", rfc3339(*.next_update))]
    RevocationListExpired { file: String, next_update: SystemTime },
    #[error("revocation list {file}: its issuer `{issuer}` is no client CA")]
    RevocationListOfStranger { file: String, issuer: String },
    #[error("client CA `{subject}`: no revocation list speaks for it, its clients are accepted")]
    NoRevocationList { subject: String },
}

impl Warning {
    /// The remedy.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Expired { .. } => "renew the certificate: clients refuse it",
            Self::NotYetValid { .. } => "check the clock: clients refuse it until then",
            Self::ChainShuffled { .. } => "write the leaf first, then each issuer",
            Self::Unrelated { .. } => "remove it from the file",
            Self::MissingIntermediate { .. } => "append the issuer's certificate",
            Self::NoNames { .. } => "issue it with subject alternative names: clients look at nothing else",
            Self::NoServerAuth { .. } => "issue it with the extended key usage serverAuth",
            Self::Chain { fault, .. } => fault.hint(),
            Self::AuthorityAsLeaf { .. } => "serve a certificate that is not a CA",
            Self::WorldReadableKey { .. } => "chmod o-r (Kubernetes: defaultMode: 0440)",
            Self::LongLived { .. } => "some clients refuse more than 398 days",
            Self::SeveralKeys { .. } => "leave one key in the file",
            Self::SectionUnused { .. } => "remove it from the file, if nothing else needs it there",
            Self::LegacyEncryption { .. } => {
                "encrypt it anew: openssl pkcs8 -topk8 -v2 aes-256-cbc -in OLD.key -out NEW.key"
            }
            Self::ReplacedOutside { .. } => {
                "start the container again, and mount the file's directory in its place (Kubernetes: without subPath)"
            }
            Self::DuplicateName { .. } => "name it in one pair only",
            Self::AuthorityExpired { .. } => "remove it: its clients are refused",
            Self::NotAnAuthority { .. } => "configure the CA that issued it",
            Self::NotPinned { .. } => "add its digest to ca_sha256, or remove it",
            Self::AuthoritiesUnused => "set client_authentication, or remove certificate_authorities",
            Self::VerificationOff => "set verification_mode: full",
            Self::RevocationListExpired { .. } => "fetch the list again from its CA",
            Self::RevocationListOfStranger { .. } => "remove the list, or add its CA",
            Self::NoRevocationList { .. } => "add the list of this CA",
        }
    }
}
