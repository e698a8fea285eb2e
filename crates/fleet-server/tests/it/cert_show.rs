//! `cert show` finds the running server of this host, and says what is wrong when it does not.

use std::fs;

use test_support::{CertificateAuthority, PairFiles, ServerProcess, server_command};

/// `cert show` with these arguments, and `-E` settings.
fn show(arguments: &[&str], settings: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = server_command!().sub_command("cert").arg("show");
    for argument in arguments {
        command = command.arg(argument);
    }
    for (key, value) in settings {
        command = command.set(key, value);
    }
    command.output()
}

/// A quickstart server on a configuration that says nothing of TLS, and its admin port.
fn quickstarted() -> (ServerProcess, String) {
    let server = server_command!()
        .config("logging.level: info\n")
        .quickstart()
        .start();
    let admin = server.quickstart_facts().get("admin_url").to_owned();
    let port = admin.rsplit(':').next().unwrap().to_owned();
    (server, port)
}

#[test]
fn r36_show_finds_the_quickstart_server_of_a_configuration_and_its_data() {
    let (server, _) = quickstarted();
    let (config, data) = (server.directory().join("fleet-server.yml"), server.data());
    let (config, data) = (config.to_str().unwrap(), data.to_str().unwrap());
    let (code, out, err) = show(&["-c", config, "--data-dir", data], &[]);
    assert_eq!(code, 0, "{err}");
    assert!(
        out.contains("agents:\n  fingerprint") && out.contains("state        healthy"),
        "{out}"
    );
    assert!(
        out.contains("sent with    1 intermediate\n") || out.contains("0 intermediates"),
        "{out}"
    );
}

/// Plain text to a port that has TLS ends in words about HTTP versions, unless somebody looks.
#[test]
fn a_tls_port_spoken_to_in_plain_text_is_said_to_be_one() {
    let (server, port) = quickstarted();
    let data = server.data();
    let settings = [("path.data", data.to_str().unwrap()), ("admin.port", &*port)];
    let (code, _, err) = show(&[], &settings);
    assert_eq!(code, 1);
    for part in [
        "cannot reach http://",
        "the port speaks TLS (certificate sha256=",
        &format!("https://localhost:{port}"),
    ] {
        assert!(err.contains(part), "{part} is not in {err}");
    }
    // And the other way round.
    let http = server
        .quickstart_facts()
        .get("http_url")
        .replace("http://", "https://");
    let (code, _, err) = show(&["--data-dir", data.to_str().unwrap(), "--url", &http], &[]);
    assert!(
        code == 1 && err.contains("the port does not speak TLS"),
        "{code} {err}"
    );
}

/// What quickstart has written may be old: the configuration holds then.
#[test]
fn r36_show_believes_the_configuration_if_quickstart_has_gone() {
    let ca = CertificateAuthority::new("ca");
    let leaf = ca.issue(&["fleet.example"]);
    let command = server_command!();
    let directory = command.path().join("tls");
    fs::create_dir(&directory).unwrap();
    let files = PairFiles::create(&directory, &leaf);
    fs::write(directory.join("ca.crt"), ca.pem()).unwrap();
    let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let (certificate, key) = (text(&files.certificate), text(&files.key));
    let server = command
        .quickstart()
        .set("inputs.0.server.ssl.certificate", &certificate)
        .set("inputs.0.server.ssl.key", &key)
        .start();
    let admin = server.quickstart_facts().get("admin_url").to_owned();
    let port = admin.rsplit(':').next().unwrap();
    let written = server.data().join("quickstart.json");
    let old = fs::read_to_string(&written)
        .unwrap()
        .replace(&admin, "https://localhost:1");
    fs::write(&written, old).unwrap();
    let data = text(&server.data());
    let settings = |port| {
        [
            ("admin.port", port),
            ("inputs.0.server.ssl.certificate", &*certificate),
            ("inputs.0.server.ssl.key", &*key),
        ]
    };
    let (code, out, err) = show(&["--data-dir", &data], &settings(port));
    assert_eq!(code, 0, "{err}");
    assert!(out.contains(&leaf.fingerprint()), "{out}");
    // Neither answers: both are named.
    let (code, _, err) = show(&["--data-dir", &data], &settings("2"));
    assert_eq!(code, 1);
    assert!(
        err.contains("https://localhost:1") && err.contains("https://fleet.example:2"),
        "{err}"
    );
}
