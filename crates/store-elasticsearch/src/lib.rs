//! The engine of the store that keeps its documents in Elasticsearch, where Kibana makes and reads them (data.md 10).
//!
//! ```text
//! store operation ──► document and call ──► Connection ──► one of the hosts
//! ```
//!
//! What is here so far: the connection (hosts in turn, credentials, TLS, repeats, typed failures), the version check,
//! and API keys that Elasticsearch issues and verifies. It is not a `Store` yet, and no configuration key chooses it.
//! Its tests run against the real Elasticsearch under `engine/`: `make elastic-check`.

mod action_document;
mod actions;
mod agent_document;
mod agent_list;
mod agents;
mod api_keys;
mod backoff;
mod bulk;
mod checkins;
mod concurrent;
mod connection;
mod credentials;
mod document;
mod documents;
mod engine;
mod enrollment;
mod failure;
mod feed;
mod hosts;
mod index;
mod keys;
mod own_changes;
mod pages;
mod policies;
mod remembered;
mod results;
mod settings;

mod tokens;
mod unsupported;
mod verified;
mod version;

#[cfg(test)]
mod tests;

pub use bulk::Flush;
pub use connection::{Connection, ConnectionError};
pub use credentials::CredentialsError;
pub use engine::ElasticStore;
pub use failure::Failure;
pub use settings::{Credentials, Settings};
pub use version::{Fit, NotAVersion, OLDEST, Version};
