//! The sub-commands that containers, packages and scripts call.

use std::{fs, net::TcpListener, process::Stdio};

use test_support::server_command;

use crate::{agents::Scene, certificates::openssl_fingerprint};

#[test]
fn config_check_without_a_file_says_that_none_was_checked() {
    let command = server_command!().sub_command("config").arg("check");
    let (code, out, err) = command.output();
    assert_eq!(code, 0, "{err}");
    assert!(
        out.contains("no file was checked") && !out.contains("the configuration is good"),
        "{out}"
    );
    // With the file that `run` would read, it is read here too.
    fs::write(command.path().join("fleet-server.yml"), "http.port: 1\n").unwrap();
    let (_, out, _) = command.output();
    assert!(out.ends_with("the configuration is good\n"), "{out}");
    fs::write(command.path().join("fleet-server.yml"), "http.prot: 1\n").unwrap();
    let (code, _, err) = command.output();
    assert_eq!(code, 1);
    assert!(err.contains("fleet-server.yml:1: unknown key http.prot"), "{err}");
}

#[test]
fn two_listeners_on_one_address_are_both_named_before_and_at_the_start() {
    let port = |command: test_support::ServerCommand| {
        let yaml = "inputs:\n- type: fleet-server\n  server:\n    host: 127.0.0.1\n    port: 18220\n\
                    admin:\n  port: 18220\n";
        let (code, _, err) = command.config(yaml).output();
        assert_eq!(code, 1, "{err}");
        for named in [
            "fleet-server.yml:7: admin.port: localhost:18220",
            "inputs.0.server.port (",
            "fleet-server.yml:5)",
            "127.0.0.1:18220",
        ] {
            assert!(err.contains(named), "{named} is not in {err}");
        }
        assert!(!err.contains("stop the program that uses it"), "{err}");
    };
    port(server_command!().sub_command("config").arg("check"));
    port(server_command!().sub_command("run"));
    // That 127.1 is 127.0.0.1, only the system knows.
    let [agents, internal] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [free, other] = [&agents, &internal].map(|socket| socket.local_addr().unwrap().port().to_string());
    let (code, _, err) = server_command!()
        .quickstart()
        .set("inputs.0.server.host", "127.0.0.1")
        .set("inputs.0.server.port", &free)
        .set("inputs.0.server.internal_port", &other)
        .socket("fleet-server.socket", &agents)
        .socket("fleet-server.socket", &internal)
        .set("admin.host", "127.1")
        .set("admin.port", &free)
        .output();
    assert_eq!(code, 1, "{err}");
    assert!(
        err.contains(&format!(
            "admin.port: 127.1:{free} cannot be listened on, since inputs.0.server.port has taken 127.0.0.1:{free}"
        )),
        "{err}"
    );
}

#[actix_rt::test]
async fn status_shows_the_served_certificate_with_and_without_verifying_it() {
    let scene = Scene::start();
    let url = scene.facts.url();
    let port = url.rsplit(':').next().unwrap().parse().unwrap();
    let fingerprint = openssl_fingerprint(port);
    let verified = ["--ca", scene.facts.get("ca_file")];
    for trust in [verified.as_slice(), &["--insecure"]] {
        let mut command = server_command!().sub_command("status").arg("--url").arg(url);
        for arg in trust {
            command = command.arg(arg);
        }
        let (code, out, err) = command.output();
        assert_eq!(code, 0, "{err}");
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines[0], "HEALTHY");
        assert!(
            lines[1].starts_with(&format!("certificate sha256={fingerprint} not-after=20")),
            "{out}"
        );
    }
    let (code, _, err) = server_command!()
        .sub_command("status")
        .arg("--url")
        .arg(url)
        .output();
    assert_eq!(code, 1);
    assert!(err.contains("no trusted CA is known"), "{err}");
    let (code, _, err) = server_command!()
        .sub_command("status")
        .arg("--url")
        .arg(url.replace("https:", "http:"))
        .output();
    assert!(
        code == 1
            && err.contains("cannot reach http:")
            && err.contains("the port speaks TLS (certificate sha256="),
        "{err}"
    );
    let plain = scene.facts.get("http_url");
    let (_, out, err) = server_command!()
        .sub_command("status")
        .arg("--url")
        .arg(plain)
        .output();
    assert!(
        err.contains("is not a Fleet Server") && !out.contains("certificate"),
        "{out}{err}"
    );
}

#[test]
fn the_enrollment_token_is_shown_while_the_server_runs_and_from_a_preset_file() {
    let scene = Scene::start();
    let (code, out, err) = server_command!()
        .sub_command("enrollment-token")
        .arg("--data-dir")
        .arg(scene.server.data())
        .output();
    assert_eq!(
        (code, out.as_str()),
        (0, format!("{}\n", scene.facts.enrollment_token()).as_str()),
        "{err}"
    );
    let elsewhere = server_command!().sub_command("enrollment-token");
    let preset = elsewhere.path().join("preset");
    fs::write(&preset, scene.facts.enrollment_token()).unwrap();
    let (code, out, err) = elsewhere
        .set("bootstrap.enrollment_token_path", preset.to_str().unwrap())
        .output();
    assert_eq!((code, out.trim()), (0, scene.facts.enrollment_token()), "{err}");
    let (code, out, err) = server_command!().sub_command("enrollment-token").output();
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("bootstrap.enrollment_token_path"), "{err}");
}

#[test]
fn a_pause_ends_well_when_it_is_told_to_end() {
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_fleet-server"))
        .args(["sleep", "1h"])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    let catches_sigterm = || {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let mask = status
            .lines()
            .find_map(|line| line.strip_prefix("SigCgt:"))
            .unwrap();
        u64::from_str_radix(mask.trim(), 16).unwrap() & (1 << 14) != 0
    };
    let started = std::time::Instant::now();
    while !catches_sigterm() {
        assert!(started.elapsed() < test_support::LIMIT, "it takes no signals");
        std::thread::yield_now();
    }
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
