//! The certificate that a server shows: one handshake, no request.

use std::{
    fmt,
    net::{TcpStream, ToSocketAddrs as _},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use sha2::{Digest as _, Sha256};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::client::Identity;

/// What is told of a served certificate. Displays as `certificate sha256=HEX not-after=RFC3339`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedLeaf {
    /// SHA-256 of the DER, lower-case hex.
    pub sha256: String,
    /// End of its validity.
    pub not_after: OffsetDateTime,
}

impl ServedLeaf {
    /// Asks `host`:`port`, each step within `timeout`. Without roots the certificate is shown and not judged.
    ///
    /// # Errors
    /// No connection, no handshake, or a certificate that cannot be read.
    pub(crate) fn ask(
        host: &str,
        port: u16,
        roots: Option<RootCertStore>,
        identity: Option<&Identity>,
        timeout: Duration,
    ) -> Result<Self> {
        let name =
            ServerName::try_from(host.to_owned()).with_context(|| format!("{host} is not a host name"))?;
        let mut connection = ClientConnection::new(Arc::new(client_config(roots, identity)?), name)?;
        let mut socket = connect(host, port, timeout)?;
        connection
            .complete_io(&mut socket)
            .with_context(|| format!("no TLS handshake with {host}:{port}"))?;
        let leaf = connection
            .peer_certificates()
            .and_then(<[_]>::first)
            .context("the server showed no certificate")?;
        let served = Self::of(leaf);
        connection.send_close_notify();
        // The certificate is here: how the server closes the connection does not matter.
        let _ = connection.complete_io(&mut socket);
        served
    }

    fn of(der: &CertificateDer<'_>) -> Result<Self> {
        let (_, certificate) = X509Certificate::from_der(der)?;
        Ok(Self {
            sha256: Sha256::digest(der)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            not_after: certificate.validity().not_after.to_datetime(),
        })
    }
}

impl fmt::Display for ServedLeaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not_after = self.not_after.format(&Rfc3339).map_err(|_| fmt::Error)?;
        write!(f, "certificate sha256={} not-after={not_after}", self.sha256)
    }
}

fn client_config(roots: Option<RootCertStore>, identity: Option<&Identity>) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = match roots {
        Some(roots) => builder.with_root_certificates(roots),
        None => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Unjudged(provider))),
    };
    Ok(match identity {
        Some(identity) => builder.with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())?,
        None => builder.with_no_client_auth(),
    })
}

fn connect(host: &str, port: u16, timeout: Duration) -> Result<TcpStream> {
    let mut last = anyhow!("{host} has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(socket) => {
                socket.set_read_timeout(Some(timeout))?;
                socket.set_write_timeout(Some(timeout))?;
                return Ok(socket);
            }
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

/// Takes any certificate, whose owner must still hold its key.
#[derive(Debug)]
struct Unjudged(Arc<CryptoProvider>);

impl ServerCertVerifier for Unjudged {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displays_as_scripts_read_it() {
        let leaf = ServedLeaf {
            sha256: "ab".repeat(32),
            not_after: OffsetDateTime::UNIX_EPOCH,
        };
        assert_eq!(
            leaf.to_string(),
            format!(
                "certificate sha256={} not-after=1970-01-01T00:00:00Z",
                "ab".repeat(32)
            )
        );
    }
}
