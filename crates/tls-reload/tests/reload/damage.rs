//! Untrusted bytes: whatever stands in a file, loading it ends with an answer.

use std::fs;

use tls_reload::{Passphrase, PemSource, Secret};

use crate::authority::{Authority, Kind, Order};
use crate::keys::encrypted;
use crate::site::{directory, settings};
use crate::start::load;

/// Real PEM with bytes changed, cut, doubled: whatever comes, an answer and no panic.
#[test]
fn damaged_pem_never_panics() {
    use proptest::prelude::*;
    let authority = Authority::new("root");
    let pair = authority.server();
    let list = authority.revoke(&[1, 2], time::Duration::days(9));
    let corpus = [
        pair.certificate.clone(),
        pair.key.clone(),
        encrypted(&pair, "x"),
        authority.issue(&Order::new(&["a"]).kind(Kind::Rsa)).key,
        list.clone(),
    ];
    let place = directory();
    fs::write(place.path().join("tls.crt"), &pair.certificate).expect("write");
    fs::write(place.path().join("tls.key"), &pair.key).expect("write");
    let damage = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 1..6);
    let cases = ProptestConfig {
        cases: 600,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let mut runner = proptest::test_runner::TestRunner::new(cases);
    let outcome = runner.run(&(0..corpus.len(), 0..4usize, damage), |(which, role, damage)| {
        let mut text = corpus[which].clone().into_bytes();
        for (place, byte, kind) in damage {
            let at = place.index(text.len().max(1)).min(text.len().saturating_sub(1));
            match kind {
                0 => text[at] = byte,
                1 => text.insert(at, byte),
                2 if text.len() > 1 => text.truncate(at),
                _ => text.extend_from_within(at..),
            }
            if text.is_empty() {
                break;
            }
        }
        let mut settings = settings(place.path());
        settings.pairs[0].passphrase = Some(Passphrase::Value(Secret::new("x".to_owned())));
        let damaged = place.path().join("damaged");
        fs::write(&damaged, &text).expect("write");
        match role {
            0 => settings.pairs[0].certificate = PemSource::Path(damaged),
            1 => settings.pairs[0].key = Some(PemSource::Path(damaged)),
            2 => settings.client_authorities = vec![PemSource::Path(damaged)],
            _ => {
                settings.client_authorities = vec![PemSource::from_config(&authority.pem)];
                settings.revocation_lists = vec![damaged];
            }
        }
        if let Err(rejected) = load(&settings) {
            prop_assert!(!rejected.findings.errors.is_empty());
            prop_assert!(!rejected.to_string().contains('\n'), "{rejected}");
        }
        Ok(())
    });
    outcome.expect("no panic");
}
