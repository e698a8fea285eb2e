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

use crate::{
    connection_info::TlsFacts,
    shutdown::Shutdown,
    tls_stream::{Hello, TlsStream},
};

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
    /// Completes the handshake within the deadline, which runs from this call; a late client's socket is closed.
    pub(crate) async fn shake(&self, io: TcpStream) -> Result<(Box<TlsStream>, TlsFacts), HandshakeError> {
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
    ) -> Result<(Box<TlsStream>, TlsFacts), HandshakeError> {
        let hello = match timeout_at(deadline, Hello::read(io)).await {
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
        match timeout_at(deadline, hello.accept(self.resolver.server_config())).await {
            Err(_) => Err(HandshakeError::Slow),
            Ok(Err(error)) => Err(HandshakeError::Failed(error)),
            Ok(Ok(stream)) => {
                let facts = stream.facts();
                Ok((stream, facts))
            }
        }
    }
}
