//! The load generator against the real server: every scenario comes to a result, and what is wrong is found.
//!
//! It runs in this process, as a library; only where it needs processes of its own, the program is run.

use std::{ffi::OsString, path::Path, process::Command};

use serde_json::Value;
use test_support::{CertificateAuthority, ServerCommand, ServerProcess, server_command};

fn server(set: impl FnOnce(ServerCommand) -> ServerCommand) -> (ServerProcess, String) {
    let server = set(server_command!().quickstart()).start();
    // It is written a moment after the server listens.
    server.quickstart_facts();
    let quickstart = server.data().join("quickstart.json").display().to_string();
    (server, quickstart)
}

/// Exit code, the JSON result (null without one), stderr.
fn load(words: &[&str]) -> (u8, Value, String) {
    let words = ["fleet-load"].iter().chain(words).map(OsString::from);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = fleet_load::run(words, &mut out, &mut err);
    let json = serde_json::from_slice(&out).unwrap_or_default();
    (exit.code(), json, String::from_utf8(err).unwrap())
}

#[track_caller]
fn right(scenario: &str, quickstart: &str, more: &[&str]) -> Value {
    let words = [&[scenario, "--quickstart", quickstart, "--json", "--quiet"], more].concat();
    let (code, result, err) = load(&words);
    assert_eq!((code, err.as_str()), (0, ""), "{scenario}: {result}");
    assert_eq!(
        (result["scenario"].as_str(), result["ok"].as_bool()),
        (Some(scenario), Some(true))
    );
    result
}

#[test]
fn every_scenario_comes_to_a_result() {
    let (server, quickstart) = server(|command| command);
    let pid = server.pid().to_string();

    let enroll = right("enroll", &quickstart, &["--agents", "20", "--concurrency", "4"]);
    assert_eq!(
        enroll["times_ms"]["enroll"]["count"], 19,
        "all but the trial: {enroll}"
    );
    assert_eq!(enroll["times_ms"]["connect"]["count"], 19);
    let shared = right(
        "enroll",
        &quickstart,
        &["--agents", "20", "--shared-connections", "2"],
    );
    assert_eq!(shared["times_ms"]["connect"]["count"], 2, "{shared}");

    let idle = right(
        "idle",
        &quickstart,
        &["--agents", "20", "--duration", "1s", "--pid", &pid],
    );
    assert_eq!(idle["figures"]["waiting"], 20);
    assert!(idle["figures"]["kib_before"].as_u64() > Some(1000), "{idle}");

    let rounds = ["--agents", "20", "--rounds", "2", "--policy", "20KB", "--eager"];
    let rollout = right("policy-rollout", &quickstart, &rounds);
    assert_eq!(rollout["times_ms"]["delivery"]["count"], 40, "{rollout}");
    assert_eq!(rollout["times_ms"]["ack"]["count"], 40, "{rollout}");

    let storm = right("storm", &quickstart, &["--agents", "20", "--duration", "1s"]);
    assert_eq!(
        (
            storm["figures"]["back"].as_u64(),
            storm["times_ms"]["return"]["count"].as_u64()
        ),
        (Some(20), Some(20))
    );

    let upload = right(
        "upload",
        &quickstart,
        &["--agents", "2", "--duration", "3s", "--size", "100KB"],
    );
    let (files, bytes) = (&upload["figures"]["files"], &upload["figures"]["bytes"]);
    assert!(
        files.as_u64() > Some(0) && bytes.as_u64() >= files.as_u64().map(|files| files * 100_000),
        "{upload}"
    );
}

#[test]
fn check_ins_are_counted_where_polls_end_at_once() {
    let (_server, quickstart) = server(|command| {
        command
            .set("inputs.0.server.timeouts.checkin_long_poll", "1ms")
            .set("inputs.0.server.timeouts.checkin_jitter", "0s")
    });
    let result = right(
        "checkin",
        &quickstart,
        &["--agents", "5", "--duration", "1s", "--eager"],
    );
    let answered = result["figures"]["answered"].as_u64().unwrap();
    assert!(answered > 5, "{result}");
    assert_eq!(result["figures"]["refused"], 0);
    assert_eq!(result["notes"].as_array().unwrap().len(), 0, "{result}");
}

#[test]
fn a_change_that_reaches_nobody_is_lost_and_one_that_fails_is_no_result() {
    let (_server, quickstart) = server(|command| command);
    let words = [
        "policy-rollout",
        "--quickstart",
        &quickstart,
        "--json",
        "--quiet",
        "--agents",
        "3",
        "--rounds",
        "1",
    ];
    let nothing = [&words[..], &["--trigger", "true", "--limit", "2s"]].concat();
    let (code, result, _) = load(&nothing);
    assert_eq!(
        (code, result["findings"]["lost"].as_u64()),
        (1, Some(3)),
        "{result}"
    );
    let failing = [&words[..], &["--trigger", "echo no way >&2; exit 3"]].concat();
    let (code, result, err) = load(&failing);
    assert_eq!((code, &result), (2, &Value::Null));
    assert!(err.contains("no way") && err.contains("exit status: 3"), "{err}");
}

#[test]
fn a_token_that_the_server_does_not_know_is_no_result() {
    let (server, quickstart) = server(|command| command);
    let (code, result, err) = load(&[
        "idle",
        "--quickstart",
        &quickstart,
        "--token",
        "bm9ib2R5Om5vdGhpbmc=",
    ]);
    assert_eq!((code, result), (2, Value::Null));
    assert!(err.contains("does not take the enrollment token"), "{err}");
    // Another CA than the one that signed.
    let other = CertificateAuthority::new("another");
    let file = server.data().join("other.pem");
    std::fs::write(&file, other.pem()).unwrap();
    let (code, _, err) = load(&[
        "idle",
        "--quickstart",
        &quickstart,
        "--ca",
        file.to_str().unwrap(),
    ]);
    assert!(
        code == 2 && err.contains("TLS handshake") && err.contains("--ca"),
        "{err}"
    );
}

#[test]
fn a_fleet_larger_than_a_process_may_have_files_runs_in_several() {
    let (_server, quickstart) = server(|command| command);
    let program = Path::new(env!("CARGO_BIN_EXE_fleet-server")).with_file_name("fleet-load");
    assert!(
        program.exists(),
        "{} is missing: cargo build -p fleet-load",
        program.display()
    );
    let script = "ulimit -n 84 && exec \"$0\" \"$@\"";
    let output = Command::new("sh")
        .args(["-c", script])
        .arg(&program)
        .args([
            "idle",
            "--quickstart",
            &quickstart,
            "--agents",
            "50",
            "--duration",
            "1s",
            "--json",
        ])
        .output()
        .unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{err}");
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(result["figures"]["waiting"], 50, "{result} {err}");
}

#[test]
fn actions_churn_and_a_mixed_day_find_nothing_wrong() {
    let (server, quickstart) = server(|command| command);
    let pid = server.pid().to_string();
    let actions = right(
        "action-rollout",
        &quickstart,
        &["--agents", "12", "--rounds", "2", "--eager"],
    );
    assert_eq!(actions["times_ms"]["delivery"]["count"], 24, "{actions}");

    let words = [
        "--agents",
        "10",
        "--duration",
        "3s",
        "--stay",
        "500ms",
        "--eager",
        "--pid",
        &pid,
    ];
    let churn = right("churn", &quickstart, &words);
    assert!(
        churn["figures"]["left_and_came_back"].as_u64() > Some(0),
        "{churn}"
    );
    assert!(churn["figures"]["kib_more_in_a_minute"].is_number(), "{churn}");

    let words = [
        "--agents",
        "20",
        "--duration",
        "4s",
        "--stay",
        "1s",
        "--rounds",
        "2",
        "--size",
        "10KB",
        "--eager",
    ];
    let mix = right("mix", &quickstart, &words);
    assert!(mix["figures"]["policies_delivered"].as_u64() >= Some(20), "{mix}");
    assert!(mix["figures"]["files"].as_u64() > Some(0), "{mix}");
}

#[test]
fn a_certificate_is_replaced_while_agents_wait_and_while_they_return() {
    let (server, quickstart) = server(|command| command);
    let (data, ca) = (server.data(), CertificateAuthority::new("another"));
    let facts = server.quickstart_facts();
    let trusted = data.join("both.pem");
    std::fs::write(&trusted, format!("{}{}", facts.ca_pem(), ca.pem())).unwrap();
    for storm in [&["--storm"][..], &[]] {
        let leaf = ca.issue(&["localhost"]);
        std::fs::write(data.join("next.crt"), &leaf.chain_pem).unwrap();
        std::fs::write(data.join("next.key"), &leaf.key_pem).unwrap();
        let trigger = format!(
            "cd {} && cp next.crt {} && cp next.key {}",
            data.display(),
            facts.get("certificate"),
            facts.get("key")
        );
        let words = [
            "--ca",
            trusted.to_str().unwrap(),
            "--agents",
            "10",
            "--duration",
            "1s",
            "--trigger",
            &trigger,
        ];
        let rotate = right("rotate", &quickstart, &[&words[..], storm].concat());
        assert_eq!(
            (&rotate["figures"]["failed"], &rotate["figures"]["waiting"]),
            (&0.into(), &10.into()),
            "{rotate}"
        );
    }
}

#[test]
fn a_size_is_told_from_a_short_run_with_a_server_of_its_own() {
    let program = env!("CARGO_BIN_EXE_fleet-server");
    let words = [
        "size", "--agents", "50000", "--policy", "20KB", "--sample", "20", "--server", program, "--json",
        "--quiet",
    ];
    let (code, size, err) = load(&words);
    assert_eq!(code, 0, "{err}");
    let figure = |name: &str| size["figures"][name].as_f64().unwrap();
    assert!(figure("memory_peak_mib") >= figure("memory_steady_mib"), "{size}");
    assert!(
        figure("memory_steady_mib") > figure("sample_kib_before") / 1024.0,
        "{size}"
    );
    assert!(figure("rollout_1_core_s") > figure("rollout_4_cores_s"), "{size}");
    assert!(figure("sample_delivery_bytes") > 1000.0, "{size}");
    assert!(size["notes"][0].as_str().unwrap().contains("assumed"), "{size}");
    let (code, _, err) = load(&["size", "--agents", "10", "--server", "/nowhere/fleet-server"]);
    assert!(
        code == 2 && err.contains("cannot read /nowhere/fleet-server"),
        "{err}"
    );
}
