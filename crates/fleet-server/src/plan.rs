//! The values that a server is started with. They are final: nothing checks them again.
//!
//! The configuration layer makes it from files and flags; `server` carries it out.

use std::{path::PathBuf, time::Duration};

use crate::store_key::StoreKeyFile;

/// A server to be started.
pub(crate) struct Plan {
    pub data: PathBuf,
    pub agents: AgentsPlan,
    /// The admin listener, unless it is off.
    pub admin: Option<AdminPlan>,
    /// Metrics and probes, unless they are off: host and port.
    pub http: Option<(String, u16)>,
    /// What the first start makes.
    pub bootstrap: BootstrapPlan,
    /// The key that agents check upgrades with.
    pub signing_key: SigningKeyPlan,
    /// The key that secrets are encrypted with.
    pub store_key: StoreKeyFile,
    /// Settings of the domain. Without `fleet_hosts` the agents' listener's address is used.
    pub fleet: fleet::Settings,
    /// How long requests may take to finish after a stop was requested.
    pub drain: Duration,
}

/// The agents' listeners: external and internal, with the same routes and certificates.
pub(crate) struct AgentsPlan {
    /// Host of the external listener.
    pub host: String,
    /// Its port; 0: a free one.
    pub port: u16,
    /// Port of the internal listener on `localhost`; 0: a free one. `None`: the external one already listens there.
    pub internal_port: Option<u16>,
    /// Certificates; `None`: plain HTTP.
    pub tls: Option<tls_reload::Settings>,
    pub limits: listener::Limits,
    pub timeouts: listener::Timeouts,
    /// Limits, body time-outs and compression of the routes.
    pub options: api::AgentOptions,
}

/// The key that agents check upgrades with.
#[derive(Clone)]
pub(crate) struct SigningKeyPlan {
    pub directory: PathBuf,
    /// Where it is fetched from if there is no file.
    pub upstream: String,
}

pub(crate) struct AdminPlan {
    pub host: String,
    /// Port; 0: a free one.
    pub port: u16,
    /// Certificates of its own; `None`: the agents'.
    pub tls: Option<tls_reload::Settings>,
}

/// What the first start makes.
pub(crate) struct BootstrapPlan {
    /// File of the admin API key.
    pub admin_key: PathBuf,
    /// A store without policies gets the default policy and one token.
    pub is_enabled: bool,
    /// A token that the operator chose.
    pub preset_token: Option<PathBuf>,
}
