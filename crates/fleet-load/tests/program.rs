//! Black box, without a server: what stands in the way is said in a sentence with the remedy, and is never a result.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    net::TcpListener,
    process::{Command, Stdio},
};

/// Exit code, stdout and stderr.
fn load(words: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_fleet-load"))
        .args(words)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[track_caller]
fn refused(words: &[&str], error: &str, hint: &str) {
    let (code, out, err) = load(words);
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    assert!(err.contains(error) && err.contains(hint), "{err}");
}

#[test]
fn the_help_names_every_scenario() {
    let (code, out, _) = load(&["--help"]);
    assert_eq!(code, 0);
    for scenario in [
        "enroll",
        "idle",
        "checkin",
        "policy-rollout",
        "action-rollout",
        "storm",
        "rotate",
        "churn",
        "upload",
        "mix",
        "size",
        "bench",
    ] {
        assert!(out.contains(&format!("\n  {scenario} ")), "{scenario} in {out}");
    }
    assert!(!out.contains("\n  part "), "{out}");
    assert_eq!(load(&["idle", "--agents", "many"]).0, 2);
}

#[test]
fn what_is_missing_is_named() {
    refused(&["idle"], "--url is missing", "--quickstart");
    refused(
        &["idle", "--url", "http://localhost:1"],
        "--token is missing",
        "--token TOKEN",
    );
    let https = ["idle", "--url", "https://localhost:1", "--token", "t"];
    refused(&https, "--ca is missing", "--ca FILE");
    let rollout = ["policy-rollout", "--url", "http://localhost:1", "--token", "t"];
    refused(&rollout, "--trigger is missing", "--admin-key-file");
    let url = ["idle", "--url", "localhost", "--token", "t"];
    refused(&url, "it has no scheme", "https://HOST:PORT");
}

#[test]
fn a_foreign_address_is_refused_before_anything_is_sent() {
    let far = ["idle", "--url", "http://198.51.100.7:8220", "--token", "t"];
    refused(
        &far,
        "neither a loopback nor a private address",
        "--i-own-this-server",
    );
}

#[test]
fn files_that_are_none_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    let path = ca.to_str().unwrap();
    let words = [
        "idle",
        "--url",
        "https://localhost:1",
        "--token",
        "t",
        "--ca",
        path,
    ];
    refused(&words, "cannot read", "path");
    fs::write(&ca, "no certificate").unwrap();
    refused(&words, "no PEM block", "--ca is a PEM file");
    let quickstart = ["idle", "--quickstart", path];
    refused(&quickstart, "not what quickstart writes", "quickstart.json");
}

#[test]
fn a_server_that_is_none_is_no_result() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{free}");
    refused(
        &["idle", "--url", &url, "--token", "t"],
        "nobody answers",
        "start the server",
    );

    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", other.local_addr().unwrap());
    let silent = std::thread::spawn(move || drop(other.accept().unwrap()));
    refused(
        &["idle", "--url", &url, "--token", "t"],
        "not so that an agent would go on",
        "",
    );
    silent.join().unwrap();
}

#[test]
fn more_connections_than_files_or_ports_are_refused() {
    let url = "http://127.0.0.1:1";
    let many = ["idle", "--url", url, "--token", "t", "--agents", "999999999"];
    refused(&many, "processes, for each may have", "ulimit -Hn");
    let far = [
        "idle",
        "--url",
        "http://10.255.255.1:1",
        "--token",
        "t",
        "--agents",
        "70000",
    ];
    refused(&far, "more ports", "--source");
    let pid = ["idle", "--url", url, "--token", "t", "--pid", "2147483647"];
    refused(&pid, "process 2147483647 is not there", "--pid");
}
