//! Fuzz targets for every parser of untrusted bytes: one place, one table, one runner.
//!
//! A [`Target`] is a plain function of bytes that panics when a rule is broken: a panic of ours, an answer that is
//! none, a message that would forge a line of the log. Its corpus, `corpora/NAME`, holds small real inputs and every
//! input that once found something.
//!
//! - `make test` replays all corpora (`tests/corpora.rs`).
//! - `make fuzz` looks for more (`src/engine.rs`): libFuzzer, guided by coverage, with the compiler that builds the
//!   server. cargo-fuzz and bolero do the same behind a tool of their own to install, and cargo-fuzz's default
//!   sanitizer needs a nightly compiler; without unsafe code of ours there is little for a sanitizer to find. What is
//!   left of them are six compiler flags (`.ci/fuzz`).
//!
//! The targets import the crates of the server as they are, and nothing of the server imports them.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a broken rule is told by a panic, here as in a test"
)]

mod bodies;
mod certificates;
mod configurations;
mod connections;
mod faces;
mod files;
mod house;
mod logger;
mod opamp_messages;
mod operators;
mod tls_settings;

use std::{
    panic,
    sync::{
        Mutex, Once, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// One way for bytes into the server.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Of its corpus too.
    pub name: &'static str,
    run: fn(&[u8]),
}

impl Target {
    const fn new(name: &'static str, run: fn(&[u8])) -> Self {
        Self { name, run }
    }

    /// The target of this name.
    pub fn named(name: &str) -> Option<Self> {
        TARGETS.iter().find(|target| target.name == name).copied()
    }

    /// Gives it one input.
    ///
    /// # Panics
    /// When a rule is broken, on whatever thread that was.
    pub fn run(self, input: &[u8]) {
        static PANICS: AtomicUsize = AtomicUsize::new(0);
        static COUNTED: Once = Once::new();
        // One input at a time, or a panic would be told of another one too.
        static TURN: Mutex<()> = Mutex::new(());
        COUNTED.call_once(|| {
            logger::install();
            let next = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                PANICS.fetch_add(1, Ordering::SeqCst);
                next(info);
            }));
        });
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let before = PANICS.load(Ordering::SeqCst);
        (self.run)(input);
        // The server survives a panic of a handler or an actor; that it happened is a finding all the same.
        assert_eq!(PANICS.load(Ordering::SeqCst), before, "{}: a panic", self.name);
    }
}

/// All of them.
pub const TARGETS: [Target; 22] = [
    Target::new("pem", certificates::pem_file),
    Target::new("certificate", certificates::certificate),
    Target::new("key", certificates::key),
    Target::new("revocation_list", certificates::revocation_list),
    Target::new("settings", tls_settings::words),
    Target::new("configuration", configurations::file),
    Target::new("flags", configurations::flags),
    Target::new("enroll", bodies::enroll),
    Target::new("checkin", bodies::checkin),
    Target::new("acks", bodies::acks),
    Target::new("audit", bodies::audit),
    Target::new("upload_begin", bodies::upload_begin),
    Target::new("upload_chunk", files::upload_chunk),
    Target::new("upload_complete", files::upload_complete),
    Target::new("byte_range", files::byte_range),
    Target::new("artifact", files::artifact),
    Target::new("opamp", opamp_messages::message),
    Target::new("policy_json", operators::policy_json),
    Target::new("policy_yaml", operators::policy_yaml),
    Target::new("kuery", operators::kuery),
    Target::new("http1", connections::http1),
    Target::new("http2", connections::http2),
];
