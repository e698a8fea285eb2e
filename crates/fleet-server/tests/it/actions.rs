//! Every type of action (agents.md 6.4) over TLS: from the operator's request to the answer that is recorded. CANCEL
//! has none: agents never acknowledge it, and it is complete once it is delivered. POLICY_REASSIGN is a call of its own.

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

async fn item(scene: &Scene, action: &Value) -> Value {
    let path = format!("/agents/actions/{}", action["id"].as_str().unwrap());
    scene.admin.call("GET", &path, None).await.json()["item"].take()
}

/// The agents have the action, and have not said so yet, when the operator takes it back.
#[actix_rt::test]
async fn what_was_cancelled_and_is_answered_all_the_same_says_both() {
    let scene = Scene::start();
    let diagnostics = json!({"type": "REQUEST_DIAGNOSTICS"});
    for (error, outcome, status) in [
        (None, "succeeded", "COMPLETE"),
        (Some("it cannot"), "failed", "FAILED"),
    ] {
        let mut agent = waiting(&scene).await;
        let posted = scene.admin.post_action(&agent.id, &diagnostics).await;
        let delivered = agent.end_checkin(LIMIT).await.unwrap();
        let cancel = json!({"type": "CANCEL", "data": {"target_id": posted["id"]}});
        scene.admin.post_action(&agent.id, &cancel).await;
        let cancelled = item(&scene, &posted).await;
        assert_eq!(cancelled["status"], "CANCELLED", "{cancelled}");

        let mut event = with(
            agent.ack_event(&delivered.actions[0]),
            &json!({"data": {"upload_id": "u"}}),
        );
        if let Some(error) = error {
            event["error"] = json!(error);
        }
        for _ in 0..2 {
            agent.ack_events(&[event.clone()]).await.unwrap();
            let answered = item(&scene, &posted).await;
            assert_eq!(answered["status"], status, "{answered}");
            assert_eq!(answered["nbAgentsCancelled"], 0, "{answered}");
            let results = answered["results"]["items"].as_array().unwrap();
            assert_eq!(results.len(), 1, "{answered}");
            assert_eq!(
                (
                    &results[0]["outcome"],
                    &results[0]["error"],
                    &results[0]["details"]
                ),
                (
                    &json!(outcome),
                    &json!(error),
                    &json!({"cancelled": true, "data": {"upload_id": "u"}})
                )
            );
        }
    }
}

#[actix_rt::test]
async fn a_reassigned_agent_gets_its_new_policy_while_it_waits_and_its_ack_confirms_it() {
    let scene = Scene::start();
    let new = scene
        .admin
        .create_policy(&json!({"name": "second", "namespace": "default"}))
        .await;
    let new = new["id"].as_str().unwrap();
    let (mut agent, mut other) = (waiting(&scene).await, waiting(&scene).await);
    let path = format!("/agents/{}/reassign", agent.id);
    let moved = scene
        .admin
        .call("POST", &path, Some(&json!({"policy_id": new})))
        .await;
    assert_eq!(moved.status, 200, "{}", moved.text());
    let answer = agent.end_checkin(LIMIT).await.unwrap();
    let policy = answer.policy().unwrap();
    assert_eq!((&policy["id"], &policy["revision"]), (&json!(new), &json!(1)));
    assert_eq!(answer.actions[0]["id"], json!(format!("policy:{new}:1")));
    let shown = scene.admin.agent(&agent.id).await;
    assert_eq!(
        (&shown["policy_id"], &shown["policy_revision"]),
        (&json!(new), &Value::Null),
        "assigned, and not confirmed yet"
    );
    // An acknowledgement of the policy that it had confirms nothing of the new one.
    let old = json!({"action_id": format!("policy:{}:1", scene.facts.policy_id()), "agent_id": agent.id});
    agent.ack_events(&[old]).await.unwrap();
    assert_eq!(scene.admin.agent(&agent.id).await["policy_revision"], Value::Null);

    agent.apply(&answer).await.unwrap();
    let shown = scene.admin.agent(&agent.id).await;
    assert_eq!(
        (&shown["policy_id"], &shown["policy_revision"]),
        (&json!(new), &json!(1))
    );
    // Its next poll waits, and a change of the old policy is for the other agent alone.
    agent.begin_checkin().await.unwrap();
    scene.admin.touch_policy(scene.facts.policy_id()).await;
    let answer = other.end_checkin(LIMIT).await.unwrap();
    assert_eq!(answer.policy().unwrap()["id"], scene.facts.policy_id());
    scene.admin.touch_policy(new).await;
    let answer = agent.end_checkin(LIMIT).await.unwrap();
    let policy = answer.policy().unwrap();
    assert_eq!((&policy["id"], &policy["revision"]), (&json!(new), &json!(2)));
}
