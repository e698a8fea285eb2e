//! The chain of a certificate: leaf first, then each issuer (reload.md 5.4), and a client's verdict on each of
//! them.
//!
//! The certificates of a file go in, in any order; the chain, what does not belong to it, and warnings come out.
//! Which CA a client trusts is not known here: the end of the chain stands for it.

use std::time::SystemTime;

use rustls::server::ParsedCertificate;
use rustls_pki_types::CertificateDer;

use crate::as_client::AsClient;
use crate::certificate::Facts;
use crate::chain_fault::ChainFault;
use crate::signature::is_signed_by;
use crate::warning::Warning;

/// A certificate with its facts.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) der: CertificateDer<'static>,
    pub(crate) facts: Facts,
}

/// The certificates of a file, put in order.
pub(crate) struct Chain {
    /// From the leaf up.
    pub(crate) links: Vec<Link>,
    /// Sent after it: cross-signed issuers, and unrelated certificates.
    pub(crate) others: Vec<Link>,
    pub(crate) warnings: Vec<Warning>,
}

/// Orders `links` from the one at `leaf` up, and tells what had to be repaired. `leaf` is a valid place.
pub(crate) fn order(file: &str, links: Vec<Link>, leaf: usize, now: SystemTime) -> Chain {
    let mut warnings = Vec::new();
    let mut rest: Vec<Option<Link>> = links.into_iter().map(Some).collect();
    let mut chain: Vec<Link> = Vec::with_capacity(rest.len());
    let mut places = Vec::with_capacity(rest.len());
    let mut next = Some(leaf);
    while let Some(link) = next.and_then(|place| rest.get_mut(place)).and_then(Option::take) {
        places.extend(next);
        next = if link.is_self_signed() {
            None
        } else {
            issuer(&link, &rest, now)
        };
        chain.push(link);
    }
    let mut strangers = Vec::new();
    let mut kept = Vec::new();
    for link in rest.into_iter().flatten() {
        let known = || chain.iter().chain(&kept);
        if known().any(|other: &Link| other.der == link.der) {
            continue; // said twice
        }
        // Another certificate for an issuer of the chain (cross-signed) is no stranger, nor is its own issuer.
        if !known().any(|other: &Link| other.facts.issuer == link.facts.subject) {
            strangers.push(link.facts.info.subject.clone());
        }
        kept.push(link);
    }
    let file = || file.to_owned();
    if !places.is_sorted() || places.first().is_some_and(|first| *first != 0) {
        warnings.push(Warning::ChainShuffled { file: file() });
    }
    if let [only] = chain.as_slice()
        && !only.facts.is_self_issued()
        // A stranger where the issuer should be, or a leaf that only a public CA's intermediate can have issued:
        // otherwise the issuer may well be the root.
        && (!strangers.is_empty() || only.facts.has_timestamps)
    {
        let issuer = only.facts.issuer_name.clone();
        warnings.push(Warning::MissingIntermediate { file: file(), issuer });
    }
    warnings.extend(strangers.into_iter().map(|subject| Warning::Unrelated {
        file: file(),
        subject,
    }));
    Chain {
        links: chain,
        others: kept,
        warnings,
    }
}

/// Who has issued `link`, among several of the same name the one whose key signed it, then one that is valid now.
fn issuer(link: &Link, rest: &[Option<Link>], now: SystemTime) -> Option<usize> {
    let named = rest.iter().enumerate().filter_map(|(place, other)| {
        let other = other.as_ref()?;
        (link.facts.issuer == other.facts.subject).then_some((place, other))
    });
    let rank = |(_, other): &(usize, &Link)| {
        (
            is_signed_by(&link.der, &other.der) == Some(false),
            !link.facts.key_ids_agree(&other.facts),
            !other.facts.is_valid_at(now),
        )
    };
    named.min_by_key(rank).map(|(place, _)| place)
}

/// What clients refuse about `links`, a chain from the leaf up. The leaf's own dates are judged elsewhere
/// (reload.md 5.3).
pub(crate) fn examine(links: &[Link], now: SystemTime) -> Vec<(String, ChainFault)> {
    let mut found = Vec::new();
    let mut intermediates: u32 = 0;
    for (place, link) in links.iter().enumerate() {
        let facts = &link.facts;
        let mut tell = |fault| found.push((facts.info.subject.clone(), fault));
        if place == 0 {
            if facts.key_usage.is_some_and(|usage| !usage.digital_signature()) && !facts.is_authority {
                tell(ChainFault::MayNotShakeHands);
            }
        } else {
            if facts.info.not_after < now {
                tell(ChainFault::Expired(facts.info.not_after));
            }
            if facts.info.not_before > now {
                tell(ChainFault::NotYetValid(facts.info.not_before));
            }
            if !facts.is_authority {
                tell(ChainFault::NotAnAuthority);
            }
            if let Some(limit) = facts.path_length.filter(|limit| intermediates > *limit) {
                tell(ChainFault::PathTooLong(limit));
            }
            if facts.key_usage.is_some_and(|usage| !usage.key_cert_sign()) {
                tell(ChainFault::MayNotSign);
            }
            if facts.usages == Some(false) {
                tell(ChainFault::NotForServers);
            }
            // RFC 5280 4.2.1.9: one that a CA has issued to itself does not count.
            intermediates += u32::from(!facts.is_self_issued());
        }
        // Nobody verifies what a root says of itself.
        if let Some(digest) = facts.weak_digest.filter(|_| !link.is_self_signed()) {
            tell(ChainFault::WeakSignature(digest));
        }
        if let Some(bits) = facts.rsa_bits.filter(|bits| *bits < MIN_RSA) {
            tell(ChainFault::WeakKey(bits));
        }
        if let Some(issuer) = links.get(place + 1)
            && is_signed_by(&link.der, &issuer.der) == Some(false)
        {
            tell(ChainFault::WrongSignature(issuer.facts.info.subject.clone()));
        }
    }
    // What is left that only a client knows: names that a CA may not issue for, extensions that nobody understands.
    if found.is_empty()
        && let Some(leaf) = links.first()
        && let Err(reason) = as_client(links, now)
    {
        found.push((leaf.facts.info.subject.clone(), ChainFault::Refused(reason)));
    }
    found
}

/// The verdict of a client that trusts whoever is at the end of the chain.
fn as_client(links: &[Link], now: SystemTime) -> Result<(), String> {
    let (Some(leaf), Some(last)) = (links.first(), links.last()) else {
        return Ok(());
    };
    let facts = &leaf.facts;
    if facts.is_authority || facts.usages == Some(false) || !facts.is_valid_at(now) {
        return Ok(()); // each of these is a warning of its own
    }
    ParsedCertificate::try_from(&leaf.der).map_err(|error| error.to_string())?;
    let Some(name) = facts.info.names.iter().find(|name| AsClient::can_ask_for(name)) else {
        return Ok(());
    };
    let others: Vec<_> = links.iter().skip(1).map(|link| link.der.clone()).collect();
    if others.is_empty() {
        return Ok(()); // its issuer is somewhere else: nobody here can be trusted in its place
    }
    let client = AsClient::trusting(std::slice::from_ref(&last.der))?;
    client
        .ask(&leaf.der, &others, name, now)
        .map_err(|refusal| refusal.to_string())
}

impl Link {
    /// Whether it signed itself, not only by name.
    pub(crate) fn is_self_signed(&self) -> bool {
        self.facts.is_self_issued() && is_signed_by(&self.der, &self.der) != Some(false)
    }
}

/// Smallest RSA key that clients accept, bits.
const MIN_RSA: usize = 2048;

#[cfg(test)]
mod tests;
