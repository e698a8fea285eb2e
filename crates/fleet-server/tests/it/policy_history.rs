//! The history of a policy, stale edits, the way back.

use serde_json::{Value, json};
use test_support::{LIMIT, Request, eventually, server_command};

use crate::agents::Scene;

fn settings(level: &str) -> Value {
    json!({"name": "p", "namespace": "default", "overrides": {"agent": {"logging": {"level": level}}}})
}

async fn at(scene: &Scene, path: &str) -> Value {
    let answer = scene.admin.call("GET", path, None).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

fn revisions(list: &Value) -> Vec<i64> {
    let items = list["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| item["revision"].as_i64().unwrap())
        .collect()
}

#[actix_rt::test]
async fn a_policy_goes_back_to_what_it_was_by_another_revision() {
    let scene = Scene::start();
    let policy = scene.facts.policy_id();
    let path = format!("/agent_policies/{policy}");
    for level in ["info", "debug"] {
        scene.admin.update_policy(policy, &settings(level)).await;
    }
    let mut agent = scene.enroll().await;
    let first = agent.checkin().await.unwrap();
    agent.apply(&first).await.unwrap();
    assert_eq!(first.policy().unwrap()["agent"]["logging"]["level"], "debug");

    assert_eq!(
        revisions(&at(&scene, &format!("{path}/revisions")).await),
        [3, 2, 1]
    );
    let old = at(&scene, &format!("{path}/revisions/2")).await;
    assert_eq!(old["item"]["overrides"], settings("info")["overrides"]);
    let page = at(&scene, &format!("{path}/revisions?perPage=1&page=2")).await;
    assert_eq!((revisions(&page), &page["total"]), (vec![2], &json!(3)));

    let diff = at(&scene, &format!("{path}/diff?from=2&to=3")).await;
    let change =
        json!({"op": "replace", "path": "/full/agent/logging/level", "before": "info", "after": "debug"});
    assert_eq!(diff["item"], json!({"from": 2, "to": 3, "changes": [change]}));
    let diff = at(&scene, &format!("{path}/diff?from=3&to=3")).await;
    assert_eq!(diff["item"]["changes"], json!([]));

    agent.begin_checkin().await.unwrap();
    let body = json!({"revision": 2, "current": 3});
    let made = scene
        .admin
        .call("POST", &format!("{path}/rollback"), Some(&body))
        .await;
    assert_eq!(made.status, 200, "{}", made.text());
    assert_eq!(made.json()["item"]["revision"], 4);
    let answer = agent.end_checkin(LIMIT).await.unwrap();
    let delivered = answer.policy().unwrap();
    assert_eq!(
        (&delivered["revision"], &delivered["agent"]["logging"]["level"]),
        (&json!(4), &json!("info"))
    );
    let diff = at(&scene, &format!("{path}/diff?from=2&to=4")).await;
    assert_eq!(diff["item"]["changes"], json!([]));
    let entry = at(&scene, "/audit?action=policy.rollback").await;
    assert_eq!(entry["items"][0]["after"], json!({"revision": 4}));

    let stale = scene
        .admin
        .call("POST", &format!("{path}/rollback"), Some(&body))
        .await;
    assert_eq!(stale.status, 409, "{}", stale.text());
    for (path, status) in [
        ("revisions/9", 404),
        ("revisions/x", 400),
        ("diff?from=1&to=9", 404),
        ("diff?from=1", 400),
    ] {
        let answer = scene
            .admin
            .call("GET", &format!("/agent_policies/{policy}/{path}"), None)
            .await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
    }
    let nobody = scene
        .admin
        .call("GET", "/agent_policies/nobody/revisions", None)
        .await;
    assert_eq!(nobody.status, 404, "{}", nobody.text());
}

#[actix_rt::test]
async fn a_stale_edit_is_refused_with_the_current_revision() {
    let scene = Scene::start();
    let policy = scene.facts.policy_id();
    let path = format!("/agent_policies/{policy}");
    // Two operators read the same one; the second one's edit would undo the first one's.
    let mut read = scene.admin.policy(policy).await;
    read["description"] = json!("mine");
    let first = scene.admin.update_policy(policy, &read).await;
    assert_eq!(
        (&first["revision"], &first["description"]),
        (&json!(2), &json!("mine"))
    );
    read["description"] = json!("other");
    let stale = scene.admin.call("PUT", &path, Some(&read)).await;
    assert_eq!(stale.status, 409, "{}", stale.text());
    assert!(
        stale.json()["message"]
            .as_str()
            .unwrap()
            .contains("is at revision 2"),
        "{}",
        stale.text()
    );
    let now = scene.admin.policy(policy).await;
    assert_eq!(
        (&now["revision"], &now["description"]),
        (&json!(2), &json!("mine"))
    );
    // A full policy says so beside its text.
    let full = |revision: i64| {
        Request::new("PUT", &format!("/api/fleet{path}?revision={revision}"))
            .header("Content-Type", "application/yaml")
            .body("outputs: {default: {type: elasticsearch, hosts: [\"https://localhost:9200\"]}}\ninputs: []\n")
    };
    assert_eq!(scene.admin.send(full(1)).await.status, 409);
    let taken = scene.admin.send(full(2)).await;
    assert_eq!(taken.json()["item"]["revision"], 3, "{}", taken.text());
    let odd = json!({"name": "p", "namespace": "default", "revision": "newest"});
    assert_eq!(scene.admin.call("PUT", &path, Some(&odd)).await.status, 400);
}

#[actix_rt::test]
async fn old_revisions_go_and_the_newest_stay() {
    let server = server_command!()
        .quickstart()
        .set("admin.policy_revisions_kept", "2")
        .set("inputs.0.server.gc.schedule_interval", "1s")
        .start();
    let scene = Scene::of(server);
    let policy = scene.facts.policy_id();
    for _ in 0..3 {
        scene.admin.touch_policy(policy).await;
    }
    let path = format!("/agent_policies/{policy}/revisions");
    eventually("old revisions go", async || {
        revisions(&at(&scene, &path).await) == [4, 3]
    })
    .await;
    assert_eq!(
        scene.admin.call("GET", &format!("{path}/1"), None).await.status,
        404
    );
    assert_eq!(scene.admin.touch_policy(policy).await, 5);
}
