//! What was answered is there after a restart and after a kill.

use serde_json::json;
use test_support::{LIMIT, SimulatedAgent, server_command};

use crate::agents::Scene;

#[actix_rt::test]
async fn a_restart_keeps_everything() {
    let scene = Scene::start();
    let mut agent = scene.enroll().await;
    let first = agent.checkin().await.unwrap();
    agent.apply(&first).await.unwrap();
    let created = scene
        .admin
        .create_policy(&json!({"name": "second", "namespace": "default"}))
        .await;
    let Scene { server, facts, .. } = scene;
    let directory = tempfile::tempdir().unwrap();
    let killed = server.kill();
    copy(
        killed.directory().join("data").as_path(),
        &directory.path().join("data"),
    );

    let again = Scene::of(server_command!().directory(directory.path()).quickstart().start());
    assert_eq!(
        again.facts.enrollment_token(),
        facts.enrollment_token(),
        "a second start reuses all of it"
    );
    assert_eq!(again.facts.admin_api_key(), facts.admin_api_key());
    assert_eq!(again.facts.get("ca_sha256"), facts.get("ca_sha256"));
    assert_eq!(
        again.admin.policy(created["id"].as_str().unwrap()).await["revision"],
        1
    );
    let client = again.facts.client("url");
    let mut agent = SimulatedAgent::with_credentials(&client, &agent.id, &agent.access_key);
    agent.policy = Some((facts.policy_id().to_owned(), 1));
    agent.begin_checkin().await.unwrap();
    again.admin.touch_policy(facts.policy_id()).await;
    assert!(agent.end_checkin(LIMIT).await.unwrap().policy().is_some());
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// H8: every answered enrolment, policy revision, action and acknowledgement outlives kill −9 under load.
#[actix_rt::test]
async fn h8_kill_9_loses_nothing_that_was_answered() {
    let scene = Scene::of(
        server_command!()
            .quickstart()
            .set("inputs.0.server.limits.max_agents", "-1")
            .set("inputs.0.server.limits.enroll_limit.interval", "-1")
            .start(),
    );
    let work = async {
        let mut agents = Vec::new();
        let mut revision = 1;
        for _ in 0..30 {
            let mut agent = scene.enroll().await;
            let first = agent.checkin().await.unwrap();
            agent.apply(&first).await.unwrap();
            scene
                .admin
                .post_action(
                    &agent.id,
                    &json!({"type": "SETTINGS", "data": {"log_level": "info"}}),
                )
                .await;
            revision = scene.admin.touch_policy(scene.facts.policy_id()).await;
            agents.push((agent.id, agent.access_key));
        }
        (agents, revision)
    };
    let (agents, revision) = work.await;
    let Scene { server, facts, .. } = scene;
    let directory = tempfile::tempdir().unwrap();
    let killed = server.kill();
    copy(
        killed.directory().join("data").as_path(),
        &directory.path().join("data"),
    );

    let again = Scene::of(server_command!().directory(directory.path()).quickstart().start());
    assert_eq!(again.admin.policy(facts.policy_id()).await["revision"], revision);
    let client = again.facts.client("url");
    for (place, (id, key)) in agents.iter().enumerate() {
        let confirmed = &again.admin.agent(id).await["policy_revision"];
        assert_eq!(
            confirmed,
            &json!(i64::try_from(place).unwrap() + 1),
            "the acknowledged revision of agent {place}"
        );
        let mut agent = SimulatedAgent::with_credentials(&client, id, key);
        assert_eq!(
            agent.checkin().await.unwrap().of_type("SETTINGS").len(),
            1,
            "the action of agent {place}"
        );
    }
}
