//! Accepts connections for the server's HTTP interfaces, and knows no route.
//!
//! In: an [`Endpoint`] (host, port, TLS source, limits, time-outs) and an actix-web `App` factory for each
//! listener. Out: requests in the `App`, connections that end, numbers in `/metrics`.
//!
//! ```text
//! Endpoint ── bind ──> Bound ── ServerBuilder::listen(app) ── start ──> ServerHandle ── drain
//!
//! socket ─ cap ─ TLS (one generation, taken at ClientHello) ─ HTTP/1.1 or HTTP/2 (ALPN) ─ App
//! ```
//!
//! What it guarantees, and `HttpServer` would not:
//! - a new generation of certificates, client CAs and CRLs applies to the next ClientHello; open connections
//!   keep theirs;
//! - one deadline over the whole handshake, and no handshake that waits for another client's;
//! - a hard cap of connections per listener over all workers, before TLS;
//! - a client that goes away drops its handler at once, on HTTP/1.1 and HTTP/2 (also by a stream reset), whatever it
//!   had sent before;
//! - a client that sends more than is read, or reads less than is sent, has to wait, and costs at most one head's memory;
//! - deadlines for request heads on every request, for clients that stop reading, for idle connections;
//! - 431 for a request head above `max_header_bytes` + 4 KiB, also before it is complete, or of more than 96 headers
//!   (on HTTP/2 the connection's header list limit does it);
//! - a handler's panic is an empty 500;
//! - a drain that closes idle connections at once and takes no longer than what is in flight.
//!
//! Time-outs for request bodies, rate limits and answers during a drain are the application's.

mod answered;
mod bind;
mod connection_info;
mod endpoint;
mod frame_budget;
mod guarded_io;
mod handshake;
mod http1;
mod http2;
mod metrics;
mod open_connections;
mod passed;
mod refusal;
mod server;
mod service;
mod shutdown;
mod tls_stream;
mod unstable;

pub use self::{
    bind::{BindError, Bound, bind},
    connection_info::ConnectionInfo,
    endpoint::{Endpoint, Limits, Timeouts, display_address},
    metrics::ListenerMetrics,
    passed::{PassError, PassedSockets},
    server::{Drained, Listening, ServerBuilder, ServerHandle, StartError},
    shutdown::Shutdown,
};
