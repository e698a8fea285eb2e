//! `fleet-server cert`, and what the start says about certificates (reload.md 7.1, 8.4).

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use test_support::{
    CertificateAuthority, HttpClient, KubeletVolume, Leaf, LeafOrder, PairFiles, Request, ServerCommand,
    rename_over, server_command,
};
use time::Duration;

use crate::agents::Scene;

/// `cert check` with its arguments.
fn check(arguments: &[&str]) -> (i32, String, String) {
    let mut command = server_command!().sub_command("cert").arg("check");
    for argument in arguments {
        command = command.arg(argument);
    }
    command.output()
}

fn check_pair(directory: &Path, leaf: &Leaf, more: &[&str]) -> (i32, String) {
    let files = PairFiles::create(directory, leaf);
    let (certificate, key) = (text(&files.certificate), text(&files.key));
    let arguments = [&["--certificate", certificate, "--key", key], more].concat();
    let (code, out, err) = check(&arguments);
    assert_eq!(err, "", "what it found is its output");
    (code, out)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn r36_check_says_what_the_server_would_do() {
    let ca = CertificateAuthority::new("ca");
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let good = ca.issue(&["localhost"]);

    let (code, out) = check_pair(at, &good, &["--strict"]);
    assert_eq!(
        (code, out.trim()),
        (
            0,
            format!(
                "the given files: can be served, fingerprint {}",
                good.fingerprint()
            )
            .as_str()
        )
    );

    fs::set_permissions(at.join("tls.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let (code, out) = check_pair(at, &good, &[]);
    assert!(
        code == 0 && out.contains("  warning: key ") && out.contains("    hint: chmod o-r"),
        "{code} {out}"
    );
    let (code, _) = check_pair(at, &good, &["--strict"]);
    assert_eq!(code, 2, "reload.md 8.4");

    // An error counts more than a warning, also with --strict, and both are told.
    PairFiles::create(at, &good).break_pair(&ca.issue(&["localhost"]));
    let (certificate, key) = (at.join("tls.crt"), at.join("tls.key"));
    let arguments = [
        "--certificate",
        text(&certificate),
        "--key",
        text(&key),
        "--strict",
    ];
    let (code, out, _) = check(&arguments);
    assert_eq!(code, 1, "{out}");
    for part in [
        "the given files: cannot be served",
        "  error: certificate ",
        "does not match key",
        "    hint: put the key",
        text(&certificate),
        text(&key),
    ] {
        assert!(out.contains(part), "{part} is not in\n{out}");
    }
}

/// reload.md 5.3: a running server refuses both as long as what it serves is valid.
#[test]
fn r36_check_refuses_what_a_running_server_would_refuse() {
    let ca = CertificateAuthority::new("ca");
    let directory = tempfile::tempdir().unwrap();
    for (from, to, said) in [(-9, -1, "expired at"), (1, 9, "is not valid before")] {
        let order = LeafOrder::new(&["localhost"]).valid(Duration::days(from), Duration::days(to));
        let (code, out) = check_pair(directory.path(), &ca.issue_as(&order), &[]);
        assert!(
            code == 1 && out.contains("should not be served") && out.contains(said),
            "{code} {out}"
        );
    }
}

#[test]
fn r36_check_reads_client_cas_lists_and_passphrases() {
    let [ca, clients] = ["ca", "clients"].map(CertificateAuthority::new);
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let (authority, list) = (at.join("ca.crt"), at.join("clients.crl"));
    fs::write(&authority, clients.pem()).unwrap();
    fs::write(&list, clients.revoke(&[])).unwrap();
    let leaf = ca.issue(&["localhost"]);
    let options = [
        "--certificate-authority",
        text(&authority),
        "--certificate-revocation-list",
        text(&list),
        "--strict",
    ];
    let (code, out) = check_pair(at, &leaf, &options);
    assert_eq!(code, 0, "{out}");
    fs::write(&list, ca.revoke(&[])).unwrap();
    let (code, out) = check_pair(at, &leaf, &options);
    assert!(code == 2 && out.contains("is no client CA"), "{code} {out}");
    fs::write(&list, "rubbish").unwrap();
    fs::write(&authority, "rubbish").unwrap();
    let (code, out) = check_pair(at, &leaf, &options);
    assert!(
        code == 1 && out.matches("  error: ").count() == 2,
        "every error is told: {code} {out}"
    );

    let files = PairFiles::create(at, &leaf);
    let encrypted = Command::new("openssl")
        .args([
            "pkcs8",
            "-topk8",
            "-v2",
            "aes-256-cbc",
            "-v2prf",
            "hmacWithSHA256",
        ])
        .args(["-passout", "pass:open sesame", "-in", text(&files.key)])
        .output()
        .expect("openssl is part of the procedure");
    fs::write(&files.key, encrypted.stdout).unwrap();
    let phrase = at.join("phrase");
    for (written, expected) in [("open sesame\n", 0), ("closed sesame\n", 1)] {
        fs::write(&phrase, written).unwrap();
        let (code, out, _) = check(&[
            "--certificate",
            text(&files.certificate),
            "--key",
            text(&files.key),
            "--key-passphrase-path",
            text(&phrase),
        ]);
        assert_eq!(code, expected, "{out}");
        // T80
        assert!(!out.contains("sesame"), "{out}");
        assert_eq!(out.contains("cannot decrypt"), expected == 1, "{out}");
    }
}

/// A configuration with a set for the agents and one for the admin listener.
fn configured(command: ServerCommand, agents: &Leaf, admin: &Leaf) -> ServerCommand {
    let mut ssl = Vec::new();
    for (name, leaf) in [("agents", agents), ("admin", admin)] {
        let directory = command.path().join(name);
        fs::create_dir(&directory).unwrap();
        let files = PairFiles::create(&directory, leaf);
        let (certificate, key) = (text(&files.certificate), text(&files.key));
        ssl.push(format!("{{certificate: {certificate}, key: {key}}}"));
    }
    let yaml = format!(
        "output.elasticsearch:\n  hosts: [\"https://localhost:9200\"]\n  service_token: unused\ninputs:\n  \
         - type: fleet-server\n    server:\n      ssl: {}\nadmin:\n  ssl: {}\n",
        ssl[0], ssl[1]
    );
    command.sub_command("cert").arg("check").config(&yaml)
}

#[test]
fn r36_check_judges_every_set_of_a_configuration() {
    let ca = CertificateAuthority::new("ca");
    let good = ca.issue(&["localhost"]);
    let order = LeafOrder::new(&["localhost"]).valid(Duration::days(-9), Duration::days(-1));
    let expired = ca.issue_as(&order);
    let (code, out, err) = configured(server_command!(), &good, &good).output();
    assert_eq!(code, 0, "{out}{err}");
    assert_eq!(out.matches("can be served").count(), 2, "{out}");

    // T11: it would be served, with an error.
    let (code, out, _) = configured(server_command!(), &good, &expired).output();
    assert!(
        code == 1 && out.contains("admin.ssl: should not be served") && out.contains("served all the same"),
        "{code} {out}"
    );

    // An error in one set and a warning in the other is an error.
    let command = configured(server_command!(), &good, &expired).arg("--strict");
    let key = command.path().join("agents/tls.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let (code, out, _) = command.output();
    assert_eq!(code, 1, "{out}");

    // T15: PEM in the configuration.
    let indented = |pem: &str| pem.replace('\n', "\n        ");
    let yaml = format!(
        "inputs:\n- type: fleet-server\n  server:\n    ssl:\n      certificate: |\n        {}\n      key: |\n        {}\n",
        indented(good.certificate_pem.trim_end()),
        indented(good.key_pem.trim_end())
    );
    let (code, out, err) = server_command!()
        .sub_command("cert")
        .arg("check")
        .config(&yaml)
        .arg("--strict")
        .output();
    assert_eq!(code, 0, "{out}{err}");
}

#[test]
fn r36_check_without_something_to_check_is_an_error() {
    for arguments in [
        [].as_slice(),
        &["--key", "tls.key"],
        &["--certificate", "tls.crt", "-c", "fleet-server.yml"],
        &["--no-such-option"],
    ] {
        let (code, out, err) = check(arguments);
        assert_eq!((code, out.as_str()), (1, ""), "{arguments:?}: {err}");
        assert!(!err.is_empty());
    }
}

/// The same words at the start and at the check.
#[test]
fn t19_an_unknown_key_under_ssl_is_refused_with_its_line() {
    let yaml = "inputs:\n- type: fleet-server\n  server:\n    ssl:\n      certificate: /c\n      keys: /k\n";
    for command in [
        server_command!().config(yaml),
        server_command!().sub_command("cert").arg("check").config(yaml),
    ] {
        let file = command.path().join("fleet-server.yml");
        let (code, out, err) = command.output();
        assert_eq!((code, out.as_str()), (1, ""), "{err}");
        let place = format!("{}:6: unknown key inputs.0.server.ssl.keys", file.display());
        assert!(
            err.contains(&place) && err.contains("hint: did you mean inputs.0.server.ssl.key?"),
            "{err}"
        );
    }
}

/// Starts a server on two paths that it refuses; gives what it says.
fn refused(certificate: &Path, key: &Path) -> String {
    let (code, _, err) = server_command!()
        .quickstart()
        .set("inputs.0.server.ssl.certificate", text(certificate))
        .set("inputs.0.server.ssl.key", text(key))
        .output();
    assert_eq!(code, 1, "{err}");
    assert!(
        err.contains("error: ") && err.contains("\nhint: "),
        "reload.md 7.1: reason and remedy: {err}"
    );
    err
}

#[test]
fn t02_t05_t08_r29_a_bad_start_names_file_reason_and_remedy() {
    let ca = CertificateAuthority::new("ca");
    let directory = tempfile::tempdir().unwrap();
    let files = PairFiles::create(directory.path(), &ca.issue(&["localhost"]));
    let missing = directory.path().join("other.key");
    let said = refused(&files.certificate, &missing);
    assert!(
        said.contains(text(&missing)) && said.contains("no such file"),
        "{said}"
    );

    let fifo = directory.path().join("fifo");
    let made = Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    let said = refused(&files.certificate, &fifo);
    assert!(said.contains(text(&fifo)) && said.contains("is a FIFO"), "{said}");

    files.break_pair(&ca.issue(&["localhost"]));
    let said = refused(&files.certificate, &files.key);
    assert!(
        said.contains(text(&files.certificate)) && said.contains(text(&files.key)),
        "{said}"
    );
}

#[test]
fn t05_a_key_that_the_mounted_secret_does_not_have() {
    let leaf = CertificateAuthority::new("ca").issue(&["localhost"]);
    let directory = tempfile::tempdir().unwrap();
    let volume = KubeletVolume::create(
        directory.path(),
        &[("server.pem", &leaf.chain_pem), ("ca.crt", "")],
    );
    let said = refused(&volume.path("tls.crt"), &volume.path("tls.key"));
    let hint = format!(
        "hint: {} is a mounted Kubernetes volume: its Secret has no key \"tls.crt\" (it has: ca.crt, server.pem)",
        directory.path().display()
    );
    assert!(said.contains(&hint), "{said}");
}

/// `cert show` of a running server.
fn show(data: &Path, more: &[&str]) -> (i32, String, String) {
    let mut command = server_command!().sub_command("cert").arg("show");
    for argument in [&["--data-dir", text(data)], more].concat() {
        command = command.arg(argument);
    }
    command.output()
}

/// The fingerprints of served leaves in `/metrics`.
async fn scraped(http: &HttpClient) -> Vec<String> {
    let metrics = http.request(&Request::get("/metrics")).await.unwrap().text();
    let mut found: Vec<String> = metrics
        .lines()
        .filter(|line| {
            line.starts_with("fleet_server_tls_certificate_not_after_timestamp_seconds{")
                && line.contains("kind=\"leaf\"")
        })
        .map(|line| {
            let (_, rest) = line.split_once("fingerprint=\"").unwrap();
            rest.split('"').next().unwrap().to_owned()
        })
        .collect();
    found.dedup();
    found
}

#[actix_rt::test]
async fn t63_t79_metrics_cert_show_and_handshakes_agree_after_each_step() {
    let ca = CertificateAuthority::new("ca");
    let command = server_command!();
    let first = ca.issue(&["localhost"]);
    let mut volume = KubeletVolume::create_pair(&command.path().join("tls"), &first);
    let scene = Scene::of(
        command
            .quickstart()
            .set("inputs.0.server.ssl.certificate", text(&volume.path("tls.crt")))
            .set("inputs.0.server.ssl.key", text(&volume.path("tls.key")))
            .set("inputs.0.server.ssl.certificate_reload.debounce", "50ms")
            .allow_log("does not match key")
            .start(),
    );
    let data = scene.server.data();
    let http = HttpClient::for_url(scene.facts.get("http_url"), "");
    let agrees = async |served: &Leaf| {
        for door in ["url", "internal_url", "admin_url"] {
            let client = HttpClient::for_url(scene.facts.get(door), ca.pem());
            let seen = client.connect().await.unwrap().fingerprint();
            assert_eq!(seen, served.fingerprint(), "{door}");
        }
        assert_eq!(scraped(&http).await, [served.fingerprint()]);
        let (_, json, err) = show(&data, &["--json"]);
        let state: serde_json::Value = serde_json::from_str(&json).unwrap_or_else(|_| panic!("{json}{err}"));
        let pairs = &state["sets"]["agents"]["generation"]["pairs"];
        assert_eq!(pairs[0]["leaf"]["fingerprint"], served.fingerprint());
    };
    agrees(&first).await;
    let mut served = first;
    for step in 1..=3 {
        let next = ca.issue(&["localhost"]);
        volume.update_pair(&next);
        // The line of the start is the first.
        scene.server.wait_for_lines("serving ", step + 1);
        agrees(&next).await;
        let (code, out, _) = show(&data, &[]);
        assert_eq!(code, 0, "{out}");
        for part in [
            "agents:",
            &format!("  fingerprint  {}", next.fingerprint()),
            "  issuer       ca",
            "  names        localhost",
            text(&volume.path("tls.crt")),
            "  clients      none",
            "  watched by   events",
            " success: serving ",
            "  state        healthy",
        ] {
            assert!(out.contains(part), "{part} is not in\n{out}");
        }
        served = next;
    }
    // A pair that does not fit: everybody still sees the last good one, and the command says why.
    let (certificate, key) = (ca.issue(&["localhost"]), ca.issue(&["localhost"]));
    volume.update(&[
        ("tls.crt", certificate.chain_pem.as_str()),
        ("tls.key", key.key_pem.as_str()),
    ]);
    scene.server.wait_for_log("does not match key");
    agrees(&served).await;
    let (code, out, _) = show(&data, &[]);
    assert_eq!(code, 1, "degraded: {out}");
    for part in [
        " failure: ",
        "  hint         put the key",
        "  next retry   ",
        "  state        degraded: ",
    ] {
        assert!(out.contains(part), "{part} is not in\n{out}");
    }
}

/// The command must get in where client certificates are required.
#[test]
fn r36_show_brings_a_client_certificate() {
    let [ca, clients] = ["ca", "clients"].map(CertificateAuthority::new);
    let command = server_command!();
    let at = command.path().join("certs");
    fs::create_dir(&at).unwrap();
    let files = PairFiles::create(&at, &ca.issue(&["localhost"]));
    let friend = clients.issue_as(&LeafOrder::new(&["friend"]).for_client("friend"));
    let [authority, certificate, key] = ["clients.crt", "client.crt", "client.key"].map(|name| at.join(name));
    rename_over(&authority, clients.pem());
    rename_over(&certificate, &friend.certificate_pem);
    rename_over(&key, &friend.key_pem);
    let server = command
        .quickstart()
        .set("inputs.0.server.ssl.certificate", text(&files.certificate))
        .set("inputs.0.server.ssl.key", text(&files.key))
        .set("inputs.0.server.ssl.certificate_authorities.0", text(&authority))
        .start();
    server.quickstart_facts();
    let (code, _, err) = show(&server.data(), &[]);
    assert!(code == 1 && err.contains("cannot reach"), "{code} {err}");
    let identity = [
        "--client-certificate",
        text(&certificate),
        "--client-key",
        text(&key),
    ];
    let (code, out, err) = show(&server.data(), &identity);
    assert_eq!(code, 0, "{out}{err}");
    assert!(
        out.contains("  clients      required") && out.contains("  client CA    CN=clients"),
        "{out}"
    );
}

/// A certificate for the fleet's name only: the operator on the machine asks with the server's own configuration.
#[actix_rt::test]
async fn r36_show_finds_the_server_of_a_configuration() {
    let ca = CertificateAuthority::new("ca");
    let leaf = ca.issue(&["fleet.example"]);
    let command = server_command!();
    let directory = command.path().join("tls");
    fs::create_dir(&directory).unwrap();
    let files = PairFiles::create(&directory, &leaf);
    fs::write(directory.join("ca.crt"), ca.pem()).unwrap();
    let (certificate, key) = (text(&files.certificate), text(&files.key));
    let server = command
        .quickstart()
        .set("inputs.0.server.ssl.certificate", certificate)
        .set("inputs.0.server.ssl.key", key)
        .set("inputs.0.server.ssl.certificate_reload.debounce", "10m")
        .start();
    let admin = server.quickstart_facts().get("admin_url").to_owned();
    let show = |port: &str, certificate: &str, key: &str| {
        server_command!()
            .sub_command("cert")
            .arg("show")
            .set("path.data", text(&server.data()))
            .set("bootstrap.fleet_hosts.0", "https://fleet.example:8220")
            .set("admin.port", port)
            .set("inputs.0.server.ssl.certificate", certificate)
            .set("inputs.0.server.ssl.key", key)
            .output()
    };
    let port = admin.rsplit(':').next().unwrap();
    let (code, out, err) = show(port, certificate, key);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains(&leaf.fingerprint()), "{out}");
    let (code, _, err) = show("0", certificate, key);
    assert!(code == 1 && err.contains("--url"), "{err}");

    // When the files cannot be served is when somebody looks.
    fs::write(&files.certificate, "garbage").unwrap();
    let (_, out, err) = show(port, certificate, key);
    assert!(out.contains(&leaf.fingerprint()), "{out}{err}");

    // A server that another configuration describes is not believed, and not shown the key.
    let other = tempfile::tempdir().unwrap();
    let files = PairFiles::create(
        other.path(),
        &CertificateAuthority::new("other").issue(&["fleet.example"]),
    );
    let (code, _, err) = show(port, text(&files.certificate), text(&files.key));
    assert!(
        code == 1 && err.contains("cannot reach") && err.contains("give --ca"),
        "{err}"
    );
}

/// A Secret without the named key: the log says so for every file that the server reads.
#[test]
fn missing_keys_of_mounted_secrets_are_named_for_keys_and_tokens_too() {
    for key in ["admin.api_key_path", "bootstrap.enrollment_token_path"] {
        let command = server_command!();
        let mount = command.path().join("mount");
        fs::create_dir_all(mount.join("..2026")).unwrap();
        fs::write(mount.join("..2026/other"), "x").unwrap();
        std::os::unix::fs::symlink("..2026", mount.join("..data")).unwrap();
        std::os::unix::fs::symlink("..data/other", mount.join("other")).unwrap();
        let (code, _, err) = command
            .quickstart()
            .set(key, text(&mount.join("wanted")))
            .output();
        assert_eq!(code, 1, "{err}");
        assert!(
            err.contains(r#"its Secret has no key "wanted" (it has: other)"#),
            "{key}: {err}"
        );
        assert!(!mount.join("wanted").exists());
    }
}
