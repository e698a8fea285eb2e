//! The operators' API: agent policies.

use actix_web::http::Method;
use serde_json::{Value, json};

use crate::house::{Answer, Face, House, enroll_request, poll_request, until};

const POLICIES: &str = "/api/fleet/agent_policies";

async fn post(house: &House, face: &Face, path: &str, body: &Value) -> Answer {
    face.send(house.admin(Method::POST, path).set_payload(body.to_string()))
        .await
}

async fn put(house: &House, face: &Face, id: &str, body: &Value) -> Answer {
    face.send(
        house
            .admin(Method::PUT, &format!("{POLICIES}/{id}"))
            .set_payload(body.to_string()),
    )
    .await
}

/// Each revision goes to every agent of the policy: none is made for a body that got lost.
#[actix_rt::test]
async fn an_update_that_changes_nothing_is_refused() {
    let house = House::new().await;
    let face = house.operators().await;
    post(
        &house,
        &face,
        POLICIES,
        &json!({"id": "p1", "name": "One", "namespace": "default"}),
    )
    .await
    .ok();
    let path = format!("{POLICIES}/p1");
    for body in ["", "{}", r#"{"id":"p1","revision":1}"#] {
        let answer = face.send(house.admin(Method::PUT, &path).set_payload(body)).await;
        let message = answer.assert_error(400, "Bad Request");
        assert!(message.contains("nothing to change"), "{message}");
    }
    let read = face.send(house.admin(Method::GET, &path)).await.ok();
    assert_eq!(read["item"]["revision"], 1);
}

#[actix_rt::test]
async fn made_read_changed_listed_and_deleted() {
    let house = House::new().await;
    let (face, agents) = (house.operators().await, house.agents().await);
    let body = json!({"id": "p1", "name": "One", "namespace": "default", "description": "d", "x_custom": []});
    let made = post(&house, &face, POLICIES, &body).await.ok();
    assert_eq!(
        (&made["item"]["id"], &made["item"]["revision"]),
        (&json!("p1"), &json!(1)),
        "{made}"
    );
    let token = made["enrollment_api_key"]["api_key"].as_str().unwrap();
    let agent = agents
        .send(enroll_request(token, &json!({"type": "PERMANENT"})))
        .await
        .ok();
    post(&house, &face, POLICIES, &body)
        .await
        .assert_error(409, "Conflict");

    let mut read = face
        .send(house.admin(Method::GET, &format!("{POLICIES}/p1")))
        .await
        .ok()["item"]
        .take();
    assert_eq!(
        (&read["name"], &read["x_custom"], &read["status"]),
        (&json!("One"), &json!([]), &json!("active"))
    );
    read["name"] = "Two".into();
    let sent_back = put(&house, &face, "p1", &read).await.ok();
    assert_eq!(
        (&sent_back["item"]["revision"], &sent_back["item"]["name"]),
        (&json!(2), &json!("Two"))
    );
    put(
        &house,
        &face,
        "p1",
        &json!({"id": "p2", "name": "x", "namespace": "default"}),
    )
    .await
    .assert_error(400, "Bad Request");

    let list = face.send(house.admin(Method::GET, POLICIES)).await.ok();
    assert_eq!(
        (&list["total"], list["items"].as_array().unwrap().len()),
        (&json!(2), 2)
    );
    let listed = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|item| item["id"] == "p1")
        .unwrap();
    assert_eq!(
        (&listed["agents"], &listed["agents_pending"]),
        (&json!(1), &json!(1))
    );

    let delete = json!({"agentPolicyId": "p1"});
    let path = format!("{POLICIES}/delete");
    let message = post(&house, &face, &path, &delete)
        .await
        .assert_error(409, "Conflict");
    assert!(message.contains("1 active agents"), "{message}");
    let unenroll = format!(
        "/api/fleet/agents/{}/unenroll",
        agent["item"]["id"].as_str().unwrap()
    );
    post(&house, &face, &unenroll, &json!({"force": true})).await.ok();
    assert_eq!(
        post(&house, &face, &path, &delete).await.ok(),
        json!({"id": "p1", "name": "Two"})
    );
    face.send(house.admin(Method::GET, &format!("{POLICIES}/p1")))
        .await
        .assert_error(404, "Not Found");
    post(&house, &face, &path, &delete)
        .await
        .assert_error(404, "Not Found");
}

#[actix_rt::test]
async fn a_put_without_change_is_a_revision_that_waiting_agents_get() {
    let house = House::new().await;
    let (face, agents) = (house.operators().await, house.agents().await);
    let agent = house.enroll(&agents).await;
    let waiting = agents.start(poll_request(&agent, 1));
    until(|| house.fleet.waiting() == 1).await;
    let same = json!({"name": "P", "namespace": "default"});
    assert_eq!(put(&house, &face, "P", &same).await.ok()["item"]["revision"], 2);
    assert_eq!(waiting.await.unwrap().ok()["actions"][0]["id"], "policy:P:2");
}

#[actix_rt::test]
async fn overrides_lie_over_the_full_policy() {
    let house = House::new().await;
    let face = house.operators().await;
    let overrides = json!({"agent": {"features": {"fqdn": {"enabled": true}}}});
    put(&house, &face, "P", &json!({"overrides": overrides}))
        .await
        .ok();
    let full = face
        .send(house.admin(Method::GET, &format!("{POLICIES}/P/full")))
        .await
        .ok()["item"]
        .take();
    assert_eq!(full["agent"]["features"]["fqdn"]["enabled"], true, "{full}");
    assert_eq!((&full["id"], &full["revision"]), (&json!("P"), &json!(2)));
    assert_eq!(full["outputs"]["default"]["type"], "elasticsearch");
}

/// Numbers that no 64 bits hold, as they are written.
const NUMBERS: &[&str] = &[
    "9223372036854775808",
    "18446744073709551616",
    "-9223372036854775809",
    "0.12345678901234567890",
    "1e+400",
    "1.50",
    "-0.0",
    "100000000000000000000000000000000",
];

#[actix_rt::test]
async fn numbers_of_a_policy_keep_their_digits() {
    let house = House::new().await;
    let (face, agents) = (house.operators().await, house.agents().await);
    let list = NUMBERS.join(",");
    let yaml = format!(
        "id: n1\noutputs: {{default: {{type: elasticsearch, hosts: ['https://e:9200']}}}}\ninputs: []\nx: [{}]\n",
        list.replace("e+", "e")
    );
    let json = format!(r#"{{"id":"n2","name":"n2","namespace":"default","overrides":{{"x":[{list}]}}}}"#);
    for (id, kind, body) in [("n1", "application/yaml", yaml), ("n2", "application/json", json)] {
        let made = face
            .send(
                house
                    .admin(Method::POST, POLICIES)
                    .insert_header(("content-type", kind))
                    .set_payload(body),
            )
            .await;
        // `e400` is `e+400`: no digit is lost.
        let stored = made.text();
        let made = made.ok();
        assert!(stored.contains(&list), "{stored}");
        // A change of something else keeps them.
        put(&house, &face, id, &json!({"description": "other"}))
            .await
            .ok();
        let token = made["enrollment_api_key"]["api_key"].as_str().unwrap();
        let item = agents
            .send(enroll_request(token, &json!({"type": "PERMANENT"})))
            .await
            .ok()["item"]
            .take();
        let agent = crate::house::Enrolled {
            id: item["id"].as_str().unwrap().into(),
            key: item["access_api_key"].as_str().unwrap().into(),
        };
        let got = agents
            .send(crate::house::checkin_request(
                &agent,
                &json!({"status": "online"}),
            ))
            .await
            .text();
        assert!(got.contains(&format!("\"x\":[{list}]")), "{id}: {got}");
    }
}

#[actix_rt::test]
async fn a_policy_that_is_not_one_document_of_text_is_refused_with_its_line() {
    let house = House::new().await;
    let face = house.operators().await;
    for (body, told) in [
        (
            b"id: d1\n---\nid: d2\n".as_slice(),
            "line 2: a second document starts here",
        ),
        (b"id: d1\n\0name: x\n", "line 2: "),
        (b"id: d1\nname: \xe4\n", "line 2: not UTF-8 text"),
        (b"\xff\xfei\0d\0", "line 1: this is UTF-16"),
    ] {
        let refused = face
            .send(
                house
                    .admin(Method::POST, POLICIES)
                    .insert_header(("content-type", "application/yaml"))
                    .set_payload(body.to_vec()),
            )
            .await
            .assert_error(400, "Bad Request");
        assert!(refused.contains(told), "{refused}");
    }
    // A byte order mark is no content.
    let yaml = "\u{feff}id: bom-policy\nname: bom-policy\nnamespace: default\n\
                outputs: {default: {type: elasticsearch, hosts: [\"http://localhost:9200\"]}}\ninputs: []\n";
    let made = face
        .send(
            house
                .admin(Method::POST, POLICIES)
                .insert_header(("content-type", "application/yaml"))
                .set_payload(yaml),
        )
        .await
        .ok();
    assert_eq!(made["item"]["id"], "bom-policy");
}

#[actix_rt::test]
async fn a_full_policy_as_yaml() {
    let house = House::new().await;
    let (face, agents) = (house.operators().await, house.agents().await);
    let yaml = "id: y1\nrevision: 7\noutputs:\n  default: &o\n    type: elasticsearch\n    hosts: ['https://e:9200']\n  monitoring: *o\ninputs:\n  - id: in\n    type: logfile\n    big: 9007199254740993\n";
    let send = |method: Method, path: String, body: String| {
        face.send(
            house
                .admin(method, &path)
                .insert_header(("content-type", "application/yaml; charset=utf-8"))
                .set_payload(body),
        )
    };
    let made = send(Method::POST, POLICIES.to_owned(), yaml.to_owned())
        .await
        .ok();
    assert_eq!(
        (&made["item"]["id"], &made["item"]["revision"]),
        (&json!("y1"), &json!(1)),
        "{made}"
    );
    let token = made["enrollment_api_key"]["api_key"].as_str().unwrap();
    let item = agents
        .send(enroll_request(token, &json!({"type": "PERMANENT"})))
        .await
        .ok()["item"]
        .take();
    let agent = crate::house::Enrolled {
        id: item["id"].as_str().unwrap().into(),
        key: item["access_api_key"].as_str().unwrap().into(),
    };
    let got = agents
        .send(crate::house::checkin_request(
            &agent,
            &json!({"status": "online"}),
        ))
        .await
        .ok();
    let policy = &got["actions"][0]["data"]["policy"];
    assert_eq!(
        (&policy["id"], &policy["revision"], &policy["inputs"][0]["big"]),
        (&json!("y1"), &json!(1), &json!(9007199254740993_u64))
    );
    assert_eq!(
        policy["outputs"]["monitoring"]["hosts"],
        json!(["https://e:9200"])
    );

    let again = send(
        Method::PUT,
        format!("{POLICIES}/y1"),
        yaml.replace("logfile", "filestream"),
    )
    .await
    .ok();
    assert_eq!(again["item"]["revision"], 2);
    let full = face
        .send(house.admin(Method::GET, &format!("{POLICIES}/y1/full")))
        .await
        .ok();
    assert_eq!(
        (&full["item"]["inputs"][0]["type"], &full["item"]["revision"]),
        (&json!("filestream"), &json!(2))
    );

    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        bomb.push_str(&format!(
            "a{level}: &a{level} [{}]\n",
            vec![format!("*a{}", level - 1); 9].join(", ")
        ));
    }
    for (bad, part) in [
        (bomb.as_str(), "more than 200000 values"),
        ("- a\n- b\n", "not a mapping"),
        ("a: [", "the YAML cannot be used"),
        ("id: y1\ninputs: []\n", "outputs"),
    ] {
        let message = send(Method::PUT, format!("{POLICIES}/y1"), bad.to_owned())
            .await
            .assert_error(400, "Bad Request");
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(
        face.send(house.admin(Method::GET, &format!("{POLICIES}/y1")))
            .await
            .ok()["item"]["revision"],
        2
    );
}

#[actix_rt::test]
async fn bad_policies_are_refused_with_a_sentence() {
    let house = House::new().await;
    let face = house.operators().await;
    for (body, part) in [
        (json!({"namespace": "default"}), "name"),
        (
            json!({"name": "", "namespace": "default"}),
            "name must not be empty",
        ),
        (json!({"name": 5, "namespace": "default"}), "expected a string"),
        (
            json!({"id": 5, "name": "x", "namespace": "default"}),
            "id must be a string",
        ),
        (
            json!({"id": "a/b", "name": "x", "namespace": "default"}),
            "must be 1 to 256",
        ),
        (json!([]), "unable to decode agent policy request"),
        (
            json!({"name": "x", "namespace": "default", "overrides": {"outputs": null}}),
            "outputs",
        ),
    ] {
        let message = post(&house, &face, POLICIES, &body)
            .await
            .assert_error(400, "Bad Request");
        assert!(message.contains(part), "{body}: {message}");
    }
    put(
        &house,
        &face,
        "none",
        &json!({"name": "x", "namespace": "default"}),
    )
    .await
    .assert_error(404, "Not Found");
    let large = house
        .admin(Method::POST, POLICIES)
        .set_payload(" ".repeat((5 << 20) + 1));
    face.send(large).await.assert_error(413, "Payload Too Large");
}
