//! Every type of action (agents.md 6.4) over TLS: from the operator's request to the answer that is recorded. CANCEL
//! has none: agents never acknowledge it, and it is complete once it is delivered.

use serde_json::{Value, json};
use test_support::{LIMIT, SimulatedAgent};

use crate::agents::Scene;

/// An agent that waits, with its policy applied.
async fn waiting(scene: &Scene) -> SimulatedAgent {
    let mut agent = scene.enroll().await;
    let first = agent.checkin().await.unwrap();
    agent.apply(&first).await.unwrap();
    agent.begin_checkin().await.unwrap();
    agent
}

/// Merges members into an object.
fn with(mut value: Value, members: &Value) -> Value {
    for (name, member) in members.as_object().unwrap() {
        value[name] = member.clone();
    }
    value
}

/// Whether it is the same; an object may have more (agents of different versions read `user_info` and `userinfo`).
fn holds(delivered: &Value, sent: &Value) -> bool {
    match sent {
        Value::Object(members) => members
            .iter()
            .all(|(name, member)| holds(&delivered[name], member)),
        other => delivered == other,
    }
}

/// Type; what the operator sends beside it, which the agent gets as it is; what the agent answers; what of that is kept;
/// the outcome of an answer without an error.
fn types() -> [(&'static str, Value, Value, Value, &'static str); 6] {
    let none = json!({});
    let input = json!({
        "action_input_type": "osquery", "action_data": {"query": "select 1"}, "action_response": {"osquery": {"count": 1}},
        "started_at": "2026-01-02T03:04:05Z", "completed_at": "2026-01-02T03:04:06Z",
    });
    [
        (
            "SETTINGS",
            json!({"data": {"log_level": "debug"}}),
            none.clone(),
            Value::Null,
            "succeeded",
        ),
        (
            "REQUEST_DIAGNOSTICS",
            json!({"data": {"additional_metrics": ["CPU"]}}),
            json!({"data": {"upload_id": "u"}}),
            json!({"data": {"upload_id": "u"}}),
            "succeeded",
        ),
        (
            "INPUT_ACTION",
            json!({"data": {"query": "select 1", "big": 9_007_199_254_740_993_u64}, "input_type": "osquery", "timeout": 60}),
            input.clone(),
            input,
            "succeeded",
        ),
        (
            "PRIVILEGE_LEVEL_CHANGE",
            json!({"data": {"unprivileged": true, "user_info": {"username": "u", "groupname": "g", "password": "hunter2"}}}),
            none.clone(),
            Value::Null,
            "succeeded",
        ),
        // How an upgrade ends, its details say.
        (
            "UPGRADE",
            json!({"data": {"version": "9.6.1", "source_uri": "https://x/"}}),
            none.clone(),
            Value::Null,
            "acknowledged",
        ),
        (
            "MIGRATE",
            json!({"data": {"target_uri": "https://other:8220", "enrollment_token": "hunter2"}}),
            none,
            Value::Null,
            "succeeded",
        ),
    ]
}

#[actix_rt::test]
async fn f6_f7_f8_f10_every_type_of_action_reaches_a_waiting_agent_and_its_answer_is_kept() {
    let scene = Scene::start();
    for (kind, sent, answer, kept, outcome) in types() {
        for error in [None, Some("it cannot")] {
            let mut agent = waiting(&scene).await;
            let action = with(json!({"type": kind}), &sent);
            let posted = scene.admin.post_action(&agent.id, &action).await;
            assert!(!posted.to_string().contains("hunter2"), "{posted}");
            let delivered = agent.end_checkin(LIMIT).await.unwrap();
            let [action] = delivered.actions.as_slice() else {
                panic!("{kind}: {delivered:?}")
            };
            assert_eq!((&action["id"], &action["type"]), (&posted["id"], &json!(kind)));
            for (name, member) in sent.as_object().unwrap() {
                assert!(holds(&action[name], member), "{kind}: {action}");
            }
            let mut event = with(agent.ack_event(action), &answer);
            if let Some(error) = error {
                event["error"] = json!(error);
            }
            agent.ack_events(&[event]).await.unwrap();

            let path = format!("/agents/actions/{}", posted["id"].as_str().unwrap());
            let progress = scene.admin.call("GET", &path, None).await.json();
            let item = &progress["item"];
            let outcome = if error.is_some() { "failed" } else { outcome };
            let status = match outcome {
                "failed" => "FAILED",
                "acknowledged" => "IN_PROGRESS",
                _ => "COMPLETE",
            };
            assert_eq!(item["status"], status, "{kind}: {progress}");
            let result = &item["results"]["items"][0];
            assert_eq!(
                (&result["agent_id"], &result["outcome"]),
                (&json!(agent.id), &json!(outcome)),
                "{kind}: {progress}"
            );
            assert_eq!(result["error"], json!(error), "{kind}");
            assert_eq!(result["details"], kept, "{kind}");
            let shown = scene.admin.agent(&agent.id).await;
            let is_gone = kind == "MIGRATE" && error.is_none();
            assert_eq!(shown["active"], json!(!is_gone), "{kind}");
            if kind == "UPGRADE" {
                assert_eq!(
                    shown["upgrade_started_at"].is_string(),
                    error.is_none(),
                    "{shown}"
                );
            }
        }
    }
    assert!(
        scene
            .server
            .log()
            .iter()
            .all(|line| !line.text.contains("hunter2"))
    );
}
