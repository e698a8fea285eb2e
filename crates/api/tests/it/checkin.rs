//! CHK cases: check-ins.

use std::io::{Read as _, Write as _};

use actix_web::test::TestRequest;
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use fleet::{
    AgentId, RawJson, Timestamp, actions,
    actions::{ActionDraft, ActionKind},
    agents, policies,
};
use serde_json::{Map, Value, json};

use crate::house::{Enrolled, Face, House, acks_request, checkin_request, poll_request, until, with_key};

pub(crate) fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn raw(agent: &Enrolled, body: impl Into<actix_web::web::Bytes>) -> TestRequest {
    with_key(&format!("/api/fleet/agents/{}/checkin", agent.id), &agent.key).set_payload(body)
}

async fn act(house: &House, agent: &Enrolled, kind: &str, data: Option<Value>) -> String {
    let draft = ActionDraft {
        data: data.map(|data| RawJson::from_value(&data).unwrap()),
        ..ActionDraft::new(ActionKind::parse(kind).unwrap())
    };
    let targets = vec![AgentId::from(agent.id.as_str())];
    let action = actions::post(&house.fleet, targets, draft, Timestamp::now())
        .await
        .unwrap();
    action.action.to_string()
}

/// The actions of an answer that comes at once.
async fn due(face: &Face, agent: &Enrolled) -> Value {
    face.send(poll_request(agent, 1)).await.ok()
}

#[actix_rt::test]
async fn chk_01_ac_23_a_fresh_agent_gets_its_policy() {
    let house = House::new().await;
    let face = house.agents().await;
    let agent = house.enroll(&face).await;
    let answer = face
        .send(checkin_request(
            &agent,
            &json!({"status": "online", "message": "ok"}),
        ))
        .await;
    assert_eq!(answer.header("content-type"), "application/json");
    let body = answer.ok();
    assert_eq!(
        (&body["action"], &body["ack_token"]),
        (&json!("checkin"), &json!(""))
    );
    assert_eq!(
        (&body["actions"][0]["type"], &body["actions"][0]["id"]),
        (&json!("POLICY_CHANGE"), &json!("policy:P:1"))
    );
}

#[actix_rt::test]
async fn chk_06_07_08_bad_requests() {
    let house = House::new().await;
    let face = house.agents().await;
    let agent = house.enroll(&face).await;
    for (body, part) in [
        ("{}", "Bad request: checkin status missing"),
        (r#"{"status":""}"#, "Bad request: checkin status missing"),
        ("not a json", "unable to decode checkin request"),
        ("", "unable to decode checkin request"),
        (
            r#"{"status":"online","poll_timeout":"not a timeout"}"#,
            "poll_timeout cannot be parsed as duration",
        ),
        (
            r#"{"status":"online","poll_timeout":5}"#,
            "poll_timeout: expected a string",
        ),
        (
            r#"{"status":"online","policy_revision_idx":"1"}"#,
            "policy_revision_idx: expected a whole number",
        ),
        (r#"{"status":"online","components":{"a":1}}"#, "components"),
        (r#"{"status":true}"#, "status: expected a string, found a boolean"),
    ] {
        let message = face.send(raw(&agent, body)).await.assert_error(400, "BadRequest");
        assert!(message.contains(part), "{body}: {message}");
    }
    assert_eq!(
        house.agent(&agent.id).await.last_checkin,
        None,
        "nothing was stored"
    );
}

#[actix_rt::test]
async fn chk_12_ac_19_a_gzip_body_is_read() {
    let house = House::new().await;
    let face = house.agents().await;
    let agent = house.enroll(&face).await;
    let request = raw(&agent, gzip(br#"{"status":"online"}"#)).insert_header(("content-encoding", "gzip"));
    assert_eq!(
        face.send(request).await.ok()["actions"][0]["type"],
        "POLICY_CHANGE"
    );
    let other = raw(&agent, r#"{"status":"online"}"#).insert_header(("content-encoding", "identity"));
    assert_eq!(face.send(other).await.status, 200);
}

#[actix_rt::test]
async fn chk_13_what_says_gzip_must_be_gzip() {
    let house = House::new().await;
    let face = house.agents().await;
    let agent = house.enroll(&face).await;
    let whole = gzip(br#"{"status":"online"}"#);
    for body in [
        br#"{"status":"online"}"#.to_vec(),
        whole[..whole.len() - 4].to_vec(),
        Vec::new(),
    ] {
        let answer = face
            .send(raw(&agent, body).insert_header(("content-encoding", "gzip")))
            .await;
        let message = answer.assert_error(400, "BadRequest");
        assert!(
            message.contains("unable to create gzip reader for request body"),
            "{message}"
        );
    }
}

#[actix_rt::test]
async fn chk_14_a_bomb_is_refused_before_it_is_large() {
    let house = House::new().await;
    let face = house.agents().await;
    let agent = house.enroll(&face).await;
    let bomb = gzip(&vec![b' '; 21 << 20]);
    assert!(bomb.len() < 1 << 20);
    let message = face
        .send(raw(&agent, bomb).insert_header(("content-encoding", "gzip")))
        .await
        .assert_error(413, "ErrPayloadSizeTooLarge");
    assert!(
        message.contains("at most 20971520 bytes after inflation"),
        "{message}"
    );
    face.send(raw(&agent, vec![b' '; (1 << 20) + 1]))
        .await
        .assert_error(413, "ErrPayloadSizeTooLarge");
}

#[actix_rt::test]
async fn chk_15_16_a_large_answer_is_compressed_for_a_client_that_accepts_gzip() {
    let house = House::new().await;
    let face = house.agents().await;
    let agent = house.enroll(&face).await;
    let long = json!({"overrides": {"inputs": [{"id": "x".repeat(3000), "type": "logfile"}]}});
    let Value::Object(changes) = long else {
        panic!("an object")
    };
    let waiting = face.start(poll_request(&agent, 1));
    until(|| house.fleet.waiting() == 1).await;
    policies::update(&house.fleet, &house.policy, changes, Timestamp::now())
        .await
        .unwrap();
    assert_eq!(
        waiting.await.unwrap().header("content-encoding"),
        "",
        "nobody asked for it"
    );

    for (accepts, is_compressed) in [
        ("gzip", true),
        ("gzip, deflate", true),
        ("gzip;q=0", false),
        ("deflate", false),
    ] {
        let agent = house.enroll(&face).await;
        let request = raw(&agent, r#"{"status":"online"}"#).insert_header(("accept-encoding", accepts));
        let answer = face.send(request).await;
        let coding = if is_compressed { "gzip" } else { "" };
        assert_eq!(answer.header("content-encoding"), coding, "{accepts}");
        let mut text = Vec::new();
        if is_compressed {
            GzDecoder::new(answer.body.as_slice())
                .read_to_end(&mut text)
                .unwrap();
            assert!(answer.body.len() < text.len());
        } else {
            text = answer.body;
        }
        let body: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(body["actions"][0]["id"], "policy:P:2");
    }
    let waiting = face.start(poll_request(&agent, 2).insert_header(("accept-encoding", "gzip")));
    until(|| house.fleet.waiting() == 1).await;
    house.fleet.release_waiters();
    assert_eq!(
        waiting.await.unwrap().header("content-encoding"),
        "",
        "small answers are sent as they are"
    );
}

#[actix_rt::test]
async fn chk_17_18_19_whose_key_it_is() {
    let house = House::new().await;
    let face = house.agents().await;
    let (agent, other) = (house.enroll(&face).await, house.enroll(&face).await);
    let online = json!({"status": "online"});
    let as_token = Enrolled {
        id: agent.id.clone(),
        key: house.token.clone(),
    };
    face.send(checkin_request(&as_token, &online))
        .await
        .assert_error(403, "ErrAgentIdentity");
    let as_other = Enrolled {
        id: other.id.clone(),
        key: agent.key.clone(),
    };
    face.send(checkin_request(&as_other, &online))
        .await
        .assert_error(403, "ErrAgentIdentity");
    let unknown = Enrolled {
        id: "nobody".to_owned(),
        key: agent.key.clone(),
    };
    face.send(checkin_request(&unknown, &online))
        .await
        .assert_error(404, "AgentNotFound");
    agents::force_unenroll(&house.fleet, &AgentId::from(other.id.as_str()), Timestamp::now())
        .await
        .unwrap();
    let answer = face.send(checkin_request(&other, &online)).await;
    assert_eq!(answer.status, 401, "{}", answer.text());
}

#[actix_rt::test]
async fn chk_20_25_26_27_28_what_is_delivered() {
    let house = House::new().await;
    let face = house.agents().await;
    for (kind, sent, delivered) in [
        (
            "SETTINGS",
            Some(json!({"log_level": "debug"})),
            json!({"log_level": "debug"}),
        ),
        (
            "UPGRADE",
            Some(json!({"version": "9.6.1", "source_uri": "http://x", "rollback": null})),
            json!({"version": "9.6.1", "source_uri": "http://x"}),
        ),
        ("REQUEST_DIAGNOSTICS", None, Value::Null),
        ("UNENROLL", None, Value::Null),
    ] {
        let agent = house.enroll(&face).await;
        let id = act(&house, &agent, kind, sent).await;
        let body = due(&face, &agent).await;
        let action = &body["actions"][0];
        assert_eq!(
            (&action["type"], &action["id"], &action["data"]),
            (&json!(kind), &json!(id), &delivered),
            "{body}"
        );
        assert_eq!(
            (&action["agent_id"], &action["input_type"]),
            (&json!(agent.id), &json!(""))
        );
        assert_ne!(body["ack_token"], "");
        let again = json!({"status": "online", "ack_token": body["ack_token"], "agent_policy_id": "P", "policy_revision_idx": 1});
        let waiting = face.start(checkin_request(&agent, &again));
        until(|| house.fleet.waiting() == 1).await;
        waiting.abort();
        until(|| house.fleet.waiting() == 0).await;
    }
}

#[actix_rt::test]
async fn chk_23_24_a_waiting_agent_is_answered() {
    let house = House::new().await;
    let face = house.agents().await;
    let agent = house.enroll(&face).await;
    let waiting = face.start(poll_request(&agent, 1));
    until(|| house.fleet.waiting() == 1).await;
    act(&house, &agent, "SETTINGS", Some(json!({"log_level": "info"}))).await;
    let body = waiting.await.unwrap().ok();
    assert_eq!(body["actions"][0]["type"], "SETTINGS");
    let next = json!({"status": "online", "ack_token": body["ack_token"], "agent_policy_id": "P", "policy_revision_idx": 1});
    let waiting = face.start(checkin_request(&agent, &next));
    until(|| house.fleet.waiting() == 1).await;
    policies::update(&house.fleet, &house.policy, Map::new(), Timestamp::now())
        .await
        .unwrap();
    assert_eq!(waiting.await.unwrap().ok()["actions"][0]["id"], "policy:P:2");
}

#[actix_rt::test]
async fn chk_29_30_ac_76_signatures_pass_and_expired_actions_do_not() {
    let house = House::new().await;
    let face = house.agents().await;
    let agent = house.enroll(&face).await;
    let signed = json!({"data": "eyJ4IjoxfQ==", "signature": "MEUC"});
    let draft = ActionDraft {
        signed: Some(RawJson::from_value(&signed).unwrap()),
        ..ActionDraft::new(ActionKind::Unenroll)
    };
    let targets = || vec![AgentId::from(agent.id.as_str())];
    let soon = ActionDraft {
        data: Some(RawJson::parse(r#"{"log_level":"info"}"#.to_owned()).unwrap()),
        expiration: Some(Timestamp::now().plus(std::time::Duration::from_millis(60))),
        ..ActionDraft::new(ActionKind::Settings)
    };
    let ends = soon.expiration.unwrap();
    actions::post(&house.fleet, targets(), soon, Timestamp::now())
        .await
        .unwrap();
    until(|| Timestamp::now() > ends).await;
    actions::post(&house.fleet, targets(), draft, Timestamp::now())
        .await
        .unwrap();
    let body = due(&face, &agent).await;
    assert_eq!(body["actions"].as_array().unwrap().len(), 1, "{body}");
    assert_eq!(body["actions"][0]["signed"], signed);
}

#[actix_rt::test]
async fn chk_38_who_reports_nothing_has_what_it_acknowledged() {
    let house = House::new().await;
    let face = house.agents().await;
    let agent = house.enroll(&face).await;
    let online = json!({"status": "online"});
    for revision in 1..3 {
        let expected = format!("policy:P:{revision}");
        let body = face.send(checkin_request(&agent, &online)).await.ok();
        assert_eq!(body["actions"][0]["id"], json!(expected));
        let acked = json!({"events": [{"action_id": expected, "agent_id": agent.id}]});
        face.send(acks_request(&agent, &acked)).await.ok();
        let waiting = face.start(checkin_request(&agent, &online));
        until(|| house.fleet.waiting() == 1 || waiting.is_finished()).await;
        assert!(!waiting.is_finished(), "{expected} is not delivered again");
        waiting.abort();
        until(|| house.fleet.waiting() == 0).await;
        policies::update(&house.fleet, &house.policy, Map::new(), Timestamp::now())
            .await
            .unwrap();
    }
}

#[actix_rt::test]
async fn chk_42_43_44_upgrade_details() {
    let house = House::new().await;
    let face = house.agents().await;
    let agent = house.enroll(&face).await;
    let id = act(&house, &agent, "UPGRADE", Some(json!({"version": "9.6.1"}))).await;
    let details = |state: &str, metadata: Value| json!({"status": "online", "upgrade_details": {"target_version": "9.6.1", "action_id": id, "state": state, "metadata": metadata}});
    for (state, metadata) in [
        ("UPG_FAILED", Value::Null),
        ("UPG_FAILED", json!({"error_msg": ""})),
        ("UPG_SCHEDULED", Value::Null),
        ("UPG_SCHEDULED", json!({"scheduled_at": "tomorrow"})),
        ("UPG_DOWNLOADING", json!({"download_percent": "half"})),
    ] {
        face.send(checkin_request(&agent, &details(state, metadata)))
            .await
            .assert_error(400, "BadRequest");
    }
    let downloading = details(
        "UPG_DOWNLOADING",
        json!({"download_percent": 0.5, "download_rate": "10kbps", "x": 1}),
    );
    assert_eq!(face.send(checkin_request(&agent, &downloading)).await.status, 200);
    let stored: Value = house
        .agent(&agent.id)
        .await
        .upgrade_details
        .unwrap()
        .read()
        .unwrap();
    assert_eq!(
        (&stored["metadata"]["download_rate"], &stored["metadata"]["x"]),
        (&json!(10000), &Value::Null)
    );
}

#[actix_rt::test]
async fn chk_47_malformed_rollbacks_are_ignored() {
    let house = House::new().await;
    let face = house.agents().await;
    let agent = house.enroll(&face).await;
    for upgrade in [
        json!({"rollbacks": "x"}),
        json!("x"),
        json!({}),
        Value::Null,
        json!({"rollbacks": [7]}),
    ] {
        let body = json!({"status": "online", "upgrade": upgrade});
        assert_eq!(
            face.send(checkin_request(&agent, &body)).await.status,
            200,
            "{body}"
        );
    }
}

#[actix_rt::test]
async fn chk_49_a_stop_answers_waiting_agents() {
    let house = House::new().await;
    let face = house.agents().await;
    let agent = house.enroll(&face).await;
    let waiting = face.start(poll_request(&agent, 1));
    until(|| house.fleet.waiting() == 1).await;
    house.fleet.release_waiters();
    assert_eq!(
        waiting.await.unwrap().ok(),
        json!({"action": "checkin", "ack_token": ""})
    );
}

#[actix_rt::test]
async fn a_client_that_goes_away_frees_its_poll_and_counts_as_499() {
    let house = House::new().await;
    let api = house.api(api::AgentOptions::default());
    let face = Face::of(actix_web::test::init_service(api.app()).await).await;
    let agent = house.enroll(&face).await;
    let waiting = face.start(poll_request(&agent, 1));
    until(|| house.fleet.waiting() == 1).await;
    assert_eq!(api.gate().in_flight(), 1);
    waiting.abort();
    until(|| house.fleet.waiting() == 0).await;
    until(|| api.gate().in_flight() == 0).await;
    assert!(
        house
            .scrape()
            .contains("fleet_server_http_requests_total{route=\"checkin\",code=\"499\"} 1")
    );
}
