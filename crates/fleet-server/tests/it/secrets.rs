//! Secrets at rest: what lies on the disk, a key that is lost or wrong, rotation.

use std::{fs, path::Path};

use serde_json::json;
use test_support::{ServerProcess, server_command};

use crate::agents::Scene;

const VALUE: &str = "hunter2-hunter2-hunter2";

async fn make(scene: &Scene) {
    let body = json!({"id": "s", "value": VALUE});
    let made = scene.admin.call("POST", "/secrets", Some(&body)).await;
    assert_eq!(made.status, 200, "{}", made.text());
    let change = json!({"overrides": {"outputs": {"default": {"password": "$co.elastic.secret{s}"}}}});
    scene.admin.update_policy(scene.facts.policy_id(), &change).await;
}

/// What an agent that enrols now gets.
async fn delivered(scene: &Scene) -> serde_json::Value {
    let mut agent = scene.enroll().await;
    let answer = agent.checkin().await.unwrap();
    answer.policy().unwrap()["outputs"]["default"]["password"].clone()
}

fn lies_on_the_disk(directory: &Path, text: &str) -> bool {
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if fs::read(&path)
                .unwrap()
                .windows(text.len())
                .any(|window| window == text.as_bytes())
            {
                return true;
            }
        }
    }
    false
}

fn started(directory: &Path) -> ServerProcess {
    server_command!().directory(directory).quickstart().start()
}

fn refused(directory: &Path) -> String {
    let (code, _, told) = server_command!().directory(directory).quickstart().output();
    assert_eq!(code, 1, "{told}");
    told
}

fn rotate(directory: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = server_command!()
        .directory(directory)
        .sub_command("rotate-store-key")
        .arg("--data-dir")
        .arg(directory.join("data"));
    for argument in arguments {
        command = command.arg(*argument);
    }
    command.output()
}

#[actix_rt::test]
async fn o18_a_lost_or_wrong_key_is_told_at_the_start_and_never_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("data/store.key");
    let scene = Scene::of(started(directory.path()));
    make(&scene).await;
    assert_eq!(delivered(&scene).await, VALUE);
    assert!(!lies_on_the_disk(directory.path(), VALUE));
    let shown = scene.server.log().iter().any(|line| line.text.contains(VALUE));
    assert!(!shown, "a log line has the secret");
    scene.server.stop();
    assert!(!lies_on_the_disk(directory.path(), VALUE));
    let kept = fs::read_to_string(&key).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&key).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);

    fs::remove_file(&key).unwrap();
    let told = refused(directory.path());
    assert!(
        told.contains("is missing") && told.contains("restore it from the backup"),
        "{told}"
    );
    assert!(!key.exists());
    fs::write(&key, "bm90IGEga2V5").unwrap();
    assert!(refused(directory.path()).contains("holds no key"));
    fs::write(&key, "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=").unwrap();
    let told = refused(directory.path());
    assert!(
        told.contains("is not the one that the store's secrets were encrypted with"),
        "{told}"
    );

    fs::write(&key, kept).unwrap();
    let scene = Scene::of(started(directory.path()));
    assert_eq!(delivered(&scene).await, VALUE);
    scene.server.stop();
}

/// Which member of an input is a secret, only its integration knows: what an operator writes plain stays plain.
#[actix_rt::test]
async fn o18_a_plain_value_in_a_policy_stays_as_it_is_and_a_reference_shows_no_value() {
    let scene = Scene::start();
    let secret = json!({"id": "s", "value": VALUE});
    assert_eq!(
        scene.admin.call("POST", "/secrets", Some(&secret)).await.status,
        200
    );
    let inputs = json!([{
        "id": "i", "type": "httpjson", "password": "plain-password",
        "token": "Bearer $co.elastic.secret{s}", "secrets": {"auth": {"key": {"id": "s"}}},
    }]);
    let change = json!({"overrides": {"inputs": inputs}});
    scene.admin.update_policy(scene.facts.policy_id(), &change).await;

    let mut agent = scene.enroll().await;
    let answer = agent.checkin().await.unwrap();
    let policy = answer.policy().unwrap();
    assert_eq!(
        policy["inputs"],
        json!([{
            "id": "i", "type": "httpjson", "password": "plain-password",
            "token": format!("Bearer {VALUE}"), "auth": {"key": VALUE},
        }])
    );
    assert_eq!(
        policy["secret_paths"],
        json!(["inputs.0.auth.key", "inputs.0.token"])
    );
    assert!(policy.get("secret_references").is_none(), "{policy}");

    let path = format!("/agent_policies/{}", scene.facts.policy_id());
    for path in [path.clone(), format!("{path}/full")] {
        let shown = scene.admin.call("GET", &path, None).await;
        assert!(
            shown.text().contains("plain-password") && !shown.text().contains(VALUE),
            "{path}: {}",
            shown.text()
        );
    }
    let full = scene
        .admin
        .call("GET", &format!("{path}/full"), None)
        .await
        .json();
    assert_eq!(full["item"]["secret_references"], json!([{"id": "s"}]));
    // A reference to nothing is refused before any agent gets it.
    let lost = json!({"overrides": {"inputs": [{"a": "$co.elastic.secret{nothing}"}]}});
    let refused = scene.admin.call("PUT", &path, Some(&lost)).await;
    assert_eq!(refused.status, 400, "{}", refused.text());
    assert!(
        refused.text().contains("secret nothing does not exist"),
        "{}",
        refused.text()
    );
    assert!(lies_on_the_disk(scene.server.directory(), "plain-password"));
    assert!(!lies_on_the_disk(scene.server.directory(), VALUE));
}

#[actix_rt::test]
async fn o18_secrets_are_discarded_only_if_their_key_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("data/store.key");
    let next = directory.path().join("data/store.key.next");
    let scene = Scene::of(started(directory.path()));
    make(&scene).await;
    scene.server.stop();
    let kept = fs::read_to_string(&key).unwrap();
    let refused = |path: &Path, reason: &str| {
        let (code, _, told) = rotate(directory.path(), &["--discard-secrets"]);
        assert_eq!(code, 1, "{told}");
        assert!(
            told.contains("no secret was removed")
                && told.contains(path.to_str().unwrap())
                && told.contains(reason),
            "{told}"
        );
    };
    refused(&key, "fits");
    fs::write(&key, "bm90IGEga2V5").unwrap();
    refused(&key, "it is not base64 of 32 bytes");
    fs::write(&key, [0xff; 32]).unwrap();
    refused(&key, "UTF-8");
    fs::remove_file(&key).unwrap();
    fs::create_dir(&key).unwrap();
    refused(&key, "directory");
    fs::remove_dir(&key).unwrap();
    // A rotation that was cut left the key beside its place.
    fs::write(&next, &kept).unwrap();
    refused(&next, "fits");
    fs::remove_file(&next).unwrap();
    fs::write(&key, &kept).unwrap();
    let scene = Scene::of(started(directory.path()));
    assert_eq!(delivered(&scene).await, VALUE, "nothing was lost");
    scene.server.stop();

    fs::write(&key, "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=").unwrap();
    let (code, told, _) = rotate(directory.path(), &["--discard-secrets"]);
    assert_eq!((code, told.contains("1 secrets removed")), (0, true), "{told}");
    let scene = Scene::of(started(directory.path()));
    assert_eq!(
        delivered(&scene).await,
        "$co.elastic.secret{s}",
        "the reference waits for its secret"
    );
    scene.server.stop();
}

#[actix_rt::test]
async fn o18_the_key_is_rotated_and_a_rotation_that_was_cut_is_completed() {
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("data/store.key");
    let scene = Scene::of(started(directory.path()));
    make(&scene).await;
    let (code, _, told) = rotate(directory.path(), &[]);
    assert_eq!(code, 1, "the server runs: {told}");
    scene.server.stop();
    let first = fs::read_to_string(&key).unwrap();
    let (code, told, error) = rotate(directory.path(), &[]);
    assert_eq!(code, 0, "{told}{error}");
    assert!(
        told.contains("1 secrets encrypted anew") && told.contains("backups made before need the key"),
        "{told}"
    );
    let second = fs::read_to_string(&key).unwrap();
    assert_ne!(first, second);
    for text in [&first, &second] {
        assert!(!told.contains(text.trim()) && !error.contains(text.trim()));
    }
    // Cut after the store and before the file: the old key, and the new one beside it.
    fs::write(&key, &first).unwrap();
    fs::write(directory.path().join("data/store.key.next"), &second).unwrap();
    let scene = Scene::of(started(directory.path()));
    assert_eq!(delivered(&scene).await, VALUE);
    scene.server.stop();
    assert_eq!(fs::read_to_string(&key).unwrap().trim(), second.trim());
    assert!(!directory.path().join("data/store.key.next").exists());
    // Cut before the store: the new key counts for nothing.
    fs::write(directory.path().join("data/store.key.next"), &first).unwrap();
    let scene = Scene::of(started(directory.path()));
    assert_eq!(delivered(&scene).await, VALUE);
    scene.server.stop();

    // A key of the operator's own.
    let own = directory.path().join("own.key");
    fs::write(&own, "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=\n").unwrap();
    let own = own.to_str().unwrap();
    let (code, told, error) = rotate(directory.path(), &["--new-key-path", own]);
    assert_eq!(code, 0, "{told}{error}");
    assert!(told.contains("store.encryption_key_path"), "{told}");
    let command = server_command!().directory(directory.path()).quickstart();
    let scene = Scene::of(command.set("store.encryption_key_path", own).start());
    assert_eq!(delivered(&scene).await, VALUE);
    scene.server.stop();
    let (code, _, told) = server_command!()
        .quickstart()
        .set("store.encryption_key_path", "/nowhere/store.key")
        .output();
    assert_eq!(code, 1);
    assert!(told.contains("openssl rand -base64 32"), "{told}");
}
