//! Keys and tokens that operators provide, and what later starts find.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use fleet::ApiKey;
use test_support::{
    AdminClient, CertificateAuthority, HttpClient, PairFiles, ServerCommand, SimulatedAgent, server_command,
};

use crate::agents::Scene;

fn on(directory: &Path) -> ServerCommand {
    server_command!().directory(directory).quickstart()
}

fn with_token(directory: &Path, file: &Path) -> ServerCommand {
    on(directory).set("bootstrap.enrollment_token_path", file.to_str().unwrap())
}

async fn admits(scene: &Scene, token: &str) -> bool {
    let client = scene.facts.client("url");
    match SimulatedAgent::enroll(&client, token).await {
        Ok(_) => true,
        Err(refused) => {
            assert_eq!(refused.status(), 401);
            false
        }
    }
}

#[actix_rt::test]
async fn a_rotated_preset_token_admits_agents_and_a_revoked_one_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    let [first, second] = [(); 2].map(|()| ApiKey::generate().unwrap().to_token());
    fs::write(&file, &first).unwrap();
    let scene = Scene::of(with_token(directory.path(), &file).start());
    assert_eq!(scene.facts.enrollment_token(), first);
    assert!(!admits(&scene, &second).await);
    scene.server.stop();

    fs::write(&file, &second).unwrap();
    let scene = Scene::of(with_token(directory.path(), &file).start());
    assert_eq!(scene.facts.enrollment_token(), second);
    assert!(admits(&scene, &second).await && admits(&scene, &first).await);
    let tokens = scene.admin.call("GET", "/enrollment_api_keys", None).await.json();
    for token in tokens["items"].as_array().unwrap() {
        scene.admin.revoke_token(token["id"].as_str().unwrap()).await;
    }
    scene.server.stop();

    let scene = Scene::of(with_token(directory.path(), &file).start());
    let said = scene.server.wait_for_log("admits no agents");
    assert_eq!(said.level(), "warn");
    assert!(
        said.message().contains(file.to_str().unwrap()) && said.message().contains("revoked"),
        "{}",
        said.text
    );
    assert!(!admits(&scene, &second).await);
    scene.server.stop();

    // The id of a known token with another secret is not accepted.
    let known = ApiKey::from_token(&second).unwrap();
    let other = ApiKey::generate().unwrap();
    let mixed = format!("{}:{}", known.id, other.secret().reveal());
    fs::write(&file, base64(&mixed)).unwrap();
    let scene = Scene::of(with_token(directory.path(), &file).start());
    let said = scene.server.wait_for_log("admits no agents");
    assert!(said.message().contains("new id"), "{}", said.text);
}

/// The key of the certificate, its passphrase, the operator's key and the first token: all from files.
#[actix_rt::test]
async fn cfg_08_passphrase_and_tokens_come_from_files() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let authority = CertificateAuthority::new("CA");
    let files = PairFiles::create(directory.path(), &authority.issue(&["localhost"]));
    let encrypted = Command::new("openssl")
        .args([
            "pkcs8",
            "-topk8",
            "-v2",
            "aes-256-cbc",
            "-v2prf",
            "hmacWithSHA256",
        ])
        .args(["-passout", "pass:open sesame", "-in", files.key.to_str().unwrap()])
        .output()
        .expect("openssl is part of the procedure");
    fs::write(&files.key, encrypted.stdout).unwrap();
    let [operator, token] = [(); 2].map(|()| ApiKey::generate().unwrap().to_token());
    // Editors end the last line.
    for (name, text) in [
        ("phrase", "open sesame"),
        ("operator", &operator),
        ("token", &token),
    ] {
        fs::write(at(name), format!("{text}\n")).unwrap();
        fs::set_permissions(at(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let path = |name: &str| at(name).to_str().unwrap().to_owned();
    let server = on(directory.path())
        .set(
            "inputs.0.server.ssl.certificate",
            files.certificate.to_str().unwrap(),
        )
        .set("inputs.0.server.ssl.key", files.key.to_str().unwrap())
        .set("inputs.0.server.ssl.key_passphrase_path", &path("phrase"))
        .set("admin.api_key_path", &path("operator"))
        .set("bootstrap.enrollment_token_path", &path("token"))
        .start();
    let port = server.listening()[0].port;
    let client = HttpClient::for_url(&format!("https://localhost:{port}"), authority.pem());
    let agent = SimulatedAgent::enroll(&client, &token).await.unwrap();
    let facts = server.quickstart_facts();
    let admin = AdminClient::new(facts.client("admin_url"), &operator);
    assert_eq!(admin.agent(&agent.id).await["id"], agent.id);
    for secret in ["sesame", &*operator] {
        assert!(
            server.log().iter().all(|line| !line.text.contains(secret)),
            "{secret}"
        );
    }
}

/// The secret half counts, whatever stands before it.
#[actix_rt::test]
async fn enr_19_20_a16_tokens_of_the_configuration_file_admit_into_their_policies() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tokens.yml");
    let write = |tokens: &[(&str, &str)]| {
        let tokens: Vec<_> = tokens
            .iter()
            .map(|(secret, policy)| serde_json::json!({"token_key": secret, "policy_id": policy}))
            .collect();
        let tokens = serde_json::json!({"enabled": true, "policy_tokens": tokens});
        let server = serde_json::json!({"type": "fleet-server", "server": {"static_policy_tokens": tokens}});
        fs::write(&file, serde_json::json!({"inputs": [server]}).to_string()).unwrap();
    };
    let start = || Scene::of(on(directory.path()).arg("-c").arg(&file).start());
    let enroll = async |scene: &Scene, key: &str| {
        SimulatedAgent::enroll(&scene.facts.client("url"), &base64(key)).await
    };
    let first = "8c1f7d3b0f5e4f5d9f0e5a27c1b7d0aa";
    let second = "e0d1c2b3a4958677a8b9cadbecfd0e1f";
    write(&[(first, "p"), (second, "not made yet")]);
    let scene = start();
    let policy = serde_json::json!({"id": "p", "name": "p", "namespace": "default"});
    scene.admin.create_policy(&policy).await;
    for id in ["anything", "something-else"] {
        let agent = enroll(&scene, &format!("{id}:{first}")).await.unwrap();
        assert_eq!(scene.admin.agent(&agent.id).await["policy_id"], "p");
    }
    let mut agent = enroll(&scene, &format!("anything:{first}")).await.unwrap();
    assert_eq!(agent.checkin().await.unwrap().policy().unwrap()["id"], "p");
    let refused = enroll(&scene, &format!("anything:{second}")).await.err().unwrap();
    assert_eq!(
        (refused.status(), refused.name().as_str()),
        (400, "ErrPolicyNotFound")
    );
    let refused = enroll(&scene, "anything:wrong").await.err().unwrap();
    assert_eq!(refused.status(), 401);
    assert!(admits(&scene, scene.facts.enrollment_token()).await, "as ever");
    let told = scene.server.log();
    assert!(
        told.iter()
            .all(|line| !line.text.contains(first) && !line.text.contains(second))
    );
    scene.server.stop();

    // Who has enrolled stays; the token that the file has no more admits nobody, the other one another policy's agents.
    write(&[(second, "p")]);
    let scene = start();
    let client = scene.facts.client("url");
    let mut agent = SimulatedAgent::with_credentials(&client, &agent.id, &agent.access_key);
    assert_eq!(agent.checkin().await.unwrap().policy().unwrap()["id"], "p");
    assert_eq!(
        enroll(&scene, &format!("anything:{first}"))
            .await
            .err()
            .unwrap()
            .status(),
        401
    );
    let agent = enroll(&scene, &format!("anything:{second}")).await.unwrap();
    assert_eq!(scene.admin.agent(&agent.id).await["policy_id"], "p");
}

#[test]
fn weak_keys_of_the_operator_are_refused() {
    for key in ["admin.api_key_path", "bootstrap.enrollment_token_path"] {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("weak");
        fs::write(&file, base64("a:b")).unwrap();
        let (code, _, err) = on(directory.path()).set(key, file.to_str().unwrap()).output();
        assert_eq!(code, 1, "{err}");
        assert!(
            err.contains("weak") && err.contains("can be guessed") && err.contains("openssl rand"),
            "{err}"
        );
    }
}

#[actix_rt::test]
async fn a_store_that_is_gone_is_told_and_a_first_start_cut_short_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let scene = Scene::of(on(directory.path()).start());
    let token = scene.facts.enrollment_token().to_owned();
    scene.server.stop();
    fs::remove_file(data.join("fleet.db")).unwrap();

    let lost = "but its store was missing";
    let scene = Scene::of(on(directory.path()).allow_log(lost).start());
    let said = scene.server.wait_for_log(lost);
    assert_eq!(said.level(), "error");
    assert!(said.message().contains("admin.key"), "{}", said.text);
    assert_eq!(scene.facts.enrollment_token(), token);
    scene.server.stop();

    // It ended before its key was written: the next start makes it, without reporting a loss.
    fs::remove_file(data.join("admin.key")).unwrap();
    on(directory.path()).start().stop();
}

fn base64(text: &str) -> String {
    STANDARD.encode(text)
}
