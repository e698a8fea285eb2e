//! reload.md 5.2: every private key form that OpenSSL 1.1 and 3 write is served, or refused with what to do.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::KeyPair;
use tls_reload::{FailureReason, LoadError, Passphrase, Secret, Settings, Warning};

use crate::authority::{Authority, Order};
use crate::site::{directory, settings};
use crate::start::{load, refused};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/reload/openssl")
        .join(name)
}

/// Each file of a folder with a set that has it as its key, beside a certificate for that key.
fn each(name: &str, judge: impl Fn(&str, &Settings)) {
    let authority = Authority::new("root");
    let mut count = 0;
    for entry in fs::read_dir(folder(name)).expect("the folder") {
        let path = entry.expect("an entry").path();
        let stem = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .expect("a name")
            .to_owned();
        let kind = stem.split('-').next().expect("a kind");
        let plain = fs::read_to_string(folder("read").join(format!("{kind}.pem"))).expect("the plain key");
        let pair = authority.issue_for(
            &Order::new(&["localhost"]),
            &KeyPair::from_pem(&plain).expect("a key"),
        );
        let root = directory();
        fs::write(root.path().join("tls.crt"), &pair.certificate).expect("write");
        fs::copy(&path, root.path().join("tls.key")).expect("copy");
        let mut settings = settings(root.path());
        settings.pairs[0].passphrase = Some(Passphrase::Value(Secret::new("secret".to_owned())));
        judge(&stem, &settings);
        count += 1;
    }
    assert!(count > 5, "the folder {name} is there");
}

#[test]
fn r18_each_form_is_served() {
    each("read", |name, settings| {
        let generation = load(settings).unwrap_or_else(|rejected| panic!("{name}: {rejected}"));
        let is_old = |warning: &Warning| matches!(warning, Warning::LegacyEncryption { .. });
        assert_eq!(
            generation
                .warnings()
                .iter()
                .filter(|warning| is_old(warning))
                .count(),
            usize::from(name.contains("-old-")),
            "{name}: {:?}",
            generation.warnings()
        );
    });
}

#[test]
fn t13_a_wrong_phrase_is_told_in_each_form() {
    each("read", |name, settings| {
        if !["-pbes2", "-old-"].iter().any(|form| name.contains(form)) {
            return;
        }
        let mut settings = settings.clone();
        settings.pairs[0].passphrase = Some(Passphrase::Value(Secret::new("wrong".to_owned())));
        let rejected = refused(&settings);
        assert!(
            matches!(rejected.first(), Some(LoadError::CannotDecrypt { .. })),
            "{name}: {rejected}"
        );
        settings.pairs[0].passphrase = None;
        let rejected = refused(&settings);
        assert!(
            matches!(rejected.first(), Some(LoadError::PassphraseMissing { .. })),
            "{name}: {rejected}"
        );
    });
}

#[test]
fn r18_other_ciphers_are_refused_with_the_command_that_converts_them() {
    each("refused", |name, settings| {
        let rejected = refused(settings);
        assert!(
            matches!(rejected.first(), Some(LoadError::UnsupportedEncryption { .. })),
            "{name}: {rejected}"
        );
        assert_eq!(rejected.reason(), FailureReason::Passphrase);
        assert!(
            rejected.hint().contains("openssl pkcs8 -topk8 -v2 aes-256-cbc"),
            "{name}: {}",
            rejected.hint()
        );
    });
}

/// Whatever stands in the header, it is an error of its own and nothing of it is quoted.
#[test]
fn r18_a_damaged_header_is_told() {
    let whole = fs::read_to_string(folder("read").join("ec-old-aes128.pem")).expect("the key");
    let authority = Authority::new("root");
    let root = directory();
    fs::write(root.path().join("tls.crt"), authority.server().certificate).expect("write");
    let mut settings = settings(root.path());
    settings.pairs[0].passphrase = Some(Passphrase::Value(Secret::new("secret".to_owned())));
    let header = whole
        .lines()
        .find(|line| line.starts_with("DEK-Info"))
        .expect("the header");
    for damaged in [
        "DEK-Info: AES-128-CBC,zz",
        "DEK-Info: AES-128-CBC,00",
        "DEK-Info: hush-9,00",
        "DEK-Info:",
        "X: y",
    ] {
        fs::write(root.path().join("tls.key"), whole.replace(header, damaged)).expect("write");
        let rejected = refused(&settings);
        assert!(
            matches!(rejected.first(), Some(LoadError::UnsupportedEncryption { .. })),
            "{damaged}: {rejected}"
        );
        assert!(!rejected.to_string().contains("hush-9"));
    }
}
