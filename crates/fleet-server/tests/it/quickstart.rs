//! The first ten minutes, and what may stand in their way.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _, path::Path};

use test_support::{CertificateAuthority, HttpClient, Request, eventually, fingerprint, server_command};

use crate::agents::Scene;

#[actix_rt::test]
async fn ac_05_prints_and_writes_what_a_new_user_needs() {
    let scene = Scene::start();
    eventually("the help is printed", async || {
        scene.server.stdout().contains("Stop with Ctrl-C")
    })
    .await;
    let out = scene.server.stdout();
    let facts = &scene.facts;
    for shown in [
        facts.url(),
        facts.get("ca_file"),
        facts.get("ca_sha256"),
        facts.enrollment_token(),
        "elastic-agent enroll --url",
        "--certificate-authorities",
        "/api/status",
        "/api/fleet/agent_policies",
    ] {
        assert!(out.contains(shown), "{shown} is not in\n{out}");
    }
    let data = scene.server.data();
    for private in [
        "quickstart.json",
        "admin.key",
        "enrollment_token",
        "certs/ca.key",
        "certs/server.key",
        "fleet.db",
    ] {
        let mode = fs::metadata(data.join(private)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{private}");
    }
    let status = facts
        .client("url")
        .request(&Request::get("/api/status"))
        .await
        .unwrap();
    assert_eq!(
        status.json(),
        serde_json::json!({"name": "fleet-server", "status": "HEALTHY"})
    );
    // An agent that was given the fingerprint alone looks for the CA in the chain.
    let connection = facts.client("url").connect().await.unwrap();
    let ca = connection.tls().unwrap().chain.last().map(fingerprint);
    assert_eq!(ca.as_deref(), Some(facts.get("ca_sha256")));
    let internal = facts
        .client("internal_url")
        .request(&Request::get("/api/status"))
        .await
        .unwrap();
    assert_eq!(internal.status, 200);
    let (code, said, _) = server_command!()
        .sub_command("status")
        .arg("--data-dir")
        .arg(&data)
        .output();
    assert_eq!((code, said.lines().next()), (0, Some("HEALTHY")));
}

/// One sentence for people, once, whatever stands in the way.
pub(crate) fn said_once(err: &str) -> &str {
    let said: Vec<&str> = err.lines().filter(|line| line.starts_with("error: ")).collect();
    let [said] = said.as_slice() else {
        panic!("not one error in\n{err}")
    };
    assert!(!err.contains("\"log.level\":\"error\""), "said twice:\n{err}");
    said
}

#[test]
fn a_busy_port_is_one_clear_sentence_and_exit_code_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let (code, _, err) = server_command!()
        .quickstart()
        .set("inputs.0.server.host", "127.0.0.1")
        .set("inputs.0.server.port", &port.to_string())
        .output();
    assert_eq!(code, 1, "{err}");
    let said = said_once(&err);
    assert!(
        said.contains(&format!("127.0.0.1:{port}")) && said.contains("in use"),
        "{err}"
    );
}

#[actix_rt::test]
async fn a_certificate_of_the_operator_may_hold_its_key() {
    let authority = CertificateAuthority::new("operator's CA");
    let leaf = authority.issue(&["localhost"]);
    let command = server_command!();
    let both = command.path().join("both.pem");
    fs::write(&both, format!("{}{}", leaf.chain_pem, leaf.key_pem)).unwrap();
    let server = command
        .quickstart()
        .set("inputs.0.server.ssl.certificate", both.to_str().unwrap())
        .start();
    let facts = server.quickstart_facts();
    assert_eq!(facts.get("certificate"), both.to_str().unwrap());
    let status = HttpClient::for_url(facts.url(), authority.pem())
        .request(&Request::get("/api/status"))
        .await
        .unwrap();
    assert_eq!(status.status, 200);
    assert!(
        !server.data().join("certs").exists(),
        "quickstart made a pair that nobody serves"
    );
}

#[test]
fn a_key_of_the_operator_alone_is_not_mixed_with_a_made_certificate() {
    let command = server_command!();
    let key = command.path().join("key.pem");
    let (code, _, err) = command
        .quickstart()
        .set("inputs.0.server.ssl.key", key.to_str().unwrap())
        .output();
    assert_eq!(code, 1, "{err}");
    assert!(
        err.contains("inputs.0.server.ssl.certificate is missing"),
        "{err}"
    );
}

#[test]
fn a_store_in_use_names_its_holder() {
    let server = server_command!().quickstart().start();
    let (code, _, err) = server_command!()
        .directory(server.directory())
        .quickstart()
        .output();
    assert_eq!(code, 1, "{err}");
    assert!(err.contains(&server.pid().to_string()), "{err}");
}

#[test]
fn files_of_others_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let command = server_command!().directory(directory.path());
    let data = command.path().join("data");
    fs::create_dir_all(data.join("certs")).unwrap();
    fs::write(data.join("notes.txt"), "mine").unwrap();
    fs::write(data.join("certs/ca.crt"), "somebody else's").unwrap();
    let (code, _, err) = command.quickstart().output();
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("ca.crt"), "{err}");
    assert_eq!(fs::read_to_string(data.join("notes.txt")).unwrap(), "mine");
    assert_eq!(
        fs::read_to_string(data.join("certs/ca.crt")).unwrap(),
        "somebody else's"
    );
}

#[test]
fn a_data_directory_that_cannot_be_is_named_with_the_remedy() {
    let command = server_command!();
    fs::write(command.path().join("data"), "a file").unwrap();
    let file = command.path().join("data");
    // Also for a super-user, whom no permission stops.
    for data in [
        file.as_path(),
        &file.join("below"),
        Path::new("/proc/fleet-server"),
    ] {
        let (code, _, err) = server_command!()
            .sub_command("quickstart")
            .arg("--data-dir")
            .arg(data)
            .output();
        assert_eq!(code, 1, "{err}");
        let said = said_once(&err);
        assert!(
            said.contains(&format!("cannot keep data in {}", data.display())) && said.contains("--data-dir"),
            "{err}"
        );
    }
}
