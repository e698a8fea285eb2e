//! STA cases: `GET /api/status`.

use actix_web::test::TestRequest;
use api::{AgentOptions, Identity};
use serde_json::json;

use crate::house::{House, stranger};

fn status(key: Option<&str>) -> TestRequest {
    let request = TestRequest::with_uri("/api/status");
    match key {
        Some(key) => request.insert_header(("authorization", format!("ApiKey {key}"))),
        None => request,
    }
}

#[actix_rt::test]
async fn sta_01_without_a_key_the_short_form() {
    let house = House::new().await;
    let answer = house.agents().await.send(status(None)).await;
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.ok(), json!({"name": "fleet-server", "status": "HEALTHY"}));
}

#[actix_rt::test]
async fn sta_02_any_good_key_shows_the_version() {
    let house = House::new().await;
    let identity = Identity {
        build_hash: "abc123".to_owned(),
        build_time: "2026-11-24T00:00:00Z".to_owned(),
    };
    let face = house
        .agents_with(AgentOptions {
            identity,
            ..AgentOptions::default()
        })
        .await;
    let agent = house.enroll(&face).await;
    for key in [&house.token, &agent.key, &house.admin_key] {
        let body = face.send(status(Some(key))).await.ok();
        let version =
            json!({"number": "9.6.0", "build_hash": "abc123", "build_time": "2026-11-24T00:00:00Z"});
        assert_eq!(
            body,
            json!({"name": "fleet-server", "status": "HEALTHY", "version": version})
        );
    }
}

#[actix_rt::test]
async fn sta_03_a_bad_key_gives_the_short_form() {
    let house = House::new().await;
    let face = house.agents().await;
    for key in [stranger().as_str(), "%%%", "dGVzdA=="] {
        let body = face.send(status(Some(key))).await.ok();
        assert_eq!(body, json!({"name": "fleet-server", "status": "HEALTHY"}));
    }
}

#[actix_rt::test]
async fn sta_04_any_other_state_is_503_with_its_name() {
    let house = House::new().await;
    let face = house.agents().await;
    house.fleet.stop().await;
    let answer = face.send(status(None)).await;
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.json(),
        json!({"name": "fleet-server", "status": "STOPPING"})
    );
}

#[actix_rt::test]
async fn sta_09_without_a_policy_a_server_is_well() {
    let house = House::new().await;
    let face = house.agents().await;
    fleet::policies::delete(&house.fleet, &house.policy, fleet::Timestamp::now())
        .await
        .unwrap();
    let body = face.send(status(None)).await.ok();
    assert_eq!(body, json!({"name": "fleet-server", "status": "HEALTHY"}));
}
