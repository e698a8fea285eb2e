//! Whole replies, byte for byte: what agents read must not change because the code that writes it did.

use std::{fmt::Write as _, io::Read as _};

use actix_web::{http::Method, test::TestRequest};
use flate2::read::GzDecoder;
use fleet::{
    AgentId, RawJson, Timestamp,
    actions::{self, ActionDraft, ActionKind},
    agents, policies,
};
use serde_json::{Map, Value, json};
use store::NewAction;

use crate::house::{
    Answer, Enrolled, Face, House, acks_request, checkin_request, enroll_request, poll_request, post, until,
    with_key,
};
use crate::real_agents::unchecked;

/// Answers as they are, under the name of what was asked.
#[derive(Default)]
struct Transcript(String);

impl Transcript {
    fn add(&mut self, what: &str, answer: &Answer) {
        let mut headers: Vec<_> = answer
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        headers.sort();
        writeln!(
            self.0,
            "## {what}\n{}\n{}\n\n{}",
            answer.status.as_u16(),
            headers.join("\n"),
            answer.text()
        )
        .unwrap();
    }

    /// Compares with what is kept; ids, keys and times are replaced by their kind.
    #[track_caller]
    fn check(&self, name: &str) {
        insta::with_settings!({filters => vec![
            (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "[uuid]"),
            (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "[time]"),
            (r#""access_api_key_id":"[^"]+""#, r#""access_api_key_id":"[key id]""#),
            (r#""access_api_key":"[^"]+""#, r#""access_api_key":"[key]""#),
        ]}, {
            insta::assert_snapshot!(name, self.0);
        });
    }
}

/// Posts an action as an operator does; answers its id.
async fn order(house: &House, operators: &Face, agent: &Enrolled, action: Value) -> String {
    if action["type"] == "POLICY_REASSIGN" {
        // Operators are sent to another route; such an action is on record where another server posted it.
        let draft = ActionDraft {
            data: Some(RawJson::from_value(&action["data"]).unwrap()),
            ..ActionDraft::new(ActionKind::PolicyReassign)
        };
        let target = vec![AgentId::from(agent.id.as_str())];
        let posted = actions::post(&house.fleet, target, draft, Timestamp::now()).await;
        return posted.unwrap().action.to_string();
    }
    let path = format!("/api/fleet/agents/{}/actions", agent.id);
    let request = house
        .admin(Method::POST, &path)
        .set_payload(json!({ "action": action }).to_string());
    operators.send(request).await.ok()["item"]["id"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// One action of each type that agents are sent, with every member that an operator may give somewhere.
fn one_of_each() -> Vec<Value> {
    vec![
        json!({"type": "SETTINGS", "data": {"log_level": "debug"}}),
        json!({"type": "SETTINGS", "data": {"log_level": null}}),
        json!({
            "type": "UPGRADE", "start_time": "2030-01-02T03:04:05Z", "expiration": "2031-01-02T03:04:05Z",
            "data": {"version": "9.6.1", "sourceURI": "http://a", "rollback": false},
            "signed": {"data": "d", "signature": "s", "x": 1}, "traceparent": "00-1-2-01",
        }),
        json!({
            "type": "INPUT_ACTION", "input_type": "osquery", "timeout": 60,
            "data": {"z": 12_345_678_901_234_567_890_u64, "a": [1.0, "\u{1F600}\"\\"]},
        }),
        json!({"type": "CANCEL", "data": {"target_id": "t"}}),
        json!({"type": "POLICY_REASSIGN", "data": {"policy_id": "Q"}}),
        json!({"type": "REQUEST_DIAGNOSTICS"}),
        json!({
            "type": "REQUEST_DIAGNOSTICS",
            "data": {"additional_metrics": ["CPU"], "exclude_events_log": true},
        }),
        json!({
            "type": "MIGRATE", "signed": null,
            "data": {"target_uri": "https://f", "enrollment_token": "e", "settings": {"b": 1, "a": 2.5}},
        }),
        json!({
            "type": "PRIVILEGE_LEVEL_CHANGE",
            "data": {"unprivileged": true, "user_info": {"username": "u", "groupname": "g"}},
        }),
        json!({"type": "UNENROLL"}),
    ]
}

#[actix_rt::test]
async fn ac_31_enrolment_and_checkin() {
    let house = House::new().await;
    let (face, operators) = (house.agents().await, house.operators().await);
    let mut seen = Transcript::default();

    let metadata = json!({
        "type": "PERMANENT",
        "metadata": {"local": {"host": {"name": "é\"x"}, "n": 1.0}, "tags": ["a", "b"]},
    });
    let answer = face.send(enroll_request(&house.token, &metadata)).await;
    seen.add("enroll", &answer);
    let item = answer.ok();
    let agent = Enrolled {
        id: item["item"]["id"].as_str().unwrap().to_owned(),
        key: item["item"]["access_api_key"].as_str().unwrap().to_owned(),
    };

    let overrides = json!({"overrides": {"inputs": [{"id": "é\"\\", "n": 12_345_678_901_234_567_890_u64}]}});
    let Value::Object(overrides) = overrides else {
        panic!("an object")
    };
    policies::update(&house.fleet, &house.policy, overrides, Timestamp::now())
        .await
        .unwrap();
    let online = json!({"status": "online"});
    seen.add("a policy", &face.send(checkin_request(&agent, &online)).await);
    let named = json!({"type": "PERMANENT", "id": "a:1"});
    let answer = face.send(enroll_request(&house.token, &named)).await;
    seen.add("enroll with an id", &answer);

    let cancelled = NewAction {
        agents: Vec::new(),
        ..unchecked("t", &agent, "SETTINGS", &json!({}))
    };
    house.store.append_actions(vec![cancelled]).await.unwrap();
    for action in one_of_each() {
        order(&house, &operators, &agent, action).await;
    }
    let answer = face.send(poll_request(&agent, 2)).await;
    seen.add("actions", &answer);
    let token = answer.ok()["ack_token"].clone();
    let next =
        json!({"status": "online", "ack_token": token, "agent_policy_id": "P", "policy_revision_idx": 2});
    let waiting = face.start(checkin_request(&agent, &next));
    until(|| house.fleet.waiting() == 1).await;
    house.fleet.release_waiters();
    seen.add("nothing", &waiting.await.unwrap());
    seen.check("enrolment_and_checkin");
}

#[actix_rt::test]
async fn acks_status_and_refusals() {
    let house = House::new().await;
    let (face, operators) = (house.agents().await, house.operators().await);
    let agent = house.enroll(&face).await;
    let mut seen = Transcript::default();
    let settings = json!({"type": "SETTINGS", "data": {"log_level": "info"}});
    let id = order(&house, &operators, &agent, settings).await;

    for (what, events) in [
        ("no acks", json!([])),
        (
            "acks",
            json!([{"action_id": id, "agent_id": agent.id}, {"action_id": "policy:P:1"}]),
        ),
        (
            "acks of which some are refused",
            json!([{"action_id": id}, {"action_id": "none"}, {"action_id": id, "agent_id": "other"}]),
        ),
    ] {
        seen.add(
            what,
            &face
                .send(acks_request(&agent, &json!({ "events": events })))
                .await,
        );
    }
    let status = || TestRequest::with_uri("/api/status");
    seen.add("status", &face.send(status()).await);
    let with_key_of_agent = status().insert_header(("authorization", format!("ApiKey {}", agent.key)));
    seen.add("status with a key", &face.send(with_key_of_agent).await);
    house.fleet.stop().await;
    seen.add("status while stopping", &face.send(status()).await);
    seen.add("operators' status", &operators.send(status()).await);

    seen.add("no such path", &face.send(TestRequest::with_uri("/nope")).await);
    seen.add(
        "another method",
        &face.send(TestRequest::with_uri("/api/fleet/agents/enroll")).await,
    );
    seen.add(
        "no such path for operators",
        &operators.send(house.admin(Method::GET, "/nope")).await,
    );
    seen.add(
        "another method for operators",
        &operators
            .send(house.admin(Method::PATCH, "/api/fleet/agent_policies"))
            .await,
    );
    let unsupported = post("/api/fleet/agents/enroll").insert_header(("elastic-api-version", "1999-01-01"));
    seen.add(
        "another version of the API",
        &face
            .send(unsupported.insert_header(("user-agent", "Elastic Agent v9.6.0")))
            .await,
    );
    seen.add(
        "no status",
        &face
            .send(checkin_request(&agent, &Value::Object(Map::new())))
            .await,
    );
    let nobody = with_key("/api/fleet/agents/nobody/checkin", &agent.key);
    seen.add("an unknown agent", &face.send(nobody.set_payload("{}")).await);
    agents::force_unenroll(&house.fleet, &AgentId::from(agent.id.as_str()), Timestamp::now())
        .await
        .unwrap();
    seen.add("an ended agent", &face.send(poll_request(&agent, 1)).await);
    for (what, action) in [
        ("an unknown type", json!({"type": "UPDATE_TAGS"})),
        ("no data", json!({"type": "UPGRADE"})),
        (
            "a wrong level",
            json!({"type": "SETTINGS", "data": {"log_level": "trace"}}),
        ),
        (
            "a time that has passed",
            json!({"type": "UNENROLL", "expiration": "2020-01-01T00:00:00Z"}),
        ),
    ] {
        let path = format!("/api/fleet/agents/{}/actions", agent.id);
        let request = house
            .admin(Method::POST, &path)
            .set_payload(json!({ "action": action }).to_string());
        seen.add(what, &operators.send(request).await);
    }
    seen.check("acks_status_and_refusals");
}

#[actix_rt::test]
async fn a_large_policy_arrives_whole_plain_and_compressed() {
    let house = House::new().await;
    let face = house.agents().await;
    for revision in 2..4 {
        let long = "é\u{1F600}".repeat(20_000 * revision);
        let Value::Object(changes) = json!({"overrides": {"inputs": [{"id": long}]}}) else {
            panic!("an object")
        };
        policies::update(&house.fleet, &house.policy, changes, Timestamp::now())
            .await
            .unwrap();
        for accepts in ["identity", "gzip", "gzip"] {
            let agent = house.enroll(&face).await;
            let request = checkin_request(&agent, &json!({"status": "online"}));
            let answer = face
                .send(request.insert_header(("accept-encoding", accepts)))
                .await;
            let mut text = answer.body.clone();
            if accepts == "gzip" {
                text.clear();
                GzDecoder::new(answer.body.as_slice())
                    .read_to_end(&mut text)
                    .unwrap();
            }
            assert_eq!(answer.header("content-encoding") == "gzip", accepts == "gzip");
            let body: Value = serde_json::from_slice(&text).unwrap();
            let action = &body["actions"][0];
            assert_eq!(
                (&action["agent_id"], &action["id"]),
                (&json!(agent.id), &json!(format!("policy:P:{revision}")))
            );
            assert_eq!(action["data"]["policy"]["inputs"][0]["id"], long);
        }
    }
}
