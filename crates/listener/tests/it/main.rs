//! The listener from outside: real sockets, real TLS, an application of a few routes.
//!
//! `support` starts servers and clients. A new test goes where its question is: which protocol (`protocols`),
//! how many (`caps`), how long (`deadlines`), what happens when a client goes (`departures`), when the server
//! goes (`drain`), when certificates change (`swap`), how TLS records are
//! cut and joined (`tls_records`), when a handler fails (`panics`), what happens around a request that
//! waits (`waiting`), what a client that means harm can cost the others (`hostile`).
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails where a step fails"
)]

mod caps;
mod deadlines;
mod departures;
mod drain;
mod hostile;
mod panics;
mod protocols;
mod support;
mod swap;
mod tls_records;
mod waiting;
