//! Black box: the real binary over real TLS sockets.
//!
//! Where a new test belongs: `actions` (each type of action), `agents` (what an agent sees), `audit` (who changed what), `certificates` (the user's procedure, rotation under
//! load), `client_certificates` (whom TLS lets in), `clients` (sub-commands that talk to the admin API), `cert_command`, `cert_show`, `cert_as_client` (`cert show`, `cert
//! check`, a start with bad certificates), `certificates_told` (log and health), `rotations` (every writer under handshakes), `commands`
//! (sub-commands for containers, packages and scripts), `early_signals` (a stop in the first moments), `policy_history` (revisions, stale edits, the way back), `process_one`
//! (nothing replaces process 1), `durability` (restart, kill −9), `files` (uploads,
//! diagnostics), `first_start` (keys and tokens that operators lay down), `foreign_files` (what is never overwritten), `quickstart` (the first ten minutes and
//! what stands in their way), `fleet_load` (the load generator, which is a client like others), `hostile` (bad input), `hostile_clients` (attacks of a minute, for `make torture`),
//! `opamp` (agents that speak OpAMP), `opamp_socket` (over WebSocket), `operator_keys` (who may do what), `orders` (Kibana's paths for one agent and many), `outside` (metrics, probes, logs, stop), `policy_files` (policies in files), `restarts` (a new process takes the place of the old), `secrets` (at
//! rest, rotation), `signing_key` (PGP), `store_faults` (damage, full disk).
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod actions;
mod agents;
mod audit;
mod cert_as_client;
mod cert_command;
mod cert_show;
mod certificates;
mod certificates_told;
mod client_certificates;
mod clients;
mod commands;
mod durability;
mod early_signals;
mod files;
mod first_start;
mod fleet_load;
mod foreign_files;
mod hostile;
mod hostile_clients;
mod opamp;
mod opamp_socket;
mod operator_keys;
mod orders;
mod outside;
mod policy_files;
mod policy_history;
mod process_one;
mod quickstart;
mod restarts;
mod rotations;
mod secrets;
mod signing_key;
mod store_faults;
