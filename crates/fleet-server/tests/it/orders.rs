//! Kibana's paths for upgrades, migrations, changes of privileges and copies of policies, for one and for many.

use serde_json::{Value, json};
use test_support::LIMIT;

use crate::agents::Scene;

async fn call(scene: &Scene, path: &str, body: &Value, status: u16) -> Value {
    let answer = scene.admin.call("POST", path, Some(body)).await;
    assert_eq!(answer.status, status, "{path} {body}: {}", answer.text());
    answer.json()
}

#[actix_rt::test]
async fn orders_reach_one_agent_and_many() {
    let scene = Scene::start();
    let mut agents = Vec::new();
    for _ in 0..2 {
        let mut agent = scene.enroll().await;
        let first = agent.checkin().await.unwrap();
        agent.apply(&first).await.unwrap();
        agents.push(agent);
    }
    let ids = json!([agents[0].id, agents[1].id]);
    let all = format!("policy_id:\"{}\"", scene.facts.policy_id());
    let upgrade = json!({"version": "9.6.0", "source_uri": "https://artifacts.example/", "force": true});
    let migration = json!({
        "uri": "https://other.example:8220", "enrollment_token": "the-token-of-the-other",
        "settings": {"insecure": true},
    });
    let privilege = json!({"user_info": {"username": "u", "groupname": "g"}});
    for (one, many, body, kind) in [
        ("upgrade", "bulk_upgrade", &upgrade, "UPGRADE"),
        (
            "privilege_level_change",
            "bulk_privilege_level_change",
            &privilege,
            "PRIVILEGE_LEVEL_CHANGE",
        ),
        ("migrate", "bulk_migrate", &migration, "MIGRATE"),
    ] {
        // One of them; then both by ids and by kuery.
        let path = format!("/agents/{}/{one}", agents[0].id);
        let single = call(&scene, &path, body, 200).await;
        let mut body = body.clone();
        body["agents"] = ids.clone();
        call(&scene, &path, &body, 400).await;
        let path = format!("/agents/{many}");
        let by_ids = call(&scene, &path, &body, 200).await;
        body["agents"] = json!(all);
        let by_kuery = call(&scene, &path, &body, 200).await;
        for (answer, targets) in [(&single, 1), (&by_ids, 2), (&by_kuery, 2)] {
            let id = answer["actionId"].as_str().unwrap();
            let progress = scene
                .admin
                .call("GET", &format!("/agents/actions/{id}"), None)
                .await
                .json();
            assert_eq!(progress["item"]["nbAgentsActioned"], targets, "{progress}");
        }
        for nobody in [json!("tags:nobody-has-it"), json!([])] {
            body["agents"] = nobody;
            let refused = call(&scene, &path, &body, 400).await;
            assert!(
                refused["message"].as_str().unwrap().contains("nothing was done"),
                "{refused}"
            );
        }
        body["agents"] = json!([agents[0].id, "nobody"]);
        call(&scene, &path, &body, 404).await;
        body.as_object_mut().unwrap().remove("agents");
        call(&scene, &path, &body, 400).await;
        let log = scene.admin.call("GET", "/audit?perPage=3", None).await.json();
        assert_eq!(
            log["items"][2]["target"],
            json!({"type": "agent", "id": agents[0].id})
        );
        assert_eq!(
            (
                &log["items"][0]["after"]["type"],
                &log["items"][0]["after"]["agents"]
            ),
            (&json!(kind), &json!(2))
        );
        assert!(!log.to_string().contains("the-token-of-the-other"), "{log}");
    }
    agents[1].begin_checkin().await.unwrap();
    let delivered = agents[1].end_checkin(LIMIT).await.unwrap();
    // What else waits comes after the answer to this one.
    assert_eq!(delivered.actions[0]["type"], "UPGRADE");
    assert_eq!(delivered.actions[0]["data"]["source_uri"], upgrade["source_uri"]);

    let everyone = json!({"agents": all});
    call(
        &scene,
        "/agents/bulk_unenroll",
        &json!({"agents": ids, "force": true}),
        400,
    )
    .await;
    let asked = call(&scene, "/agents/bulk_unenroll", &everyone, 200).await;
    let path = format!("/agents/actions/{}", asked["actionId"].as_str().unwrap());
    let progress = scene.admin.call("GET", &path, None).await.json();
    assert_eq!(progress["item"]["nbAgentsActioned"], 2, "{progress}");
}

#[actix_rt::test]
async fn a_policy_is_copied_downloaded_and_read_by_id() {
    let scene = Scene::start();
    let policy = scene.facts.policy_id();
    let settings =
        json!({"name": "p", "namespace": "default", "overrides": {"agent": {"logging": {"level": "debug"}}}});
    scene.admin.update_policy(policy, &settings).await;
    let copy = json!({"name": "copy", "description": "of p"});
    let made = call(&scene, &format!("/agent_policies/{policy}/copy"), &copy, 200).await;
    let item = &made["item"];
    assert_eq!(
        (&item["name"], &item["description"], &item["revision"]),
        (&json!("copy"), &json!("of p"), &json!(1))
    );
    assert_eq!(item["overrides"], settings["overrides"]);
    assert!(made["enrollment_api_key"]["api_key"].is_string() && item["id"] != policy);
    call(&scene, "/agent_policies/nobody/copy", &copy, 404).await;

    let file = scene
        .admin
        .call("GET", &format!("/agent_policies/{policy}/download"), None)
        .await;
    assert_eq!(
        (file.status, file.header("content-type")),
        (200, Some("application/yaml"))
    );
    assert_eq!(file.json()["agent"]["logging"]["level"], "debug");

    let ids = json!({"ids": [item["id"], policy]});
    let found = call(&scene, "/agent_policies/_bulk_get", &ids, 200).await;
    let names: Vec<_> = found["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["name"].clone())
        .collect();
    assert_eq!(names, ["copy", "p"]);
    let mut more = json!({"ids": [policy, "nobody"]});
    call(&scene, "/agent_policies/_bulk_get", &more, 404).await;
    more["ignoreMissing"] = json!(true);
    let found = call(&scene, "/agent_policies/_bulk_get", &more, 200).await;
    assert_eq!(found["items"].as_array().unwrap().len(), 1);
    let log = scene.admin.call("GET", "/audit", None).await.json();
    let actions: Vec<_> = log["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["action"].clone())
        .collect();
    assert_eq!(
        actions,
        ["policy.copy", "policy.copy", "policy.update"],
        "reading is no change"
    );
}
