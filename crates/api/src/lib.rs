//! The HTTP interfaces of the server: extract, authorise, call the domain, render. No TLS, no listeners, no rules.
//!
//! ```text
//! listener ──► App: Gate (request id, limits, metrics, access log) ──► route ──► handler ──► fleet
//!                                                                        │
//!              AgentApi  external and internal listener (one value each) ┤
//!              AdminApi  the operators' listener                         ┤
//!              Probe     the metrics listener                            ┘
//! ```
//!
//! Each interface is a value that the binary builds once for a listener and hands to every worker; `app()` gives the
//! whole application. A handler gets a [`Call`](call): the request's parts, owned, so that nothing of a request
//! outlives its use while an agent waits. What a cause means to a client is decided in one table (`error`).

mod admin;
mod admission;
mod agent;
mod auth;
mod body;
mod body_budget;
mod bucket;
mod call;
mod clients;
mod collectors;
mod compression;
mod error;
mod exchange;
mod exposition;
mod gate;
mod held_body;
mod json;
mod limits;
mod log_budget;
mod member;
mod metrics;
mod note;
mod off_the_loop;
mod openapi;
mod operation;
mod outgoing;
mod own_process;
mod pieces;
mod probe;
mod returns;
mod route;
mod signing_key;
mod tls_admin;
mod version;
mod work;

pub use admin::{AdminApi, AdminOptions};
pub use agent::{AgentApi, AgentOptions, Identity};
pub use collectors::Connections;
pub use compression::ResponseCompression;
pub use exchange::AUDIT_LOG;
pub use gate::Gate;
pub use limits::{Limits, RouteLimits};
pub use metrics::HttpMetrics;
pub use openapi::openapi;
pub use probe::{Part, PartHealth, Probe, Readiness};
pub use route::Route;
pub use signing_key::{SigningKey, SigningKeyError};
pub use tls_admin::TlsAdmin;
pub use version::{ADMIN_API_VERSION, API_VERSION};
