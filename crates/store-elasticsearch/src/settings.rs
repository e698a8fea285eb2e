//! Where Elasticsearch is, and how it is spoken to.

use std::{path::PathBuf, time::Duration};

use reqwest::{Url, header::HeaderMap};
use store::Secret;

/// Everything that the connection needs, read and checked before.
#[derive(Clone, Debug)]
pub struct Settings {
    /// At least one; with scheme, port and path prefix.
    pub hosts: Vec<Url>,
    /// As whom.
    pub credentials: Credentials,
    /// TLS for hosts with `https`: whom to trust, and what to show. It may resolve certificates live.
    pub tls: rustls::ClientConfig,
    /// A proxy between; `None`: no proxy, whatever the environment says.
    pub proxy: Option<Url>,
    /// Sent with every request, besides our own.
    pub headers: HeaderMap,
    /// Whether bodies of requests are sent with gzip. Answers may be compressed in any case.
    pub compresses: bool,
    /// Until the head of an answer is there.
    pub timeout: Duration,
    /// `User-Agent`.
    pub user_agent: String,
}

/// As whom Elasticsearch knows us.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// A service token.
    ServiceToken(Secret),
    /// A file with one, read again after a refusal; white space around it does not count.
    ServiceTokenFile(PathBuf),
    /// An API key: base64 of `id:secret`.
    ApiKey(Secret),
    /// A user with a password.
    User {
        /// Its name.
        name: String,
        /// Its password.
        password: Secret,
    },
}
