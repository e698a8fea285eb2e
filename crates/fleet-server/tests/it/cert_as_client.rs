//! `cert check --as-client`: what a client that trusts a CA and asks for a name would say, before it does.

use std::{fs, path::Path};

use test_support::{CertificateAuthority, PairFiles, server_command};

/// `cert check` of the pair in `at`, with more arguments.
fn check(at: &Path, more: &[&str]) -> (i32, String, String) {
    let path = |name: &str| at.join(name).display().to_string();
    let (certificate, key) = (path("tls.crt"), path("tls.key"));
    let mut command = server_command!().sub_command("cert").arg("check");
    for argument in ["--certificate", &certificate, "--key", &key].iter().chain(more) {
        command = command.arg(argument);
    }
    command.output()
}

#[test]
fn r36_check_says_what_a_client_would_say() {
    let [ca, stranger] = ["ca", "stranger"].map(CertificateAuthority::new);
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    PairFiles::create(at, &ca.issue(&["fleet.example.com", "127.0.0.1"]));
    let file = |name: &str, pem: &str| {
        let path = at.join(name);
        // As an editor of another system writes it: the reader is the same for every file.
        fs::write(&path, format!("\u{feff} {}", pem.replace('\n', "\r\n "))).unwrap();
        path.display().to_string()
    };
    let (ours, theirs) = (file("ca.crt", ca.pem()), file("stranger.crt", stranger.pem()));
    let ask = |ca: &str, names: &[&str]| {
        let mut arguments = vec!["--strict", "--as-client", "--ca", ca];
        arguments.extend(names.iter().flat_map(|name| ["--name", name]));
        let (code, out, err) = check(at, &arguments);
        assert_eq!(err, "", "what it found is its output");
        (code, out)
    };

    let (code, out) = ask(&ours, &["fleet.example.com", "127.0.0.1"]);
    assert_eq!(code, 0, "{out}");
    for name in ["fleet.example.com", "127.0.0.1"] {
        let line = format!("  a client that trusts {ours} and asks for {name} accepts it");
        assert!(out.lines().any(|said| said == line), "{out}");
    }
    let (code, out) = ask(&ours, &["127.0.0.1", "fleet"]);
    assert_eq!(code, 1, "{out}");
    for part in [
        "should not be served",
        "asks for fleet refuses it: the certificate is not for fleet: it is for fleet.example.com, 127.0.0.1",
        "    hint: issue the certificate with that name",
        "asks for 127.0.0.1 accepts it",
    ] {
        assert!(out.contains(part), "{part} is not in\n{out}");
    }
    let (code, out) = ask(&theirs, &["127.0.0.1"]);
    assert_eq!(code, 1, "{out}");
    assert!(
        out.contains("no CA that the client trusts has issued it"),
        "{out}"
    );
    assert!(out.contains("issued by `CN=ca`"), "{out}");
}

#[test]
fn a_client_needs_a_ca_and_a_name() {
    let ca = CertificateAuthority::new("ca");
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    PairFiles::create(at, &ca.issue(&["localhost"]));
    let key = at.join("tls.key").display().to_string();
    let (code, _, err) = check(at, &["--as-client", "--name", "localhost"]);
    assert!(code != 0 && err.contains("--ca"), "{code} {err}");
    let (code, _, err) = check(at, &["--ca", &key, "--name", "localhost"]);
    assert!(code != 0 && err.contains("--as-client"), "{code} {err}");
    let (code, _, err) = check(at, &["--as-client", "--ca", &key, "--name", "localhost"]);
    assert!(
        code == 1 && err.contains("holds no certificate, but PRIVATE KEY (line 1)"),
        "{code} {err}"
    );
}
