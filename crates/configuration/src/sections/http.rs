//! `http.*`: the listener for machines. In the original `http.host` is more than a host: a name or an address,
//! `http://HOST[:PORT]`, and there also a Unix socket or a Windows pipe, which this server does not serve.

use std::net::Ipv6Addr;

use crate::engine::{
    section::section,
    setting::{Refusal, Shown, setting},
};

section! {
    /// The listener for machines: /metrics, /livez, /readyz.
    pub struct Http {
        keys {
            /// Whether it listens.
            enabled: bool = false;
            /// Address: a host, or http://HOST[:PORT], whose port wins. Unix sockets are not served.
            host: HttpHost = HttpHost::new("localhost");
            /// Port; 0: any free one.
            port: u16 = 5066, unit "port";
        }
    }
}

/// Where the listener for machines is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpHost {
    /// A name or an address.
    pub host: String,
    /// The port of `http://HOST:PORT`, which wins over `http.port` (agents.md 9.1).
    pub port: Option<u16>,
}

impl HttpHost {
    /// A name or an address.
    pub fn new(host: &str) -> Self {
        Self {
            host: host.to_owned(),
            port: None,
        }
    }

    fn from_authority(authority: &str) -> Result<Self, Refusal> {
        let (host, port) = match authority.rsplit_once(':') {
            // The last colon may be one of a bracketed IPv6 address.
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let port = port
            .map(|port| {
                port.parse()
                    .map_err(|_| refused("its port is not a number from 0 to 65535"))
            })
            .transpose()?;
        let is_bracketed = host.starts_with('[') && host.ends_with(']');
        if host.is_empty() || host.contains(['/', '?', '#', '@']) || (host.contains(':') && !is_bracketed) {
            return Err(refused("it has no usable host"));
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

setting!(
    HttpHost,
    ALLOWED,
    |text| match text.split_once("://") {
        Some(("http", authority)) => Self::from_authority(authority.strip_suffix('/').unwrap_or(authority)),
        // A socket file would need another kind of listener, and scrapers do not use one (docs/OPERATIONS.md).
        Some(("unix", _)) => Err(refused("Unix sockets are not served")),
        Some(("npipe", _)) => Err(refused("Windows pipes are not served")),
        Some((scheme, _)) => Err(refused(&format!("{scheme}:// is not served here"))),
        None if text.contains('/') => Err(refused("a path is not a host")),
        None if text.contains(':') && !is_ipv6(text) => Err(refused("set the port in http.port")),
        None => Ok(Self::new(text)),
    },
    |host| Shown::Text(match host.port {
        Some(port) => format!("http://{}:{port}", host.host),
        None => host.host.clone(),
    })
);

fn is_ipv6(text: &str) -> bool {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    bare.parse::<Ipv6Addr>().is_ok()
}

fn refused(why: &str) -> Refusal {
    Refusal::Because(format!("{why}; it must be {ALLOWED}"))
}

const ALLOWED: &str = "a host name, an address, or http://HOST[:PORT]";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::setting::Setting as _;

    #[test]
    fn agents_9_1_a_host_or_an_http_url() {
        for (text, host, port) in [
            ("localhost", "localhost", None),
            ("0.0.0.0", "0.0.0.0", None),
            ("::1", "::1", None),
            ("[::1]", "[::1]", None),
            ("http://localhost", "localhost", None),
            ("http://localhost:5067/", "localhost", Some(5067)),
            ("http://[::1]:0", "[::1]", Some(0)),
            ("http://[::1]", "[::1]", None),
        ] {
            let read = HttpHost::from_text(text).unwrap();
            assert_eq!((read.host.as_str(), read.port), (host, port), "{text}");
            // What `config show` writes is read as the same.
            let Some(Shown::Text(shown)) = read.shown() else {
                panic!("{text}")
            };
            assert_eq!(HttpHost::from_text(&shown), Ok(read), "{text}");
        }
    }

    #[test]
    fn agents_9_1_what_is_not_served_says_what_is() {
        for (text, why) in [
            ("unix:///var/run/fleet.sock", "Unix sockets are not served"),
            ("npipe:///fleet", "Windows pipes are not served"),
            ("https://localhost", "https:// is not served here"),
            ("localhost:5067", "set the port in http.port"),
            ("/var/run/fleet.sock", "a path is not a host"),
            ("http://", "it has no usable host"),
            ("http://a:b", "its port is not a number from 0 to 65535"),
            ("http://a/metrics", "it has no usable host"),
            ("http://user@a", "it has no usable host"),
        ] {
            assert_eq!(HttpHost::from_text(text), Err(refused(why)), "{text}");
        }
    }
}
