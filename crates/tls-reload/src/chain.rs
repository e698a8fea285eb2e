//! The order of a chain: leaf first, then each issuer; what does not belong comes last (R20).

use rustls_pki_types::CertificateDer;

use crate::certificate::Facts;
use crate::warning::Warning;

/// A certificate with its facts.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) der: CertificateDer<'static>,
    pub(crate) facts: Facts,
}

/// Orders `links` from the one at `leaf` up, and tells what had to be repaired. `leaf` is a valid place.
pub(crate) fn order(file: &str, mut links: Vec<Link>, leaf: usize) -> (Vec<Link>, Vec<Warning>) {
    let mut warnings = Vec::new();
    let mut rest: Vec<Option<Link>> = links.drain(..).map(Some).collect();
    let mut chain: Vec<Link> = Vec::with_capacity(rest.len());
    let mut places = Vec::with_capacity(rest.len());
    let mut next = Some(leaf);
    while let Some(link) = next.and_then(|place| rest.get_mut(place)).and_then(Option::take) {
        places.extend(next);
        next = if link.facts.is_self_issued() {
            None
        } else {
            rest.iter().position(|other| {
                other
                    .as_ref()
                    .is_some_and(|other| link.facts.is_issued_by(&other.facts))
            })
        };
        chain.push(link);
    }
    let mut strangers = Vec::new();
    let mut kept = Vec::new();
    for link in rest.into_iter().flatten() {
        if chain
            .iter()
            .chain(&kept)
            .any(|other: &Link| other.der == link.der)
        {
            continue; // said twice
        }
        // Another certificate for an issuer of the chain (cross-signed) is no stranger, nor is its own issuer.
        let belongs = chain
            .iter()
            .chain(&kept)
            .any(|other: &Link| other.facts.issuer == link.facts.subject);
        if !belongs {
            strangers.push(link.facts.info.subject.clone());
        }
        kept.push(link);
    }
    if !places.is_sorted() || places.first().is_some_and(|first| *first != 0) {
        warnings.push(Warning::ChainShuffled {
            file: file.to_owned(),
        });
    }
    if let Some(last) = chain.last().filter(|last| !last.facts.is_self_issued()) {
        // An unrelated certificate where the issuer should be, or a leaf that only a public CA's intermediate
        // can have issued: otherwise the issuer may well be the root.
        if !strangers.is_empty() || (chain.len() == 1 && last.facts.has_timestamps) {
            let issuer = last.facts.issuer_name.clone();
            warnings.push(Warning::MissingIntermediate {
                file: file.to_owned(),
                issuer,
            });
        }
    }
    warnings.extend(strangers.into_iter().map(|subject| Warning::Unrelated {
        file: file.to_owned(),
        subject,
    }));
    chain.append(&mut kept);
    (chain, warnings)
}
