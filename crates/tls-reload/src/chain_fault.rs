//! What makes clients refuse a chain, told of one certificate of it.

use std::fmt;
use std::time::SystemTime;

use crate::moment::rfc3339;

/// Why clients refuse a certificate of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChainFault {
    /// An issuer's certificate is past its end.
    Expired(SystemTime),
    /// An issuer's certificate begins later.
    NotYetValid(SystemTime),
    /// The certificate of this name, which stands behind it, has another key than the one that signed it.
    WrongSignature(String),
    /// It issues others and lacks the CA flag.
    NotAnAuthority,
    /// More intermediates follow it than its path length allows.
    PathTooLong(u32),
    /// It issues others, and its key usage does not allow that.
    MayNotSign,
    /// The leaf's key usage allows no signatures, which every handshake of TLS 1.3 needs.
    MayNotShakeHands,
    /// An issuer whose extended key usage leaves servers out.
    NotForServers,
    /// Signed with this broken digest.
    WeakSignature(&'static str),
    /// An RSA key of this many bits.
    WeakKey(usize),
    /// Anything else that rustls refuses as a client, in its words.
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

impl fmt::Display for ChainFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired(at) => write!(f, "expired at {}", rfc3339(*at)),
            Self::NotYetValid(at) => write!(f, "is not valid before {}", rfc3339(*at)),
            Self::WrongSignature(issuer) => {
                write!(
                    f,
                    "is not signed with the key of `{issuer}` that stands behind it"
                )
            }
            Self::NotAnAuthority => f.write_str("issues others and is not a CA"),
            Self::PathTooLong(0) => f.write_str("allows no intermediate below it, and there is one"),
            Self::PathTooLong(limit) => {
                write!(f, "allows {limit} below it, and more intermediates follow")
            }
            Self::MayNotSign => {
                f.write_str("issues others, and its key usage does not allow it (no keyCertSign)")
            }
            Self::MayNotShakeHands => {
                f.write_str("has a key usage that allows no handshake (no digitalSignature)")
            }
            Self::NotForServers => {
                f.write_str("is a CA whose certificates are not for servers (no serverAuth)")
            }
            Self::WeakSignature(digest) => write!(f, "is signed with {digest}"),
            Self::WeakKey(bits) => write!(f, "has an RSA key of {bits} bits, 2048 are needed"),
            Self::Refused(reason) => write!(f, "is refused by rustls as a client: {reason}"),
        }
    }
}
