//! The audit log: who changed what, as the API shows it.

use serde_json::{Value, json};
use test_support::{AdminClient, Request, ServerProcess, eventually, server_command};

use crate::agents::Scene;

async fn entries(admin: &AdminClient, query: &str) -> Vec<Value> {
    let answer = admin.call("GET", &format!("/audit?{query}"), None).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let list = answer.json();
    assert_eq!(list["total"], list["items"].as_array().unwrap().len());
    list["items"].as_array().unwrap().clone()
}

async fn succeed(admin: &AdminClient, method: &str, path: &str, body: Value) -> Value {
    let answer = admin.call(method, path, Some(&body)).await;
    assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text());
    answer.json()
}

fn actions(entries: &[Value]) -> Vec<&str> {
    entries
        .iter()
        .map(|entry| entry["action"].as_str().unwrap())
        .collect()
}

#[actix_rt::test]
async fn every_change_has_an_entry_that_says_who_what_and_from_where() {
    let scene = Scene::start();
    let admin = &scene.admin;
    assert_eq!(
        entries(admin, "").await,
        [json!(null); 0],
        "the first start is nobody's change"
    );

    let key = json!({"name": "ann", "role": "operator"});
    let key = succeed(admin, "POST", "/operator_keys", key).await["item"].take();
    let ann = AdminClient::new(scene.facts.client("admin_url"), key["api_key"].as_str().unwrap());
    let agent = scene.enroll().await;
    let policy = json!({"id": "p", "name": "p", "namespace": "default"});
    let made = succeed(&ann, "POST", "/agent_policies", policy).await;
    let change = json!({"name": "q", "namespace": "default", "overrides": {"outputs": {"default": {"password": "hunter2"}}}});
    let update = Request::new("PUT", "/api/fleet/agent_policies/p")
        .header("Content-Type", "application/json")
        .header("X-Request-Id", "the-update")
        .body(change.to_string());
    assert_eq!(ann.send(update).await.status, 200);
    let path = format!("/agents/{}", agent.id);
    succeed(
        &ann,
        "POST",
        &format!("{path}/reassign"),
        json!({"policy_id": "p"}),
    )
    .await;
    succeed(
        &ann,
        "POST",
        &format!("{path}/actions"),
        json!({"action": {"type": "SETTINGS", "data": {"log_level": "info"}}}),
    )
    .await;
    succeed(
        &ann,
        "POST",
        "/secrets",
        json!({"id": "s", "name": "of ann", "value": "hunter2"}),
    )
    .await;
    succeed(&ann, "DELETE", "/secrets/s", json!({})).await;
    admin.reload_tls().await;
    // What is refused changes nothing.
    for (method, path, status) in [("DELETE", "/secrets/s", 404), ("PUT", "/agent_policies/x", 404)] {
        assert_eq!(
            ann.call(method, path, Some(&json!({"name": "x", "namespace": "x"})))
                .await
                .status,
            status
        );
    }

    let all = entries(admin, "").await;
    let expected = [
        "tls.reload",
        "secret.delete",
        "secret.create",
        "action.create",
        "agent.reassign",
        "policy.update",
        "policy.create",
        "policy.create",
        "key.create",
    ];
    assert_eq!(actions(&all), expected);
    let update = &all[5];
    assert_eq!(
        update["actor"],
        json!({"id": key["id"], "name": "ann", "role": "operator"})
    );
    assert_eq!(update["target"], json!({"type": "policy", "id": "p"}));
    assert_eq!(
        (&update["before"], &update["after"]),
        (&json!({"revision": 1}), &json!({"revision": 2}))
    );
    assert_eq!(
        (&update["client_address"], &update["request_id"]),
        (&json!("127.0.0.1"), &json!("the-update"))
    );
    let reassign = &all[4];
    assert_eq!(reassign["target"], json!({"type": "agent", "id": agent.id}));
    assert_eq!(reassign["before"], json!({"policy_id": scene.facts.policy_id()}));
    assert_eq!(reassign["after"], json!({"policy_id": "p"}));
    assert_eq!(all[8]["actor"]["name"], "admin");
    let text = Value::from(all.clone()).to_string();
    let secrets = [
        "hunter2",
        key["api_key"].as_str().unwrap(),
        made["enrollment_api_key"].as_str().unwrap_or("hunter2"),
    ];
    for secret in secrets {
        assert!(!text.contains(secret), "{text}");
    }

    assert_eq!(entries(admin, "actor=admin").await.len(), 2);
    assert_eq!(entries(admin, "actor=ann&action=policy").await.len(), 3);
    assert_eq!(entries(admin, "action=policy.update&target=p").await.len(), 1);
    assert_eq!(entries(admin, "from=2999-01-01T00:00:00Z").await.len(), 0);
    let page = admin.call("GET", "/audit?perPage=4", None).await.json();
    let next = page["nextSearchAfter"].as_str().unwrap();
    let next = next.replace('[', "%5B").replace(']', "%5D");
    let page = admin
        .call("GET", &format!("/audit?perPage=4&searchAfter={next}"), None)
        .await
        .json();
    assert_eq!(page["items"][0]["id"], all[4]["id"]);
    assert_eq!(admin.call("GET", "/audit?from=soon", None).await.status, 400);

    for method in ["POST", "PUT", "DELETE"] {
        assert_eq!(admin.call(method, "/audit", Some(&json!({}))).await.status, 405);
    }
    let killed = scene.server.kill();
    let again = Scene::of(
        server_command!()
            .directory(killed.directory())
            .quickstart()
            .start(),
    );
    assert_eq!(entries(&again.admin, "").await, all, "what was answered is there");
}

#[actix_rt::test]
async fn entries_go_when_their_time_is_over() {
    let server: ServerProcess = server_command!()
        .quickstart()
        .set("admin.audit_retention", "1s")
        .set("inputs.0.server.gc.schedule_interval", "1s")
        .start();
    let scene = Scene::of(server);
    scene.admin.touch_policy(scene.facts.policy_id()).await;
    eventually("the entry is there and goes", async || {
        entries(&scene.admin, "").await.is_empty()
    })
    .await;
    scene.server.wait_for_log("entries of the audit log removed");
}
