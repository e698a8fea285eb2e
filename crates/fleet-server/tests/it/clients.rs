//! The sub-commands that are clients of the admin API: what they print, and how they end.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use test_support::{SimulatedAgent, eventually, server_command};

use crate::agents::Scene;

impl Scene {
    /// Runs a client with the scene's data directory; gives exit code, stdout and stderr.
    pub(crate) fn client(&self, words: &[&str]) -> (i32, String, String) {
        let mut command = server_command!().sub_command(words[0]);
        for word in &words[1..] {
            command = command.arg(word);
        }
        command.arg("--data-dir").arg(self.server.data()).output()
    }

    /// What a client that succeeds prints.
    pub(crate) fn told(&self, words: &[&str]) -> String {
        let (code, out, err) = self.client(words);
        assert_eq!((code, err.as_str()), (0, ""), "{words:?}: {out}");
        out
    }

    /// The same, as JSON.
    pub(crate) fn json(&self, words: &[&str]) -> Value {
        let words = [words, &["-o", "json"]].concat();
        serde_json::from_str(&self.told(&words)).unwrap()
    }

    /// What a client that fails so prints on standard error.
    pub(crate) fn refused(&self, code: i32, words: &[&str]) -> String {
        let (found, out, err) = self.client(words);
        assert_eq!((found, out.as_str()), (code, ""), "{words:?}: {err}");
        err
    }
}

async fn enroll(scene: &Scene, host: &str, tags: &[&str]) -> SimulatedAgent {
    let client = scene.facts.client("url");
    let changes = json!({"metadata": {"local": {"host": {"hostname": host}}, "tags": tags}});
    SimulatedAgent::enroll_with(&client, scene.facts.enrollment_token(), changes)
        .await
        .unwrap()
}

#[actix_rt::test]
async fn agents_are_listed_filtered_and_shown() {
    let scene = Scene::start();
    let mut web = enroll(&scene, "web-1", &["web", "a b"]).await;
    let evil = enroll(&scene, "evil\u{1b}[2J\u{9b}", &["web"]).await;
    web.metadata["host"]["hostname"] = json!("web-1");
    let first = web.checkin().await.unwrap();
    web.apply(&first).await.unwrap();

    let table = scene.told(&["agents", "list"]);
    let lines: Vec<&str> = table.lines().collect();
    assert!(
        lines[0].starts_with("ID  ") && lines[0].ends_with("LAST CHECK-IN"),
        "{table}"
    );
    let line = lines.iter().find(|line| line.starts_with(&web.id)).unwrap();
    for cell in ["web-1", "online", "Default policy", "  1  ", "9.6.0"] {
        assert!(line.contains(cell), "{cell}: {table}");
    }
    assert!(table.contains(r"evil\u{1b}[2J\u{9b}"), "{table}");
    for format in ["table", "wide", "json", "yaml", "name"] {
        let shown = scene.told(&["agents", "list", "-o", format]);
        assert!(shown.contains(&web.id), "{shown}");
        assert!(!shown.replace('\n', "").contains(char::is_control), "{shown:?}");
    }

    let ids = |filter: &[&str]| {
        let words = [&["agents", "list", "-o", "name"], filter].concat();
        let mut ids: Vec<String> = scene.told(&words).lines().map(str::to_owned).collect();
        ids.sort();
        ids
    };
    let both = {
        let mut both = vec![web.id.clone(), evil.id.clone()];
        both.sort();
        both
    };
    assert_eq!(ids(&["--tag", "web"]), both);
    assert_eq!(ids(&["--tag", "web", "--tag", "a b"]), [web.id.as_str()]);
    // The filter reads the store, into which check-ins come once a second.
    let online = ["--status", "online,error", "--policy", "Default policy"];
    eventually("the agent is online", async || ids(&online) == [web.id.as_str()]).await;
    assert_eq!(
        ids(&[
            "--kuery",
            "status:online or status:error",
            "--policy",
            "default-policy"
        ]),
        [web.id.as_str()]
    );
    assert_eq!(ids(&["--search", "web"]), [web.id.as_str()]);
    assert_eq!(ids(&["--limit", "1"]).len(), 1);
    assert_eq!(ids(&["--tag", "\"x\\"]), Vec::<String>::new());

    let shown = scene.told(&["agents", "get", &web.id]);
    assert!(shown.contains("\nHOST           web-1\n"), "{shown}");
    let item = scene.json(&["agents", "get", &web.id]);
    assert_eq!(item, scene.admin.agent(&web.id).await);
}

#[actix_rt::test]
async fn the_exit_code_says_how_a_command_ended() {
    let scene = Scene::start();
    let err = scene.refused(1, &["agents", "list", "--status", "fine"]);
    assert!(err.contains("status fine is not known: use one of"), "{err}");
    let err = scene.refused(2, &["agents", "list", "--tga", "x"]);
    assert!(err.contains("unexpected argument '--tga'"), "{err}");
    let err = scene.refused(4, &["agents", "get", "nobody"]);
    assert!(err.contains("nobody"), "{err}");
    let err = scene.refused(4, &["policy", "get", "nothing"]);
    assert_eq!(err, "error: there is no policy nothing: see policy list\n");
    let twin = json!({"name": "Default policy", "namespace": "default"});
    scene.admin.create_policy(&twin).await;
    let err = scene.refused(5, &["policy", "get", "Default policy"]);
    assert!(
        err.contains("more than one policy is named Default policy"),
        "{err}"
    );
    let err = scene.refused(3, &["agents", "list", "--url", "https://localhost:9"]);
    assert!(err.contains("cannot reach https://localhost:9"), "{err}");
    let (code, _, err) = server_command!().sub_command("agents").arg("list").output();
    assert_eq!(code, 2);
    assert!(err.contains("no server is named: give --url"), "{err}");
    // A command line that only others misread has the code that it always had.
    let (code, _, _) = server_command!().sub_command("status").arg("--tga").output();
    assert_eq!(code, 1);
}

#[actix_rt::test]
async fn a_server_is_named_by_profile_environment_or_options() {
    let scene = Scene::start();
    let (url, ca) = (scene.facts.get("admin_url"), scene.facts.get("ca_file"));
    let command = server_command!()
        .sub_command("policy")
        .arg("list")
        .arg("-o")
        .arg("name");
    let path = |name: &str| command.path().join(name);
    fs::write(path("operator.key"), scene.facts.admin_api_key()).unwrap();
    fs::write(path("bad.key"), "bm9ib2R5Om5vdGhpbmc=").unwrap();
    let profile = format!("url: {url}\nca: {ca}\napi_key_path: operator.key\n");
    fs::write(path("profile.yml"), profile).unwrap();
    let bad = path("bad.key");
    let command = command.env("FLEET_PROFILE", "profile.yml");
    let (code, out, err) = command.output();
    assert_eq!((code, out.as_str()), (0, "default-policy\n"), "{err}");
    let command = command.env("FLEET_ADMIN_KEY", "bm9ib2R5Om5vdGhpbmc=");
    let (code, _, err) = command.output();
    assert_eq!(code, 1, "{err}");
    assert!(
        err.contains("give a good one with --api-key-path") && !err.contains("bm9"),
        "{err}"
    );
    let command = command.env("FLEET_ADMIN_KEY", scene.facts.admin_api_key());
    assert_eq!(command.output().0, 0);
    let (code, _, err) = command.arg("--api-key-path").arg(bad).output();
    assert_eq!(code, 1, "{err}");
    let by_environment = server_command!()
        .sub_command("policy")
        .arg("list")
        .env("FLEET_ADMIN_URL", url)
        .env("FLEET_ADMIN_CA", ca)
        .env("FLEET_ADMIN_KEY", scene.facts.admin_api_key());
    assert_eq!(by_environment.output().0, 0);
}

#[actix_rt::test]
async fn a_token_is_made_shown_once_and_revoked() {
    let scene = Scene::start();
    let made = scene.json(&[
        "token",
        "create",
        "--policy",
        "Default policy",
        "--name",
        "ci",
        "--expires",
        "7d",
    ]);
    let (id, key) = (made["id"].as_str().unwrap(), made["api_key"].as_str().unwrap());
    SimulatedAgent::enroll(&scene.facts.client("url"), key)
        .await
        .unwrap();
    let listed = scene.told(&["token", "list", "--policy", "default-policy"]);
    assert!(
        listed.contains(id) && listed.contains("ci") && !listed.contains(key),
        "{listed}"
    );
    assert_eq!(scene.told(&["token", "revoke", id]), format!("{id} is revoked\n"));
    let refused = SimulatedAgent::enroll(&scene.facts.client("url"), key).await;
    assert_eq!(refused.err().unwrap().status(), 401);
    let err = scene.refused(4, &["token", "create", "--policy", "nothing"]);
    assert!(err.contains("there is no policy nothing"), "{err}");
    let err = scene.refused(
        1,
        &[
            "token",
            "create",
            "--policy",
            "default-policy",
            "--expires",
            "soon",
        ],
    );
    assert!(err.contains("expiration"), "{err}");
}

#[actix_rt::test]
async fn policies_are_listed_and_shown_by_name() {
    let scene = Scene::start();
    let body =
        json!({"name": "Web", "namespace": "web", "overrides": {"inputs": [{"type": "logfile", "id": "x"}]}});
    let id = scene.admin.create_policy(&body).await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let table = scene.told(&["policy", "list"]);
    let line = table.lines().find(|line| line.starts_with(&id)).unwrap();
    assert!(line.contains("Web") && table.contains("AGENTS"), "{table}");
    assert_eq!(
        scene.json(&["policy", "get", "Web"])["overrides"],
        body["overrides"]
    );
    let full = scene.told(&["policy", "get", "Web", "--full"]);
    assert!(full.contains("inputs:\n  - type: logfile\n    id: x\n"), "{full}");
}

#[actix_rt::test]
async fn agents_are_changed_by_id_or_filter_and_many_only_when_it_is_meant() {
    let scene = Scene::start();
    let (one, two, three) = (
        enroll(&scene, "one", &["web"]).await.id,
        enroll(&scene, "two", &["web"]).await.id,
        enroll(&scene, "three", &[]).await.id,
    );
    let body = json!({"name": "Web", "namespace": "default"});
    let web = scene.admin.create_policy(&body).await["id"].clone();
    let policy_of = async |id: &str| scene.admin.agent(id).await["policy_id"].clone();

    let told = scene.told(&["agents", "reassign", &three, "--to", "Web"]);
    assert_eq!(told, "1 agents have the policy Web\n");
    assert_eq!(policy_of(&three).await, web);
    let by_tag = ["agents", "reassign", "--tag", "web", "--to", "Web"];
    let err = scene.refused(2, &by_tag);
    assert!(
        err.contains("this would reassign 2 of 3 agents, more than a tenth: give --yes"),
        "{err}"
    );
    assert_eq!(policy_of(&one).await, "default-policy");
    let told = scene.told(&[&by_tag[..], &["--yes"]].concat());
    assert_eq!(told, "2 agents have the policy Web\n");
    assert_eq!((policy_of(&one).await, policy_of(&two).await), (web.clone(), web));
    let err = scene.refused(4, &["agents", "reassign", "--tag", "none", "--to", "Web"]);
    assert!(err.contains("no agent matches: nothing was done"), "{err}");
    let err = scene.refused(2, &["agents", "reassign", "--to", "Web"]);
    assert!(err.contains("name the agents"), "{err}");

    let told = scene.told(&["agents", "upgrade", &one, "--to", "9.6.1", "--rollout", "600"]);
    let action = told.trim().rsplit(' ').next().unwrap();
    let shown = scene.told(&["action", "get", action]);
    assert!(
        shown.contains("STATUS     IN_PROGRESS") && shown.contains("AGENTS     1"),
        "{shown}"
    );
    scene.told(&["action", "cancel", &one, "--action", action]);
    assert_eq!(scene.json(&["action", "get", action])["status"], "CANCELLED");
    scene.refused(4, &["action", "get", "nothing"]);

    scene.refused(4, &["agents", "unenroll", "nobody"]);
    let (code, out, err) = scene.client(&["agents", "unenroll", "--force", "--yes", &two, "nobody"]);
    assert_eq!(code, 1);
    assert!(
        out.contains(&format!("{two} is unenrolled\n")) && out.contains("nobody failed: "),
        "{out}"
    );
    assert!(err.contains("1 of 2 agents were not unenrolled"), "{err}");
    assert_eq!(scene.admin.agent(&two).await["status"], "unenrolled");
}

#[actix_rt::test]
async fn a_watch_tells_each_change_on_a_line() {
    let scene = Scene::start();
    let mut watch = Command::new(env!("CARGO_BIN_EXE_fleet-server"))
        .args(["agents", "watch", "--interval", "1", "--data-dir"])
        .arg(scene.server.data())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let agent = enroll(&scene, "web-1", &[]).await;
    let line = lines.next().unwrap().unwrap();
    assert!(
        line.starts_with(&format!("{} web-1 updating Default policy:", agent.id)),
        "{line}"
    );
    scene.admin.force_unenroll(&agent.id).await;
    let line = lines.next().unwrap().unwrap();
    assert!(line.contains("web-1 unenrolled"), "{line}");
    watch.kill().unwrap();
    watch.wait().unwrap();
}
