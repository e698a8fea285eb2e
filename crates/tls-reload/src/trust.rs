//! The verifier of client certificates, from CAs, pins and CRLs (reload.md 5.6, 6.3).

use std::sync::Arc;
use std::time::SystemTime;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use crate::any_client::AnyClient;
use crate::certificate::{Facts, common_name, hex};
use crate::error::{Findings, LoadError};
use crate::form;
use crate::moment::from_unix_seconds;
use crate::names::{ClientAuth, SpkiPin, VerificationMode};
use crate::pem::{self, Content};
use crate::read::Material;
use crate::source::Settings;
use crate::state::{CertificateInfo, RevocationListInfo};
use crate::warning::Warning;

/// Everything that decides over a client's certificate.
pub(crate) struct Trust {
    /// `None`: no certificate is asked for.
    pub(crate) verifier: Option<Arc<dyn ClientCertVerifier>>,
    pub(crate) authorities: Vec<CertificateInfo>,
    pub(crate) revocation_lists: Vec<RevocationListInfo>,
    /// Two sets of the same key accept the same clients: their sessions may be resumed by each other.
    pub(crate) key: [u8; 32],
}

struct Authority {
    der: CertificateDer<'static>,
    facts: Facts,
    file: String,
    position: usize,
}

struct List {
    der: CertificateRevocationListDer<'static>,
    info: RevocationListInfo,
    issuer: Vec<u8>,
}

impl Trust {
    /// `None` if an error was found.
    pub(crate) fn load(
        settings: &Settings,
        material: &Material,
        provider: &Arc<CryptoProvider>,
        now: SystemTime,
        findings: &mut Findings,
    ) -> Option<Self> {
        let errors_before = findings.errors.len();
        let authorities = authorities(settings, material, findings);
        let lists = lists(settings, material, findings);
        let authorities = pinned(settings, authorities, findings);
        warn_about(settings, &authorities, &lists, now, &mut findings.warnings);
        let verifier = match verifier(settings, &authorities, &lists, provider) {
            Ok(verifier) => verifier,
            Err(error) => {
                if findings.errors.len() == errors_before {
                    findings.errors.push(error);
                }
                None
            }
        };
        if findings.errors.len() > errors_before {
            return None;
        }
        Some(Self {
            verifier,
            key: key(settings, &authorities, &lists),
            authorities: authorities
                .into_iter()
                .map(|authority| authority.facts.info)
                .collect(),
            revocation_lists: lists.into_iter().map(|list| list.info).collect(),
        })
    }
}

fn authorities(settings: &Settings, material: &Material, findings: &mut Findings) -> Vec<Authority> {
    let role = "client CA";
    let mut all: Vec<Authority> = Vec::new();
    for source in &settings.client_authorities {
        let file = source.to_string();
        let sections = match crate::validate::sections(role, source, material) {
            Ok(sections) => sections,
            Err(error) => {
                findings.errors.push(error);
                continue;
            }
        };
        let unused = sections.unused(role, &file, &[Content::Certificate]);
        findings.warnings.extend(unused);
        if sections.certificates.is_empty() {
            findings.errors.push(LoadError::NoCertificate {
                role,
                file: file.clone(),
                inventory: sections.inventory(),
            });
        }
        for (place, der) in sections.certificates.into_iter().enumerate() {
            let (file, position) = (file.clone(), place + 1);
            match Facts::parse(&der) {
                Ok(facts) => all.push(Authority {
                    der,
                    facts,
                    file,
                    position,
                }),
                Err(reason) => findings.errors.push(LoadError::BadCertificate {
                    role,
                    file,
                    position,
                    reason,
                }),
            }
        }
    }
    all
}

/// Only CAs with a pinned key stay anchors. A pin for an intermediate works by listing that intermediate.
fn pinned(settings: &Settings, mut authorities: Vec<Authority>, findings: &mut Findings) -> Vec<Authority> {
    if settings.ca_sha256.is_empty() || authorities.is_empty() {
        return authorities;
    }
    authorities.retain(|authority| {
        let pin = SpkiPin(Sha256::digest(&authority.facts.public_key).into());
        let trusted = settings.ca_sha256.contains(&pin);
        if !trusted {
            let (file, subject) = (authority.file.clone(), authority.facts.info.subject.clone());
            findings.warnings.push(Warning::NotPinned { file, subject });
        }
        trusted
    });
    if authorities.is_empty() {
        findings.errors.push(LoadError::NoPinnedAuthority);
    }
    authorities
}

fn lists(settings: &Settings, material: &Material, findings: &mut Findings) -> Vec<List> {
    let role = "revocation list";
    let mut all = Vec::new();
    for path in &settings.revocation_lists {
        let file = path.display().to_string();
        let warnings = &mut findings.warnings;
        let parsed = material.file(role, path).and_then(|content| {
            if form::is_der(&content.bytes) {
                return Ok(vec![CertificateRevocationListDer::from(content.bytes.to_vec())]);
            }
            let sections = pem::parse(role, &file, &content.bytes)?;
            warnings.extend(sections.unused(role, &file, &[Content::RevocationList]));
            Ok(sections.revocation_lists)
        });
        match parsed {
            Err(error) => findings.errors.push(error),
            Ok(found) if found.is_empty() => {
                let reason = "it holds no X509 CRL section".to_owned();
                findings
                    .errors
                    .push(LoadError::BadRevocationList { file, reason });
            }
            Ok(found) => {
                for der in found {
                    match list(&file, der) {
                        Ok(list) => all.push(list),
                        Err(reason) => {
                            findings.errors.push(LoadError::BadRevocationList {
                                file: file.clone(),
                                reason,
                            });
                        }
                    }
                }
            }
        }
    }
    all
}

fn list(file: &str, der: CertificateRevocationListDer<'static>) -> Result<List, String> {
    let (info, issuer) = {
        let (_, parsed) = CertificateRevocationList::from_der(&der).map_err(|error| match error {
            x509_parser::nom::Err::Incomplete(_) => "it is cut off".to_owned(),
            x509_parser::nom::Err::Error(error) | x509_parser::nom::Err::Failure(error) => error.to_string(),
        })?;
        let info = RevocationListInfo {
            file: file.to_owned(),
            fingerprint: hex(&Sha256::digest(&der)),
            issuer_common_name: common_name(parsed.issuer()),
            revoked: parsed.iter_revoked_certificates().count(),
            next_update: parsed.next_update().map(|at| from_unix_seconds(at.timestamp())),
        };
        (info, parsed.issuer().as_raw().to_vec())
    };
    Ok(List { der, info, issuer })
}

fn warn_about(
    settings: &Settings,
    authorities: &[Authority],
    lists: &[List],
    now: SystemTime,
    warnings: &mut Vec<Warning>,
) {
    for Authority { facts, file, .. } in authorities {
        let (file, subject) = (file.clone(), facts.info.subject.clone());
        if facts.info.not_after < now {
            let (file, subject) = (file.clone(), subject.clone());
            warnings.push(Warning::AuthorityExpired {
                file,
                subject,
                not_after: facts.info.not_after,
            });
        }
        if !facts.is_authority {
            warnings.push(Warning::NotAnAuthority {
                file,
                subject: subject.clone(),
            });
        }
        if !lists.is_empty() && !lists.iter().any(|list| list.issuer == facts.subject) {
            warnings.push(Warning::NoRevocationList { subject });
        }
    }
    for list in lists {
        let file = || list.info.file.clone();
        if let Some(next_update) = list.info.next_update.filter(|due| *due < now) {
            warnings.push(Warning::RevocationListExpired {
                file: file(),
                next_update,
            });
        }
        if !authorities
            .iter()
            .any(|authority| authority.facts.subject == list.issuer)
        {
            let issuer = list.info.issuer_common_name.clone();
            warnings.push(Warning::RevocationListOfStranger { file: file(), issuer });
        }
    }
    match (settings.client_auth(), settings.verification_mode) {
        (ClientAuth::None, _) if !authorities.is_empty() => warnings.push(Warning::AuthoritiesUnused),
        (ClientAuth::None, _) => {}
        (_, VerificationMode::None) => warnings.push(Warning::VerificationOff),
        _ => {}
    }
}

/// Builds the verifier under every mode, so that a bad CA or CRL is found before it is needed.
fn verifier(
    settings: &Settings,
    authorities: &[Authority],
    lists: &[List],
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, LoadError> {
    let mode = settings.client_auth();
    let mut roots = RootCertStore::empty();
    for Authority {
        der, file, position, ..
    } in authorities
    {
        roots.add(der.clone()).map_err(|error| LoadError::BadAuthority {
            file: file.clone(),
            position: *position,
            reason: error.to_string(),
        })?;
    }
    let strict = if roots.is_empty() {
        None
    } else {
        let roots = Arc::new(roots);
        let build = |lists: &[List]| {
            let builder = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
                .with_crls(lists.iter().map(|list| list.der.clone()))
                // A CA without a list is warned about; refusing its clients would be an outage (reload.md 1.3).
                .allow_unknown_revocation_status();
            match mode {
                ClientAuth::Optional => builder.allow_unauthenticated().build(),
                ClientAuth::Required | ClientAuth::None => builder.build(),
            }
        };
        Some(build(lists).map_err(|error| {
            // The builder does not say which list it refuses.
            let culprit = lists.iter().find_map(|list| {
                let only = std::slice::from_ref(list);
                build(only)
                    .err()
                    .map(|error| (list.info.file.clone(), error.to_string()))
            });
            match culprit {
                Some((file, reason)) => LoadError::BadRevocationList { file, reason },
                None => LoadError::Configuration {
                    reason: error.to_string(),
                },
            }
        })?)
    };
    Ok(match (mode, settings.verification_mode) {
        (ClientAuth::None, _) => None,
        (_, VerificationMode::None) => Some(Arc::new(AnyClient::new(mode, provider))),
        _ => strict,
    })
}

fn key(settings: &Settings, authorities: &[Authority], lists: &[List]) -> [u8; 32] {
    // Sets, not sequences: the order of CAs and lists decides nothing.
    let mut digests: Vec<[u8; 32]> = Vec::new();
    digests.extend(
        authorities
            .iter()
            .map(|authority| <[u8; 32]>::from(Sha256::digest(&authority.der))),
    );
    digests.extend(
        lists
            .iter()
            .map(|list| <[u8; 32]>::from(Sha256::digest(&list.der))),
    );
    digests.extend(settings.ca_sha256.iter().map(|pin| pin.0));
    digests.sort_unstable();
    digests.dedup();
    let mut hash = Sha256::new();
    hash.update(format!(
        "{:?} {:?}",
        settings.client_auth(),
        settings.verification_mode
    ));
    for digest in digests {
        hash.update(digest);
    }
    hash.finalize().into()
}
