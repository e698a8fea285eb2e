//! The sections of the configuration, one file each.

pub(crate) mod admin;
pub(crate) mod bootstrap;
pub(crate) mod files;
pub(crate) mod http;
pub(crate) mod logging;
pub(crate) mod output;
pub(crate) mod server;
pub(crate) mod ssl;
pub(crate) mod store;
mod tls;
pub(crate) mod tokens;
