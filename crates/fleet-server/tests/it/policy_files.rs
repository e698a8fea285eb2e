//! Policies in files: `policy apply`, `diff` and `export` against the real server.

use std::{fs, path::Path};

use serde_json::json;
use test_support::{SimulatedAgent, server_command};

use crate::agents::Scene;

const WEB: &str = "\
# Comments are for people.
policy:
  name: Web
  id: web
  description: Two machines
inputs:
  - type: logfile
    id: access
    data_stream: {namespace: web}
    streams:
      - paths: [/var/log/nginx/access.log]
";

const DB: &str = "policy: {name: Databases, namespace: db}\ninputs: [{type: postgresql, id: x}]\n";

fn lay(directory: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        fs::write(directory.join(name), text).unwrap();
    }
}

/// The results and policies of what `policy apply` printed.
fn results(table: &str) -> Vec<(String, String)> {
    let rows = table.lines().skip(1).map(|line| {
        let mut cells = line.split("  ").filter(|cell| !cell.is_empty());
        let mut cell = || cells.next().unwrap().trim().to_owned();
        (cell(), cell())
    });
    rows.collect()
}

fn pair(result: &str, policy: &str) -> (String, String) {
    (result.to_owned(), policy.to_owned())
}

#[actix_rt::test]
async fn files_become_policies_once_and_again_only_when_they_change() {
    let scene = Scene::start();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    lay(
        directory.path(),
        &[("web.yml", WEB), ("db.yaml", DB), ("README.md", "no")],
    );

    let told = scene.told(&["policy", "apply", "-f", path, "--dry-run"]);
    assert_eq!(
        results(&told),
        [pair("created", "Databases"), pair("created", "Web")]
    );
    assert_eq!(
        scene.told(&["policy", "list", "-o", "name"]),
        "default-policy\n",
        "nothing is made"
    );
    let told = scene.told(&["policy", "apply", "-f", path]);
    assert_eq!(
        results(&told),
        [pair("created", "Databases"), pair("created", "Web")]
    );
    let item = scene.admin.policy("web").await;
    assert_eq!(item["managed_from"], "web.yml");
    let told = scene.told(&["policy", "apply", "-f", path]);
    assert_eq!(
        results(&told),
        [pair("unchanged", "Databases"), pair("unchanged", "Web")]
    );
    assert_eq!(scene.told(&["policy", "diff", "-f", path, "--exit-code"]), "");
    assert_eq!(
        scene.admin.policy("web").await["revision"],
        1,
        "no revision for nothing"
    );

    // An agent has it, and gets what changes.
    let token = scene.admin.create_token("web").await["api_key"].take();
    let client = scene.facts.client("url");
    let mut agent = SimulatedAgent::enroll(&client, token.as_str().unwrap())
        .await
        .unwrap();
    let first = agent.checkin().await.unwrap();
    agent.apply(&first).await.unwrap();
    agent.begin_checkin().await.unwrap();
    lay(
        directory.path(),
        &[(
            "web.yml",
            &WEB.replace("access.log", "*.log").replace("Two", "Three"),
        )],
    );
    let (code, diff, _) = scene.client(&["policy", "diff", "-f", path, "--exit-code"]);
    let shown: Vec<&str> = diff.lines().filter(|line| !line.starts_with(' ')).collect();
    assert_eq!(code, 6);
    insta::with_settings!({filters => vec![(r"\+\+\+ \S*/", "+++ ")]}, {
        insta::assert_snapshot!(shown.join("\n"), @r#"
        --- Web revision 1
        +++ web.yml
        @@ -2,7 +2,7 @@
        -  description: Two machines
        +  description: Three machines
        @@ -10,4 +10,4 @@
        -          - /var/log/nginx/access.log
        +          - "/var/log/nginx/*.log"
        "#);
    });
    let told = scene.told(&["policy", "apply", "-f", path]);
    assert_eq!(
        results(&told),
        [pair("unchanged", "Databases"), pair("updated", "Web")]
    );
    let answer = agent.end_checkin(test_support::LIMIT).await.unwrap();
    let paths = &answer.policy().unwrap()["inputs"][0]["streams"][0]["paths"];
    assert_eq!(*paths, json!(["/var/log/nginx/*.log"]));
    // What the file says no more is gone.
    lay(directory.path(), &[("web.yml", "policy: {name: Web, id: web}\n")]);
    scene.told(&["policy", "apply", "-f", path]);
    let item = scene.admin.policy("web").await;
    assert!(
        item["description"].is_null() && item["overrides"].is_null(),
        "{item}"
    );
    assert_eq!(item["managed_from"], "web.yml");
}

#[actix_rt::test]
async fn prune_deletes_what_a_file_made_and_no_agent_has() {
    let scene = Scene::start();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    lay(
        directory.path(),
        &[
            ("web.yml", WEB),
            ("db.yml", DB),
            ("keep.yml", "policy: {name: Keep}\n"),
        ],
    );
    scene.told(&["policy", "apply", "-f", path]);
    scene
        .admin
        .create_policy(&json!({"name": "By hand", "namespace": "default"}))
        .await;
    let token = scene.admin.create_token("web").await["api_key"].take();
    SimulatedAgent::enroll(&scene.facts.client("url"), token.as_str().unwrap())
        .await
        .unwrap();
    for gone in ["web.yml", "db.yml"] {
        fs::remove_file(directory.path().join(gone)).unwrap();
    }
    let expected = [
        pair("deleted", "Databases"),
        pair("kept: it has 1 agents", "Web"),
        pair("unchanged", "Keep"),
    ];
    for dry in [true, false] {
        let mut words = vec!["policy", "apply", "-f", path, "--prune"];
        words.extend(dry.then_some("--dry-run"));
        let mut told = results(&scene.told(&words));
        told.sort();
        assert_eq!(told, expected);
    }
    let names: Vec<_> = scene
        .json(&["policy", "list"])
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["name"].clone())
        .collect();
    assert_eq!(names.len(), 4, "{names:?}");
    assert!(!names.contains(&json!("Databases")), "{names:?}");
}

#[actix_rt::test]
async fn one_bad_file_of_ten_changes_nothing_and_is_named_with_its_line() {
    let scene = Scene::start();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let good: Vec<(String, String)> = (0..9)
        .map(|number| (format!("p{number}.yml"), format!("policy: {{name: P{number}}}\n")))
        .collect();
    for (name, text) in &good {
        lay(directory.path(), &[(name, text)]);
    }
    let nothing_was_made = || assert_eq!(scene.told(&["policy", "list", "-o", "name"]), "default-policy\n");
    for (text, said) in [
        (
            "policy:\n  name: Bad\ninputs:\n- type: a\n  data_stream:\n    namespace: WEB\n",
            "bad.yml:6: invalid policy: inputs[0].data_stream.namespace",
        ),
        (
            "policy:\n  name: Bad\n  nmaespace: x\n",
            "bad.yml:3: policy.nmaespace is not known",
        ),
        ("policy:\n  name: Bad\ninputs: [\n", "bad.yml:3: "),
        ("policy:\n  name: P3\n", "p3.yml:1: P3 is also the policy of "),
        (
            "policy:\n  name: Bad\ninputs: [{password: $co.elastic.secret{none}}]\n",
            "bad.yml:",
        ),
    ] {
        lay(directory.path(), &[("bad.yml", text)]);
        let err = scene.refused(2, &["policy", "apply", "-f", path]);
        assert!(
            err.contains("nothing was changed:\n") && err.contains(said),
            "{text}: {err}"
        );
        nothing_was_made();
    }
    let err = scene.refused(
        1,
        &[
            "policy",
            "apply",
            "-f",
            directory.path().join("none").to_str().unwrap(),
        ],
    );
    assert!(err.contains("none"), "{err}");
}

#[actix_rt::test]
async fn what_is_exported_is_applied_as_unchanged() {
    let scene = Scene::start();
    let full = json!({"outputs": {"default": {"type": "elasticsearch", "hosts": ["h"]}}, "inputs": [{"type": "x", "n": 1.50}]});
    for body in [
        json!({"name": "Evil \u{1b}[2J", "namespace": "a", "monitoring_enabled": ["logs"], "inactivity_timeout": 60}),
        json!({"name": "Full", "namespace": "default", "full_policy": full}),
        json!({"name": "Text", "namespace": "default", "overrides": {"inputs": [{"script": "a\n  b: c\n"}], "fleet": null}}),
    ] {
        scene.admin.create_policy(&body).await;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let told = scene.told(&["policy", "export", "-d", path]);
    assert_eq!(told.lines().count(), 4, "{told}");
    let told = scene.told(&["policy", "apply", "-f", path]);
    assert!(
        results(&told).iter().all(|(result, _)| result == "unchanged"),
        "{told}"
    );
    let err = scene.refused(1, &["policy", "export", "Full", "-d", path]);
    assert!(err.contains("it exists"), "{err}");
    let printed = scene.told(&["policy", "export", "Text"]);
    assert!(
        printed.contains("  - script: |\n      a\n        b: c\n"),
        "{printed}"
    );
}

#[actix_rt::test]
async fn a_viewer_may_look_at_what_would_change() {
    let scene = Scene::start();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    lay(directory.path(), &[("web.yml", WEB)]);
    let key = scene.json(&[
        "key",
        "create",
        "--name",
        "ci",
        "--role",
        "viewer",
        "--expires",
        "30d",
    ]);
    let as_viewer = |words: &[&str]| {
        let mut command = server_command!()
            .sub_command(words[0])
            .env("FLEET_ADMIN_KEY", key["api_key"].as_str().unwrap());
        for word in &words[1..] {
            command = command.arg(word);
        }
        command.arg("--data-dir").arg(scene.server.data()).output()
    };
    let (code, told, err) = as_viewer(&["policy", "apply", "-f", path, "--dry-run"]);
    assert_eq!((code, results(&told)), (0, vec![pair("created", "Web")]), "{err}");
    let (code, _, err) = as_viewer(&["policy", "apply", "-f", path]);
    assert!(
        code == 1 && err.contains("the key may not do this"),
        "{code} {err}"
    );
    let listed = scene.told(&["key", "list"]);
    let text = key["api_key"].as_str().unwrap();
    assert!(listed.contains("viewer") && !listed.contains(text), "{listed}");
    let id = key["id"].as_str().unwrap();
    assert_eq!(scene.told(&["key", "revoke", id]), format!("{id} is revoked\n"));
    let (code, _, err) = as_viewer(&["policy", "list"]);
    assert!(
        code == 1 && err.contains("does not know the key") && !err.contains(text),
        "{err}"
    );
}

#[actix_rt::test]
async fn the_examples_of_the_docs_are_policies_that_the_server_takes() {
    let scene = Scene::start();
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/examples/policies");
    let expected = [
        pair("created", "OpenTelemetry"),
        pair("created", "System"),
        pair("created", "Web servers"),
    ];
    for dry in [true, false] {
        let mut words = vec!["policy", "apply", "-f", examples];
        words.extend(dry.then_some("--dry-run"));
        let mut told = results(&scene.told(&words));
        told.sort();
        assert_eq!(told, expected);
    }
    let full = scene.told(&["policy", "get", "opentelemetry", "--full", "-o", "json"]);
    let full: serde_json::Value = serde_json::from_str(&full).unwrap();
    assert!(full["service"]["pipelines"]["metrics"].is_object(), "{full}");
    assert!(full["outputs"]["default"].is_object(), "the server's own: {full}");
}

#[actix_rt::test]
async fn a_standalone_agents_yaml_is_applied_as_a_policy() {
    let scene = Scene::start();
    let directory = tempfile::tempdir().unwrap();
    let standalone = "id: 5c\nrevision: 3\noutputs:\n  default:\n    type: elasticsearch\n    hosts: ['https://es:9200']\n    \
                      api_key: '${API_KEY}'\ninputs:\n  - id: logs\n    type: logfile\n";
    lay(directory.path(), &[("elastic-agent.yml", standalone)]);
    // Without a server.
    let (code, file, err) = server_command!()
        .sub_command("policy")
        .arg("from-standalone")
        .arg(directory.path().join("elastic-agent.yml"))
        .arg("--name")
        .arg("Moved")
        .output();
    assert_eq!(code, 0, "{err}");
    assert!(
        file.starts_with("# ${API_KEY} in outputs.default.api_key: a standalone agent's"),
        "{file}"
    );
    let made = directory.path().join("made.yml");
    fs::write(&made, file).unwrap();
    let told = scene.told(&["policy", "apply", "-f", made.to_str().unwrap()]);
    assert_eq!(results(&told), [pair("created", "Moved")]);
    let full = scene.told(&["policy", "get", "Moved", "--full"]);
    assert!(
        full.contains("    hosts:\n      - \"https://es:9200\"\n"),
        "{full}"
    );
}
