//! One pair: its bytes become a chain with the key that fits it, or the reasons why not (reload.md 5.1, 5.2, 5.4, 5.5).

use std::sync::Arc;
use std::time::SystemTime;

use rustls::sign::{CertifiedKey, SigningKey};
use rustls_pki_types::CertificateDer;

use crate::certificate::Facts;
use crate::chain::{self, Link};
use crate::error::LoadError;
use crate::key;
use crate::pem::{self, Content, Sections};
use crate::read::Material;
use crate::source::{PairSource, Passphrase, PemSource};
use crate::state::CertificateInfo;
use crate::warning::Warning;

/// Chains longer than this are refused (reload.md 4.3).
pub(crate) const MAX_CERTIFICATES: usize = 100;

/// A pair that can be served.
pub(crate) struct Pair {
    pub(crate) certified: Arc<CertifiedKey>,
    pub(crate) leaf: Facts,
    /// The issuers that are sent with it, in order.
    pub(crate) issuers: Vec<CertificateInfo>,
    /// What clients refuse about the chain, whenever they look.
    pub(crate) faults: Vec<String>,
    pub(crate) certificate_file: String,
    pub(crate) key_file: String,
}

/// Validates one pair of the set but for its dates, which depend on what is served.
pub(crate) fn pair(
    source: &PairSource,
    material: &Material,
    now: SystemTime,
    warnings: &mut Vec<Warning>,
) -> Result<Pair, LoadError> {
    let certificate_file = source.certificate.to_string();
    let key_file = source.key_source().to_string();
    let sections = sections("certificate", &source.certificate, material)?;
    warnings.extend(sections.unused("certificate", &certificate_file, PAIR));
    let links = links(&certificate_file, &sections)?;
    let keys = keys(source, sections, material, warnings).map_err(|error| match error {
        // A weak RSA key is refused by the crypto library in words that help nobody.
        LoadError::UnusableKey { .. } => weak(&links, &key_file).unwrap_or(error),
        _ => error,
    })?;
    let Some((leaf, key)) = fit(&links, &keys) else {
        return Err(LoadError::Mismatch {
            certificate: certificate_file,
            key: key_file,
        });
    };
    if keys.len() > 1 {
        warnings.push(Warning::SeveralKeys {
            file: key_file.clone(),
            count: keys.len(),
        });
    }
    let chain = chain::order(&certificate_file, links, leaf, now);
    warnings.extend(chain.warnings);
    let Some(leaf) = chain.links.first().map(|link| link.facts.clone()) else {
        return Err(LoadError::NoCertificate {
            role: "certificate",
            file: certificate_file,
            inventory: String::new(),
        });
    };
    judge_leaf(&certificate_file, &leaf, warnings);
    let mut faults = Vec::new();
    for (subject, fault) in chain::examine(&chain.links, now) {
        let lasts = !fault.is_of_time();
        let warning = Warning::Chain {
            file: certificate_file.clone(),
            subject,
            fault,
        };
        if lasts {
            faults.push(warning.to_string());
        }
        warnings.push(warning);
    }
    let issuers = chain
        .links
        .iter()
        .skip(1)
        .map(|link| link.facts.info.clone())
        .collect();
    if let Some(mode) = source
        .key_source()
        .path()
        .and_then(|path| material.file("key", path).ok())
        .map(|key| key.mode)
        && mode & 0o004 != 0
    {
        warnings.push(Warning::WorldReadableKey {
            file: key_file.clone(),
            mode,
        });
    }
    let sent = chain.links.into_iter().chain(chain.others);
    let sent: Vec<CertificateDer<'static>> = sent.map(|link| link.der).collect();
    Ok(Pair {
        certified: Arc::new(CertifiedKey::new(sent, key)),
        leaf,
        issuers,
        faults,
        certificate_file,
        key_file,
    })
}

/// The sections of one source.
pub(crate) fn sections(
    role: &'static str,
    source: &PemSource,
    material: &Material,
) -> Result<Sections, LoadError> {
    match source {
        PemSource::Inline(text) => pem::parse(role, &source.to_string(), text.as_bytes()),
        PemSource::Path(path) => pem::parse(role, &source.to_string(), &material.file(role, path)?.bytes),
    }
}

/// reload.md 5.3 for one leaf: `served` is the one it would replace, `None` at the start.
pub(crate) fn judge_dates(
    file: &str,
    candidate: &Facts,
    served: Option<(SystemTime, SystemTime)>,
    now: SystemTime,
    refuse_expired: bool,
) -> Result<Option<Warning>, LoadError> {
    if candidate.is_valid_at(now) {
        return Ok(None);
    }
    let (not_before, not_after) = (candidate.info.not_before, candidate.info.not_after);
    let (file, is_expired) = (file.to_owned(), not_after < now);
    let refused = match served {
        None => is_expired && refuse_expired,
        Some((from, until)) if (from..=until).contains(&now) => true,
        Some((_, until)) if not_after < until => return Err(LoadError::EndsEarlier { file, not_after }),
        Some(_) => false,
    };
    match (refused, is_expired) {
        (true, true) => Err(LoadError::Expired { file, not_after }),
        (true, false) => Err(LoadError::NotYetValid { file, not_before }),
        (false, true) => Ok(Some(Warning::Expired { file, not_after })),
        (false, false) => Ok(Some(Warning::NotYetValid { file, not_before })),
    }
}

fn links(file: &str, sections: &Sections) -> Result<Vec<Link>, LoadError> {
    let role = "certificate";
    let certificates = &sections.certificates;
    if certificates.is_empty() {
        return Err(LoadError::NoCertificate {
            role,
            file: file.to_owned(),
            inventory: sections.inventory(),
        });
    }
    if certificates.len() > MAX_CERTIFICATES {
        let (found, limit) = (certificates.len(), MAX_CERTIFICATES);
        return Err(LoadError::TooManyCertificates {
            role,
            file: file.to_owned(),
            found,
            limit,
        });
    }
    certificates
        .iter()
        .enumerate()
        .map(|(place, der)| match Facts::parse(der) {
            Ok(facts) => Ok(Link {
                der: der.clone(),
                facts,
            }),
            Err(reason) => Err(LoadError::BadCertificate {
                role,
                file: file.to_owned(),
                position: place + 1,
                reason,
            }),
        })
        .collect()
}

fn keys(
    source: &PairSource,
    certificate: Sections,
    material: &Material,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<Arc<dyn SigningKey>>, LoadError> {
    let file = source.key_source().to_string();
    let own = match &source.key {
        Some(key) => {
            let own = sections("key", key, material)?;
            if key != &source.certificate {
                warnings.extend(own.unused("key", &file, PAIR));
            }
            own
        }
        None => certificate,
    };
    let phrase: Option<&[u8]> = match &source.passphrase {
        None => None,
        Some(Passphrase::Value(secret)) => Some(secret.as_bytes()),
        Some(Passphrase::Path(path)) => Some(without_newline(&material.file("passphrase", path)?.bytes)),
    };
    key::signing_keys(&file, &own, phrase, warnings)
}

/// The place of the leaf and the key that signs for it: the first certificate if any key fits it, otherwise
/// the first that a key fits (a shuffled chain).
fn fit(links: &[Link], keys: &[Arc<dyn SigningKey>]) -> Option<(usize, Arc<dyn SigningKey>)> {
    links.iter().enumerate().find_map(|(place, link)| {
        let fits = |key: &&Arc<dyn SigningKey>| {
            key.public_key()
                .is_some_and(|public| public.as_ref() == link.facts.public_key.as_slice())
        };
        keys.iter().find(fits).map(|key| (place, key.clone()))
    })
}

fn weak(links: &[Link], key_file: &str) -> Option<LoadError> {
    let bits = links
        .first()
        .and_then(|leaf| leaf.facts.rsa_bits)
        .filter(|bits| *bits < 2048)?;
    Some(LoadError::WeakKey {
        file: key_file.to_owned(),
        bits,
    })
}

fn judge_leaf(file: &str, leaf: &Facts, warnings: &mut Vec<Warning>) {
    let file = || file.to_owned();
    if !leaf.has_names {
        warnings.push(Warning::NoNames { file: file() });
    }
    if !leaf.serves {
        warnings.push(Warning::NoServerAuth { file: file() });
    }
    if leaf.is_authority {
        warnings.push(Warning::AuthorityAsLeaf { file: file() });
    }
    let life = leaf
        .info
        .not_after
        .duration_since(leaf.info.not_before)
        .unwrap_or_default();
    let days = life.as_secs() / DAY;
    if days > MAX_DAYS {
        warnings.push(Warning::LongLived { file: file(), days });
    }
}

fn without_newline(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

/// What the files of a pair may hold: either of them may be both at once.
const PAIR: &[Content] = &[Content::Certificate, Content::Key, Content::Curve];
const DAY: u64 = 24 * 3600;
/// What browsers and some clients accept at most.
const MAX_DAYS: u64 = 398;
