//! What the tests of all crates share. Never part of the server.
//!
//! - [`CertificateAuthority`], [`PairFiles`], [`KubeletVolume`] and [`Writer`]: certificates, and the writers that
//!   replace them on disk the way real ones do.
//! - [`ServerCommand`] and [`ServerProcess`]: the real binary in a directory of its own; dropping it fails the
//!   test on leftovers (exit code, error and panic lines).
//! - [`HttpClient`]: HTTP/1.1 over TCP or TLS, raw enough for malformed requests.
//! - [`http2_frames`]: HTTP/2 by hand, for what no library sends.
//! - [`SimulatedAgent`]: what an Elastic Agent says (enrol, check in, apply, acknowledge).
//! - [`AdminClient`]: the operator's side, with Kibana's paths.
//! - [`IdleFleet`]: thousands of waiting agents, for measurements (`examples/fleet_figures.rs`).
//!
//! Everything waits for events with [`LIMIT`], which only a hang reaches. A failed step of the harness panics,
//! because it is a failed test; what a server may rightly refuse comes back as a value.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "this crate is part of tests: a step that fails must fail the test"
)]
#![expect(missing_docs, reason = "where a name says everything, nothing is added")]

mod admin_client;
mod certificate_authority;
mod eventually;
pub mod http2_frames;
mod http_client;
mod http_message;
mod idle_fleet;
mod kubelet_volume;
mod pair_files;
mod process_figures;
mod server_command;
mod server_log;
mod server_process;
mod simulated_agent;
mod tls;
mod writer;

use std::time::Duration;

pub use self::{
    admin_client::AdminClient,
    certificate_authority::{CertificateAuthority, KeyKind, Leaf, LeafOrder},
    eventually::eventually,
    http_client::{Connection, HttpClient},
    http_message::{Request, Response},
    idle_fleet::{Delivery, FleetOrder, FleetProgress, IdleFleet},
    kubelet_volume::KubeletVolume,
    pair_files::{PairFiles, rename_over},
    process_figures::ProcessFigures,
    server_command::ServerCommand,
    server_log::LogLine,
    server_process::{Listening, QuickstartFacts, ServerProcess},
    simulated_agent::{AgentError, Checkin, SimulatedAgent},
    tls::{TlsFacts, fingerprint},
    writer::{Writer, WriterStyle},
};
pub use rustix::process::Signal;

/// How long an event may take before the test fails. Generous: machines that run tests are slow and busy.
pub const LIMIT: Duration = Duration::from_secs(60);
