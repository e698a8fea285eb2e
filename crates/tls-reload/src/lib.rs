//! Certificates, keys, client CAs and CRLs that reload while a server runs, without a failed handshake.
//!
//! Paths (or inline PEM) go in as [`Settings`]; out come a [`Resolver`], which every new connection asks for
//! its `rustls::ServerConfig`, and a [`ReloadState`], which says what is served, until when, and what the last
//! attempts came to. A writer may swap links like a kubelet, re-point them like certbot, rename, truncate, or
//! write for a minute: one generation of the whole set is read from one state of the disk, validated as a
//! whole, and swapped behind one atomic pointer. A set that is refused leaves the last good one in place.
//!
//! ```text
//!  disk ─▶ watch ─▶ actor (debounce, retry) ─▶ read ─▶ validate ─▶ Resolver ─▶ handshakes
//!            └ safety poll ┘                                  └▶ state, metrics, log
//! ```
//! Handshakes touch no lock, no file and not the actor. Only aws-lc-rs is used, never a process default.
//!
//! # Where a rule depends on the platform
//! - Linux has all of it. Without the change time of a file in nanoseconds, or on a network file system whose
//!   clock is another's, a change within the same tick and of the same size is found by comparing content,
//!   up to three seconds after the last change.
//! - Elsewhere on Unix events come from what `notify` has there; directories are opened for reading, so they
//!   must be readable and not only searchable. Network file systems and some container mounts bring no events
//!   at all: the safety poll finds the change there.
//! - Windows is not supported: a consistent read needs directory handles.
//! - Running connections keep what they agreed on. A client whose own certificate ends while its session
//!   lives may resume it until the session ends (rustls does not judge it again); a change of client CAs, CRLs
//!   or pins ends all such sessions at once.

mod any_client;
mod as_client;
mod certificate;
mod chain;
mod chain_fault;
mod error;
mod expiry;
mod form;
mod generation;
mod key;
mod legacy_key;
mod logging;
mod metrics;
mod moment;
mod mounted_file;
mod mounted_volume;
mod names;
mod pem;
mod quiet;
mod read;
mod reloader;
mod resolver;
mod served;
mod settings_error;
mod signals;
mod signature;
mod sni;
mod source;
mod state;
mod trust;
mod validate;
mod walk;
mod warning;
mod watch;
mod watch_failure;

pub use as_client::{AsClient, ClientRefusal};
pub use chain_fault::ChainFault;
pub use error::{Findings, LoadError, Rejected, StartError};
pub use form::Form;
pub use generation::Generation;
pub use key::private_key as pem_private_key;
pub use metrics::{HandshakeMetrics, HandshakeResult, ReloadMetrics};
pub use moment::{Clock, rfc3339};
pub use mounted_volume::missing_secret_key;
pub use names::{CipherSuite, ClientAuth, Curve, Protocol, SpkiPin, VerificationMode};
pub use pem::certificates as pem_certificates;
pub use reloader::{ReloadHandle, Reloader};
pub use resolver::Resolver;
pub use settings_error::SettingsError;
pub use signals::EventSink;
pub use source::{PairSource, Passphrase, PemSource, ReloadSettings, Secret, Settings};
pub use state::{
    Attempt, CertificateInfo, Failure, FailureReason, GenerationInfo, ReloadOutcome, ReloadResult,
    ReloadState, RevocationListInfo, ServedPair, Trigger, WatchMode,
};
pub use warning::Warning;
pub use watch::{DirectoryWatcher, WatcherFactory, system_events};
pub use watch_failure::WatchFailure;
