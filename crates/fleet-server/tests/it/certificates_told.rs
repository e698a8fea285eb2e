//! What log and probes tell of reloads (reload.md 7.2, 8.2, 8.3).

use std::{fs, path::Path, time::Instant};

use test_support::{
    CertificateAuthority, HttpClient, KubeletVolume, Leaf, LeafOrder, PairFiles, Request, ServerCommand,
    Signal, eventually, server_command,
};
use time::Duration;

use crate::agents::Scene;

fn serving(command: ServerCommand, directory: &Path, debounce: &str) -> ServerCommand {
    let text = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    command
        .quickstart()
        .set("inputs.0.server.ssl.certificate", &text("tls.crt"))
        .set("inputs.0.server.ssl.key", &text("tls.key"))
        .set("inputs.0.server.ssl.certificate_reload.debounce", debounce)
}

/// A server on two plain files.
fn plain(
    leaf: &Leaf,
    debounce: &str,
    more: impl FnOnce(ServerCommand) -> ServerCommand,
) -> (Scene, PairFiles) {
    let command = server_command!();
    let directory = command.path().join("tls");
    fs::create_dir(&directory).unwrap();
    let files = PairFiles::create(&directory, leaf);
    (
        Scene::of(more(serving(command, &directory, debounce)).start()),
        files,
    )
}

async fn get(scene: &Scene, path: &str) -> test_support::Response {
    let http = HttpClient::for_url(scene.facts.get("http_url"), "");
    http.request(&Request::get(path)).await.unwrap()
}

/// reload.md 8.3: what is degraded is seen, and changes no status.
async fn is_in_service(scene: &Scene, ca: &CertificateAuthority) {
    for path in ["/livez", "/readyz", "/readyz?verbose"] {
        assert_eq!(get(scene, path).await.status, 200, "{path}");
    }
    assert_eq!(get(scene, "/readyz").await.text(), "ok\n");
    let agents = HttpClient::for_url(scene.facts.url(), ca.pem());
    let status = agents.request(&Request::get("/api/status")).await.unwrap();
    assert_eq!(
        (status.status, status.json()["status"].clone()),
        (200, "HEALTHY".into())
    );
}

#[actix_rt::test]
async fn r35_a_failed_reload_is_degraded_and_stays_in_service() {
    let ca = CertificateAuthority::new("ca");
    let first = ca.issue(&["localhost"]);
    let (scene, files) = plain(&first, "50ms", |command| command.allow_log("does not match key"));
    let verbose = get(&scene, "/readyz?verbose").await.text();
    assert!(verbose.contains("[+] tls agents: ok\n"), "{verbose}");
    let stats = get(&scene, "/stats").await.json();
    assert_eq!(stats["health"]["status"], "healthy");

    files.break_pair(&ca.issue(&["localhost"]));
    let refusal = scene.server.wait_for_log("does not match key");
    let verbose = get(&scene, "/readyz?verbose").await.text();
    let line = format!("[!] tls agents: degraded: {}\n", refusal.message());
    assert!(verbose.contains(&line), "{line} is not in\n{verbose}");
    let stats = get(&scene, "/stats").await.json();
    assert_eq!(stats["health"]["status"], "degraded");
    assert_eq!(
        stats["health"]["parts"]["tls agents"],
        serde_json::json!({"status": "degraded", "reason": refusal.message()})
    );
    is_in_service(&scene, &ca).await;

    // reload.md 8.2
    for (field, value) in [
        ("event.action", "tls-reload"),
        ("event.outcome", "failure"),
        ("event.reason", "mismatch"),
        ("fleet.tls.reload.trigger", "event"),
        ("tls.server.hash.sha256", &first.fingerprint()),
    ] {
        assert_eq!(refusal.json[field], value, "{field}");
    }
    let named = refusal.json["file.path"].as_str().unwrap();
    assert!(named.contains("tls.crt") && named.contains("tls.key"), "{named}");

    let second = ca.issue(&["localhost"]);
    files.rename_each(&second, || ());
    eventually("healthy again", async || {
        get(&scene, "/stats").await.json()["health"]["status"] == "healthy"
    })
    .await;
    let verbose = get(&scene, "/readyz?verbose").await.text();
    assert!(verbose.contains("[+] tls agents: ok\n"), "{verbose}");
}

#[actix_rt::test]
async fn t11_r35_an_expired_or_ending_certificate_is_degraded_and_served() {
    let ca = CertificateAuthority::new("ca");
    for (ends, said) in [
        (Duration::hours(-1), "expired at"),
        (Duration::hours(5), "ends in 4 hours"),
    ] {
        let order = LeafOrder::new(&["localhost"]).valid(Duration::days(-9), ends);
        let leaf = ca.issue_as(&order);
        let (scene, _files) = plain(&leaf, "50ms", |command| command.allow_log("expired at"));
        let verbose = get(&scene, "/readyz?verbose").await;
        let text = verbose.text();
        assert_eq!(verbose.status, 200);
        assert!(
            text.contains("[!] tls agents: degraded: ") && text.contains(said),
            "{text}"
        );
        assert_eq!(get(&scene, "/readyz").await.status, 200);
        let level = scene.server.wait_for_log(said).level().to_owned();
        let expected = if ends.is_negative() { "error" } else { "warn" };
        assert_eq!(level, expected, "reload.md 5.3, 8.3");
    }
}

#[test]
fn t11_refuse_expired_stops_the_start() {
    let order = LeafOrder::new(&["localhost"]).valid(Duration::days(-9), Duration::hours(-1));
    let leaf = CertificateAuthority::new("ca").issue_as(&order);
    let command = server_command!();
    let directory = command.path().join("tls");
    fs::create_dir(&directory).unwrap();
    PairFiles::create(&directory, &leaf);
    let (code, _, err) = serving(command, &directory, "50ms")
        .set("inputs.0.server.ssl.certificate_reload.refuse_expired", "true")
        .output();
    assert!(
        code == 1 && err.contains("expired at") && err.contains("hint: renew the certificate"),
        "{code} {err}"
    );
}

/// The kernel ends the watch of the old directory by itself: that is not worth a line.
#[test]
fn t21_r34_a_kubelet_swap_logs_its_reload_and_no_warning() {
    let ca = CertificateAuthority::new("ca");
    // Far from the first expiry warning, which each new certificate would earn.
    let issue = || ca.issue_as(&LeafOrder::new(&["localhost"]).valid(Duration::days(-1), Duration::days(90)));
    let command = server_command!();
    let directory = command.path().join("tls");
    let mut volume = KubeletVolume::create_pair(&directory, &issue());
    let server = serving(command, &directory, "50ms").start();
    let warnings = || -> Vec<String> {
        let lines = server.log().into_iter().filter(|line| line.level() == "warn");
        lines.map(|line| line.text).collect()
    };
    let at_start = warnings();
    for swap in 1..=5 {
        let next = issue();
        volume.update_pair(&next);
        let lines = server.wait_for_lines("serving ", swap + 1);
        let reload = lines.last().unwrap();
        for (field, value) in [
            ("event.action", "tls-reload"),
            ("event.outcome", "success"),
            ("tls.server.hash.sha256", &next.fingerprint()),
            ("tls.server.x509.alternative_names", "localhost"),
        ] {
            assert_eq!(reload.json[field], value, "{field}");
        }
    }
    assert_eq!(warnings(), at_start);
}

#[actix_rt::test]
async fn t68_disabled_reload_is_said_at_signal_and_call_and_files_are_ignored() {
    let ca = CertificateAuthority::new("ca");
    let first = ca.issue(&["localhost"]);
    let (scene, files) = plain(&first, "0", |command| {
        command.set("inputs.0.server.ssl.certificate_reload.enabled", "false")
    });
    files.write_in_place(&ca.issue(&["localhost"]));
    scene.server.hang_up();
    scene.server.wait_for_log("reload is disabled");
    let outcome = scene.admin.reload_tls().await;
    assert_eq!(outcome["sets"]["agents"]["result"], "disabled");
    assert_eq!(outcome["sets"]["agents"]["message"], "reload is disabled");
    let client = HttpClient::for_url(scene.facts.url(), ca.pem());
    assert_eq!(client.connect().await.unwrap().fingerprint(), first.fingerprint());
}

/// T66 for a pair that does not fit: the signal's answer is in the log.
#[test]
fn t66_sighup_says_that_files_do_not_fit() {
    let ca = CertificateAuthority::new("ca");
    let (scene, files) = plain(&ca.issue(&["localhost"]), "10m", |command| {
        command.allow_log("does not match key")
    });
    files.break_pair(&ca.issue(&["localhost"]));
    scene.server.hang_up();
    let answer = scene.server.wait_for_log("certificates read again on request");
    assert_eq!(answer.level(), "warn");
    assert!(answer.message().contains("still serving"), "{answer:?}");
    let refusal = scene.server.wait_for_log("does not match key");
    assert_eq!(refusal.json["fleet.tls.reload.trigger"], "signal");
}

#[test]
fn t78_a_stop_does_not_wait_for_the_debounce() {
    let ca = CertificateAuthority::new("ca");
    let (scene, files) = plain(&ca.issue(&["localhost"]), "10m", |command| command);
    files.write_in_place(&ca.issue(&["localhost"]));
    let asked = Instant::now();
    scene.server.signal(Signal::TERM);
    scene.server.expect_exit(0);
    assert!(asked.elapsed() < std::time::Duration::from_secs(10));
}
