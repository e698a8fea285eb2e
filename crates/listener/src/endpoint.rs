//! The settings of one listener: address, certificates, limits and time-outs.

use std::{net::IpAddr, time::Duration};

use tls_reload::{HandshakeMetrics, Resolver};

/// One listener: a host name or address, one port, and the rules for its connections.
#[derive(Clone)]
pub struct Endpoint {
    /// Short name for logs and metrics, for example `agents` or `admin`.
    pub name: String,
    /// Host name or address as configured; IPv6 addresses with or without brackets.
    pub host: String,
    /// Port; 0 takes a free one.
    pub port: u16,
    /// Source of the TLS generation for each new connection; `None` serves plain HTTP/1.1.
    pub tls: Option<Resolver>,
    /// Counters of finished and failed handshakes.
    pub handshakes: Option<HandshakeMetrics>,
    /// Caps of the listener and of each connection.
    pub limits: Limits,
    /// How long each phase of a connection may take.
    pub timeouts: Timeouts,
}

impl Endpoint {
    /// A plain endpoint with default limits and time-outs.
    pub fn new(name: impl Into<String>, host: impl Into<String>, port: u16) -> Self {
        Self {
            name: name.into(),
            host: host.into(),
            port,
            tls: None,
            handshakes: None,
            limits: Limits::default(),
            timeouts: Timeouts::default(),
        }
    }

    /// Serves TLS with whatever generation `resolver` holds when a ClientHello arrives.
    pub fn with_tls(mut self, resolver: Resolver) -> Self {
        self.tls = Some(resolver);
        self
    }

    /// Sets the counters of its TLS handshakes.
    pub fn with_handshake_metrics(mut self, metrics: HandshakeMetrics) -> Self {
        self.handshakes = Some(metrics);
        self
    }
}

/// Caps of one listener and its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Concurrent connections over all workers; `floor(max_connections × 1.1)` is enforced before TLS
    /// (agents.md 1.3), further ones are closed without a byte. 0: no cap.
    pub max_connections: usize,
    /// Size of a request head in bytes, to which 4 KiB are added (agents.md 1.3); more answers 431.
    pub max_header_bytes: usize,
    /// Connections that there are descriptors for: never more, whatever `max_connections` says. `None`: any number.
    pub descriptors: Option<usize>,
    /// Requests one HTTP/2 connection may have open at a time.
    pub streams_per_connection: u32,
    /// Length of the kernel's queue of connections that are not accepted yet.
    pub backlog: u32,
}

impl Limits {
    /// The number of connections that is enforced; `None`: no cap.
    pub fn hard_cap(&self) -> Option<usize> {
        // In integers: `max × 1.1` in floating point would give 10 for 10 on some roundings.
        let configured = (self.max_connections > 0)
            .then(|| self.max_connections.saturating_add(self.max_connections / 10));
        match (configured, self.descriptors) {
            (Some(configured), Some(descriptors)) => Some(configured.min(descriptors)),
            (cap, None) | (None, cap) => cap,
        }
    }

    /// The largest request head that is accepted, with the slack of agents.md 1.3.
    pub fn header_bytes_with_slack(&self) -> usize {
        self.max_header_bytes.saturating_add(HEADER_SLACK)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 0,
            max_header_bytes: 8192,
            descriptors: None,
            streams_per_connection: 128,
            backlog: 4096,
        }
    }
}

/// Time-outs of one listener's connections. Zero is taken literally, never as "no limit".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From accept to the end of the TLS handshake.
    pub handshake: Duration,
    /// From a connection's (or request's) first byte to the end of the request head.
    pub read_header: Duration,
    /// How long a response may wait for a client that does not read.
    pub write: Duration,
    /// How long a connection without a request is kept.
    pub idle: Duration,
    /// How long closing a connection may take.
    pub disconnect: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            read_header: Duration::from_secs(5),
            write: Duration::from_secs(600),
            idle: Duration::from_secs(35),
            disconnect: Duration::from_secs(5),
        }
    }
}

const HEADER_SLACK: usize = 4096;

/// `HOST:PORT`; an IPv6 address gets its brackets.
pub fn display_address(host: &str, port: u16) -> String {
    match bare_host(host).parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("[{address}]:{port}"),
        _ => format!("{host}:{port}"),
    }
}

/// Without the brackets that an IPv6 address may have.
pub(crate) fn bare_host(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gen_24_cap_is_the_floor_of_eleven_tenths() {
        let cap = |max_connections| {
            Limits {
                max_connections,
                ..Limits::default()
            }
            .hard_cap()
        };
        assert_eq!(cap(0), None);
        assert_eq!(cap(1), Some(1));
        assert_eq!(cap(10), Some(11));
        assert_eq!(cap(19), Some(20));
        assert_eq!(cap(12_500), Some(13_750));
        assert_eq!(cap(usize::MAX), Some(usize::MAX));
        let few = |max_connections| {
            Limits {
                max_connections,
                descriptors: Some(15),
                ..Limits::default()
            }
            .hard_cap()
        };
        assert_eq!([few(0), few(10), few(100)], [Some(15), Some(11), Some(15)]);
    }
}
