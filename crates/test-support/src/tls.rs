//! TLS facts that tests compare.

use rustls::{ProtocolVersion, pki_types::CertificateDer};
use sha2::{Digest as _, Sha256};

/// What the handshake of a connection came to.
#[derive(Clone, Debug)]
pub struct TlsFacts {
    pub version: ProtocolVersion,
    /// Chain the server sent, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Whether a session was resumed (then nothing new was verified).
    pub is_resumed: bool,
    /// Protocol chosen by ALPN.
    pub alpn: Option<Vec<u8>>,
}

impl TlsFacts {
    /// Lower-case hex SHA-256 of the server's certificate.
    pub fn fingerprint(&self) -> String {
        self.chain.first().map(fingerprint).unwrap_or_default()
    }
}

/// Lower-case hex SHA-256 of a certificate: what `ca_trusted_fingerprint` and `openssl x509 -fingerprint -sha256`
/// (without its colons) say.
pub fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    Sha256::digest(certificate)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
