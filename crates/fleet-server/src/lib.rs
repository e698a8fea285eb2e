//! The server program: command line, configuration, logging, and the wiring of all other crates.
//!
//! `main` parses the command and calls it; everything else is here, so that tests can reach it.

pub(crate) mod build;
pub mod cli;
pub mod client;
pub(crate) mod connection_shares;
pub(crate) mod data_directory;
pub(crate) mod first_start;
pub(crate) mod lifecycle;
pub(crate) mod local_ca;
pub(crate) mod logging;
pub(crate) mod made_files;
pub(crate) mod own_server;
pub(crate) mod pem_file;
mod plan;
pub(crate) mod planning;
pub(crate) mod private_file;
pub(crate) mod quickstart_facts;
pub(crate) mod restart_outcome;
pub(crate) mod server;
pub mod signals;
pub(crate) mod signing_key;
pub(crate) mod store_key;
pub(crate) mod succession;
pub(crate) mod tls;
