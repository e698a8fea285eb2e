//! Facts about the connection of a request: the peer and the TLS session.

use std::net::SocketAddr;

use actix_web::{HttpMessage as _, HttpRequest};
use rustls::ProtocolVersion;

/// Facts about the connection of a request. Found by [`ConnectionInfo::of`].
#[derive(Clone, Copy, Debug)]
pub struct ConnectionInfo {
    peer: Option<SocketAddr>,
    tls: Option<TlsFacts>,
}

impl ConnectionInfo {
    pub(crate) fn new(peer: Option<SocketAddr>, tls: Option<TlsFacts>) -> Self {
        Self { peer, tls }
    }

    /// The facts of `request`'s connection; `None` only when it did not come through this crate.
    pub fn of(request: &HttpRequest) -> Option<Self> {
        request.extensions().get::<Self>().copied()
    }

    /// The client's address.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// The protocol version that was negotiated, `None` for plain connections.
    pub fn tls(&self) -> Option<ProtocolVersion> {
        self.tls.map(|tls| tls.version)
    }

    /// Whether the client showed a certificate (which the TLS configuration has verified).
    pub fn has_client_certificate(&self) -> bool {
        self.tls.is_some_and(|tls| tls.has_client_certificate)
    }
}

/// The address as text for log lines.
pub(crate) fn peer_name(peer: Option<SocketAddr>) -> String {
    peer.map_or_else(|| "a peer without an address".to_owned(), |peer| peer.to_string())
}

/// Facts about a finished TLS handshake.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TlsFacts {
    pub(crate) version: ProtocolVersion,
    pub(crate) has_client_certificate: bool,
    pub(crate) is_http2: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_24_a_peer_is_named_by_its_address() {
        assert_eq!(peer_name("127.0.0.1:8220".parse().ok()), "127.0.0.1:8220");
        assert_eq!(peer_name(None), "a peer without an address");
    }
}
