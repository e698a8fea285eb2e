//! From an accepted socket to a TLS stream: one generation, taken at ClientHello, and one deadline over it all.
//!
//! The cap on concurrent handshakes counts only those whose ClientHello has arrived: a silent client costs a
//! socket and a timer, never a permit. It is never a reason to stop accepting.

use std::{io, time::Duration};

use tls_reload::{HandshakeMetrics, HandshakeResult, Resolver};
use tokio::{
    net::TcpStream,
    sync::Semaphore,
    time::{Instant, timeout_at},
};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use crate::connection_info::TlsFacts;

/// Makes TLS streams of one listener on one worker.
pub(crate) struct Handshaker {
    pub(crate) resolver: Resolver,
    pub(crate) permits: Semaphore,
    pub(crate) timeout: Duration,
    pub(crate) metrics: Option<HandshakeMetrics>,
}

/// Why there is no TLS stream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("no ClientHello arrived in time")]
    Silent,
    #[error("the handshake did not end in time")]
    Slow,
    #[error("the client closed the connection before its ClientHello")]
    Closed,
    #[error("{0}")]
    Failed(io::Error),
}

impl Handshaker {
    /// The deadline runs from now; its end closes the socket.
    pub(crate) async fn shake(
        &self,
        io: TcpStream,
    ) -> Result<(TlsStream<TcpStream>, TlsFacts), HandshakeError> {
        let begun = Instant::now();
        let outcome = self.shake_until(io, begun + self.timeout).await;
        if let Some(metrics) = &self.metrics {
            let (result, version) = match &outcome {
                Ok((_, facts)) => (HandshakeResult::Success, Some(facts.version)),
                Err(HandshakeError::Silent | HandshakeError::Slow) => (HandshakeResult::Timeout, None),
                Err(HandshakeError::Closed) => (HandshakeResult::Closed, None),
                Err(HandshakeError::Failed(_)) => (HandshakeResult::Failure, None),
            };
            metrics.ended(result, version, begun.elapsed());
        }
        outcome
    }

    async fn shake_until(
        &self,
        io: TcpStream,
        deadline: Instant,
    ) -> Result<(TlsStream<TcpStream>, TlsFacts), HandshakeError> {
        let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), io);
        let hello = match timeout_at(deadline, hello).await {
            Err(_) => return Err(HandshakeError::Silent),
            // Load balancers probe with a reset as often as with a close.
            Ok(Err(error))
                if matches!(
                    error.kind(),
                    io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
                ) =>
            {
                return Err(HandshakeError::Closed);
            }
            Ok(Err(error)) => return Err(HandshakeError::Failed(error)),
            Ok(Ok(hello)) => hello,
        };
        let rest = async {
            let _permit = self.permits.acquire().await.map_err(io::Error::other)?;
            hello.into_stream(self.resolver.server_config()).await
        };
        match timeout_at(deadline, rest).await {
            Err(_) => Err(HandshakeError::Slow),
            Ok(Err(error)) => Err(HandshakeError::Failed(error)),
            Ok(Ok(stream)) => {
                let facts = facts(&stream);
                Ok((stream, facts))
            }
        }
    }
}

fn facts(stream: &TlsStream<TcpStream>) -> TlsFacts {
    let (_, session) = stream.get_ref();
    TlsFacts {
        // A finished handshake has a version; the fallback only names the older one.
        version: session
            .protocol_version()
            .unwrap_or(rustls::ProtocolVersion::TLSv1_2),
        has_client_certificate: session.peer_certificates().is_some(),
        is_http2: session.alpn_protocol() == Some(b"h2"),
    }
}
