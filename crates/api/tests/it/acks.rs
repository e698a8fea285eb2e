//! ACK cases: acknowledgements.

use fleet::{
    ActionId, AgentId, PageRequest, RawJson, Timestamp, actions,
    actions::{ActionDraft, ActionKind},
};
use serde_json::{Value, json};

use crate::house::{Enrolled, Face, House, acks_request, checkin_request, with_key};

async fn act(house: &House, agent: &Enrolled, kind: &str, data: Option<Value>) -> String {
    let draft = ActionDraft {
        data: data.map(|data| RawJson::from_value(&data).unwrap()),
        input_type: (kind == "INPUT_ACTION").then(|| "osquery".to_owned()),
        ..ActionDraft::new(ActionKind::parse(kind).unwrap())
    };
    let targets = vec![AgentId::from(agent.id.as_str())];
    actions::post(&house.fleet, targets, draft, Timestamp::now())
        .await
        .unwrap()
        .action
        .to_string()
}

async fn ack(face: &Face, agent: &Enrolled, events: Value) -> (u16, Value) {
    let answer = face.send(acks_request(agent, &json!({ "events": events }))).await;
    (answer.status.as_u16(), answer.json())
}

async fn results(house: &House, id: &str) -> Vec<fleet::ActionResult> {
    let page = PageRequest::first(10);
    actions::results(&house.fleet, &ActionId::from(id), page)
        .await
        .unwrap()
        .items
}

fn done() -> Value {
    json!({"action": "acks", "items": [{"status": 200, "message": "OK"}]})
}

#[actix_rt::test]
async fn ack_01_07_08_09_policies() {
    let house = House::new().await;
    let face = house.agents().await;
    let agent = house.enroll(&face).await;
    face.send(checkin_request(&agent, &json!({"status": "online"})))
        .await
        .ok();
    let failed = json!([{"action_id": "policy:P:1", "error": "no"}]);
    assert_eq!(ack(&face, &agent, failed).await, (200, done()));
    assert_eq!(
        house.agent(&agent.id).await.policy_revision,
        None,
        "an ack with an error confirms nothing"
    );
    assert_eq!(
        ack(
            &face,
            &agent,
            json!([{"action_id": "policy:P:1:1", "agent_id": agent.id}])
        )
        .await,
        (200, done())
    );
    assert_eq!(house.agent(&agent.id).await.policy_revision, Some(1));
    for stale in ["policy:Q:9", "policy:P:0"] {
        assert_eq!(
            ack(&face, &agent, json!([{ "action_id": stale }])).await,
            (200, done())
        );
        assert_eq!(house.agent(&agent.id).await.policy_revision, Some(1));
    }
}

#[actix_rt::test]
async fn ack_02_ac_16_no_events() {
    let house = House::new().await;
    let face = house.agents().await;
    let agent = house.enroll(&face).await;
    for body in [json!({"events": []}), json!({"events": null}), json!({})] {
        let answer = face.send(acks_request(&agent, &body)).await;
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.ok(), json!({"action": "acks"}));
    }
}

#[actix_rt::test]
async fn ack_03_04_05_each_event_has_its_item_and_the_highest_is_the_answers() {
    let house = House::new().await;
    let face = house.agents().await;
    let agent = house.enroll(&face).await;
    let id = act(&house, &agent, "SETTINGS", Some(json!({"log_level": "info"}))).await;
    let (status, body) = ack(&face, &agent, json!([{"action_id": id, "agent_id": "other"}])).await;
    assert_eq!(
        (status, &body["errors"], &body["items"][0]["status"]),
        (400, &json!(true), &json!(400))
    );
    let (status, body) = ack(&face, &agent, json!([{"action_id": "unknown"}])).await;
    assert_eq!(
        (status, &body["action"], &body["items"][0]["status"]),
        (404, &json!("acks"), &json!(404))
    );
    let (status, body) = ack(
        &face,
        &agent,
        json!([{"action_id": id}, {"action_id": "unknown"}, 7]),
    )
    .await;
    assert_eq!(status, 404);
    let codes: Vec<_> = body["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["status"].as_u64().unwrap())
        .collect();
    assert_eq!(codes, [200, 404, 404]);
    assert_eq!(results(&house, &id).await.len(), 1);
}

#[actix_rt::test]
async fn ack_06_ac_58_a_repeat_is_stored_once() {
    let house = House::new().await;
    let face = house.agents().await;
    let agent = house.enroll(&face).await;
    let id = act(&house, &agent, "SETTINGS", Some(json!({"log_level": "info"}))).await;
    for _ in 0..2 {
        assert_eq!(
            ack(&face, &agent, json!([{ "action_id": id }])).await,
            (200, done())
        );
    }
    assert_eq!(results(&house, &id).await.len(), 1);
}

#[actix_rt::test]
async fn ack_10_11_12_ac_17_48_the_end_of_an_agent() {
    let house = House::new().await;
    let face = house.agents().await;
    let migrate = json!({"target_uri": "https://x", "enrollment_token": "t"});
    for (kind, data) in [("UNENROLL", None), ("MIGRATE", Some(migrate))] {
        let agent = house.enroll(&face).await;
        let id = act(&house, &agent, kind, data).await;
        assert_eq!(
            ack(&face, &agent, json!([{"action_id": id, "error": "no"}])).await,
            (200, done())
        );
        assert!(
            house.agent(&agent.id).await.is_active,
            "{kind} failed: the agent stays"
        );
        assert_eq!(results(&house, &id).await[0].error.as_deref(), Some("no"));
        assert_eq!(
            ack(&face, &agent, json!([{ "action_id": id }])).await,
            (200, done())
        );
        let gone = house.agent(&agent.id).await;
        assert!(!gone.is_active && gone.unenrolled_at.is_some(), "{kind}");
        let answer = face.send(acks_request(&agent, &json!({"events": []}))).await;
        assert_eq!(answer.status, 401, "{}", answer.text());
    }
}

#[actix_rt::test]
async fn ack_13_14_15_ac_43_upgrades() {
    let house = House::new().await;
    let face = house.agents().await;
    let agent = house.enroll(&face).await;
    let id = act(&house, &agent, "UPGRADE", Some(json!({"version": "9.6.1"}))).await;
    assert!(house.agent(&agent.id).await.upgrade_started_at.is_some());
    let retrying = json!([{"action_id": id, "error": "x", "payload": {"retry": true, "retry_attempt": 1}}]);
    assert_eq!(ack(&face, &agent, retrying).await.0, 200);
    assert!(
        house.agent(&agent.id).await.upgrade_started_at.is_some(),
        "it tries again"
    );
    assert_eq!(
        ack(&face, &agent, json!([{"action_id": id, "error": "x"}]))
            .await
            .0,
        200
    );
    let after = house.agent(&agent.id).await;
    assert!(after.upgrade_started_at.is_none() && after.upgraded_at.is_none());
    let id = act(&house, &agent, "UPGRADE", Some(json!({"version": "9.6.1"}))).await;
    assert_eq!(ack(&face, &agent, json!([{ "action_id": id }])).await.0, 200);
    let after = house.agent(&agent.id).await;
    assert!(
        after.upgrade_started_at.is_some() && after.upgraded_at.is_none(),
        "ACK-13: the check-in of the target completes it"
    );
}

#[actix_rt::test]
async fn ack_16_17_details_by_type() {
    let house = House::new().await;
    let face = house.agents().await;
    let agent = house.enroll(&face).await;
    let id = act(&house, &agent, "INPUT_ACTION", Some(json!({"query": "select 1"}))).await;
    let event = json!({
        "action_id": id, "action_input_type": "osquery", "action_data": {"query": "select 1"},
        "action_response": {"osquery": {"count": 12345678901234567_u64}},
        "started_at": "2026-01-02T03:04:05Z", "completed_at": "2026-01-02T03:04:06Z",
        "timestamp": "2026-01-02T03:04:06.123456789+02:00",
    });
    assert_eq!(ack(&face, &agent, json!([event])).await, (200, done()));
    let details: Value = results(&house, &id).await[0]
        .details
        .clone()
        .unwrap()
        .read()
        .unwrap();
    for name in ["action_data", "action_response", "started_at", "completed_at"] {
        assert_eq!(details[name], event[name], "{details}");
    }
    let id = act(&house, &agent, "REQUEST_DIAGNOSTICS", None).await;
    assert_eq!(
        ack(
            &face,
            &agent,
            json!([{"action_id": id, "data": {"upload_id": "u1"}}])
        )
        .await,
        (200, done())
    );
    let details: Value = results(&house, &id).await[0]
        .details
        .clone()
        .unwrap()
        .read()
        .unwrap();
    assert_eq!(details["data"]["upload_id"], "u1");
}

#[actix_rt::test]
async fn ack_18_ac_57_what_the_store_fails_to_keep_is_503_for_its_item_and_leaves_nothing() {
    let house = House::new().await;
    let face = house.agents().await;
    let agent = house.enroll(&face).await;
    let level = || Some(json!({"log_level": "info"}));
    let before = act(&house, &agent, "SETTINGS", level()).await;
    let failing = act(&house, &agent, "SETTINGS", level()).await;
    let after = act(&house, &agent, "SETTINGS", level()).await;
    let events = json!([
        {"action_id": before}, {"action_id": failing}, {"action_id": after}, {"action_id": "unknown"},
        {"action_id": after, "agent_id": "other"}, {"action_id": "policy:P:1"},
    ]);
    let codes = |body: &Value| -> Vec<u64> {
        let items = body["items"].as_array().unwrap().iter();
        items.map(|item| item["status"].as_u64().unwrap()).collect()
    };
    house.results_fail(&failing, true);
    let (status, body) = ack(&face, &agent, events.clone()).await;
    assert_eq!(
        (status, &body["action"], &body["errors"]),
        (503, &json!("acks"), &json!(true))
    );
    assert_eq!(codes(&body), [200, 503, 200, 404, 400, 200], "{body}");
    let text = body.to_string();
    assert!(
        !text.contains("overflow") && !text.contains("SQL"),
        "what failed is told to operators: {text}"
    );
    assert!(results(&house, &failing).await.is_empty());

    // The same batch once more: what failed is stored now, the rest is stored already.
    house.results_fail(&failing, false);
    let (status, body) = ack(&face, &agent, events).await;
    assert_eq!(
        (status, codes(&body)),
        (404, vec![200, 200, 200, 404, 400, 200]),
        "{body}"
    );
    for id in [&before, &failing, &after] {
        assert_eq!(results(&house, id).await.len(), 1);
    }
    assert_eq!(house.agent(&agent.id).await.policy_revision, Some(1));
}

#[actix_rt::test]
async fn ack_18_f5_an_agents_end_counts_although_its_result_is_not_stored() {
    let house = House::new().await;
    let face = house.agents().await;
    let agent = house.enroll(&face).await;
    let end = act(&house, &agent, "UNENROLL", None).await;
    house.results_fail(&end, true);
    let ended = ack(&face, &agent, json!([{ "action_id": end }])).await;
    assert_eq!(ended, (200, done()));
    assert!(!house.agent(&agent.id).await.is_active);
    assert!(results(&house, &end).await.is_empty());
}

#[actix_rt::test]
async fn ack_18_a_store_that_cannot_be_asked_is_503_for_the_whole() {
    let house = House::new().await;
    let face = house.agents().await;
    let agent = house.enroll(&face).await;
    house.store.close().await.unwrap();
    face.send(acks_request(&agent, &json!({"events": []})))
        .await
        .assert_error(503, "ServiceUnavailable");
}

#[actix_rt::test]
async fn ack_19_malformed_oversized_and_too_many() {
    let house = House::new().await;
    let face = house.agents().await;
    let agent = house.enroll(&face).await;
    let path = format!("/api/fleet/agents/{}/acks", agent.id);
    let send = |body: String| face.send(with_key(&path, &agent.key).set_payload(body));
    let message = send("not a json".to_owned())
        .await
        .assert_error(400, "BadRequest");
    assert!(
        message.starts_with("Bad request: unable to decode ack request: "),
        "{message}"
    );
    send(r#"{"events":{}}"#.to_owned())
        .await
        .assert_error(400, "BadRequest");
    send("x".repeat(2_097_153))
        .await
        .assert_error(413, "ErrPayloadSizeTooLarge");
    let many = format!("{{\"events\":[{}{{}}]}}", "{},".repeat(10_000));
    let message = send(many).await.assert_error(400, "BadRequest");
    assert!(message.contains("at most 10000 events"), "{message}");
}

#[actix_rt::test]
async fn ack_20_no_user_agent_is_needed_and_mistyped_members_count_as_absent() {
    let house = House::new().await;
    let face = house.agents().await;
    let agent = house.enroll(&face).await;
    let id = act(&house, &agent, "SETTINGS", Some(json!({"log_level": "info"}))).await;
    let event =
        json!({"Action_ID": id, "timestamp": 5, "error": null, "payload": "x", "data": 7, "started_at": []});
    assert_eq!(ack(&face, &agent, json!([event])).await, (200, done()));
}
