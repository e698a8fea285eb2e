//! reload.md 8.1 to 8.3 and T79, T80: what is told agrees with what is served, and tells no secret.

use std::fs;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tls_reload::{
    HandshakeResult, Passphrase, PemSource, ReloadMetrics, ReloadResult, Reloader, Secret, Settings, Trigger,
};

use crate::authority::{Authority, Order, Pair};
use crate::client::{client, shake};
use crate::keys::encrypted;
use crate::records;
use crate::site::{Site, directory, replace, settings, write};

pub(crate) fn scrape(registry: &Registry) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).expect("text");
    text
}

/// The value of one series, by its whole name.
pub(crate) fn metric(text: &str, series: &str) -> Option<f64> {
    text.lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

#[tokio::test]
async fn t79_metrics_state_and_handshake_agree_after_each_step() {
    let (root, clients) = (Authority::new("root"), Authority::new("clients"));
    let place = directory();
    write(place.path(), &root.server());
    fs::write(place.path().join("ca.crt"), &clients.pem).expect("write");
    fs::write(
        place.path().join("list"),
        clients.revoke(&[], time::Duration::days(3)),
    )
    .expect("write");
    let mut set = settings(place.path());
    set.client_authorities = vec![PemSource::Path(place.path().join("ca.crt"))];
    set.client_authentication = Some(tls_reload::ClientAuth::Optional);
    set.revocation_lists = vec![place.path().join("list")];
    let mut registry = Registry::with_prefix("fleet_server_tls");
    let metrics = ReloadMetrics::register(&mut registry);
    let site = Site::started(place, Reloader::new(set).metrics(metrics.clone()));
    for step in 0..4 {
        if step > 0 {
            write(
                site.root.path(),
                &root.issue(&Order::new(&["localhost", "second.test"])),
            );
            site.until("the step", |state| state.generation.number == step + 1)
                .await;
        }
        let seen = shake(
            &site.handle.resolver(),
            &client(&root, &rustls::version::TLS13, None),
            "localhost",
        )
        .await;
        let fingerprint = seen.expect("a handshake").fingerprint;
        let state = site.state();
        assert_eq!(state.generation.fingerprint(), fingerprint);
        let text = scrape(&registry);
        let ends: Vec<&str> = text
            .lines()
            .filter(|line| {
                line.starts_with("fleet_server_tls_certificate_not_after_timestamp_seconds{kind=\"leaf\"")
            })
            .collect();
        assert!(
            ends.iter().all(|line| line.contains(&fingerprint)),
            "only what is served: {ends:?}"
        );
        let names = state.generation.pairs[0].sni.len();
        assert_eq!(ends.len(), names, "one series a name");
        assert!(
            ends[0].contains("sni=\"localhost\"") && ends[0].contains("issuer_cn=\"root\""),
            "{ends:?}"
        );
        let expected = state.generation.pairs[0]
            .leaf
            .not_after
            .duration_since(std::time::UNIX_EPOCH)
            .expect("later");
        assert!(ends[0].ends_with(&format!(" {}", expected.as_secs())), "{ends:?}");
        assert!(
            text.contains("kind=\"client_ca\"") && text.contains("kind=\"crl\""),
            "{text}"
        );
        assert_eq!(
            metric(&text, "fleet_server_tls_reload_healthy"),
            Some(1.0),
            "{:#?}",
            site.state()
        );
        assert_eq!(
            metric(&text, "fleet_server_tls_watch_mode{mode=\"events\"}"),
            Some(1.0)
        );
        #[expect(clippy::cast_precision_loss, reason = "a handful")]
        let steps = step as f64;
        // Who saw it first, the event or the look after the last read, is a matter of luck.
        let taken = ["event", "poll"].map(|reason| {
            metric(
                &text,
                &format!("fleet_server_tls_reload_total{{result=\"success\",reason=\"{reason}\"}}"),
            )
        });
        assert_eq!(taken.into_iter().flatten().sum::<f64>(), steps);
        assert_eq!(
            metric(&text, "fleet_server_tls_reload_duration_seconds_count"),
            Some(steps)
        );
        assert_eq!(
            metric(&text, "fleet_server_tls_change_to_served_seconds_count"),
            Some(steps)
        );
        assert!(
            metric(&text, "fleet_server_tls_reload_last_success_timestamp_seconds")
                .is_some_and(|at| at > 1.0e9)
        );
    }
    replace(&site.path("tls.key"), "");
    site.until("the refusal", |state| state.failure.is_some()).await;
    let text = scrape(&registry);
    assert_eq!(metric(&text, "fleet_server_tls_reload_healthy"), Some(0.0));
    assert_eq!(
        metric(
            &text,
            "fleet_server_tls_reload_total{result=\"failure\",reason=\"empty\"}"
        ),
        Some(1.0)
    );
    assert!(
        metric(&text, "fleet_server_tls_reload_last_failure_timestamp_seconds").is_some_and(|at| at > 1.0e9)
    );
    let handshakes = metrics.handshakes();
    handshakes.ended(
        HandshakeResult::Success,
        Some(rustls::ProtocolVersion::TLSv1_3),
        Duration::from_millis(3),
    );
    let text = scrape(&registry);
    assert_eq!(
        metric(
            &text,
            "fleet_server_tls_handshakes_total{result=\"success\",version=\"1.3\"}"
        ),
        Some(1.0)
    );
    assert_eq!(
        metric(&text, "fleet_server_tls_handshake_duration_seconds_count"),
        Some(1.0)
    );
}

/// A scrape with the same series twice is refused as a whole.
#[test]
fn r33_the_same_certificate_in_two_files_is_one_series() {
    let (root, clients) = (Authority::new("root"), Authority::new("clients"));
    let place = directory();
    write(place.path(), &root.server());
    let list = clients.revoke(&[], time::Duration::days(3));
    let mut set = settings(place.path());
    for turn in 0..2 {
        let [ca, crl] = ["ca", "list"].map(|name| place.path().join(format!("{name}{turn}")));
        fs::write(&ca, &clients.pem).expect("write");
        fs::write(&crl, &list).expect("write");
        set.client_authorities.push(PemSource::Path(ca));
        set.revocation_lists.push(crl);
        set.pairs.push(set.pairs[0].clone());
    }
    let mut registry = Registry::default();
    let metrics = ReloadMetrics::register(&mut registry);
    let _site = Site::started(place, Reloader::new(set).metrics(metrics));
    let text = scrape(&registry);
    let mut series: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("certificate_not_after"))
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(series, _)| series)
        .collect();
    let all = series.len();
    series.sort_unstable();
    series.dedup();
    assert_eq!(series.len(), all, "{text}");
    for kind in ["leaf", "client_ca", "crl"] {
        assert!(text.contains(&format!("kind=\"{kind}\"")), "{kind}: {text}");
    }
}

#[test]
fn r33_a_second_set_has_a_label_and_no_second_family() {
    let root = Authority::new("root");
    let mut registry = Registry::with_prefix("fleet_server_tls");
    let metrics = ReloadMetrics::register(&mut registry);
    let start = |metrics: ReloadMetrics| {
        let place = directory();
        write(place.path(), &root.server());
        let set = settings(place.path());
        Site::started(place, Reloader::new(set).metrics(metrics))
    };
    let (one, two) = (start(metrics.clone()), start(metrics.for_set("admin")));
    let text = scrape(&registry);
    assert_eq!(
        text.matches("# TYPE fleet_server_tls_reload_healthy gauge")
            .count(),
        1,
        "{text}"
    );
    assert_eq!(metric(&text, "fleet_server_tls_reload_healthy"), Some(1.0));
    assert_eq!(
        metric(&text, "fleet_server_tls_reload_healthy{set=\"admin\"}"),
        Some(1.0)
    );
    assert!(text.contains(&one.served()) && text.contains(&two.served()));
}

#[test]
fn r34_one_line_a_reload_with_everything_in_it() {
    let root = Authority::new("root");
    let a = root.server();
    let site = Site::with(&a);
    let b = root.issue(&Order::new(&["localhost", "127.0.0.1"]));
    write(site.root.path(), &b);
    site.wait_served(&b);
    site.wait("the attempt", |state| state.attempts.len() == 2);
    let place = site.root.path().display().to_string();
    let lines = records::about(&place);
    let lines: Vec<_> = lines
        .iter()
        .filter(|line| line.field("event.action") == Some("tls-reload"))
        .collect();
    let [line] = lines.as_slice() else {
        panic!("one line a reload: {lines:#?}")
    };
    assert_eq!(line.level, log::Level::Info);
    for (key, value) in [
        ("event.outcome", "success"),
        ("event.reason", "event"),
        ("fleet.tls.reload.trigger", "event"),
        ("tls.server.hash.sha256", b.fingerprint.as_str()),
        ("tls.server.hash.sha256.previous", a.fingerprint.as_str()),
        ("tls.server.x509.alternative_names", "localhost,127.0.0.1"),
    ] {
        assert_eq!(line.field(key), Some(value), "{line:#?}");
    }
    for key in [
        "tls.server.x509.serial_number",
        "tls.server.x509.not_after",
        "file.path",
    ] {
        assert!(
            line.field(key).is_some_and(|value| !value.is_empty()),
            "{line:#?}"
        );
    }
}

#[test]
fn r35_thresholds_warn_once_and_the_smallest_degrades() {
    let day = time::Duration::days(1);
    let root = Authority::new("root");
    let ends = |ends: time::Duration| root.issue(&Order::new(&["localhost"]).valid(-day, ends));
    let (weeks, hours) = (ends(day * 6), ends(time::Duration::hours(20)));
    let mut registry = Registry::default();
    let metrics = ReloadMetrics::register(&mut registry);
    let place = directory();
    write(place.path(), &weeks);
    let mut set = settings(place.path());
    set.reload.reload_interval = Duration::from_millis(100);
    let site = Site::started(place, Reloader::new(set).metrics(metrics));
    let warned = || {
        let lines = records::about(&site.root.path().display().to_string());
        lines
            .into_iter()
            .filter(|line| line.field("event.action") == Some("tls-expiry"))
            .count()
    };
    assert!(site.state().healthy, "a week is a warning, not a degradation");
    write(site.root.path(), &hours);
    site.wait_served(&hours);
    let state = site.wait("degraded", |state| !state.healthy);
    assert!(
        state
            .degraded
            .as_ref()
            .is_some_and(|why| why.contains("ends in 19 hours") || why.contains("ends in 20 hours")),
        "{state:?}"
    );
    // Several polls later nothing was said twice.
    let before = state.attempts.len();
    write(site.root.path(), &hours);
    site.wait("one more attempt", |state| state.attempts.len() > before);
    assert_eq!(warned(), 2);
    assert_eq!(metric(&scrape(&registry), "expiry_warnings_total"), Some(2.0));
    write(site.root.path(), &root.server());
    site.wait("health", |state| state.healthy);
}

/// T80: neither key bytes nor a passphrase in any log, error, state, metric or Debug.
#[tokio::test]
async fn t80_no_secret_is_told() {
    let root = Authority::new("root");
    let (a, b) = (root.server(), root.server());
    let phrase = "correct horse battery staple";
    let place = directory();
    write(
        place.path(),
        &Pair {
            key: encrypted(&a, phrase),
            ..a.clone()
        },
    );
    let mut set = settings(place.path());
    set.pairs[0].passphrase = Some(Passphrase::Value(Secret::new(phrase.to_owned())));
    let inline = Settings::single(
        PemSource::from_config(&a.certificate),
        Some(PemSource::from_config(&a.key)),
    );
    let mut told = format!("{set:?} {inline:?}");
    let mut registry = Registry::default();
    let metrics = ReloadMetrics::register(&mut registry);
    let reloader = Reloader::new(set).metrics(metrics);
    told += &format!("{reloader:?}");
    let site = Site::started(place, reloader);
    let bodies = [&a, &b].map(|pair| pair.key.lines().nth(1).expect("a line").to_owned());
    // The right key, a plain one, one with a wrong phrase, halves of one, one on the line of its own label.
    let spoiled = [
        b.key.clone(),
        encrypted(&b, "another"),
        b.key[..b.key.len() / 2].to_owned(),
        b.key.replacen('\n', "", 1),
        b.key.replace("PRIVATE KEY", "RSA PRIVATE KEY"),
    ];
    for key in spoiled {
        write(site.root.path(), &Pair { key, ..b.clone() });
        let outcome = site.handle.reload_now(Trigger::Api).await;
        told += &format!("{outcome:?}{}", serde_json::to_string(&outcome).expect("JSON"));
        told += &serde_json::to_string(&*site.state()).expect("JSON");
        told += &format!("{:?}{:?}", site.handle, site.handle.resolver().current());
    }
    assert!(
        site.count(ReloadResult::Failure) >= 3,
        "{:#?}",
        site.state().attempts
    );
    told += &scrape(&registry);
    for line in records::about(&site.root.path().display().to_string()) {
        told += &line.text();
    }
    for secret in bodies.iter().map(String::as_str).chain([phrase]) {
        assert!(!told.contains(secret), "{secret} in {told}");
    }
    let raw: String = b
        .key_der
        .iter()
        .take(24)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert!(!told.contains(&raw));
}

/// reload.md 8.2: one event is one line, whatever a certificate says about itself.
#[test]
fn r34_a_certificate_writes_no_lines_of_its_own() {
    let forged = Authority::new("ca\nerror: \u{1b}[31mforged");
    let place = directory();
    write(place.path(), &forged.server());
    fs::write(place.path().join("ca.crt"), &forged.pem).expect("write");
    let mut set = settings(place.path());
    set.client_authorities = vec![PemSource::Path(place.path().join("ca.crt"))];
    let generation = crate::start::load(&set).expect("served");
    let told = [
        generation.info().pairs[0].leaf.issuer_common_name.clone(),
        generation.info().client_authorities[0].subject.clone(),
    ];
    let warnings = generation.warnings().iter().map(ToString::to_string);
    for text in told.into_iter().chain(warnings) {
        assert!(!text.contains(['\n', '\u{1b}']), "{text:?}");
    }
    let issuer = &generation.info().pairs[0].leaf.issuer_common_name;
    assert_eq!(issuer, "ca\\nerror: \\u{1b}[31mforged");
}
