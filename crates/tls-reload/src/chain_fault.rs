//! What makes clients refuse a chain, told of one certificate of it.

use std::time::SystemTime;

use thiserror::Error;

use crate::moment::rfc3339;

/// Why clients refuse a certificate of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum ChainFault {
    #[error("expired at {}", rfc3339(*.0))]
    Expired(SystemTime),
    #[error("is not valid before {}", rfc3339(*.0))]
    NotYetValid(SystemTime),
    /// The certificate of this name, which stands behind it, has another key than the one that signed it.
    #[error("is not signed with the key of `{0}` that stands behind it")]
    WrongSignature(String),
    #[error("issues others and is not a CA")]
    NotAnAuthority,
    /// More intermediates follow it than its path length allows.
    #[error("{}", too_long(*.0))]
    PathTooLong(u32),
    #[error("issues others, and its key usage does not allow it (no keyCertSign)")]
    MayNotSign,
    /// The leaf's key usage allows no signatures, which every handshake of TLS 1.3 needs.
    #[error("has a key usage that allows no handshake (no digitalSignature)")]
    MayNotShakeHands,
    #[error("is a CA whose certificates are not for servers (no serverAuth)")]
    NotForServers,
    #[error("is signed with {0}")]
    WeakSignature(&'static str),
    #[error("has an RSA key of {0} bits, 2048 are needed")]
    WeakKey(usize),
    #[error("is refused by rustls as a client: {0}")]
    Refused(String),
}

impl ChainFault {
    /// The remedy.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Expired(_) => {
                "replace it in the file by its issuer's current certificate: clients refuse the chain"
            }
            Self::NotYetValid(_) => "check the clock: clients refuse the chain until then",
            Self::WrongSignature(_) => "put the issuer's certificate there whose key signed it",
            Self::NotAnAuthority | Self::MayNotSign | Self::PathTooLong(_) => {
                "have the certificate issued by a CA that may do so: clients refuse the chain"
            }
            Self::MayNotShakeHands => "issue it with the key usage digitalSignature",
            Self::NotForServers => {
                "have the certificate issued by a CA for servers (extended key usage serverAuth)"
            }
            Self::WeakSignature(_) => "issue it with a SHA-256 signature",
            Self::WeakKey(_) => "issue it for an RSA key of at least 2048 bits, or an ECDSA key",
            Self::Refused(_) => "compare: openssl verify -show_chain -untrusted CHAIN -CAfile CA LEAF",
        }
    }

    /// Whether time alone brings or ends it.
    pub(crate) fn is_of_time(&self) -> bool {
        matches!(self, Self::Expired(_) | Self::NotYetValid(_))
    }
}

fn too_long(limit: u32) -> String {
    match limit {
        0 => "allows no intermediate below it, and there is one".to_owned(),
        limit => format!("allows {limit} below it, and more intermediates follow"),
    }
}
