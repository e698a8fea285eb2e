//! Findings about a set that is served nevertheless.

use std::fmt;
use std::time::SystemTime;

use crate::chain_fault::ChainFault;
use crate::moment::rfc3339;

/// A finding that does not keep a set from being served.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the fields are named for what they hold: the file, the subject, the time"
)]
pub enum Warning {
    /// reload.md 5.3: served although expired.
    Expired { file: String, not_after: SystemTime },
    /// reload.md 5.3: served although it begins later.
    NotYetValid { file: String, not_before: SystemTime },
    /// reload.md 5.4: the order was put right.
    ChainShuffled { file: String },
    /// reload.md 5.4: kept at the end of the chain.
    Unrelated { file: String, subject: String },
    /// reload.md 5.4: the leaf's issuer is not in the file.
    MissingIntermediate { file: String, issuer: String },
    /// reload.md 5.5.
    NoNames { file: String },
    /// reload.md 5.5.
    NoServerAuth { file: String },
    /// Something about a certificate of the chain for which clients refuse it.
    Chain {
        file: String,
        subject: String,
        fault: ChainFault,
    },
    /// reload.md 5.5.
    AuthorityAsLeaf { file: String },
    /// reload.md 5.5.
    WorldReadableKey { file: String, mode: u32 },
    /// reload.md 5.5.
    LongLived { file: String, days: u64 },
    /// reload.md 5.1: more than one private key; the one that fits was taken.
    SeveralKeys { file: String, count: usize },
    /// A section of a file that nothing is done with.
    SectionUnused {
        role: &'static str,
        file: String,
        label: String,
        line: usize,
    },
    /// `Proc-Type: 4,ENCRYPTED`: one round of MD5 stands between the file and the key.
    LegacyEncryption { file: String },
    /// A mounted file whose original was replaced: the new one is never seen here.
    ReplacedOutside { file: String },
    /// Two pairs want the same SNI name; the first has it.
    DuplicateName { name: String },
    /// A client CA is past its end.
    AuthorityExpired {
        file: String,
        subject: String,
        not_after: SystemTime,
    },
    /// A client CA without the CA bit.
    NotAnAuthority { file: String, subject: String },
    /// A client CA whose public key is not pinned; not trusted.
    NotPinned { file: String, subject: String },
    /// Client CAs are configured, and no certificate is asked for.
    AuthoritiesUnused,
    /// `verification_mode: none` while client certificates are asked for.
    VerificationOff,
    /// A CRL past its next update; still applied.
    RevocationListExpired { file: String, next_update: SystemTime },
    /// A CRL of nobody among the client CAs.
    RevocationListOfStranger { file: String, issuer: String },
    /// A client CA that no CRL speaks for: its clients are accepted.
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

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired { file, not_after } => {
                write!(
                    f,
                    "certificate {file} expired at {} and is served all the same",
                    rfc3339(*not_after)
                )
            }
            Self::NotYetValid { file, not_before } => {
                write!(
                    f,
                    "certificate {file} is not valid before {} and is served all the same",
                    rfc3339(*not_before)
                )
            }
            Self::ChainShuffled { file } => write!(
                f,
                "certificate {file}: the chain was out of order and is served in order"
            ),
            Self::Unrelated { file, subject } => {
                write!(
                    f,
                    "certificate {file}: `{subject}` does not belong to the leaf's chain"
                )
            }
            Self::MissingIntermediate { file, issuer } => {
                write!(
                    f,
                    "certificate {file}: the issuer `{issuer}` is missing from the chain"
                )
            }
            Self::NoNames { file } => write!(f, "certificate {file}: has no subject alternative name"),
            Self::NoServerAuth { file } => {
                write!(f, "certificate {file}: is not meant for servers (no serverAuth)")
            }
            Self::Chain { file, subject, fault } => write!(f, "certificate {file}: `{subject}` {fault}"),
            Self::AuthorityAsLeaf { file } => write!(f, "certificate {file}: the leaf is a CA"),
            Self::WorldReadableKey { file, mode } => {
                write!(f, "key {file}: everybody can read it (mode {mode:04o})")
            }
            Self::LongLived { file, days } => {
                write!(f, "certificate {file}: is valid for {days} days, more than 398")
            }
            Self::SeveralKeys { file, count } => {
                write!(f, "key {file}: holds {count} keys, the one that fits is used")
            }
            Self::SectionUnused {
                role,
                file,
                label,
                line,
            } => write!(f, "{role} {file}: the section {label} in line {line} is not used"),
            Self::LegacyEncryption { file } => write!(
                f,
                "key {file}: is encrypted in the old form of OpenSSL (Proc-Type: 4,ENCRYPTED), which is easy to guess and deprecated"
            ),
            Self::ReplacedOutside { file } => write!(
                f,
                "{file} is mounted as a single file, and that was replaced outside: the new one is never seen here"
            ),
            Self::DuplicateName { name } => {
                write!(f, "the name {name} is in several pairs: the first serves it")
            }
            Self::AuthorityExpired {
                file,
                subject,
                not_after,
            } => {
                write!(
                    f,
                    "client CA {file}: `{subject}` expired at {}",
                    rfc3339(*not_after)
                )
            }
            Self::NotAnAuthority { file, subject } => write!(f, "client CA {file}: `{subject}` is not a CA"),
            Self::NotPinned { file, subject } => {
                write!(
                    f,
                    "client CA {file}: `{subject}` is not among ca_sha256 and is not trusted"
                )
            }
            Self::AuthoritiesUnused => {
                f.write_str("client CAs are configured, but client authentication is none")
            }
            Self::VerificationOff => {
                f.write_str("client certificates are accepted unverified (verification_mode none)")
            }
            Self::RevocationListExpired { file, next_update } => {
                write!(
                    f,
                    "revocation list {file}: was due for renewal at {}",
                    rfc3339(*next_update)
                )
            }
            Self::RevocationListOfStranger { file, issuer } => {
                write!(f, "revocation list {file}: its issuer `{issuer}` is no client CA")
            }
            Self::NoRevocationList { subject } => {
                write!(
                    f,
                    "client CA `{subject}`: no revocation list speaks for it, its clients are accepted"
                )
            }
        }
    }
}
