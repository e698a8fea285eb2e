//! GFU cases: agents whose key is dead and that nobody told.

use fleet::{AgentId, Settings, Timestamp, agents};
use serde_json::{Value, json};

use crate::house::{Enrolled, House, checkin_request, post, stranger};

async fn house(farewells: usize) -> House {
    House::with(Settings {
        farewells,
        ..Settings::default()
    })
    .await
}

fn online() -> Value {
    json!({"status": "online"})
}

#[actix_rt::test]
async fn b06_gfu_01_an_empty_policy_then_unenrol_then_the_refusal() {
    let house = house(10).await;
    let face = house.agents().await;
    let ended = house.enroll(&face).await;
    let id = AgentId::from(ended.id.as_str());
    agents::force_unenroll(&house.fleet, &id, Timestamp::now())
        .await
        .unwrap();
    let nobody = Enrolled {
        id: "who \"knows\"".replace(' ', "%20").replace('"', "%22"),
        key: stranger(),
    };
    for (agent, id, refusal) in [
        (&ended, ended.id.as_str(), "ErrAgentInactive"),
        (&nobody, "who \"knows\"", "ErrUnauthorized"),
    ] {
        let first = face.send(checkin_request(agent, &json!("not examined"))).await;
        assert_eq!(first.header("content-type"), "application/json");
        let first = first.ok();
        let action = &first["actions"][0];
        assert_eq!(
            (&action["type"], &action["data"]),
            (&json!("POLICY_CHANGE"), &json!({"policy": {}}))
        );
        assert_eq!(
            (&action["agent_id"], &action["input_type"]),
            (&json!(id), &json!(""))
        );
        assert!(uuid::Uuid::parse_str(action["id"].as_str().unwrap()).is_ok());
        assert!(Timestamp::parse(action["created_at"].as_str().unwrap()).is_some());
        assert!(first.get("ack_token").is_none(), "{first}");
        let second = face.send(checkin_request(agent, &online())).await.ok();
        let action = &second["actions"][0];
        assert_eq!(
            (&action["type"], &action["data"]),
            (&json!("UNENROLL"), &Value::Null)
        );
        for _ in 0..2 {
            face.send(checkin_request(agent, &online()))
                .await
                .assert_error(401, refusal);
        }
    }
}

#[actix_rt::test]
async fn b07_gfu_03_who_shows_no_key_or_anothers_is_refused_plainly() {
    let house = house(10).await;
    let face = house.agents().await;
    let (agent, other) = (house.enroll(&face).await, house.enroll(&face).await);
    let keyless = || {
        post(&format!("/api/fleet/agents/{}/checkin", agent.id))
            .insert_header(("user-agent", "elastic agent 9.6.0"))
    };
    for _ in 0..2 {
        face.send(keyless()).await.assert_error(401, "ErrNoAuthHeader");
        let as_other = Enrolled {
            id: other.id.clone(),
            key: agent.key.clone(),
        };
        face.send(checkin_request(&as_other, &online()))
            .await
            .assert_error(403, "ErrAgentIdentity");
    }
    assert_eq!(face.send(checkin_request(&agent, &online())).await.status, 200);
}

#[actix_rt::test]
async fn gfu_04_without_the_feature_a_bad_key_is_refused() {
    let house = house(0).await;
    let face = house.agents().await;
    let nobody = Enrolled {
        id: "nobody".into(),
        key: stranger(),
    };
    face.send(checkin_request(&nobody, &online()))
        .await
        .assert_error(401, "ErrUnauthorized");
}

/// The answers are successes, but whoever asks for them has no good key: they are limited like other failures.
#[actix_rt::test]
async fn attack_11_farewells_are_limited_by_address() {
    let house = house(100_000).await;
    let face = house.agents().await;
    let from = |number: u32| {
        let agent = Enrolled {
            id: format!("agent-{number}"),
            key: stranger(),
        };
        checkin_request(&agent, &online()).peer_addr("192.0.2.1:4000".parse().unwrap())
    };
    let mut answered = 0;
    while face.send(from(answered)).await.status != 429 {
        answered += 1;
        assert!(answered < 5000, "never refused");
    }
    assert!(answered >= 100, "{answered}");
}
