//! The cases of docs/protocol/reload.md on the public face: real files, real events, real handshakes over loopback or
//! memory.
//!
//! - `start`: T1 to T20, what loads and what is refused; `keys`: T13, T14; `openssl_keys`: reload.md 5.2, what
//!   OpenSSL writes. `pem_text`: how PEM may be written, and what a file is that is none. `damage`: any bytes at all.
//! - `writers`: T21 to T40, whoever writes and however.
//! - `refusals`: T41 to T56, bad candidates while running; `faults`, `mounts`: what else the disk does
//!   meanwhile.
//! - `chains`: reload.md 5.4, 8.3, what a client would say of each certificate of a chain.
//! - `rotation`: T57. `swap`: T58 to T65, handshakes, resumption, SNI. `consistency`: T74, T75.
//! - `alive`: T67 to T78, triggers, limits, leaks, the end. `watching`: T69, T71, the watch fails.
//! - `told`: reload.md 8.1 to 8.3, T79, T80: metrics, state and log.
//!
//! The rest: `authority` makes certificates, `site` a directory with a running reloader, `client` handshakes,
//! `records` keeps the log.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test fails by panicking, and its measurements are its output"
)]

mod alive;
mod authority;
mod chains;
mod client;
mod consistency;
mod damage;
mod faults;
mod keys;
mod mounts;
mod openssl_keys;
mod pem_text;
mod records;
mod refusals;
mod rotation;
mod site;
mod start;
mod swap;
mod told;
mod watching;
mod writers;
