//! Bodies of another kind than the object that a route documents, on every route that reads one.

use actix_web::{http::Method, test::TestRequest};
use api::AdminApi;
use serde_json::{Value, json};

use crate::{
    house::{Answer, House, checkin_request, post, with_key},
    uploads::unpaced,
};

/// What is no object. An array was once taken as its members in order.
const OTHERS: [&str; 9] = [
    "[]",
    "[{}]",
    r#"["a","b"]"#,
    r#"[["a1"],"P"]"#,
    r#""x""#,
    "1",
    "-0.5e3",
    "true",
    " [] ",
];

#[track_caller]
fn refused(answer: &Answer, place: &str, body: &str) {
    assert_eq!(answer.status, 400, "{place} with {body}: {}", answer.text());
    assert!(answer.json()["message"].is_string(), "{place}: {}", answer.text());
}

#[actix_rt::test]
async fn every_agents_route_takes_an_object_and_nothing_else() {
    let house = House::new().await;
    let face = unpaced(&house).await;
    let agent = house.enroll(&face).await;
    let own = |path: &str| format!("/api/fleet/agents/{}/{path}", agent.id);
    let key = &agent.key;
    let begin = json!({"action_id": "a", "agent_id": agent.id, "src": "agent",
        "file": {"name": "f", "mime_type": "m", "size": 1}});
    let upload = with_key("/api/fleet/uploads", key).set_payload(begin.to_string());
    let upload = face.send(upload).await.ok()["upload_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let routes = [
        ("/api/fleet/agents/enroll".to_owned(), &house.token, 400),
        (own("checkin"), key, 400),
        // `null` counts as absent (agents.md 1.6), and no events are fine.
        (own("acks"), key, 200),
        (own("audit/unenroll"), key, 400),
        ("/api/fleet/uploads".to_owned(), key, 400),
        (format!("/api/fleet/uploads/{upload}"), key, 400),
    ];
    for (path, key, of_null) in routes {
        for body in OTHERS {
            let answer = face.send(with_key(&path, key).set_payload(body)).await;
            refused(&answer, &path, body);
        }
        let answer = face.send(with_key(&path, key).set_payload("null")).await;
        assert_eq!(answer.status, of_null, "{path} with null: {}", answer.text());
    }
    let opamp = || post("/v1/opamp").insert_header(("content-type", "application/x-protobuf"));
    for body in OTHERS {
        let request = opamp().insert_header(("authorization", format!("ApiKey {}", house.token)));
        let answer = face.send(request.set_payload(body)).await;
        assert_eq!(answer.status, 400, "opamp with {body}: {}", answer.text());
    }
}

#[actix_rt::test]
async fn every_operators_route_takes_an_object_and_nothing_else() {
    let house = House::new().await;
    let agent = house.enroll(&house.agents().await).await;
    let face = house.operators().await;
    // Their bodies are no JSON, or there is none.
    let others = [
        (Method::POST, "/api/tls/reload"),
        (Method::PUT, "/api/fleet/artifacts/{id}"),
        (Method::POST, "/api/fleet/files"),
    ];
    let mut walked = 0;
    for path in AdminApi::paths() {
        for method in [Method::POST, Method::PUT] {
            if others.contains(&(method.clone(), path)) {
                continue;
            }
            let id = match path.starts_with("/api/fleet/agent_policies/") {
                true => "P",
                false => &agent.id,
            };
            let place = path.replace("{id}", id);
            let request = || house.admin(method.clone(), &place);
            let probed = face.send(request().set_payload("[]")).await;
            if probed.status == 405 || (probed.status == 404 && probed.text().contains("does not exist")) {
                continue;
            }
            walked += 1;
            for body in OTHERS.into_iter().chain(["null"]) {
                let answer = face.send(request().set_payload(body)).await;
                refused(&answer, &format!("{method} {place}"), body);
                let told = answer.text();
                assert!(told.contains("the body: expected an object, found "), "{told}");
            }
        }
    }
    assert!(walked >= 10, "{walked} routes take a JSON body");
    assert!(house.agent(&agent.id).await.is_active, "nothing was done");
}

#[actix_rt::test]
async fn objects_inside_of_bodies_are_objects_too() {
    let house = House::new().await;
    let (face, operators) = (unpaced(&house).await, house.operators().await);
    let agent = house.enroll(&face).await;
    let path = format!("/api/fleet/agents/{}/actions", agent.id);
    let act = |action: Value| {
        let request: TestRequest = house.admin(Method::POST, &path);
        operators.send(request.set_payload(json!({ "action": action }).to_string()))
    };
    for action in [
        json!(["UNENROLL"]),
        json!("UNENROLL"),
        json!(["SETTINGS", {"log_level": "debug"}]),
        json!({"type": "SETTINGS", "data": ["debug"]}),
        json!({"type": "UPGRADE", "data": ["9.6.0"]}),
        json!({"type": "CANCEL", "data": ["a"]}),
        json!({"type": "MIGRATE", "data": ["t", "https://a"]}),
        json!({"type": "REQUEST_DIAGNOSTICS", "data": [["CPU"]]}),
        json!({"type": "INPUT_ACTION", "input_type": "osquery", "data": []}),
        json!({"type": "PRIVILEGE_LEVEL_CHANGE", "data": {"unprivileged": true, "user_info": ["u"]}}),
        json!({"type": "SETTINGS", "data": {"log_level": "debug"}, "signed": ["d", "s"]}),
    ] {
        refused(&act(action.clone()).await, &path, &action.to_string());
    }
    for member in [
        json!({"components": [["c", "m", "FAILED"]]}),
        json!({"components": [{"id": "c", "units": [["u"]]}]}),
        json!({"local_metadata": ["a"]}),
        json!({"upgrade_details": ["9.6.0"]}),
    ] {
        let mut body = json!({"status": "online", "agent_policy_id": "P", "policy_revision_idx": 1});
        body.as_object_mut()
            .unwrap()
            .extend(member.as_object().unwrap().clone());
        let answer = face.send(checkin_request(&agent, &body)).await;
        refused(&answer, "checkin", &body.to_string());
    }
}
