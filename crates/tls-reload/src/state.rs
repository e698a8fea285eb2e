//! What the reloader knows, as a value: the served generation, the last attempts, the watch, the health.
//!
//! The actor writes a new value after every event that changes it; everybody else reads. All of it can be
//! serialised and shown: file paths and public facts of certificates, never a key or a passphrase.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;
use strum::{IntoStaticStr, VariantArray};

use crate::moment;
use crate::names::ClientAuth;

/// What asked for a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Trigger {
    /// The first load.
    Start,
    /// The file system said so.
    Event,
    /// The safety poll found it.
    Poll,
    /// SIGHUP.
    Signal,
    /// The admin API.
    Api,
}

/// How a reload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum ReloadResult {
    /// A new generation is served.
    Success,
    /// The set was refused; the last good one is served.
    Failure,
    /// The bytes are those that are served already.
    Unchanged,
    /// `certificate_reload.enabled` is false.
    Disabled,
}

/// The class of a failure's cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, IntoStaticStr, VariantArray)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
#[expect(
    missing_docs,
    reason = "each says what its name says; LoadError documents the causes"
)]
pub enum FailureReason {
    NotFound,
    Unreadable,
    NotRegular,
    TooLarge,
    Unsettled,
    Empty,
    Malformed,
    Passphrase,
    WeakKey,
    Mismatch,
    Expired,
    NotYetValid,
    ClientAuthorities,
    RevocationLists,
    Configuration,
    Panic,
    Stopped,
}

/// How changes are noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, IntoStaticStr, VariantArray)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum WatchMode {
    /// File-system events, with the poll as a safety net.
    Events,
    /// Only the poll.
    Poll,
    /// Not at all: reload is disabled, or nothing is a file.
    Off,
}

/// Public facts about one certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CertificateInfo {
    /// SHA-256 of the DER, lower-case hex.
    pub fingerprint: String,
    /// Lower-case hex.
    pub serial: String,
    /// The subject's distinguished name.
    pub subject: String,
    /// The issuer's common name, or its whole name if it has none.
    pub issuer_common_name: String,
    /// Subject alternative names: DNS names and IP addresses.
    pub names: Vec<String>,
    /// Start of validity.
    #[serde(serialize_with = "moment::serialize")]
    pub not_before: SystemTime,
    /// End of validity.
    #[serde(serialize_with = "moment::serialize")]
    pub not_after: SystemTime,
    /// `RSA 2048`, `ECDSA P-256`, `Ed25519`.
    pub key: String,
}

/// A pair as it is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct ServedPair {
    pub leaf: CertificateInfo,
    /// How many certificates are sent with it.
    pub intermediates: usize,
    /// Those of them that make up the chain, from the leaf's issuer up.
    pub issuers: Vec<CertificateInfo>,
    /// For what clients refuse the chain, but for what only time brings or ends.
    pub faults: Vec<String>,
    /// The SNI names that select it, without those an earlier pair has. The default pair also answers all
    /// other names.
    pub sni: Vec<String>,
    pub certificate_file: String,
    pub key_file: String,
}

/// A CRL as it is applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RevocationListInfo {
    /// The file.
    pub file: String,
    /// SHA-256 of the DER, lower-case hex.
    pub fingerprint: String,
    /// The issuer's common name, or its whole name if it has none.
    pub issuer_common_name: String,
    /// How many certificates it revokes.
    pub revoked: usize,
    /// When the next one is due.
    #[serde(serialize_with = "moment::optional::serialize")]
    pub next_update: Option<SystemTime>,
}

/// What one generation consists of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct GenerationInfo {
    /// Counts the generations of this reloader from 1.
    pub number: u64,
    #[serde(serialize_with = "moment::serialize")]
    pub loaded_at: SystemTime,
    /// The pairs; the first is the default.
    pub pairs: Vec<ServedPair>,
    /// Whether clients must show a certificate.
    pub client_authentication: ClientAuth,
    pub client_authorities: Vec<CertificateInfo>,
    pub revocation_lists: Vec<RevocationListInfo>,
    /// What the load warned about.
    pub warnings: Vec<String>,
}

impl ServedPair {
    /// The certificate of the chain that ends first: from then on clients refuse the leaf.
    #[must_use]
    pub fn ends_first(&self) -> &CertificateInfo {
        let issuers = self.issuers.iter();
        issuers.fold(&self.leaf, |first, issuer| {
            if issuer.not_after < first.not_after {
                issuer
            } else {
                first
            }
        })
    }
}

impl GenerationInfo {
    /// The default leaf's fingerprint.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        self.pairs.first().map_or("", |pair| &pair.leaf.fingerprint)
    }

    /// The earliest end among the served chains.
    #[must_use]
    pub fn not_after(&self) -> Option<SystemTime> {
        self.pairs.iter().map(|pair| pair.ends_first().not_after).min()
    }
}

/// The outcome of one attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Attempt {
    /// When it ended.
    #[serde(serialize_with = "moment::serialize")]
    pub at: SystemTime,
    /// What asked for it.
    pub trigger: Trigger,
    /// How it ended.
    pub result: ReloadResult,
    /// The class of the cause, for a failure.
    pub reason: Option<FailureReason>,
    /// One sentence.
    pub message: String,
    /// The default leaf served after it.
    pub fingerprint: String,
    /// How often the same attempt came to the same end in a row.
    pub times: u32,
}

/// The failure of the last attempt, until one succeeds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The class of the cause.
    pub reason: FailureReason,
    /// What happened, to what.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// The answer to one request for a reload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReloadOutcome {
    /// How it ended.
    pub result: ReloadResult,
    /// The default leaf served now.
    pub fingerprint: String,
    /// One sentence for the operator.
    pub message: String,
    /// The remedy, for a failure.
    pub hint: Option<String>,
    /// The class of the cause, for a failure.
    pub reason: Option<FailureReason>,
}

/// A snapshot of the reloader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReloadState {
    /// reload.md 8.3: the last attempt did not fail, and no served leaf is near its end.
    pub healthy: bool,
    /// Why it is degraded, in one sentence.
    pub degraded: Option<String>,
    /// `certificate_reload.enabled`.
    pub reload_enabled: bool,
    /// What is served.
    pub generation: Arc<GenerationInfo>,
    /// How changes are noticed.
    pub watch_mode: WatchMode,
    /// Why there are no events, if they are wanted.
    pub watch_problem: Option<String>,
    /// The directories under watch.
    pub watched_directories: Vec<PathBuf>,
    /// The last attempts, the newest last; at most [`ReloadState::ATTEMPTS`].
    pub attempts: VecDeque<Attempt>,
    /// When a generation was last taken or confirmed.
    #[serde(serialize_with = "moment::optional::serialize")]
    pub last_success: Option<SystemTime>,
    /// When an attempt last failed.
    #[serde(serialize_with = "moment::optional::serialize")]
    pub last_failure: Option<SystemTime>,
    /// The failure that no later attempt has healed.
    pub failure: Option<Failure>,
    /// When the next retry is due (reload.md 3.3).
    #[serde(serialize_with = "moment::optional::serialize")]
    pub pending_retry: Option<SystemTime>,
    /// Since when the files' system has not answered a look or a read; `None` while it does.
    #[serde(serialize_with = "moment::optional::serialize")]
    pub stuck_since: Option<SystemTime>,
    /// Mounted files whose originals were replaced outside: what is new there is never seen here.
    pub replaced_outside: Vec<PathBuf>,
    /// How often the reloader was rebuilt after a panic (reload.md 7.3).
    pub reloader_restarts: u64,
    /// How often the watcher was rebuilt (reload.md 2.7).
    pub watcher_restarts: u64,
    /// No reload happens any more.
    pub stopped: bool,
}

impl ReloadState {
    /// How many attempts are remembered.
    pub const ATTEMPTS: usize = 20;

    pub(crate) fn new(generation: Arc<GenerationInfo>, reload_enabled: bool, first: Attempt) -> Self {
        Self {
            healthy: true,
            degraded: None,
            reload_enabled,
            generation,
            watch_mode: WatchMode::Off,
            watch_problem: None,
            watched_directories: Vec::new(),
            last_success: Some(first.at),
            attempts: VecDeque::from([first]),
            last_failure: None,
            failure: None,
            pending_retry: None,
            stuck_since: None,
            replaced_outside: Vec::new(),
            reloader_restarts: 0,
            watcher_restarts: 0,
            stopped: false,
        }
    }

    /// Adds an attempt; one that repeats the last is counted there.
    pub(crate) fn remember(&mut self, attempt: Attempt) {
        if let Some(last) = self.attempts.back_mut()
            && (last.trigger, last.result, &last.message, &last.fingerprint)
                == (
                    attempt.trigger,
                    attempt.result,
                    &attempt.message,
                    &attempt.fingerprint,
                )
        {
            last.at = attempt.at;
            last.times = last.times.saturating_add(1);
            return;
        }
        if self.attempts.len() == Self::ATTEMPTS {
            self.attempts.pop_front();
        }
        self.attempts.push_back(attempt);
    }
}
