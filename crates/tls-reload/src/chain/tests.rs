//! The verdicts over NIST's PKITS, and over certificates that nobody makes any more.

use std::collections::HashMap;
use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::pem;

const PKITS: &str = include_str!("../../tests/chains/pkits.pem");
const WEAK: &str = include_str!("../../tests/chains/weak.pem");

/// The certificates of a file by the names that stand before them.
fn named(text: &str) -> HashMap<&str, Link> {
    let names = text.lines().filter_map(|line| line.strip_prefix("name "));
    let found = pem::parse("certificate", "corpus", text.as_bytes())
        .unwrap()
        .certificates;
    let links = found.into_iter().map(|der| Link {
        facts: Facts::parse(&der).unwrap(),
        der,
    });
    let named: HashMap<_, _> = names.zip(links).collect();
    assert_eq!(named.len(), text.matches("BEGIN CERTIFICATE").count());
    named
}

/// Leaf first.
fn judge(certificates: &HashMap<&str, Link>, names: &[&str]) -> (Vec<Warning>, Vec<ChainFault>) {
    // Within the life of all that is not dated badly on purpose.
    let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let links = names.iter().map(|name| certificates[name].clone()).collect();
    let chain = order("f", links, 0, now);
    let found = examine(&chain.links, now);
    (
        chain.warnings,
        found.into_iter().map(|(_, fault)| fault).collect(),
    )
}

#[test]
fn pkits_paths_are_judged_as_nist_says() {
    let certificates = named(PKITS);
    let mut wrong = Vec::new();
    let paths: Vec<&str> = PKITS
        .lines()
        .filter_map(|line| line.strip_prefix("path "))
        .collect();
    assert_eq!(paths.len(), 36);
    for path in paths {
        let (verdict, names) = path.split_once(' ').unwrap();
        let mut names: Vec<&str> = names.split(' ').collect();
        names.insert(0, "TrustAnchorRootCertificate");
        names.reverse();
        let (warnings, faults) = judge(&certificates, &names);
        if (warnings.is_empty() && faults.is_empty()) != (verdict == "+") {
            wrong.push(format!("{path}: {warnings:?} {faults:?}"));
        }
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn each_fault_is_told_for_what_it_is() {
    let certificates = named(PKITS);
    let fault = |leaf: &str, others: &[&str]| {
        let names: Vec<&str> = std::iter::once(&leaf).chain(others).copied().collect();
        judge(&certificates, &names).1
    };
    assert!(matches!(
        fault("InvalidEESignatureTest3EE", &["GoodCACert"])[..],
        [ChainFault::WrongSignature(_)]
    ));
    assert!(matches!(
        fault("InvalidCAnotAfterDateTest5EE", &["BadnotAfterDateCACert"])[..],
        [ChainFault::Expired(_)]
    ));
    assert!(matches!(
        fault(
            "InvalidcAFalseTest2EE",
            &["basicConstraintsCriticalcAFalseCACert"]
        )[..],
        [ChainFault::NotAnAuthority]
    ));
    assert!(matches!(
        fault(
            "InvalidpathLenConstraintTest5EE",
            &["pathLenConstraint0subCACert", "pathLenConstraint0CACert"]
        )[..],
        [ChainFault::PathTooLong(0)]
    ));
    assert!(matches!(
        fault(
            "InvalidkeyUsageCriticalkeyCertSignFalseTest1EE",
            &["keyUsageCriticalkeyCertSignFalseCACert"]
        )[..],
        [ChainFault::MayNotSign]
    ));
    assert!(matches!(
        fault(
            "InvalidDNSnameConstraintsTest31EE",
            &["nameConstraintsDNS1CACert"]
        )[..],
        [ChainFault::Refused(_)]
    ));
}

#[test]
fn weak_digests_and_keys() {
    let certificates = named(WEAK);
    let faults = |names: &[&str]| judge(&certificates, names).1;
    assert_eq!(faults(&["md5", "root"]), [ChainFault::WeakSignature("MD5")]);
    assert_eq!(faults(&["sha1", "root"]), [ChainFault::WeakSignature("SHA-1")]);
    assert_eq!(
        faults(&["sha1"]),
        [ChainFault::WeakSignature("SHA-1")],
        "also alone"
    );
    // RSA 1024 signs, and rustls verifies none of it: the weak key is what is told.
    assert!(faults(&["under", "mid", "root"]).contains(&ChainFault::WeakKey(1024)));
}

/// Of two certificates of the issuer's name the one that signed the leaf is taken, wherever it stands.
#[test]
fn the_issuer_is_the_one_that_signed() {
    let mut certificates = named(PKITS);
    let impostor = certificates["GoodCACert"].clone();
    let mut impostor = Link {
        der: certificates["BadSignedCACert"].der.clone(),
        ..impostor
    };
    impostor.facts.subject_key_id = None;
    certificates.insert("impostor", impostor);
    let (warnings, faults) = judge(
        &certificates,
        &["ValidCertificatePathTest1EE", "impostor", "GoodCACert"],
    );
    assert_eq!(faults, [], "{warnings:?}");
}
