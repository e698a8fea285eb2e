//! AUD cases: agents that say they run no longer.

use actix_web::http::Method;
use fleet::{AgentId, Timestamp, agents};
use serde_json::{Value, json};

use crate::house::{Answer, Enrolled, Face, House, acks_request, poll_request, post, stranger, with_key};

async fn report(face: &Face, agent: &Enrolled, body: Value) -> Answer {
    let request = with_key(
        &format!("/api/fleet/agents/{}/audit/unenroll?", agent.id),
        &agent.key,
    );
    face.send(request.set_payload(body.to_string())).await
}

#[track_caller]
fn done(answer: &Answer) {
    assert_eq!(
        (
            answer.status.as_u16(),
            answer.text().as_str(),
            answer.header("content-type")
        ),
        (200, "", "")
    );
}

async fn shown(house: &House, operators: &Face, agent: &Enrolled) -> [Value; 3] {
    let path = format!("/api/fleet/agents/{}", agent.id);
    let body = operators.send(house.admin(Method::GET, &path)).await.ok();
    ["status", "audit_unenrolled_reason", "audit_unenrolled_time"].map(|name| body["item"][name].clone())
}

#[actix_rt::test]
async fn aud_01_02_03_f16_ac_85_chk_48_c22_orphaned_is_the_last_word_until_the_agent_checks_in() {
    let house = House::new().await;
    let (face, operators) = (house.agents().await, house.operators().await);
    let agent = house.enroll(&face).await;
    let time = "2026-08-21T19:06:21.123456789Z";
    for _ in 0..2 {
        done(&report(&face, &agent, json!({"reason": "uninstall", "timestamp": time})).await);
        let expected = [json!("uninstalled"), json!("uninstall"), json!(time)];
        assert_eq!(shown(&house, &operators, &agent).await, expected);
    }
    let later = "2026-08-22T01:00:00+02:00";
    done(&report(&face, &agent, json!({"reason": "orphaned", "timestamp": later})).await);
    let orphaned = [json!("orphaned"), json!("orphaned"), json!(later)];
    for body in [
        json!({"reason": "uninstall", "timestamp": time}),
        json!({"reason": "orphaned", "timestamp": time}),
        json!("not even read"),
    ] {
        let answer = report(&face, &agent, body).await;
        let message = answer.assert_error(409, "ErrAuditReasonConflict");
        assert_eq!(message, "agent document contains audit_unenroll_reason");
        assert_eq!(shown(&house, &operators, &agent).await, orphaned);
    }
    // The key is still good: an agent that comes back counts as one that runs.
    face.send(poll_request(&agent, 0)).await.ok();
    house.fleet.stop().await;
    assert_eq!(house.agent(&agent.id).await.audit, None);
    done(&report(&face, &agent, json!({"reason": "migrated", "timestamp": time})).await);
}

/// A check-in that is not written yet removes the marks before it, and none after it, however lately operators looked.
#[actix_rt::test]
async fn aud_03_c22_a_mark_outlives_the_check_in_before_it() {
    let house = House::new().await;
    let (face, operators) = (house.agents().await, house.operators().await);
    let agent = house.enroll(&face).await;
    let time = "2026-08-21T19:06:21Z";
    for reason in ["uninstall", "orphaned"] {
        done(&report(&face, &agent, json!({"reason": reason, "timestamp": time})).await);
        face.send(poll_request(&agent, 0)).await.ok();
        shown(&house, &operators, &agent).await;
        // At once, also after "orphaned": the agent has been here since.
        done(&report(&face, &agent, json!({"reason": "uninstall", "timestamp": time})).await);
    }
    house.fleet.stop().await;
    let mark = house.agent(&agent.id).await.audit.unwrap();
    assert_eq!(mark.reason, "uninstall");
}

#[actix_rt::test]
async fn aud_04_what_is_malformed_is_refused_and_nothing_is_stored() {
    let house = House::new().await;
    let face = house.agents().await;
    let agent = house.enroll(&face).await;
    for (body, said) in [
        (
            json!({"reason": "bad", "timestamp": "2026-08-21T19:06:21Z"}),
            "invalid reason",
        ),
        (json!({"reason": "Uninstall"}), "invalid reason"),
        (json!({"timestamp": "2026-08-21T19:06:21Z"}), "invalid reason"),
        (
            json!({"reason": "uninstall", "timestamp": "yesterday"}),
            "invalid timestamp",
        ),
        (
            json!({"reason": "uninstall", "timestamp": ""}),
            "invalid timestamp",
        ),
        (json!({"reason": 7}), "reason"),
        (json!("no object"), "unable to decode audit/unenroll request"),
    ] {
        let answer = report(&face, &agent, body).await;
        let message = answer.assert_error(400, "BadRequest");
        assert!(message.contains(said), "{message}");
    }
    let long = report(
        &face,
        &agent,
        json!({"reason": "uninstall", "x": "x".repeat(1024)}),
    )
    .await;
    long.assert_error(413, "ErrPayloadSizeTooLarge");
    assert_eq!(house.agent(&agent.id).await.audit, None);
    // Without a time it is the server's.
    let before = Timestamp::now().minus(std::time::Duration::from_secs(1));
    done(&report(&face, &agent, json!({"reason": "key_revoked"})).await);
    let mark = house.agent(&agent.id).await.audit.unwrap();
    assert_eq!(mark.reason, "key_revoked");
    assert!(Timestamp::parse(&mark.time).unwrap() >= before);
}

#[actix_rt::test]
async fn ac_52_only_a_living_agents_own_key_says_so() {
    let house = House::new().await;
    let face = house.agents().await;
    let (agent, other) = (house.enroll(&face).await, house.enroll(&face).await);
    let said = json!({"reason": "migrated", "timestamp": "2026-08-21T19:06:21Z"});
    let as_if = |id: &str, key: &str| Enrolled {
        id: id.to_owned(),
        key: key.to_owned(),
    };
    for (agent, status, name) in [
        (as_if(&other.id, &agent.key), 403, "ErrAgentIdentity"),
        (as_if(&agent.id, &house.token), 403, "ErrAgentIdentity"),
        (as_if("nobody", &agent.key), 404, "AgentNotFound"),
        (as_if(&agent.id, &stranger()), 401, "ErrUnauthorized"),
    ] {
        report(&face, &agent, said.clone())
            .await
            .assert_error(status, name);
    }
    let keyless = post(&format!("/api/fleet/agents/{}/audit/unenroll", agent.id));
    face.send(keyless).await.assert_error(401, "ErrNoAuthHeader");
    // An agent that has moved acknowledges first: its second call finds a dead key, which is harmless.
    let draft = fleet::actions::ActionDraft {
        data: Some(
            fleet::RawJson::from_value(&json!({"target_uri": "https://x", "enrollment_token": "t"})).unwrap(),
        ),
        ..fleet::actions::ActionDraft::new(fleet::actions::ActionKind::Migrate)
    };
    let targets = vec![AgentId::from(agent.id.as_str())];
    let action = fleet::actions::post(&house.fleet, targets, draft, Timestamp::now())
        .await
        .unwrap();
    let events = json!({"events": [{"action_id": action.action, "agent_id": agent.id}]});
    face.send(acks_request(&agent, &events)).await.ok();
    report(&face, &agent, said)
        .await
        .assert_error(401, "ErrAgentInactive");
    assert_eq!(house.agent(&agent.id).await.audit, None);
    assert!(
        agents::get(&house.fleet, &AgentId::from(other.id.as_str()), Timestamp::now())
            .await
            .is_ok()
    );
}
