//! The server's one program: command line, configuration, logging, and the wiring of all other rooms.
//!
//! `main` parses the command and calls it; everything else lies here, so that tests reach it.

pub mod build;
pub mod cli;
pub mod client;
pub mod data_directory;
pub mod first_start;
pub mod lifecycle;
pub mod local_ca;
pub mod logging;
pub mod own_server;
pub mod plan;
pub mod planning;
pub mod private_file;
pub mod quickstart_facts;
pub mod sd_notify;
pub mod served_leaf;
pub mod server;
pub mod signals;
pub mod tls;
