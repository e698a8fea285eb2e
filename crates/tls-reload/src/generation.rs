//! One TLS set of one moment: read, validated as a whole, and ready to be served (reload.md 5.6).
//!
//! ```text
//! Settings ─▶ read::Material ─▶ validate (pairs) ─┐
//!                             └▶ trust (CAs, CRLs) ┴─▶ ServerConfig + what can be told about it
//! ```
//! Blocking: it reads files. The server's start, the reloader and a check command all use this one way in.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::{ProducesTickets, ServerSessionMemoryCache, StoresServerSessions};
use rustls::sign::CertifiedKey;

use crate::error::{Findings, LoadError, Rejected};
use crate::mounted_file;
use crate::names::{Protocol, provider};
use crate::read::{Material, Picture};
use crate::sni::SniTable;
use crate::source::Settings;
use crate::state::{GenerationInfo, ServedPair};
use crate::trust::Trust;
use crate::validate::{self, Pair};
use crate::warning::Warning;

/// A TLS set as it is served.
pub struct Generation {
    config: Arc<ServerConfig>,
    table: Arc<SniTable>,
    info: Arc<GenerationInfo>,
    warnings: Vec<Warning>,
    sessions: Sessions,
    trust_key: [u8; 32],
    picture: Picture,
}

/// The outcome of a reload.
pub(crate) enum Reloaded {
    /// A set to be served.
    New(Box<Generation>),
    /// The bytes that are served already, perhaps in other files or with other times.
    Same(Picture),
    /// A set that cannot be served, and the state of the disk that made it, unless that never settled.
    Refused(Rejected, Option<Picture>),
}

/// Where clients' sessions live on between handshakes.
#[derive(Clone)]
struct Sessions {
    storage: Arc<dyn StoresServerSessions>,
    tickets: Arc<dyn ProducesTickets>,
}

impl Generation {
    /// Reads and validates a set as the start does (reload.md 5.1 to 5.6): an expired leaf is a warning, unless
    /// `refuse_expired` is set. Blocking.
    ///
    /// # Errors
    /// Every error that was found, with the warnings beside them.
    pub fn load(settings: &Settings, now: SystemTime) -> Result<Self, Rejected> {
        settings.shape().map_err(LoadError::from)?;
        let material = Material::read(settings, now)?;
        Self::build(settings, &material, now, None)
    }

    /// Reads a set that would replace `served` (reload.md 3.4, 5.3, 6.3).
    pub(crate) fn reload(settings: &Settings, now: SystemTime, served: &Self) -> Reloaded {
        let material = match Material::read(settings, now) {
            Ok(material) => material,
            Err(error) => return Reloaded::Refused(error.into(), None),
        };
        if material.picture.digest == served.picture.digest {
            return Reloaded::Same(material.picture);
        }
        match Self::build(settings, &material, now, Some(served)) {
            Ok(generation) => Reloaded::New(Box::new(generation)),
            Err(rejected) => Reloaded::Refused(rejected, Some(material.picture)),
        }
    }

    /// What rustls serves a handshake with.
    #[must_use]
    pub fn server_config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// The pair that answers `name` (reload.md 6.5). Lock-free and without allocation.
    #[must_use]
    pub fn certificate_for(&self, name: Option<&str>) -> &Arc<CertifiedKey> {
        self.table.select(name)
    }

    /// What can be told about it.
    #[must_use]
    pub fn info(&self) -> &Arc<GenerationInfo> {
        &self.info
    }

    /// Warnings of the load.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    pub(crate) fn picture(&self) -> &Picture {
        &self.picture
    }

    fn build(
        settings: &Settings,
        material: &Material,
        now: SystemTime,
        served: Option<&Self>,
    ) -> Result<Self, Rejected> {
        let mut findings = Findings::default();
        let replaced = mounted_file::replaced_outside(&material.picture.snapshot);
        findings
            .warnings
            .extend(replaced.iter().map(|path| Warning::ReplacedOutside {
                file: path.display().to_string(),
            }));
        let pairs = pairs(settings, material, now, served, &mut findings);
        let provider = Arc::new(provider(&settings.cipher_suites, &settings.curves));
        let trust = Trust::load(settings, material, &provider, now, &mut findings);
        let Some((trust, default)) = trust.zip(pairs.first().map(|pair| pair.certified.clone())) else {
            return Err(Rejected { findings });
        };
        if !findings.errors.is_empty() {
            return Err(Rejected { findings });
        }
        let mut table = SniTable::new(default);
        let served_pairs = served_pairs(settings, &pairs, &mut table, &mut findings.warnings);
        let table = Arc::new(table);
        // reload.md 6.3: sessions of the last generation are good only if it would have judged clients the same way.
        let sessions = match served {
            Some(served) if served.trust_key == trust.key => Ok(served.sessions.clone()),
            _ => Sessions::new(),
        };
        let config = sessions.and_then(|sessions| {
            let config = server_config(settings, &provider, &trust, &table, &sessions)?;
            Ok((config, sessions))
        });
        let (config, sessions) = match config {
            Ok(both) => both,
            Err(error) => {
                findings.errors.push(LoadError::Configuration {
                    reason: error.to_string(),
                });
                return Err(Rejected { findings });
            }
        };
        let info = GenerationInfo {
            number: served.map_or(1, |served| served.info.number.saturating_add(1)),
            loaded_at: now,
            pairs: served_pairs,
            client_authentication: settings.client_auth(),
            client_authorities: trust.authorities,
            revocation_lists: trust.revocation_lists,
            warnings: findings.warnings.iter().map(Warning::to_string).collect(),
        };
        Ok(Self {
            config: Arc::new(config),
            table,
            info: Arc::new(info),
            warnings: findings.warnings,
            sessions,
            trust_key: trust.key,
            picture: material.picture.clone(),
        })
    }
}

impl Sessions {
    fn new() -> Result<Self, rustls::Error> {
        Ok(Self {
            storage: ServerSessionMemoryCache::new(STORED_SESSIONS),
            tickets: rustls::crypto::aws_lc_rs::Ticketer::new()?,
        })
    }
}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generation")
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

fn pairs(
    settings: &Settings,
    material: &Material,
    now: SystemTime,
    served: Option<&Generation>,
    findings: &mut Findings,
) -> Vec<Pair> {
    let mut pairs = Vec::with_capacity(settings.pairs.len());
    for (place, source) in settings.pairs.iter().enumerate() {
        let pair = match validate::pair(source, material, now, &mut findings.warnings) {
            Ok(pair) => pair,
            Err(error) => {
                findings.errors.push(error);
                continue;
            }
        };
        let replaced = served.and_then(|served| served.info.pairs.get(place));
        let replaced = replaced.map(|pair| (pair.leaf.not_before, pair.leaf.not_after));
        let refuse_expired = settings.reload.refuse_expired;
        match validate::judge_dates(&pair.certificate_file, &pair.leaf, replaced, now, refuse_expired) {
            Ok(warning) => findings.warnings.extend(warning),
            Err(error) => findings.errors.push(error),
        }
        pairs.push(pair);
    }
    pairs
}

fn served_pairs(
    settings: &Settings,
    pairs: &[Pair],
    table: &mut SniTable,
    warnings: &mut Vec<Warning>,
) -> Vec<ServedPair> {
    let describe = |(source, pair): (&crate::source::PairSource, &Pair)| {
        let names = if source.names.is_empty() {
            &pair.leaf.dns_names
        } else {
            &source.names
        };
        ServedPair {
            leaf: pair.leaf.info.clone(),
            intermediates: pair.certified.cert.len().saturating_sub(1),
            issuers: pair.issuers.clone(),
            faults: pair.faults.clone(),
            sni: table.add(names, &pair.certified, warnings),
            certificate_file: pair.certificate_file.clone(),
            key_file: pair.key_file.clone(),
        }
    };
    settings.pairs.iter().zip(pairs).map(describe).collect()
}

fn server_config(
    settings: &Settings,
    provider: &Arc<CryptoProvider>,
    trust: &Trust,
    table: &Arc<SniTable>,
    sessions: &Sessions,
) -> Result<ServerConfig, rustls::Error> {
    let mut versions: Vec<_> = settings
        .protocols
        .iter()
        .map(|protocol| protocol.version())
        .collect();
    if versions.is_empty() {
        versions = [Protocol::Tls13, Protocol::Tls12].map(Protocol::version).to_vec();
    }
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&versions)?;
    let builder = match &trust.verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier.clone()),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(table.clone());
    config.alpn_protocols.clone_from(&settings.alpn);
    config.session_storage = sessions.storage.clone();
    config.ticketer = sessions.tickets.clone();
    Ok(config)
}

/// For clients without tickets; a session is a few KB.
const STORED_SESSIONS: usize = 1024;
