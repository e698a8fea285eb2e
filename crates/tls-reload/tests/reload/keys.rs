//! T13, T14, reload.md 5.1, 5.2: which keys are read, and what is said of the others.

use std::fs;
use std::time::{Duration, Instant};

use pkcs8::pkcs5::pbes2;
use tls_reload::{FailureReason, LoadError, Passphrase, Reloader, Secret, Warning};

use crate::authority::{Authority, Kind, Order, Pair, pem};
use crate::client::{client, shake};
use crate::site::{Site, directory, settings, write};
use crate::start::{good, load, refused, spoiled};

/// PBES2 as OpenSSL 3 writes it, with few rounds.
pub(crate) fn encrypted(pair: &Pair, phrase: &str) -> String {
    encrypted_with(pair, phrase, 1000)
}

pub(crate) fn encrypted_with(pair: &Pair, phrase: &str, rounds: u32) -> String {
    let salt = [7; 16];
    let parameters =
        pbes2::Parameters::generate_pbkdf2_sha256_aes256cbc(rounds, &salt, [9; 16]).expect("parameters");
    let plain = pkcs8::PrivateKeyInfoRef::try_from(pair.key_der.as_slice()).expect("PKCS#8");
    let secret = plain
        .encrypt_with_params(parameters, phrase.as_bytes())
        .expect("encrypted");
    pem("ENCRYPTED PRIVATE KEY", secret.as_bytes())
}

/// A damaged file may ask for any work: the reader must come back, and its memory must suffice.
#[test]
fn t13_a_key_that_costs_too_much_is_refused_at_once() {
    let (root, mut settings, pair) = good();
    settings.pairs[0].passphrase = Some(Passphrase::Value(Secret::new("open sesame".to_owned())));
    let plain = pkcs8::PrivateKeyInfoRef::try_from(pair.key_der.as_slice()).expect("PKCS#8");
    let rounds = pbes2::Parameters::generate_pbkdf2_sha256_aes256cbc(100_000, &[7; 16], [9; 16]);
    let memory = pbes2::Parameters::generate_scrypt_aes256cbc(
        pkcs8::pkcs5::scrypt::Params::new(15, 8, 1).expect("scrypt"),
        &[7; 16],
        [9; 16],
    );
    for (parameters, bearable, unbearable) in [
        (rounds, [2, 3, 0x01, 0x86, 0xA0], [2, 3, 0x7F, 0xFF, 0xFF]),
        (memory, [2, 3, 0x00, 0x80, 0x00], [2, 3, 0x40, 0x00, 0x00]),
    ] {
        let secret = plain
            .encrypt_with_params(parameters.expect("parameters"), b"open sesame")
            .expect("encrypted");
        let mut der = secret.as_bytes().to_vec();
        let key = root.path().join("tls.key");
        fs::write(&key, pem("ENCRYPTED PRIVATE KEY", &der)).expect("write");
        load(&settings).expect("what people use is served");
        let at = der
            .windows(5)
            .position(|five| five == bearable)
            .expect("the number");
        der[at..at + 5].copy_from_slice(&unbearable);
        fs::write(&key, pem("ENCRYPTED PRIVATE KEY", &der)).expect("write");
        let began = Instant::now();
        let rejected = refused(&settings);
        assert!(
            matches!(rejected.first(), Some(LoadError::UnsupportedEncryption { .. })),
            "{rejected}"
        );
        assert!(began.elapsed() < Duration::from_secs(2));
    }
}

/// Each encrypted key costs seconds: a file with many must not hold the reader for half an hour.
#[test]
fn t13_r15_a_file_of_many_keys_is_refused_before_any_is_opened() {
    let (root, mut settings, pair) = good();
    settings.pairs[0].passphrase = Some(Passphrase::Value(Secret::new("open sesame".to_owned())));
    let key = root.path().join("tls.key");
    let locked = encrypted(&pair, "open sesame");
    fs::write(&key, locked.repeat(8)).expect("write");
    load(&settings).expect("eight are read");
    fs::write(&key, format!("{}{}", locked.repeat(8), pair.key)).expect("write");
    let rejected = refused(&settings);
    assert!(
        matches!(
            rejected.first(),
            Some(LoadError::TooManyKeys {
                found: 9,
                limit: 8,
                ..
            })
        ),
        "{rejected}"
    );
    assert_eq!(rejected.reason(), FailureReason::TooLarge);
    assert!(
        rejected
            .to_string()
            .ends_with("holds 9 private keys, more than 8"),
        "{rejected}"
    );
}

/// reload.md 4.4: on one thread with the actor, a read of half a second holds nobody up.
#[test]
fn r16_a_long_read_leaves_the_event_loop_free() {
    let (root, mut settings, pair) = good();
    settings.pairs[0].passphrase = Some(Passphrase::Value(Secret::new("slow".to_owned())));
    fs::write(root.path().join("tls.key"), encrypted(&pair, "slow")).expect("write");
    actix_rt::System::new().block_on(async move {
        let handle = Reloader::new(settings).start().expect("served");
        fs::write(
            root.path().join("tls.key"),
            encrypted_with(&pair, "slow", 2_000_000),
        )
        .expect("write");
        let began = Instant::now();
        let reload = handle.reload_now(tls_reload::Trigger::Api);
        let mut reload = std::pin::pin!(reload);
        let mut tick = tokio::time::interval(Duration::from_millis(2));
        let mut ticks = 0u128;
        let outcome = loop {
            tokio::select! {
                outcome = &mut reload => break outcome,
                _ = tick.tick() => ticks += 1,
            }
        };
        let took = began.elapsed();
        assert_eq!(outcome.result, tls_reload::ReloadResult::Success, "{outcome:?}");
        println!("{ticks} ticks in a read of {took:?}");
        assert!(
            ticks > 20 && ticks > took.as_millis() / 20,
            "{ticks} ticks in {took:?}"
        );
        handle.shutdown().await;
    });
}

#[test]
fn t13_passphrases() {
    let (root, mut settings, pair) = good();
    fs::write(root.path().join("tls.key"), encrypted(&pair, "open sesame")).expect("write");
    assert!(matches!(
        refused(&settings).first(),
        Some(LoadError::PassphraseMissing { .. })
    ));
    settings.pairs[0].passphrase = Some(Passphrase::Value(Secret::new("wrong".to_owned())));
    let rejected = refused(&settings);
    assert!(matches!(rejected.first(), Some(LoadError::CannotDecrypt { .. })));
    assert!(rejected.to_string().starts_with("cannot decrypt ") && !rejected.to_string().contains("wrong"));
    settings.pairs[0].passphrase = Some(Passphrase::Value(Secret::new("open sesame".to_owned())));
    load(&settings).expect("opened by the phrase");
    let phrase = root.path().join("phrase");
    fs::write(&phrase, "open sesame\n").expect("write");
    settings.pairs[0].passphrase = Some(Passphrase::Path(phrase.clone()));
    load(&settings).expect("one trailing newline is cut");
    fs::write(&phrase, "open sesame\n\n").expect("write");
    assert!(
        matches!(refused(&settings).first(), Some(LoadError::CannotDecrypt { .. })),
        "only one"
    );
}

#[tokio::test]
async fn t14_every_kind_of_key() {
    let authority = Authority::new("root");
    for kind in [Kind::P256, Kind::P384, Kind::P521, Kind::Ed25519, Kind::Rsa] {
        let pair = authority.issue(&Order::new(&["localhost"]).kind(kind));
        let inner = pkcs8::PrivateKeyInfoRef::try_from(pair.key_der.as_slice()).expect("PKCS#8");
        let traditional = match kind {
            Kind::Ed25519 => None,
            Kind::Rsa => Some(pem("RSA PRIVATE KEY", inner.private_key.as_bytes())),
            _ => Some(pem("EC PRIVATE KEY", inner.private_key.as_bytes())),
        };
        let forms = [Some(pair.key.clone()), Some(encrypted(&pair, "x")), traditional];
        for key in forms.into_iter().flatten() {
            let root = directory();
            write(root.path(), &Pair { key, ..pair.clone() });
            let mut settings = settings(root.path());
            settings.pairs[0].passphrase = Some(Passphrase::Value(Secret::new("x".to_owned())));
            let site = Site::serving(root, settings);
            let seen = shake(
                &site.handle.resolver(),
                &client(&authority, &rustls::version::TLS13, None),
                "localhost",
            )
            .await;
            assert_eq!(
                seen.expect("a handshake").fingerprint,
                pair.fingerprint,
                "{kind:?}"
            );
        }
    }
}

#[test]
fn r18_weak_keys_are_named() {
    let (root, settings, _) = good();
    fs::write(root.path().join("tls.crt"), WEAK_CERTIFICATE).expect("write");
    fs::write(root.path().join("tls.key"), WEAK_KEY).expect("write");
    let rejected = refused(&settings);
    assert!(
        matches!(rejected.first(), Some(LoadError::WeakKey { bits: 1024, .. })),
        "{rejected}"
    );
    let (_root, rejected) = spoiled("tls.key", pem("PUBLIC KEY", b"\x30\x00").as_bytes());
    assert!(
        matches!(rejected.first(), Some(LoadError::NoKey { .. })),
        "{rejected}"
    );
}

#[test]
fn r17_of_several_keys_the_one_that_fits() {
    let (root, settings, pair) = good();
    let other = Authority::new("other").server().key;
    fs::write(root.path().join("tls.key"), format!("{other}{}", pair.key)).expect("write");
    let generation = load(&settings).expect("served");
    assert!(
        generation
            .warnings()
            .iter()
            .any(|warning| matches!(warning, Warning::SeveralKeys { count: 2, .. }))
    );
}

/// Made by OpenSSL for this test: `openssl req -x509 -newkey rsa:1024 -nodes -days 36500 -subj /CN=weak`.
const WEAK_CERTIFICATE: &str = include_str!("weak.crt");
const WEAK_KEY: &str = include_str!("weak.key");
