//! A store that cannot be opened is left alone and named; one that cannot be written refuses and loses nothing.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    process::{Command, Stdio},
};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use test_support::{Request, ServerProcess, server_command};

use crate::{agents::Scene, quickstart::said_once};

#[test]
fn a_damaged_or_empty_store_is_refused_with_the_remedy_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let command = || server_command!().directory(directory.path()).quickstart();
    command().start().stop();
    let file = directory.path().join("data/fleet.db");
    let whole = fs::read(&file).unwrap();
    let cut = whole[..whole.len() / 2].to_vec();
    let strange = "not a database ".repeat(1000).into_bytes();
    for (content, says) in [
        (cut, "is damaged"),
        (strange, "is damaged"),
        (Vec::new(), "is empty"),
    ] {
        fs::write(&file, &content).unwrap();
        let (code, _, err) = command().output();
        assert_eq!(code, 1, "{err}");
        let said = said_once(&err);
        assert!(said.contains("fleet.db") && said.contains(says), "{err}");
        assert!(err.contains("hint: ") && err.contains("backup"), "{err}");
        assert_eq!(
            fs::read(&file).unwrap(),
            content,
            "what may be salvaged was left alone"
        );
    }
    fs::write(&file, &whole).unwrap();
    command().start().stop();
}

fn limit_files(server: &ServerProcess, bytes: Option<u64>) -> Option<u64> {
    let limit = Rlimit {
        current: bytes,
        maximum: None,
    };
    prlimit(Pid::from_raw(server.pid()), Resource::Fsize, limit)
        .unwrap()
        .current
}

/// The issue's bad input: a full disk is a clear error and no silent loss.
#[actix_rt::test]
async fn enr_21_a15_sta_07_a_full_disk_is_answered_503_and_loses_nothing_that_was_answered() {
    let directory = tempfile::tempdir().unwrap();
    let command = || {
        server_command!()
            .directory(directory.path())
            .quickstart()
            .set("inputs.0.server.limits.max_agents", "-1")
            .set("inputs.0.server.limits.enroll_limit.interval", "-1")
            .allow_log("the store takes no writes")
            .allow_log("to DEGRADED")
            .allow_log("HTTP request error")
    };
    let scene = Scene::of(command().start());
    let client = scene.facts.client("url");
    let enroll = || test_support::SimulatedAgent::enroll(&client, scene.facts.enrollment_token());
    let mut answered = vec![enroll().await.unwrap().id];
    let log = fs::metadata(scene.server.data().join("fleet.db-wal"))
        .unwrap()
        .len();
    limit_files(&scene.server, Some(log));

    // What the store's log has room for may still be answered well.
    let refused = loop {
        match enroll().await {
            Ok(agent) => answered.push(agent.id),
            Err(refused) => break refused,
        }
        assert!(answered.len() < 1000, "the limit has no effect");
    };
    assert_eq!(refused.status(), 503, "{refused}");
    let told = scene.server.wait_for_log("the store takes no writes");
    assert_eq!(told.level(), "error");
    let change = serde_json::json!({"name": "other", "namespace": "default"});
    let stored = scene.admin.call("POST", "/agent_policies", Some(&change)).await;
    assert_eq!(stored.status, 503, "{}", stored.text());
    // Reads go on, and the state is told.
    assert_eq!(scene.admin.agent(&answered[0]).await["id"], answered[0]);
    scene.server.wait_for_log("to DEGRADED");
    let status = client.request(&Request::get("/api/status")).await.unwrap();
    assert_eq!(
        (status.status, &status.json()["status"]),
        (503, &"DEGRADED".into())
    );

    limit_files(&scene.server, None);
    scene.server.wait_for_log("the store takes writes again");
    scene.server.wait_for_log("from DEGRADED to HEALTHY");
    let status = client.request(&Request::get("/api/status")).await.unwrap();
    assert_eq!(status.status, 200);
    answered.push(enroll().await.unwrap().id);
    expect_exactly(&scene, &answered).await;
    scene.server.stop();
    let again = Scene::of(command().start());
    expect_exactly(&again, &answered).await;
}

/// Those who were answered, and nobody who was refused.
async fn expect_exactly(scene: &Scene, answered: &[String]) {
    for id in answered {
        assert_eq!(scene.admin.agent(id).await["id"], *id);
    }
    let listed = scene.admin.call("GET", "/agents?perPage=1", None).await.json();
    assert_eq!(listed["total"], answered.len());
}

/// On a small file system of memory, where this may be mounted: first without room, then with it.
#[test]
fn quickstart_on_a_full_disk_says_so_and_starts_once_there_is_room() {
    const SCRIPT: &str = r#"
        mount -t tmpfs -o size=$SIZE tmpfs "$PLACE" || { echo "not run"; exit 0; }
        "$0" "$@" >/dev/null
        echo "ended with $?"
        mount -o remount,size=64m "$PLACE"
        exec "$0" "$@"
    "#;
    for size in ["8k", "16k", "24k", "40k", "128k", "256k"] {
        let directory = tempfile::tempdir().unwrap();
        let mut child = Command::new("unshare")
            .args([
                "-Urm",
                "sh",
                "-c",
                SCRIPT,
                env!("CARGO_BIN_EXE_fleet-server"),
                "quickstart",
            ])
            .arg("--data-dir")
            .arg(directory.path().join("data"))
            .args(
                ["inputs.0.server.port=0", "admin.port=0", "http.port=0"]
                    .iter()
                    .flat_map(|set| ["-E", *set]),
            )
            .env("SIZE", size)
            .env("PLACE", directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("`unshare` of util-linux");
        let mut out = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map(Result::unwrap);
        match out.next().as_deref() {
            Some("ended with 1") => {}
            None | Some("not run") => {
                println!("not run: no file system may be mounted here");
                child.wait().unwrap();
                return;
            }
            other => panic!("{size}: {other:?}"),
        }
        let serves = out.any(|line| line.contains("Stop with Ctrl-C"));
        if serves {
            kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        }
        let mut err = String::new();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert!(serves && child.wait().unwrap().success(), "{size}: {err}");
        let said = err
            .lines()
            .find(|line| line.starts_with("error: "))
            .unwrap_or_default();
        assert!(
            said.contains("full") || said.contains("No space left"),
            "{size}: {said}"
        );
    }
}
