//! What this product exists for: certificates change under load and nobody notices.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use test_support::{
    CertificateAuthority, HttpClient, KubeletVolume, LIMIT, PairFiles, Request, SimulatedAgent, eventually,
    server_command,
};

use crate::agents::Scene;

/// The fingerprint as `openssl s_client` sees it.
pub(crate) fn openssl_fingerprint(port: u16) -> String {
    let connected = Command::new("openssl")
        .args([
            "s_client",
            "-connect",
            &format!("localhost:{port}"),
            "-servername",
            "localhost",
        ])
        .stdin(Stdio::null())
        .output()
        .expect("openssl is part of the procedure");
    let mut shown = Command::new("openssl")
        .args(["x509", "-noout", "-fingerprint", "-sha256"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut shown.stdin.take().unwrap(), &connected.stdout).unwrap();
    let text = String::from_utf8(shown.wait_with_output().unwrap().stdout).unwrap();
    let (_, fingerprint) = text
        .trim()
        .split_once('=')
        .unwrap_or_else(|| panic!("no fingerprint: {text}"));
    fingerprint.replace(':', "").to_lowercase()
}

/// The user's own procedure, word for word but for the ports.
#[test]
fn gen_32_the_users_procedure() {
    let ca = CertificateAuthority::new("test CA");
    let (old, new) = (ca.issue(&["localhost"]), ca.issue(&["localhost"]));
    let command = server_command!();
    let logs = command.path().join("logs");
    fs::create_dir(command.path().join("certs")).unwrap();
    let files = PairFiles::create(&command.path().join("certs"), &old);
    let yaml = format!(
        "output.elasticsearch:\n  hosts: [\"https://localhost:9200\"]\n  service_token: unused\n\
         path.data: {data}\n\
         inputs:\n  - type: fleet-server\n    server:\n      host: localhost\n      port: 0\n      ssl:\n        \
         certificate: {certificate}\n        key: {key}\n\
         admin.port: 0\n",
        data = command.path().join("data").display(),
        certificate = files.certificate.display(),
        key = files.key.display(),
    );
    let server = command
        .config(&yaml)
        .set("logging.to_files", "true")
        .set("logging.to_stderr", "false")
        .set("logging.files.path", logs.to_str().unwrap())
        .set("logging.files.name", "fleet-server.log")
        .log_directory(&logs)
        .listeners(3)
        .start();
    let pid = server.pid();
    let port = server.listening().first().unwrap().port;
    assert_eq!(
        server.wait_for_log("Listening on localhost:").message(),
        format!("Listening on localhost:{port}")
    );
    let name = fs::read_dir(&logs)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .file_name()
        .into_string()
        .unwrap();
    assert!(
        name.starts_with("fleet-server.log-") && name.ends_with(".ndjson"),
        "{name}"
    );

    let said = format!("the log is in {}/fleet-server.log-*.ndjson", logs.display());
    assert!(server.wait_for_log(&said).message().contains(&said));

    assert_eq!(openssl_fingerprint(port), old.fingerprint());
    files.write_in_place(&new);
    let written = Instant::now();
    while openssl_fingerprint(port) != new.fingerprint() {
        assert!(written.elapsed() < LIMIT, "the new certificate is not served");
    }
    assert_eq!(server.pid(), pid, "never restarted");
    server.stop();
}

/// 50 clients handshake without pause and 200 long polls are open while the pair is swapped kubelet style.
#[actix_rt::test]
async fn t57_t58_rotations_under_load_fail_no_handshake_and_drop_no_poll() {
    const ROTATIONS: usize = 20;
    let ca = CertificateAuthority::new("test CA");
    let command = server_command!();
    let first = ca.issue(&["localhost", "127.0.0.1"]);
    let mut volume = KubeletVolume::create_pair(&command.path().join("certs"), &first);
    let server = command
        .quickstart()
        .set(
            "inputs.0.server.ssl.certificate",
            volume.path("tls.crt").to_str().unwrap(),
        )
        .set(
            "inputs.0.server.ssl.key",
            volume.path("tls.key").to_str().unwrap(),
        )
        .set("inputs.0.server.ssl.certificate_reload.debounce", "100ms")
        .set("inputs.0.server.limits.max_agents", "-1")
        .set("inputs.0.server.limits.enroll_limit.interval", "-1")
        .set("inputs.0.server.limits.enroll_limit.max", "1000")
        // Agents of a machine that is fast enough acknowledge faster than the default admits.
        .set("inputs.0.server.limits.ack_limit.burst", "1000")
        .allow_log("tls")
        .start();
    let facts = server.quickstart_facts();
    let client = HttpClient::for_url(facts.url(), ca.pem());
    let status = Request::get("/api/status");
    let mut agents = Vec::new();
    for _ in 0..200 {
        let mut agent = SimulatedAgent::enroll_on_one_connection(&client, facts.enrollment_token())
            .await
            .unwrap();
        let first = agent.checkin().await.unwrap();
        agent.apply_on_one_connection(&first).await.unwrap();
        agent.begin_checkin().await.unwrap();
        agents.push(agent);
    }

    let (stop, handshakes, failed) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicU64::new(0)),
    );
    let mut clients = Vec::new();
    for _ in 0..50 {
        let (client, stop) = (HttpClient::for_url(facts.url(), ca.pem()), Arc::clone(&stop));
        let (handshakes, failed) = (Arc::clone(&handshakes), Arc::clone(&failed));
        clients.push(actix_rt::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                // A request each: in TLS 1.3 a refusal shows at the first read only.
                match client.request(&Request::get("/livez-is-not-here")).await {
                    Ok(_) => handshakes.fetch_add(1, Ordering::Relaxed),
                    Err(error) => {
                        eprintln!("handshake: {error}");
                        failed.fetch_add(1, Ordering::Relaxed)
                    }
                };
            }
        }));
    }

    let mut served = first;
    for rotation in 0..ROTATIONS {
        if rotation == ROTATIONS / 2 {
            // A pair that does not fit: the old one stays.
            let (certificate, key) = (ca.issue(&["localhost"]), ca.issue(&["localhost"]));
            volume.update(&[
                ("tls.crt", certificate.certificate_pem.as_str()),
                ("tls.key", key.key_pem.as_str()),
            ]);
            server.wait_for_log("does not match");
            assert_eq!(
                client.connect().await.unwrap().fingerprint(),
                served.fingerprint()
            );
        }
        served = ca.issue(&["localhost", "127.0.0.1"]);
        volume.update_pair(&served);
        eventually(&format!("rotation {rotation} is served"), async || {
            client.connect().await.unwrap().fingerprint() == served.fingerprint()
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(failed.load(Ordering::Relaxed), 0, "failed handshakes");
    assert!(handshakes.load(Ordering::Relaxed) > 100);
    assert_eq!(client.request(&status).await.unwrap().status, 200);

    // Every poll is still open on its old connection, and is answered by a change.
    let admin = test_support::AdminClient::new(
        HttpClient::for_url(facts.get("admin_url"), ca.pem()),
        facts.admin_api_key(),
    );
    let revision = admin.touch_policy(facts.policy_id()).await;
    for mut agent in agents {
        let answer = agent.end_checkin(LIMIT).await.expect("no poll was dropped");
        assert_eq!(answer.policy().unwrap()["revision"], revision);
    }
}

#[actix_rt::test]
async fn t66_t67_sighup_and_the_admin_call_reload_at_once() {
    let scene = Scene::of(
        server_command!()
            .quickstart()
            .set("inputs.0.server.ssl.certificate_reload.debounce", "10m")
            .set("inputs.0.server.ssl.certificate_reload.reload_interval", "0")
            .start(),
    );
    let ca = CertificateAuthority::new("another CA");
    let paths = (
        scene.facts.get("certificate").to_owned(),
        scene.facts.get("key").to_owned(),
    );
    let put = |leaf: &test_support::Leaf| {
        fs::write(Path::new(&paths.0), &leaf.certificate_pem).unwrap();
        fs::write(Path::new(&paths.1), &leaf.key_pem).unwrap();
    };
    let client = HttpClient::for_url(scene.facts.url(), ca.pem());
    let by_signal = ca.issue(&["localhost"]);
    put(&by_signal);
    scene.server.hang_up();
    scene.server.wait_for_log("certificates read again on request");
    assert_eq!(
        client.connect().await.unwrap().fingerprint(),
        by_signal.fingerprint()
    );

    let by_call = ca.issue(&["localhost"]);
    put(&by_call);
    let admin = test_support::AdminClient::new(
        HttpClient::for_url(scene.facts.get("admin_url"), ca.pem()),
        scene.facts.admin_api_key(),
    );
    let outcome = admin.reload_tls().await;
    assert_eq!(outcome["sets"]["agents"]["fingerprint"], by_call.fingerprint());
    assert_eq!(
        client.connect().await.unwrap().fingerprint(),
        by_call.fingerprint()
    );
    let state = admin.tls().await;
    assert_eq!(
        state["sets"]["agents"]["generation"]["pairs"][0]["leaf"]["fingerprint"],
        by_call.fingerprint()
    );
}
