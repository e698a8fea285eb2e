//! The domain on the real embedded store: enrolment, check-in, roll-out, acknowledgements.
//!
//! A new case belongs to the module named after its flow; `house.rs` starts a domain and plays its agents.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod acks;
mod checkin;
mod enrollment;
mod house;
mod restart;
mod rollout;
mod secrets;
mod upgrades;
