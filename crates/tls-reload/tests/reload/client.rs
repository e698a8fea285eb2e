//! Clients of every kind, and a server end that takes one generation for each connection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, DigitallySignedStruct, HandshakeKind, ProtocolVersion, RootCertStore, SignatureScheme,
};
use tls_reload::Resolver;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{LazyConfigAcceptor, TlsConnector};

use crate::authority::{Authority, Pair, fingerprint};

/// What a client saw.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) fingerprint: String,
    pub(crate) kind: HandshakeKind,
    pub(crate) version: ProtocolVersion,
    pub(crate) chain: usize,
}

/// A client that trusts `root`.
pub(crate) fn client(
    root: &Authority,
    version: &'static rustls::SupportedProtocolVersion,
    identity: Option<&Pair>,
) -> Arc<ClientConfig> {
    client_of(&[root], version, identity)
}

/// A client that trusts all `roots`.
pub(crate) fn client_of(
    roots: &[&Authority],
    version: &'static rustls::SupportedProtocolVersion,
    identity: Option<&Pair>,
) -> Arc<ClientConfig> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.der.clone()).expect("a root");
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_root_certificates(store);
    Arc::new(match identity {
        None => builder.with_no_client_auth(),
        Some(pair) => builder
            .with_client_auth_cert(
                vec![pair.der.clone()],
                PrivateKeyDer::from(PrivatePkcs8KeyDer::from(pair.key_der.clone())),
            )
            .expect("an identity"),
    })
}

/// A client that looks at nothing but the signature: for names and dates that no client would accept.
pub(crate) fn blind() -> Arc<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("versions");
    Arc::new(
        config
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Blind(provider)))
            .with_no_client_auth(),
    )
}

/// One handshake over memory, with a byte each way so that both ends have judged.
pub(crate) async fn shake(resolver: &Resolver, config: &Arc<ClientConfig>, name: &str) -> io::Result<Seen> {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let resolver = resolver.clone();
    let server = tokio::spawn(serve(far, resolver));
    let seen = greet(near, config, name).await;
    let served = server.await.expect("the server's task");
    match (seen, served) {
        (Ok(seen), Ok(())) => Ok(seen),
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

/// The server's end of one connection.
pub(crate) async fn serve(
    io: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    resolver: Resolver,
) -> io::Result<()> {
    let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), io).await?;
    let mut tls = hello.into_stream(resolver.server_config()).await?;
    let mut byte = [0];
    tls.read_exact(&mut byte).await?;
    tls.write_all(&byte).await?;
    tls.flush().await?;
    // Until the client has read and closed.
    let _end = tls.read(&mut byte).await;
    Ok(())
}

/// The client's end of one connection.
pub(crate) async fn greet(
    io: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    config: &Arc<ClientConfig>,
    name: &str,
) -> io::Result<Seen> {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut tls = TlsConnector::from(config.clone()).connect(name, io).await?;
    tls.write_all(b"?").await?;
    tls.flush().await?;
    let mut byte = [0];
    tls.read_exact(&mut byte).await?;
    let (_, connection) = tls.get_ref();
    let chain = connection.peer_certificates().expect("a certificate");
    let seen = Seen {
        fingerprint: fingerprint(chain.first().expect("a leaf")),
        kind: connection.handshake_kind().expect("done"),
        version: connection.protocol_version().expect("done"),
        chain: chain.len(),
    };
    let _closed = tokio::time::timeout(Duration::from_secs(5), tls.shutdown()).await;
    Ok(seen)
}

#[derive(Debug)]
struct Blind(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Blind {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// What a refused client was told, if it is told in words.
pub(crate) fn refusal(outcome: io::Result<Seen>) -> String {
    match outcome {
        Ok(seen) => panic!("accepted: {seen:?}"),
        Err(error) => error.to_string(),
    }
}
