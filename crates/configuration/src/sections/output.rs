//! `output.*`. With the embedded store only the hosts count: they name the output of the default policy.

use crate::engine::{section::section, setting::choice};

section! {
    /// Where agents' data goes.
    pub struct Output {
        sections {
            /// Elasticsearch. The embedded store needs none; the hosts become the output of the default policy.
            elasticsearch: Elasticsearch;
        }
    }
}

section! {
    /// Elasticsearch.
    pub struct Elasticsearch {
        keys {
            /// Scheme of hosts that name none: http or https. Unset: http.
            protocol: Option<Protocol> = None, only "names the output of the default policy";
            /// The nodes; a host without a port has port 9200. Unset: localhost:9200. If neither `protocol` nor
            /// `path` is set either, agents get https://localhost:9200.
            hosts: Option<Vec<String>> = None, only "names the output of the default policy";
            /// Path of hosts that name none.
            path: Option<String> = None, only "names the output of the default policy";
        }
    }
}

/// How a host without a scheme is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Plain.
    Http,
    /// Over TLS.
    Https,
}

choice!(Protocol, Http = "http", Https = "https");

impl Elasticsearch {
    /// The hosts as URLs: scheme, port and path filled in. Without any of the three keys the cluster is on this machine
    /// with TLS, like a fresh installation; with any of them the result is that of the original.
    pub fn urls(&self) -> Vec<String> {
        match self.hosts.as_deref().unwrap_or_default() {
            [] if self.protocol.is_none() && self.path.is_none() => vec![self.url("https://localhost")],
            [] => vec![self.url("localhost")],
            hosts => hosts.iter().map(|host| self.url(host.trim())).collect(),
        }
    }

    fn url(&self, host: &str) -> String {
        let protocol = match self.protocol {
            Some(Protocol::Https) => "https",
            Some(Protocol::Http) | None => "http",
        };
        let (scheme, rest) = host.split_once("://").unwrap_or((protocol, host));
        let (authority, path) = match rest.split_once('/') {
            Some((authority, path)) => (authority, path),
            None => (
                rest,
                self.path.as_deref().unwrap_or_default().trim_start_matches('/'),
            ),
        };
        // Text after the closing bracket of an IPv6 address may be a port.
        let has_port = authority
            .rsplit(']')
            .next()
            .is_some_and(|tail| tail.contains(':'));
        let port = if has_port { "" } else { ":9200" };
        let slash = if path.is_empty() { "" } else { "/" };
        format!("{scheme}://{authority}{port}{slash}{path}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(names: &[&str]) -> Option<Vec<String>> {
        Some(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn only_who_says_nothing_gets_tls_on_this_machine() {
        let urls = |protocol, hosts| {
            let output = Elasticsearch {
                protocol,
                hosts,
                ..Elasticsearch::default()
            };
            output.urls()
        };
        assert_eq!(urls(None, None), ["https://localhost:9200"]);
        assert_eq!(urls(None, hosts(&[])), ["https://localhost:9200"]);
        assert_eq!(urls(Some(Protocol::Http), None), ["http://localhost:9200"]);
        assert_eq!(urls(Some(Protocol::Https), None), ["https://localhost:9200"]);
        assert_eq!(urls(None, hosts(&["localhost:9200"])), ["http://localhost:9200"]);
        let written = hosts(&["localhost:9200"]);
        assert_eq!(urls(Some(Protocol::Http), written), ["http://localhost:9200"]);
    }

    #[test]
    fn hosts_become_urls() {
        let output = Elasticsearch {
            protocol: Some(Protocol::Https),
            hosts: hosts(&["es", "es:1", "http://es/x", "[::1]", "https://[::1]:9", "es/own"]),
            path: Some("/prefix".to_owned()),
        };
        assert_eq!(
            output.urls(),
            [
                "https://es:9200/prefix",
                "https://es:1/prefix",
                "http://es:9200/x",
                "https://[::1]:9200/prefix",
                "https://[::1]:9/prefix",
                "https://es:9200/own",
            ]
        );
    }
}
