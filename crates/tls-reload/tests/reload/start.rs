//! T1 to T20: what the start serves, and what it refuses with file, reason and remedy.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use tempfile::TempDir;
use tls_reload::{
    CipherSuite, ClientAuth, Curve, Form, Generation, LoadError, PairSource, PemSource, Protocol, Rejected,
    Reloader, Settings, StartError, VerificationMode, Warning,
};

use crate::authority::{Authority, Order, Pair, pem};
use crate::client::{blind, client, shake};
use crate::records;
use crate::site::{Site, directory, settings, write};
use crate::writers::Kubelet;

pub(crate) fn load(settings: &Settings) -> Result<Generation, Rejected> {
    Generation::load(settings, SystemTime::now())
}

pub(crate) fn refused(settings: &Settings) -> Rejected {
    match load(settings) {
        Ok(generation) => panic!("served: {generation:?}"),
        Err(rejected) => {
            assert!(
                !rejected.hint().is_empty(),
                "every refusal has a remedy: {rejected}"
            );
            assert!(!rejected.to_string().contains('\n'));
            rejected
        }
    }
}

/// A directory with a good pair, to be spoiled.
pub(crate) fn good() -> (TempDir, Settings, Pair) {
    let root = directory();
    let pair = Authority::new("root").server();
    write(root.path(), &pair);
    let settings = settings(root.path());
    (root, settings, pair)
}

pub(crate) fn spoiled(name: &str, content: &[u8]) -> (TempDir, Rejected) {
    let (root, settings, _) = good();
    fs::write(root.path().join(name), content).expect("write");
    let rejected = refused(&settings);
    assert!(rejected.to_string().contains(name), "names the file: {rejected}");
    (root, rejected)
}

#[tokio::test]
async fn t01_a_valid_pair_serves() {
    let root = Authority::new("root");
    let pair = root.server();
    let site = Site::with(&pair);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let seen = shake(
            &site.handle.resolver(),
            &client(&root, version, None),
            "localhost",
        )
        .await
        .expect("a handshake");
        assert_eq!(seen.fingerprint, pair.fingerprint);
        assert_eq!(seen.version, version.version);
    }
    let state = site.state();
    assert!(state.healthy, "{state:?}");
    assert_eq!(
        state.generation.pairs[0].leaf.serial,
        format!("{:04x}", pair.serial)
    );
}

#[test]
fn t02_a_mismatched_pair_names_both_files() {
    let (root, settings, _) = good();
    fs::write(root.path().join("tls.key"), Authority::new("other").server().key).expect("write");
    let rejected = refused(&settings);
    assert!(matches!(rejected.first(), Some(LoadError::Mismatch { .. })));
    let told = rejected.to_string();
    assert!(told.contains("tls.crt") && told.contains("tls.key"), "{told}");
    let started = Reloader::new(settings).spawn_system();
    assert!(
        matches!(started, Err(StartError::Rejected(_))),
        "reload.md 7.1: the start is refused"
    );
}

#[test]
fn t03_t04_empty_files() {
    assert!(matches!(
        spoiled("tls.crt", b"").1.first(),
        Some(LoadError::Empty { .. })
    ));
    assert!(matches!(
        spoiled("tls.key", b" \n").1.first(),
        Some(LoadError::Empty { .. })
    ));
}

#[test]
fn t05_r05_missing_file_and_missing_parent() {
    let (root, mut settings, _) = good();
    fs::remove_file(root.path().join("tls.key")).expect("remove");
    assert!(matches!(
        refused(&settings).first(),
        Some(LoadError::NotFound { role: "key", .. })
    ));
    let path = root.path().join("no/such/tls.crt");
    settings.pairs[0].certificate = PemSource::Path(path);
    let Some(LoadError::NotFound { missing, .. }) = refused(&settings).first().cloned() else {
        panic!("reload.md 2.5")
    };
    assert_eq!(
        missing,
        root.path()
            .join("no")
            .canonicalize()
            .unwrap_or(root.path().join("no"))
    );
    assert_eq!(
        refused(&settings).findings.errors.len(),
        1,
        "a pair tells its first error"
    );
}

#[test]
fn t05_a_key_that_the_mounted_secret_does_not_have_is_told_with_those_it_has() {
    let (root, pair) = (directory(), Authority::new("root").server());
    let mut kubelet = Kubelet::new(
        root.path(),
        &[
            ("server.pem", &pair.certificate),
            ("tls.key", &pair.key),
            ("ca.crt", ""),
        ],
    );
    let settings = settings(root.path());
    let volume = root.path().display();
    assert_eq!(
        refused(&settings).hint(),
        format!(
            "{volume} is a mounted Kubernetes volume: its Secret has no key \"tls.crt\" (it has: ca.crt, server.pem, tls.key)"
        )
    );
    kubelet.swap(&[("tls.key", &pair.key)]);
    assert!(
        refused(&settings).hint().ends_with("(it has: tls.key)"),
        "links that lead nowhere are no keys"
    );
    let elsewhere = directory();
    assert_eq!(
        refused(&crate::site::settings(elsewhere.path())).hint(),
        "create the file, or correct the path"
    );
}

/// As a user who may not read it: the thread, not the process, becomes that user.
#[test]
fn t06_unreadable_file() {
    let (root, settings, _) = good();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    fs::set_permissions(root.path().join("tls.key"), fs::Permissions::from_mode(0o000)).expect("chmod");
    let rejected = as_nobody(move || refused(&settings));
    assert!(
        matches!(
            rejected.first(),
            Some(LoadError::PermissionDenied { role: "key", .. })
        ),
        "{rejected}"
    );
}

/// Runs `work` without root's rights, if there are any to give up. A case that cannot be made must not pass.
pub(crate) fn as_nobody<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::spawn(move || {
        if rustix::process::geteuid().is_root() {
            let nobody = rustix::process::Uid::from_raw(65534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).expect(
                "to become uid 65534: as root these tests need CAP_SETUID, otherwise run them as a user",
            );
        }
        work()
    })
    .join()
    .expect("joined")
}

#[test]
fn t07_t08_r15_not_a_regular_file() {
    let (root, settings, _) = good();
    let key = root.path().join("tls.key");
    fs::remove_file(&key).expect("remove");
    fs::create_dir(&key).expect("mkdir");
    assert!(matches!(
        refused(&settings).first(),
        Some(LoadError::NotRegular {
            found: "a directory",
            ..
        })
    ));
    fs::remove_dir(&key).expect("rmdir");
    rustix::fs::mknodat(rustix::fs::CWD, &key, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("a FIFO");
    let began = Instant::now();
    assert!(matches!(
        refused(&settings).first(),
        Some(LoadError::NotRegular { found: "a FIFO", .. })
    ));
    assert!(began.elapsed() < Duration::from_secs(1), "T8: no hang");
    fs::remove_file(&key).expect("remove");
    std::os::unix::fs::symlink("/dev/zero", &key).expect("link");
    assert!(matches!(
        refused(&settings).first(),
        Some(LoadError::NotRegular {
            found: "a device",
            ..
        })
    ));
}

#[test]
fn t09_t10_not_pem() {
    assert!(matches!(
        spoiled("tls.crt", b"garbage").1.first(),
        Some(LoadError::NotPem { .. })
    ));
    let der = Authority::new("root").server().der;
    let (_root, rejected) = spoiled("tls.crt", &der);
    assert!(matches!(
        rejected.first(),
        Some(LoadError::NotPem {
            form: Form::DerCertificate,
            ..
        })
    ));
    assert!(rejected.to_string().contains("DER"), "{rejected}");
    let wrong = pem("CERTIFICATE", b"\x30\x03\x02\x01\x01");
    assert!(matches!(
        spoiled("tls.crt", wrong.as_bytes()).1.first(),
        Some(LoadError::BadCertificate { position: 1, .. })
    ));
}

#[tokio::test]
async fn t11_expired_leaf_is_served_with_an_error_unless_refused() {
    let root = directory();
    let day = time::Duration::days(1);
    let pair = Authority::new("root").issue(&Order::new(&["localhost"]).valid(-day * 30, -day));
    write(root.path(), &pair);
    let mut refusing = settings(root.path());
    refusing.reload.refuse_expired = true;
    assert!(matches!(
        refused(&refusing).first(),
        Some(LoadError::Expired { .. })
    ));
    let place = root.path().display().to_string();
    let served = settings(root.path());
    let site = Site::serving(root, served);
    let seen = shake(&site.handle.resolver(), &blind(), "localhost")
        .await
        .expect("served all the same");
    assert_eq!(seen.fingerprint, pair.fingerprint);
    let state = site.wait("degraded health", |state| !state.healthy);
    assert!(
        state.degraded.as_ref().is_some_and(|why| why.contains("expired")),
        "{state:?}"
    );
    let errors: Vec<_> = records::about(&place)
        .into_iter()
        .filter(|line| line.level == log::Level::Error)
        .collect();
    // reload.md 8.2: the load says it, and the look at what remains of the leaf's life does not say it again.
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].message.contains("expired"), "{errors:?}");
}

#[test]
fn t12_not_yet_valid_is_served_with_a_warning() {
    let (root, settings, _) = good();
    let day = time::Duration::days(1);
    write(
        root.path(),
        &Authority::new("root").issue(&Order::new(&["localhost"]).valid(day, day * 9)),
    );
    let generation = load(&settings).expect("served");
    assert!(matches!(
        generation.warnings(),
        [Warning::NotYetValid { .. }, ..] | [_, Warning::NotYetValid { .. }]
    ));
}

#[tokio::test]
async fn t15_inline_pem_is_served_and_never_watched() {
    records::keep();
    let authority = Authority::new("root");
    let pair = authority.server();
    let mut settings = Settings::single(
        PemSource::from_config(&pair.certificate),
        Some(PemSource::from_config(&pair.key)),
    );
    settings.client_authorities = vec![PemSource::from_config(&authority.pem)];
    settings.client_authentication = Some(ClientAuth::Optional);
    let handle = Reloader::new(settings).spawn_system().expect("served");
    let seen = shake(
        &handle.resolver(),
        &client(&authority, &rustls::version::TLS13, None),
        "localhost",
    )
    .await;
    assert_eq!(seen.expect("a handshake").fingerprint, pair.fingerprint);
    let state = handle.state();
    assert!(
        state.healthy && state.generation.warnings.is_empty() && state.watched_directories.is_empty(),
        "{state:?}"
    );
    let outcome = handle.reload_now(tls_reload::Trigger::Api).await;
    assert_eq!(
        outcome.result,
        tls_reload::ReloadResult::Unchanged,
        "asking is no error: {outcome:?}"
    );
    handle.shutdown().await;
}

#[test]
fn t16_combined_pem() {
    let (root, mut settings, pair) = good();
    let key = fs::canonicalize(root.path()).expect("path").join("all.pem");
    fs::write(&key, format!("{}{}", pair.key, pair.certificate)).expect("write");
    settings.pairs = vec![PairSource::new(PemSource::Path(key.clone()), None)];
    assert_eq!(
        load(&settings).expect("served").info().fingerprint(),
        pair.fingerprint
    );
    settings.pairs = vec![PairSource::new(
        PemSource::Path(root.path().join("tls.crt")),
        None,
    )];
    assert!(matches!(
        refused(&settings).first(),
        Some(LoadError::NoKey { .. })
    ));
}

#[tokio::test]
async fn t17_t18_chains_reach_the_root_in_any_order() {
    let root = Authority::new("root");
    let first = root.intermediate("first");
    let second = first.intermediate("second");
    let leaf = second.server();
    let orders = [
        (vec![&leaf.certificate, &second.pem, &first.pem], false),
        (vec![&leaf.certificate, &first.pem, &second.pem], true),
        (vec![&first.pem, &second.pem, &leaf.certificate], true),
    ];
    for (order, is_shuffled) in orders {
        let place = directory();
        write(place.path(), &leaf);
        let chain: String = order.into_iter().map(String::as_str).collect();
        fs::write(place.path().join("tls.crt"), chain).expect("write");
        let settings = settings(place.path());
        let site = Site::serving(place, settings);
        let seen = shake(
            &site.handle.resolver(),
            &client(&root, &rustls::version::TLS13, None),
            "localhost",
        )
        .await;
        assert_eq!(seen.expect("verified against the root alone").chain, 3);
        let current = site.handle.resolver().current();
        let warned = current
            .warnings()
            .iter()
            .any(|warning| matches!(warning, Warning::ChainShuffled { .. }));
        assert_eq!(warned, is_shuffled);
    }
}

#[test]
fn r20_strangers_and_gaps_in_a_chain() {
    let (place, settings, _) = good();
    let root = Authority::new("root");
    let leaf = root.intermediate("middle").server();
    write(place.path(), &leaf);
    let stranger = Authority::new("stranger");
    fs::write(
        place.path().join("tls.crt"),
        format!("{}{}", leaf.certificate, stranger.pem),
    )
    .expect("write");
    let generation = load(&settings).expect("served");
    let warnings = generation.warnings();
    assert!(
        warnings
            .iter()
            .any(|warning| matches!(warning, Warning::Unrelated { .. })),
        "{warnings:?}"
    );
    assert!(warnings.iter().any(
        |warning| matches!(warning, Warning::MissingIntermediate { issuer, .. } if issuer.contains("middle"))
    ));
    assert_eq!(generation.info().pairs[0].intermediates, 1, "kept");
    fs::write(place.path().join("tls.crt"), format!("{0}{0}", leaf.certificate)).expect("write");
    let generation = load(&settings).expect("served");
    assert_eq!(
        generation.info().pairs[0].intermediates,
        0,
        "said twice, sent once"
    );
}

#[test]
fn r21_warnings_apart_from_errors() {
    let (place, settings, _) = good();
    assert_eq!(
        load(&settings).expect("served").warnings().len(),
        1,
        "the test's files are world readable"
    );
    fs::set_permissions(place.path().join("tls.key"), fs::Permissions::from_mode(0o640)).expect("chmod");
    assert!(load(&settings).expect("served").warnings().is_empty());
    let mut order = Order::new(&[]).valid(time::Duration::days(-1), time::Duration::days(800));
    order.is_bare = true;
    let bare = Authority::new("root").issue(&order);
    fs::write(place.path().join("tls.crt"), &bare.certificate).expect("write");
    fs::write(place.path().join("tls.key"), &bare.key).expect("write");
    let generation = load(&settings).expect("served");
    let warnings = generation.warnings();
    for wanted in ["NoNames", "NoServerAuth", "LongLived"] {
        assert!(
            warnings
                .iter()
                .any(|warning| format!("{warning:?}").starts_with(wanted)),
            "{wanted}: {warnings:?}"
        );
    }
    assert!(
        warnings
            .iter()
            .all(|warning| !warning.hint().is_empty() && !warning.to_string().is_empty())
    );
    let authority = Authority::new("a CA serves itself");
    fs::write(place.path().join("tls.crt"), &authority.pem).expect("write");
    fs::write(place.path().join("tls.key"), authority.key_pem()).expect("write");
    let generation = load(&settings).expect("served");
    assert!(
        generation
            .warnings()
            .iter()
            .any(|warning| matches!(warning, Warning::AuthorityAsLeaf { .. })),
        "{:?}",
        generation.warnings()
    );
}

#[test]
fn r22_every_error_of_a_set_is_told() {
    let (place, mut settings, _) = good();
    fs::write(place.path().join("tls.key"), "").expect("write");
    settings.client_authorities = vec![PemSource::Path(place.path().join("no-ca"))];
    settings.revocation_lists = vec![PathBuf::from("/nonexistent/list")];
    let rejected = refused(&settings);
    assert_eq!(rejected.findings.errors.len(), 3, "{:?}", rejected.findings);
    assert!(rejected.to_string().ends_with("(and 2 more)"), "{rejected}");
}

#[test]
fn settings_that_cannot_be_served_together() {
    let (place, mut settings, _) = good();
    settings.protocols = vec![Protocol::Tls12];
    settings.cipher_suites = vec!["TLS-AES-128-GCM-SHA256".parse::<CipherSuite>().expect("known")];
    assert!(matches!(
        refused(&settings).first(),
        Some(LoadError::Configuration { .. })
    ));
    settings.protocols = vec![Protocol::Tls13];
    settings.curves = vec!["P-256".parse::<Curve>().expect("known")];
    load(&settings).expect("served");
    settings.pairs.clear();
    assert!(matches!(refused(&settings).first(), Some(LoadError::Settings(_))));
    let mut trusting = Settings::single(
        PemSource::Path(place.path().join("tls.crt")),
        Some(PemSource::Path(place.path().join("tls.key"))),
    );
    trusting.client_authentication = Some(ClientAuth::Required);
    assert!(matches!(refused(&trusting).first(), Some(LoadError::Settings(_))));
    trusting.verification_mode = VerificationMode::None;
    let generation = load(&trusting).expect("served, with a warning");
    assert!(generation.warnings().contains(&Warning::VerificationOff));
}

#[test]
fn paths_may_be_relative_or_wind() {
    let (place, mut settings, pair) = good();
    let winding = place.path().join("x/../tls.crt");
    settings.pairs[0].certificate = PemSource::Path(winding.clone());
    assert!(
        matches!(refused(&settings).first(), Some(LoadError::NotFound { .. })),
        "as the system sees it: x is not there"
    );
    fs::create_dir(place.path().join("x")).expect("mkdir");
    assert_eq!(
        load(&settings).expect("served").info().fingerprint(),
        pair.fingerprint
    );
    settings.pairs[0].certificate = PemSource::Path(Path::new("/").to_owned());
    assert!(matches!(
        refused(&settings).first(),
        Some(LoadError::NotRegular { .. })
    ));
}
