//! ENR cases: enrolment.

use actix_web::http::StatusCode;
use fleet::{AgentId, KeyId, Timestamp, agents, policies};
use serde_json::{Value, json};

use crate::house::{Enrolled, Face, House, checkin_request, enroll_request, with_key};

async fn enroll(house: &House, face: &Face, body: Value) -> Value {
    face.send(enroll_request(&house.token, &body)).await.ok()
}

#[actix_rt::test]
async fn enr_01_a_new_agent() {
    let house = House::new().await;
    let face = house.agents().await;
    let answer = face
        .send(enroll_request(
            &house.token,
            &json!({"type": "PERMANENT", "metadata": {"local": {}}}),
        ))
        .await;
    assert_eq!(answer.header("content-type"), "application/json");
    let body = answer.ok();
    assert_eq!(body["action"], "created");
    let item = &body["item"];
    assert!(uuid::Uuid::parse_str(item["id"].as_str().unwrap()).is_ok());
    assert_eq!(
        (&item["status"], &item["tags"], &item["active"]),
        (&json!("online"), &json!([]), &json!(true))
    );
    assert_eq!(
        (&item["policy_id"], &item["type"]),
        (&json!("P"), &json!("PERMANENT"))
    );
    assert_eq!(
        (&item["user_provided_metadata"], &item["local_metadata"]),
        (&Value::Null, &json!({}))
    );
    let at = item["enrolled_at"].as_str().unwrap();
    assert!(
        at.len() == 20 && at.ends_with('Z') && Timestamp::parse(at).is_some(),
        "{at}"
    );
    let agent = Enrolled {
        id: item["id"].as_str().unwrap().to_owned(),
        key: item["access_api_key"].as_str().unwrap().to_owned(),
    };
    assert_eq!(
        face.send(checkin_request(&agent, &json!({"status": "online"})))
            .await
            .status,
        StatusCode::OK
    );
}

#[actix_rt::test]
async fn enr_02_03_tags_are_sorted_and_the_id_in_the_metadata_is_the_agents() {
    let house = House::new().await;
    let face = house.agents().await;
    let metadata = json!({
        "local": {"elastic": {"agent": {"id": "x", "version": "9.6.0"}}, "big": 9007199254740993_u64},
        "tags": ["foo", "bar", "bar", "baz", "foo"],
        "user_provided": {},
    });
    let body = enroll(
        &house,
        &face,
        json!({"type": "PERMANENT", "id": "", "replace_token": "", "metadata": metadata}),
    )
    .await;
    let item = &body["item"];
    assert_eq!(item["tags"], json!(["bar", "baz", "foo"]));
    assert_eq!(item["local_metadata"]["elastic"]["agent"]["id"], item["id"]);
    assert_eq!(item["local_metadata"]["big"], 9007199254740993_u64);
    let body = enroll(
        &house,
        &face,
        json!({"type": "PERMANENT", "metadata": {"local": {"a": 1}, "tags": null}}),
    )
    .await;
    assert_eq!(body["item"]["local_metadata"], json!({"a": 1}));
}

#[actix_rt::test]
async fn enr_04_the_base_of_a_policy_id() {
    let house = House::new().await;
    let face = house.agents().await;
    let settings = serde_json::from_value(json!({"name": "v", "namespace": "default"})).unwrap();
    let (_, token) = policies::create(&house.fleet, Some("a#b#c"), settings, Timestamp::now())
        .await
        .unwrap();
    let body = face
        .send(enroll_request(&token.to_token(), &json!({"type": "PERMANENT"})))
        .await
        .ok();
    let agent = house.agent(body["item"]["id"].as_str().unwrap()).await;
    assert_eq!(
        (agent.policy.as_str(), agent.policy_base.as_str()),
        ("a#b#c", "a#b")
    );
}

#[actix_rt::test]
async fn enr_05_06_a_chosen_id_is_free_once() {
    let house = House::new().await;
    let face = house.agents().await;
    let request = json!({"type": "PERMANENT", "id": "123456"});
    assert_eq!(
        enroll(&house, &face, request.clone()).await["item"]["id"],
        "123456"
    );
    face.send(enroll_request(&house.token, &request))
        .await
        .assert_error(403, "AgentNotReplaceable");
}

#[actix_rt::test]
async fn enr_07_08_09_replacing_needs_the_token_and_the_same_policy() {
    let house = House::new().await;
    let face = house.agents().await;
    let with = |token: &str| json!({"type": "PERMANENT", "id": "123456", "replace_token": token});
    let first = enroll(&house, &face, with("T")).await;
    for wrong in [
        json!({"type": "PERMANENT", "id": "123456"}),
        with("wrong"),
        with(""),
    ] {
        face.send(enroll_request(&house.token, &wrong))
            .await
            .assert_error(403, "AgentNotReplaceable");
    }
    let settings = serde_json::from_value(json!({"name": "Q", "namespace": "default"})).unwrap();
    let (_, other) = policies::create(&house.fleet, Some("Q"), settings, Timestamp::now())
        .await
        .unwrap();
    face.send(enroll_request(&other.to_token(), &with("T")))
        .await
        .assert_error(403, "AgentNotReplaceable");
    let second = enroll(&house, &face, with("T")).await;
    assert_eq!(second["item"]["id"], "123456");
    assert_ne!(
        second["item"]["access_api_key_id"],
        first["item"]["access_api_key_id"]
    );
    let agent = house.agent("123456").await;
    assert_eq!(
        agent.access_key,
        KeyId::from(second["item"]["access_api_key_id"].as_str().unwrap())
    );
    let old = Enrolled {
        id: "123456".to_owned(),
        key: first["item"]["access_api_key"].as_str().unwrap().to_owned(),
    };
    assert_eq!(
        face.send(checkin_request(&old, &json!({"status": "online"})))
            .await
            .status,
        401
    );
}

#[actix_rt::test]
async fn enr_10_an_inactive_agent_gives_its_id_up() {
    let house = House::new().await;
    let face = house.agents().await;
    let request = json!({"type": "PERMANENT", "id": "123456"});
    enroll(&house, &face, request.clone()).await;
    agents::force_unenroll(&house.fleet, &AgentId::from("123456"), Timestamp::now())
        .await
        .unwrap();
    assert_eq!(enroll(&house, &face, request).await["item"]["id"], "123456");
}

#[actix_rt::test]
async fn enr_11_12_13_an_enrollment_id_is_one_agent_until_it_checks_in() {
    let house = House::new().await;
    let face = house.agents().await;
    let request = json!({"type": "PERMANENT", "enrollment_id": "E"});
    let first = enroll(&house, &face, request.clone()).await;
    let second = enroll(&house, &face, request.clone()).await;
    assert!(
        house
            .store
            .agent(&AgentId::from(first["item"]["id"].as_str().unwrap()))
            .await
            .unwrap()
            .is_none()
    );
    let (left, right) = tokio::join!(
        face.send(enroll_request(&house.token, &request)),
        face.send(enroll_request(&house.token, &request)),
    );
    let mut codes = [left.status.as_u16(), right.status.as_u16()];
    codes.sort_unstable();
    assert!(
        codes == [200, 429] || codes == [200, 200],
        "one wins, the other is told to retry or comes after: {codes:?}"
    );
    for answer in [left, right] {
        if answer.status == 429 {
            answer.assert_error(429, "EnrollDuplicate");
            assert!(!answer.header("retry-after").is_empty());
        }
    }
    assert!(
        house
            .store
            .agent(&AgentId::from(second["item"]["id"].as_str().unwrap()))
            .await
            .unwrap()
            .is_none()
    );
}

#[actix_rt::test]
async fn enr_14_15_16_bad_bodies_are_400() {
    let house = House::new().await;
    let face = house.agents().await;
    let send =
        |body: &'static str| face.send(with_key("/api/fleet/agents/enroll", &house.token).set_payload(body));
    assert_eq!(
        send(r#"{"type":"FOO"}"#).await.assert_error(400, "BadRequest"),
        "Bad request: unknown enroll request type"
    );
    send("{}").await.assert_error(400, "BadRequest");
    send("").await.assert_error(400, "BadRequest");
    for (body, part) in [
        ("not a json", "Bad request: unable to decode enroll request"),
        ("[]", "expected an object, found an array"),
        (r#"{"type":5}"#, "type: expected a string, found a number"),
        (
            r#"{"type":"PERMANENT","metadata":{"tags":"x"}}"#,
            "metadata.tags: expected an array of strings",
        ),
        (
            r#"{"type":"PERMANENT","metadata":7}"#,
            "metadata: expected an object",
        ),
        (r#"{"type":"PERMANENT","metadata":{"local":[]}}"#, "local"),
        (r#"{"type":"PERMANENT""#, "unable to decode"),
    ] {
        let message = send(body).await.assert_error(400, "BadRequest");
        assert!(message.contains(part), "{body}: {message}");
    }
    let deep = format!(
        "{{\"type\":\"PERMANENT\",\"metadata\":{{\"local\":{}1",
        "[".repeat(200_000)
    );
    let answer = face
        .send(with_key("/api/fleet/agents/enroll", &house.token).set_payload(deep))
        .await;
    assert!(answer.assert_error(400, "BadRequest").contains("nested deeper"));
}

#[actix_rt::test]
async fn leniency_first_value_any_case_trailing_bytes() {
    let house = House::new().await;
    let face = house.agents().await;
    let body = r#"{"Type":"FOO","TYPE":"PERMANENT","unknown":{"x":[1]},"id":null,"metadata":null} trailing"#;
    let answer = face
        .send(with_key("/api/fleet/agents/enroll", &house.token).set_payload(body))
        .await;
    assert_eq!(answer.ok()["item"]["type"], "PERMANENT");
}

#[actix_rt::test]
async fn enr_17_an_oversized_body_is_413_and_ends_the_connection() {
    let house = House::new().await;
    let face = house.agents().await;
    let fits = format!(
        "{{\"type\":\"PERMANENT\",\"x\":\"{}\"}}",
        "a".repeat(524_288 - 28)
    );
    assert!(fits.len() <= 524_288);
    assert_eq!(
        face.send(with_key("/api/fleet/agents/enroll", &house.token).set_payload(fits))
            .await
            .status,
        200
    );
    let over = with_key("/api/fleet/agents/enroll", &house.token).set_payload("a".repeat(524_289));
    let answer = face.send(over).await;
    answer.assert_error(413, "ErrPayloadSizeTooLarge");
    assert!(!answer.keeps_alive, "the rest of the body is not read");
    assert!(
        house
            .scrape()
            .contains("fleet_server_rejected_total{route=\"enroll\",reason=\"body_size\"} 1")
    );
}

#[actix_rt::test]
async fn enr_18_an_agents_own_key_enrols_nobody() {
    let house = House::new().await;
    let face = house.agents().await;
    let agent = house.enroll(&face).await;
    face.send(enroll_request(&agent.key, &json!({"type": "PERMANENT"})))
        .await
        .assert_error(401, "ErrUnauthorized");
}
