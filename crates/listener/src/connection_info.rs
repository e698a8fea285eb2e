//! What is known of a connection, for handlers (`peer`, TLS) and between the connection's layers.

use std::{cell::Cell, fmt, net::SocketAddr, rc::Rc};

use actix_web::{HttpMessage as _, HttpRequest};
use rustls::ProtocolVersion;

use crate::{http1::Flight, open_connections::ConnectionCounters, tally::Tally};

/// Facts about the connection a request came on. Found by [`ConnectionInfo::of`].
#[derive(Clone)]
pub struct ConnectionInfo {
    connection: Rc<Connection>,
}

impl ConnectionInfo {
    pub(crate) fn new(connection: Rc<Connection>) -> Self {
        Self { connection }
    }

    /// The facts of `request`'s connection; `None` only when it did not come through this crate.
    pub fn of(request: &HttpRequest) -> Option<Self> {
        // HTTP/1.1 keeps them once a connection, HTTP/2 with each request (a stream may outlive others).
        request
            .conn_data::<Self>()
            .cloned()
            .or_else(|| request.extensions().get::<Self>().cloned())
    }

    /// The client's address.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.connection.peer
    }

    /// The protocol version that was negotiated, `None` for plain connections.
    pub fn tls(&self) -> Option<ProtocolVersion> {
        self.connection.tls.map(|tls| tls.version)
    }

    /// Whether the client showed a certificate (which the TLS configuration has verified).
    pub fn has_client_certificate(&self) -> bool {
        self.connection.tls.is_some_and(|tls| tls.has_client_certificate)
    }

    pub(crate) fn connection(&self) -> &Rc<Connection> {
        &self.connection
    }
}

impl fmt::Debug for ConnectionInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionInfo")
            .field("peer", &self.peer())
            .field("tls", &self.tls())
            .field("has_client_certificate", &self.has_client_certificate())
            .finish()
    }
}

/// What the handshake found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TlsFacts {
    pub(crate) version: ProtocolVersion,
    pub(crate) has_client_certificate: bool,
    pub(crate) is_http2: bool,
}

/// One connection as its layers share it: the stream below HTTP asks whether a request is in flight, the
/// service above HTTP tells. One worker owns it.
pub(crate) struct Connection {
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) tls: Option<TlsFacts>,
    requests: Cell<u32>,
    has_served: Cell<bool>,
    /// What an HTTP/1.1 dispatcher was given.
    pub(crate) tally: Tally,
    /// The handler that an HTTP/1.1 dispatcher waits for.
    pub(crate) flight: Cell<Option<Flight>>,
}

impl Connection {
    pub(crate) fn new(peer: Option<SocketAddr>, tls: Option<TlsFacts>) -> Rc<Self> {
        Rc::new(Self {
            peer,
            tls,
            requests: Cell::new(0),
            has_served: Cell::new(false),
            tally: Tally::default(),
            flight: Cell::new(None),
        })
    }

    /// No request is being answered.
    pub(crate) fn is_idle(&self) -> bool {
        self.requests.get() == 0
    }

    /// A handler is at work, and its dispatcher holds nothing of a next request.
    pub(crate) fn is_parkable(&self) -> bool {
        let flight = self.flight.take();
        let is_at_work = flight.is_some();
        self.flight.set(flight);
        is_at_work && self.tally.is_exactly_one()
    }

    /// At least one request came this way.
    pub(crate) fn has_served(&self) -> bool {
        self.has_served.get()
    }
}

/// One request in flight, from the end of its head to the end of its response.
pub(crate) struct InFlight {
    connection: Rc<Connection>,
    counters: Rc<ConnectionCounters>,
}

impl InFlight {
    pub(crate) fn begin(connection: Rc<Connection>, counters: Rc<ConnectionCounters>) -> Self {
        connection
            .requests
            .set(connection.requests.get().saturating_add(1));
        connection.has_served.set(true);
        counters.active_requests.inc();
        Self { connection, counters }
    }

    pub(crate) fn counters(&self) -> &ConnectionCounters {
        &self.counters
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.connection
            .requests
            .set(self.connection.requests.get().saturating_sub(1));
        self.connection.tally.end();
        self.counters.active_requests.dec();
    }
}
