//! T41 to T56: while A is served, something bad comes. A stays, the failure counts once, the log says why, and
//! the next good pair is served.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use prometheus_client::registry::Registry;
use tls_reload::{FailureReason, Passphrase, PemSource, ReloadMetrics, ReloadState, Reloader, Settings};

use crate::authority::{Authority, Order, Pair};
use crate::keys::encrypted;
use crate::records;
use crate::site::{Site, directory, replace, settings, write};
use crate::told::{metric, scrape};

/// A site whose failures can be counted.
pub(crate) struct Watched {
    pub(crate) site: Site,
    registry: Registry,
    pub(crate) authority: Authority,
    a: Pair,
}

impl Watched {
    pub(crate) fn new() -> Self {
        Self::configured(|_, _| {})
    }

    pub(crate) fn configured(change: impl FnOnce(&Path, &mut Settings)) -> Self {
        let authority = Authority::new("root");
        let a = authority.server();
        Self::serving(authority, a, change)
    }

    fn serving(authority: Authority, a: Pair, change: impl FnOnce(&Path, &mut Settings)) -> Self {
        let root = directory();
        write(root.path(), &a);
        let mut set = settings(root.path());
        change(root.path(), &mut set);
        let mut registry = Registry::default();
        let metrics = ReloadMetrics::register(&mut registry);
        let site = Site::started(root, Reloader::new(set).metrics(metrics));
        Self {
            site,
            registry,
            authority,
            a,
        }
    }

    /// Waits for the refusal and checks everything that must be told of it.
    pub(crate) fn refused(&self, reason: FailureReason, words: &str) -> std::sync::Arc<ReloadState> {
        let state = self.site.wait("the refusal", |state| {
            state
                .failure
                .as_ref()
                .is_some_and(|failure| failure.reason == reason)
        });
        let failure = state.failure.clone().expect("a failure");
        assert!(failure.message.contains(words), "{failure:?}");
        assert!(failure.message.contains("still serving"), "{failure:?}");
        assert!(!failure.hint.is_empty());
        assert_eq!(state.generation.fingerprint(), self.a.fingerprint, "A stays");
        assert!(!state.healthy, "reload.md 8.3");
        // Two retries later it is still one failure, and one line.
        let retried = self.site.wait("retries", |state| {
            state.attempts.back().is_some_and(|last| last.times >= 2)
        });
        let counted = metric(
            &scrape(&self.registry),
            &format!(
                "reload_total{{result=\"failure\",reason=\"{}\"}}",
                <&str>::from(reason)
            ),
        );
        assert_eq!(counted, Some(1.0), "{:#?}", retried.attempts);
        let place = self.site.root.path().display().to_string();
        let lines = records::about(&place);
        let lines: Vec<_> = lines
            .iter()
            .filter(|line| line.field("event.outcome") == Some("failure"))
            .collect();
        assert_eq!(lines.len(), 1, "reload.md 7.2: {lines:#?}");
        assert_eq!(lines[0].level, log::Level::Error);
        assert_eq!(lines[0].field("event.reason"), Some(reason.into()));
        state
    }

    /// A good pair heals it.
    pub(crate) fn heals(self) {
        let b = self.authority.server();
        for (name, content) in [("tls.crt", &b.certificate), ("tls.key", &b.key)] {
            let path = self.site.path(name);
            if path.is_dir() {
                fs::remove_dir(&path).expect("rmdir");
            }
            replace(&path, content);
        }
        self.site.wait_served(&b);
        let state = self.site.wait("health", |state| state.healthy);
        assert!(state.failure.is_none() && state.pending_retry.is_none());
    }
}

#[test]
fn t41_mismatched() {
    let watched = Watched::new();
    replace(&watched.site.path("tls.key"), &watched.authority.server().key);
    watched.refused(FailureReason::Mismatch, "does not match");
    watched.heals();
}

/// reload.md 7.2: a line for each cause and state of the disk. The words of two mismatches are the same, the keys are
/// not.
#[test]
fn r30_another_bad_state_is_another_line() {
    let watched = Watched::new();
    let place = watched.site.root.path().display().to_string();
    let errors = || {
        let lines = records::about(&place).into_iter();
        lines
            .filter(|line| line.level == log::Level::Error && line.message.contains("does not match"))
            .count()
    };
    for bad in 1..=3u8 {
        replace(&watched.site.path("tls.key"), &watched.authority.server().key);
        watched.site.wait("the refusal", |_| errors() == usize::from(bad));
        // Its own retries add neither a line nor a failure.
        let before = watched.site.state().attempts.back().map_or(0, |last| last.times);
        watched.site.wait("a retry", |state| {
            state.attempts.back().is_some_and(|last| last.times > before)
        });
        let counted = metric(
            &scrape(&watched.registry),
            "reload_total{result=\"failure\",reason=\"mismatch\"}",
        );
        assert_eq!((errors(), counted), (usize::from(bad), Some(f64::from(bad))));
    }
    watched.heals();
}

#[test]
fn t42_empty_certificate() {
    let watched = Watched::new();
    replace(&watched.site.path("tls.crt"), "");
    watched.refused(FailureReason::Empty, "is empty");
    watched.heals();
}

#[test]
fn t43_both_empty() {
    let watched = Watched::new();
    for name in ["tls.crt", "tls.key"] {
        replace(&watched.site.path(name), "");
    }
    watched.refused(FailureReason::Empty, "is empty");
    watched.heals();
}

#[test]
fn t44_truncated() {
    let watched = Watched::new();
    let b = watched.authority.server();
    replace(
        &watched.site.path("tls.crt"),
        &b.certificate[..b.certificate.len() / 2],
    );
    watched.refused(FailureReason::Malformed, "cut off");
    watched.heals();
}

#[test]
fn t45_t46_dates() {
    let day = time::Duration::days(1);
    for (begins, ends, reason, words) in [
        (-day * 9, -day, FailureReason::Expired, "expired at"),
        (day, day * 9, FailureReason::NotYetValid, "is not valid before"),
    ] {
        let watched = Watched::new();
        let bad = watched
            .authority
            .issue(&Order::new(&["localhost"]).valid(begins, ends));
        write(watched.site.root.path(), &bad);
        watched.refused(reason, words);
        watched.heals();
    }
}

#[test]
fn r19_when_the_served_one_has_ended_the_later_end_wins() {
    let day = time::Duration::days(1);
    let authority = Authority::new("root");
    let ended = |days: i32| authority.issue(&Order::new(&["localhost"]).valid(-day * 30, -day * days));
    let (a, earlier, later) = (ended(5), ended(9), ended(2));
    let site = Site::with(&a);
    write(site.root.path(), &earlier);
    let state = site.wait("the refusal", |state| state.failure.is_some());
    assert!(
        state
            .failure
            .as_ref()
            .is_some_and(|failure| failure.message.contains("before the served one")),
        "{state:?}"
    );
    assert_eq!(state.generation.fingerprint(), a.fingerprint);
    write(site.root.path(), &later);
    site.wait_served(&later);
    let state = site.state();
    assert!(!state.healthy, "served, with an error: {state:?}");
    write(site.root.path(), &authority.server());
    site.wait("health", |state| state.healthy);
}

/// Neither is good: what begins tomorrow is taken, and whoever operates this must act.
#[test]
fn r19_a_leaf_of_tomorrow_replaces_an_expired_one_with_an_error() {
    let day = time::Duration::days(1);
    let authority = Authority::new("root");
    let of = |begins, ends| authority.issue(&Order::new(&["localhost"]).valid(begins, ends));
    let (ended, tomorrow) = (of(-day * 30, -day), of(day, day * 30));
    let site = Site::with(&ended);
    write(site.root.path(), &tomorrow);
    site.wait_served(&tomorrow);
    let state = site.wait("the attempt", |state| state.attempts.len() == 2);
    assert!(!state.healthy, "{state:?}");
    let lines = records::about(&site.root.path().display().to_string());
    let told: Vec<_> = lines
        .iter()
        .filter(|line| line.message.contains("is not valid before"))
        .collect();
    assert_eq!(told.len(), 1, "{lines:#?}");
    assert_eq!(told[0].level, log::Level::Error);
}

#[test]
fn t47_key_removed() {
    let watched = Watched::new();
    fs::remove_file(watched.site.path("tls.key")).expect("remove");
    watched.refused(FailureReason::NotFound, "no such file");
    watched.heals();
}

/// As a user who owns the files but is not root: threads inherit who their maker is.
#[test]
fn t48_key_unreadable() {
    use std::os::unix::fs::PermissionsExt;
    crate::start::as_nobody(|| {
        let watched = Watched::new();
        let key = watched.site.path("tls.key");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o000)).expect("chmod");
        watched.refused(FailureReason::Unreadable, "permission denied");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("chmod");
        let state = watched.site.wait("health", |state| state.healthy);
        assert_eq!(state.generation.number, 1, "what is served came back");
        watched.heals();
    });
}

#[test]
fn t49_passphrase_no_longer_fits() {
    let authority = Authority::new("root");
    let locked = |pair: &Pair, phrase: &str| Pair {
        key: encrypted(pair, phrase),
        ..pair.clone()
    };
    let (a, b) = (authority.server(), authority.server());
    let watched = Watched::serving(authority, locked(&a, "one"), |root, set| {
        fs::write(root.join("phrase"), "one\n").expect("write");
        set.pairs[0].passphrase = Some(Passphrase::Path(root.join("phrase")));
    });
    write(watched.site.root.path(), &locked(&b, "two"));
    watched.refused(FailureReason::Passphrase, "cannot decrypt");
    fs::write(watched.site.path("phrase"), "two\n").expect("write");
    watched.site.wait_served(&b);
}

#[test]
fn t50_r15_ten_megabytes() {
    let watched = Watched::new();
    replace(
        &watched.site.path("tls.crt"),
        &watched
            .a
            .certificate
            .repeat(10 * 1024 * 1024 / watched.a.certificate.len()),
    );
    watched.refused(FailureReason::TooLarge, "larger than 1048576 bytes");
    watched.heals();
}

#[test]
fn t51_r15_ten_thousand_certificates() {
    let watched = Watched::new();
    // The smallest certificates that still are: the size limit would catch larger ones first.
    let tiny = crate::authority::pem("CERTIFICATE", b"\x30\x00");
    replace(&watched.site.path("tls.crt"), &tiny.repeat(10_000));
    watched.refused(FailureReason::TooLarge, "holds 10000 certificates, more than 100");
    watched.heals();
}

#[test]
fn t52_t53_the_set_is_refused_as_one() {
    let ca = Authority::new("clients").pem;
    let other = Authority::new("other clients").pem;
    let watched = Watched::configured(|root, set| {
        fs::write(root.join("ca.crt"), &ca).expect("write");
        set.client_authorities = vec![PemSource::Path(root.join("ca.crt"))];
    });
    let b = watched.authority.server();
    replace(&watched.site.path("ca.crt"), "garbage");
    write(watched.site.root.path(), &b);
    watched.refused(FailureReason::Malformed, "ca.crt");
    let fingerprint = watched.site.state().generation.client_authorities[0]
        .fingerprint
        .clone();
    replace(&watched.site.path("ca.crt"), &other);
    watched.site.wait_served(&b);
    assert_ne!(
        watched.site.state().generation.client_authorities[0].fingerprint,
        fingerprint,
        "together"
    );
    // A good CA beside a bad pair: neither is taken.
    let taken = watched.site.state().generation.client_authorities[0]
        .fingerprint
        .clone();
    replace(&watched.site.path("tls.key"), "garbage");
    replace(&watched.site.path("ca.crt"), &ca);
    let state = watched.site.wait("the refusal", |state| state.failure.is_some());
    assert_eq!(state.generation.client_authorities[0].fingerprint, taken);
    assert_eq!(state.generation.fingerprint(), b.fingerprint);
}

#[test]
fn t54_symlink_loop() {
    let watched = Watched::new();
    for (link, target) in [("tls.crt", "turn"), ("turn", "tls.crt")] {
        let path = watched.site.path(link);
        if path.exists() {
            fs::remove_file(&path).expect("remove");
        }
        symlink(target, &path).expect("link");
    }
    watched.refused(FailureReason::NotRegular, "too many levels of symbolic links");
    watched.heals();
}

#[test]
fn t55_revocation_list_is_garbage() {
    let ca = Authority::new("clients");
    let list = ca.revoke(&[], time::Duration::days(9));
    let watched = Watched::configured(|root, set| {
        fs::write(root.join("ca.crt"), &ca.pem).expect("write");
        fs::write(root.join("list"), &list).expect("write");
        set.client_authorities = vec![PemSource::Path(root.join("ca.crt"))];
        set.revocation_lists = vec![root.join("list")];
    });
    replace(
        &watched.site.path("list"),
        &crate::authority::pem("X509 CRL", b"\x30\x00"),
    );
    watched.refused(FailureReason::RevocationLists, "revocation list");
    replace(&watched.site.path("list"), &list);
    watched.heals();
}

#[test]
fn t56_r05_the_directory_disappears_and_comes_back() {
    let watched = Watched::configured(|root, set| {
        fs::create_dir(root.join("tls")).expect("mkdir");
        for name in ["tls.crt", "tls.key"] {
            fs::copy(root.join(name), root.join("tls").join(name)).expect("copy");
        }
        set.pairs = settings(&root.join("tls")).pairs;
    });
    let tls = watched.site.path("tls");
    fs::remove_dir_all(&tls).expect("remove");
    watched.refused(FailureReason::NotFound, "no such file");
    let b = watched.authority.server();
    fs::create_dir(&tls).expect("mkdir");
    write(&tls, &b);
    watched.site.wait_served(&b);
    let a = watched.authority.server();
    write(&tls, &a);
    watched.site.wait_served(&a);
}
