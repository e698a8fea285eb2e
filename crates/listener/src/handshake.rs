//! From an accepted socket to a TLS stream: one generation, taken at ClientHello, and one deadline over it all.
//!
//! A worker computes one handshake at a time, and none while it waits for a client, so a client that stops in the middle
//! costs a socket and a timer and delays no other client. Their number is capped with the connections.

use std::{io, time::Duration};

use tls_reload::{HandshakeMetrics, HandshakeResult, Resolver};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use crate::{connection_info::TlsFacts, shutdown::Shutdown};

/// Makes TLS streams of one listener on one worker.
pub(crate) struct Handshaker {
    pub(crate) resolver: Resolver,
    pub(crate) timeout: Duration,
    pub(crate) metrics: Option<HandshakeMetrics>,
    pub(crate) shutdown: Shutdown,
}

/// Why there is no TLS stream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("no ClientHello arrived in time")]
    Silent,
    #[error("the handshake did not end in time")]
    Slow,
    #[error("the server stops, and the handshake has not ended")]
    Stopping,
    #[error("the client closed the connection before its ClientHello")]
    Closed,
    #[error(transparent)]
    Failed(io::Error),
}

impl Handshaker {
    /// Completes the handshake within the deadline, which runs from this call; a late client's socket is closed. The
    /// stream is boxed: every future that handed on its kilobyte and a half would keep room for it.
    pub(crate) async fn shake(
        &self,
        io: TcpStream,
    ) -> Result<(Box<TlsStream<TcpStream>>, TlsFacts), HandshakeError> {
        let begun = Instant::now();
        let outcome = tokio::select! {
            biased;
            outcome = self.shake_until(io, begun + self.timeout) => outcome,
            () = self.shutdown.last_call() => Err(HandshakeError::Stopping),
        };
        if let Some(metrics) = &self.metrics {
            let (result, version) = match &outcome {
                Ok((_, facts)) => (HandshakeResult::Success, Some(facts.version)),
                Err(HandshakeError::Silent | HandshakeError::Slow | HandshakeError::Stopping) => {
                    (HandshakeResult::Timeout, None)
                }
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
    ) -> Result<(Box<TlsStream<TcpStream>>, TlsFacts), HandshakeError> {
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
        let rest = hello.into_stream(self.resolver.server_config());
        match timeout_at(deadline, rest).await {
            Err(_) => Err(HandshakeError::Slow),
            Ok(Err(error)) => Err(HandshakeError::Failed(error)),
            Ok(Ok(stream)) => {
                let facts = facts(&stream);
                Ok((Box::new(stream), facts))
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
