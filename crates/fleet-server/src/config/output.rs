//! `output.*`. With the embedded store only the hosts count: they name the output of the default policy.

use std::{path::PathBuf, time::Duration};

use super::{
    choice::choice,
    declare::{INERT, State, section},
    secret::Secret,
    setting::Names,
    size::ByteSize,
    ssl::PathOrPem,
};

use tls_reload::VerificationMode;

const NAMES_THE_OUTPUT: State = State::Partly("only names the output of the default policy");

choice! {
    /// How a host without a scheme is reached.
    pub enum Protocol {
        /// Plain.
        Http = "http",
        /// Over TLS.
        Https = "https",
    }
}

section! {
    /// Where agents' data goes.
    pub struct Output {
        keys {}
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
            protocol: Option<Protocol> = None => NAMES_THE_OUTPUT;
            /// The nodes; a host without a port has port 9200. Unset: localhost:9200. If neither `protocol` nor
            /// `path` is set either, agents get https://localhost:9200.
            hosts: Option<Vec<String>> = None => NAMES_THE_OUTPUT;
            /// Path of hosts that name none.
            path: Option<String> = None => NAMES_THE_OUTPUT;
            /// Further request headers.
            headers: Names = Names::default() => INERT;
            /// The cluster's service token for Fleet Server.
            service_token: Option<Secret> = None => INERT;
            /// File that holds the service token; used if `service_token` is empty.
            service_token_path: Option<PathBuf> = None => INERT;
            /// Proxy for requests to the cluster; unset: from the environment.
            proxy_url: Option<String> = None => INERT;
            /// No proxy, whatever the environment says.
            proxy_disable: bool = false => INERT;
            /// Headers for the proxy.
            proxy_headers: Names = Names::default() => INERT;
            /// How often a failed request is tried again.
            max_retries: u32 = 3 => INERT, unit "retries";
            /// Connections to one host.
            max_conn_per_host: u32 = 128 => INERT, unit "connections";
            /// How long a response may let wait for itself.
            timeout: Duration = Duration::from_secs(90) => INERT;
            /// Largest bulk request that updates API keys.
            max_content_length: ByteSize = ByteSize(104_857_600) => INERT;
        }
        sections {
            /// TLS towards the cluster.
            ssl: Option<ClientSsl>;
        }
    }
}

section! {
    /// TLS towards the cluster.
    pub struct ClientSsl {
        keys {
            /// Whether TLS is used.
            enabled: bool = true => INERT;
            /// What is checked of the cluster's certificate: full, certificate, strict or none.
            verification_mode: VerificationMode = VerificationMode::Full => INERT;
            /// TLS versions; unset: 1.2 and 1.3.
            supported_protocols: Vec<String> = Vec::new() => INERT;
            /// Cipher suites; unset: the library's.
            cipher_suites: Vec<String> = Vec::new() => INERT;
            /// Curves; unset: the library's.
            curve_types: Vec<String> = Vec::new() => INERT;
            /// CAs that the cluster's certificate may come from, paths or PEM.
            certificate_authorities: Vec<PathOrPem> = Vec::new() => INERT;
            /// Client certificate, path or PEM.
            certificate: Option<PathOrPem> = None => INERT;
            /// Its key, path or PEM.
            key: Option<PathOrPem> = None => INERT;
            /// Passphrase of the key.
            key_passphrase: Option<Secret> = None => INERT;
            /// File that holds the passphrase.
            key_passphrase_path: Option<PathBuf> = None => INERT;
            /// TLS renegotiation: never, once or freely.
            renegotiation: Option<Renegotiation> = None => INERT;
            /// Pins of the CAs, base64 of the SHA-256 of the public key.
            ca_sha256: Vec<String> = Vec::new() => INERT;
            /// Fingerprint of a CA that is trusted, hex SHA-256.
            ca_trusted_fingerprint: Option<String> = None => INERT;
        }
        sections {}
    }
}

choice! {
    /// Whether the cluster may renegotiate.
    pub enum Renegotiation {
        /// Not.
        Never = "never",
        /// One time.
        Once = "once",
        /// Any time.
        Freely = "freely",
    }
}

impl Elasticsearch {
    /// The hosts as URLs: scheme, port and path filled in. Who says nothing of a cluster gets one on this machine
    /// with TLS, as it comes out of its box; who writes anything gets what that means in the original.
    pub fn urls(&self) -> Vec<String> {
        match self.hosts.as_deref().unwrap_or_default() {
            [] if self.protocol.is_none() && self.path.is_none() => vec![self.url("https://localhost")],
            [] => vec![self.url("localhost")],
            hosts => hosts.iter().map(|host| self.url(host.trim())).collect(),
        }
    }

    fn url(&self, host: &str) -> String {
        let protocol = self.protocol.unwrap_or(Protocol::Http).word();
        let (scheme, rest) = host.split_once("://").unwrap_or((protocol, host));
        let (authority, path) = match rest.split_once('/') {
            Some((authority, path)) => (authority, path),
            None => (
                rest,
                self.path.as_deref().unwrap_or_default().trim_start_matches('/'),
            ),
        };
        // What stands after the last bracket of an IPv6 address may be a port.
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
            ..Elasticsearch::default()
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
