//! The HTTP APIs against the real domain on the real embedded store, without sockets.
//!
//! A new case belongs to the module named after its API or flow; `house.rs` starts a domain and speaks HTTP.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod access_log;
mod acks;
mod admin;
mod admin_policies;
mod agent_files;
mod artifacts;
mod audit;
mod bodies;
mod cases;
mod checkin;
mod enroll;
mod farewell;
mod files;
mod general;
mod house;
mod limits;
mod opamp;
mod openapi;
mod probe;
mod real_agents;
mod secrets;
mod status;
mod uploads;
mod wire;
