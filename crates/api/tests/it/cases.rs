//! Inputs that operators reported in public, by the number of their row: what is accepted does what it says, and what
//! is refused says what would.

use actix_web::{
    http::{Method, StatusCode},
    test::TestRequest,
};
use api::AdminApi;
use serde_json::{Value, json};

use crate::house::{
    Answer, Face, House, acks_request, checkin_request, enroll_request, poll_request, until, with_key,
};

async fn send(house: &House, face: &Face, method: Method, path: &str, body: Value) -> Answer {
    face.send(house.admin(method, path).set_payload(body.to_string()))
        .await
}

/// Refused as the operator's mistake; answers the message.
#[track_caller]
fn refused(answer: &Answer) -> String {
    answer.assert_error(400, "Bad Request")
}

async fn policy(house: &House, face: &Face, id: &str) {
    let body = json!({"id": id, "name": id, "namespace": "default"});
    let answer = send(house, face, Method::POST, "/api/fleet/agent_policies", body).await;
    assert_eq!(answer.status, StatusCode::OK, "{id}: {}", answer.text());
}

#[actix_rt::test]
async fn case_01_an_upgrade_to_a_version_that_is_shut_out_is_refused() {
    let house = House::new().await;
    let (face, agents) = (house.operators().await, house.agents().await);
    let agent = house.enroll(&agents).await;
    let path = format!("/api/fleet/agents/{}/actions", agent.id);
    for (version, part) in [
        ("9.7.0", "the newest that it admits is 9.6"),
        ("10.0.0", "the newest that it admits is 9.6"),
        ("abc", "\"abc\" is not a version"),
    ] {
        let action = json!({"action": {"type": "UPGRADE", "data": {"version": version}}});
        let said = refused(&send(&house, &face, Method::POST, &path, action).await);
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(house.agent(&agent.id).await.upgrade_started_at, None);
    let good = json!({"action": {"type": "UPGRADE", "data": {"version": "9.6.1"}}});
    send(&house, &face, Method::POST, &path, good).await.ok();
}

#[actix_rt::test]
async fn case_02_an_agent_is_moved_by_its_record_and_has_the_new_policy_at_once() {
    let house = House::new().await;
    let (face, agents) = (house.operators().await, house.agents().await);
    policy(&house, &face, "p2").await;
    let agent = house.enroll(&agents).await;
    let path = |deed: &str| format!("/api/fleet/agents/{}/{deed}", agent.id);
    for data in [
        json!({"policy_id": "p2"}),
        json!({"policy_id": "nowhere"}),
        Value::Null,
    ] {
        let action = json!({"action": {"type": "POLICY_REASSIGN", "data": data}});
        let said = refused(&send(&house, &face, Method::POST, &path("actions"), action).await);
        assert!(said.contains(&format!("POST {}", path("reassign"))), "{said}");
    }
    let waiting = agents.start(poll_request(&agent, 1));
    until(|| house.fleet.waiting() == 1).await;
    let nowhere = json!({"policy_id": "nowhere"});
    send(&house, &face, Method::POST, &path("reassign"), nowhere)
        .await
        .assert_error(404, "Not Found");
    let body = send(
        &house,
        &face,
        Method::POST,
        &path("reassign"),
        json!({"policy_id": "p2"}),
    )
    .await
    .ok();
    assert_eq!(body, json!({}));
    let action = &waiting.await.unwrap().ok()["actions"][0];
    assert_eq!(
        (&action["type"], &action["id"]),
        (&json!("POLICY_CHANGE"), &json!("policy:p2:1"))
    );
    let unknown = send(
        &house,
        &face,
        Method::POST,
        "/api/fleet/agents/nobody/reassign",
        json!({"policy_id": "p2"}),
    )
    .await;
    unknown.assert_error(404, "Not Found");
    refused(
        &send(
            &house,
            &face,
            Method::POST,
            &path("reassign"),
            json!({"policy_id": "p2", "force": true}),
        )
        .await,
    );
}

#[actix_rt::test]
async fn case_02_many_agents_are_moved_by_id_or_by_query() {
    let house = House::new().await;
    let (face, agents) = (house.operators().await, house.agents().await);
    for id in ["p2", "p3"] {
        policy(&house, &face, id).await;
    }
    let (a, b) = (house.enroll(&agents).await, house.enroll(&agents).await);
    let bulk = async |agents: Value, policy: &str| {
        let body = json!({"agents": agents, "policy_id": policy});
        send(
            &house,
            &face,
            Method::POST,
            "/api/fleet/agents/bulk_reassign",
            body,
        )
        .await
    };
    bulk(json!([a.id, "nobody"]), "p2")
        .await
        .assert_error(404, "Not Found");
    assert_eq!(
        house.agent(&a.id).await.policy.as_str(),
        "P",
        "none is moved if one is unknown"
    );
    assert_eq!(bulk(json!([a.id, b.id]), "p2").await.ok(), json!({"agents": 2}));
    assert_eq!(house.agent(&b.id).await.policy.as_str(), "p2");
    assert_eq!(bulk(json!("policy_id:p2"), "p3").await.ok(), json!({"agents": 2}));
    assert_eq!(house.agent(&a.id).await.policy.as_str(), "p3");
    assert_eq!(bulk(json!("policy_id:p2"), "p3").await.ok(), json!({"agents": 0}));
    bulk(json!("policy_id:p2"), "nowhere")
        .await
        .assert_error(404, "Not Found");
    refused(&bulk(json!("hostname:x"), "p3").await);
}

#[actix_rt::test]
async fn case_06_a_namespace_that_elasticsearch_refuses_is_refused() {
    let house = House::new().await;
    let face = house.operators().await;
    for namespace in ["Default", "a b", "logs*", "a:b", ""] {
        let body = json!({"name": "n", "namespace": namespace});
        let said = refused(&send(&house, &face, Method::POST, "/api/fleet/agent_policies", body).await);
        assert!(
            said.contains("namespace") && said.contains("lower case"),
            "{said}"
        );
        let change = json!({"namespace": namespace});
        refused(&send(&house, &face, Method::PUT, "/api/fleet/agent_policies/P", change).await);
    }
    let inputs = json!({"overrides": {"inputs": [{"data_stream": {"namespace": "A"}}]}});
    let said = refused(&send(&house, &face, Method::PUT, "/api/fleet/agent_policies/P", inputs).await);
    assert!(said.contains("inputs[0].data_stream.namespace"), "{said}");
}

#[actix_rt::test]
async fn case_07_a_token_ends_at_a_time_or_after_a_duration() {
    let house = House::new().await;
    let face = house.operators().await;
    let make = async |expiration: &str| {
        let body = json!({"policy_id": "P", "expiration": expiration});
        send(
            &house,
            &face,
            Method::POST,
            "/api/fleet/enrollment_api_keys",
            body,
        )
        .await
    };
    for good in ["7d", "12h", "2999-01-01T00:00:00Z"] {
        assert!(make(good).await.ok()["item"]["expire_at"].is_string(), "{good}");
    }
    for bad in ["soon", "7", "-1d", "0d", "2001-01-01T00:00:00Z"] {
        refused(&make(bad).await);
    }
}

#[actix_rt::test]
async fn case_10_head_is_get_wherever_there_is_one() {
    let house = House::new().await;
    let (face, agents) = (house.operators().await, house.agents().await);
    for path in [
        "/api/status",
        "/api/tls",
        "/api/fleet/agents",
        "/api/fleet/agent_policies/P",
    ] {
        let (get, head) = (house.admin(Method::GET, path), house.admin(Method::HEAD, path));
        assert_eq!(
            face.send(head).await.status,
            face.send(get).await.status,
            "{path}"
        );
    }
    let head = TestRequest::with_uri("/api/status").method(Method::HEAD);
    assert_eq!(agents.send(head).await.status, 200);
    face.send(house.admin(Method::HEAD, "/api/tls/reload"))
        .await
        .assert_error(405, "Method Not Allowed");
}

#[actix_rt::test]
async fn case_13_a_refusal_says_what_was_found() {
    let house = House::new().await;
    let (face, agents) = (house.operators().await, house.agents().await);
    let body = json!({"type": "PERMANENT", "id": "a#b"});
    let said = agents
        .send(enroll_request(&house.token, &body))
        .await
        .assert_error(400, "BadRequest");
    assert!(said.contains("\"a#b\" has '#'"), "{said}");
    let said = refused(
        &face
            .send(house.admin(Method::GET, "/api/fleet/agents?kuery=policy_id:a:b"))
            .await,
    );
    assert!(said.contains("put a value that has one into quotes"), "{said}");
    let agent = house.enroll(&agents).await;
    let path = format!("/api/fleet/agents/{}/checkin", agent.id);
    let request = with_key(&path, &agent.key).set_payload(r#"{"status":"online","message":"\ud800"}"#);
    let said = agents.send(request).await.assert_error(400, "BadRequest");
    assert!(
        said.contains("message: expected a string, found one that is no text"),
        "{said}"
    );
    let request =
        with_key(&path, &agent.key).set_payload(r#"{"status":"online","local_metadata":{"a":"\ud800"}}"#);
    let said = agents.send(request).await.assert_error(400, "BadRequest");
    assert!(
        said.contains("hex escape") || said.contains("surrogate"),
        "{said}"
    );
}

#[actix_rt::test]
async fn case_15_a_body_may_be_gzip_under_any_of_its_names_on_every_route() {
    let house = House::new().await;
    let (face, agents) = (house.operators().await, house.agents().await);
    for coding in ["gzip", "GZIP", "x-gzip"] {
        let packed = |body: Value| crate::checkin::gzip(body.to_string().as_bytes());
        let enroll = enroll_request(&house.token, &json!({}))
            .set_payload(packed(json!({"type": "PERMANENT"})))
            .insert_header(("content-encoding", coding));
        let made = agents.send(enroll).await.ok();
        let path = format!(
            "/api/fleet/agents/{}/checkin",
            made["item"]["id"].as_str().unwrap()
        );
        let checkin = with_key(&path, made["item"]["access_api_key"].as_str().unwrap())
            .set_payload(packed(json!({"status": "online"})))
            .insert_header(("content-encoding", coding));
        assert_eq!(agents.send(checkin).await.status, 200, "{coding}");
        let token = house
            .admin(Method::POST, "/api/fleet/enrollment_api_keys")
            .set_payload(packed(json!({"policy_id": "P"})))
            .insert_header(("content-encoding", coding));
        face.send(token).await.ok();
    }
    let odd =
        enroll_request(&house.token, &json!({"type": "PERMANENT"})).insert_header(("content-encoding", "br"));
    let said = agents.send(odd).await.assert_error(415, "UnsupportedMediaType");
    assert!(said.contains("\"br\""), "{said}");
    let bomb = house
        .admin(Method::POST, "/api/fleet/enrollment_api_keys")
        .set_payload(crate::checkin::gzip(&vec![b' '; (5 << 20) + 1]))
        .insert_header(("content-encoding", "gzip"));
    assert_eq!(face.send(bomb).await.status, 413);
}

/// The words that stand in the operators' paths, and in the agents'.
fn words() -> Vec<String> {
    let of_agents = "/api/fleet/agents/enroll/checkin/acks/audit/artifacts/uploads/file/v1/opamp";
    let mut words: Vec<String> = AdminApi::paths()
        .into_iter()
        .chain([of_agents])
        .flat_map(|path| path.split('/'))
        .filter(|word| !word.is_empty() && !word.starts_with('{'))
        .map(str::to_owned)
        .collect();
    words.sort_unstable();
    words.dedup();
    words
}

#[actix_rt::test]
async fn an_agent_or_policy_is_reached_though_its_id_is_a_word_of_a_path() {
    let house = House::new().await;
    let (face, agents) = (house.operators().await, house.agents().await);
    let words = words();
    for word in ["actions", "delete", "bulk_reassign", "enroll"] {
        assert!(words.iter().any(|known| known == word), "{word} is walked");
    }
    for word in &words {
        policy(&house, &face, word).await;
        let path = format!("/api/fleet/agent_policies/{word}");
        let read = face.send(house.admin(Method::GET, &path)).await.ok();
        assert_eq!(read["item"]["id"], json!(word));
        let change = send(&house, &face, Method::PUT, &path, json!({"description": "d"}))
            .await
            .ok();
        assert_eq!(change["item"]["revision"], 2);
        let full = face
            .send(house.admin(Method::GET, &format!("{path}/full")))
            .await
            .ok();
        assert_eq!(full["item"]["id"], json!(word));

        let body = json!({"type": "PERMANENT", "id": word});
        let made = agents.send(enroll_request(&house.token, &body)).await.ok();
        let key = made["item"]["access_api_key"].as_str().unwrap().to_owned();
        let agent = crate::house::Enrolled {
            id: word.clone(),
            key,
        };
        let checkin = agents
            .send(checkin_request(&agent, &json!({"status": "online"})))
            .await
            .ok();
        assert_eq!(checkin["actions"][0]["type"], "POLICY_CHANGE");
        let event = json!({"events": [{"action_id": checkin["actions"][0]["id"], "agent_id": word}]});
        assert_eq!(
            agents.send(acks_request(&agent, &event)).await.status,
            200,
            "{word}"
        );
        let path = format!("/api/fleet/agents/{word}");
        let read = face.send(house.admin(Method::GET, &path)).await.ok();
        assert_eq!(read["item"]["id"], json!(word));
        let action = json!({"action": {"type": "SETTINGS", "data": {"log_level": "debug"}}});
        send(&house, &face, Method::POST, &format!("{path}/actions"), action)
            .await
            .ok();
        send(
            &house,
            &face,
            Method::POST,
            &format!("{path}/reassign"),
            json!({"policy_id": word}),
        )
        .await
        .ok();
        send(
            &house,
            &face,
            Method::POST,
            &format!("{path}/unenroll"),
            json!({"force": true}),
        )
        .await
        .ok();
        let gone = json!({"agentPolicyId": word});
        send(
            &house,
            &face,
            Method::POST,
            "/api/fleet/agent_policies/delete",
            gone,
        )
        .await
        .ok();
    }
    let bulk = json!({"agents": [], "policy_id": "P"});
    send(
        &house,
        &face,
        Method::POST,
        "/api/fleet/agents/bulk_reassign",
        bulk,
    )
    .await
    .ok();
}

#[actix_rt::test]
async fn nothing_that_is_asked_for_is_ignored() {
    let house = House::new().await;
    let (face, agents) = (house.operators().await, house.agents().await);
    let agent = house.enroll(&agents).await;
    let (get, post, put) = (Method::GET, Method::POST, Method::PUT);
    let of_agent = |deed: &str| format!("/api/fleet/agents/{}{deed}", agent.id);
    let policies = || "/api/fleet/agent_policies".to_owned();
    let named = |member: &str, value: Value| json!({"name": "n", "namespace": "n", member: value});
    let upgrade =
        |member: &str| json!({"action": {"type": "UPGRADE", "data": {"version": "9.6.0"}, member: "x"}});
    for (method, path, body, part) in [
        (&get, of_agent("?x=1"), json!({}), "parameter x"),
        (&get, "/api/tls?x=1".into(), json!({}), "parameter x"),
        (&get, "/api/status?x=1".into(), json!({}), "parameter x"),
        (
            &get,
            "/api/fleet/agents?status=online&status=error".into(),
            json!({}),
            "more than once",
        ),
        (
            &get,
            "/api/fleet/agents?showUpgradeable=true".into(),
            json!({}),
            "showUpgradeable",
        ),
        (
            &get,
            "/api/fleet/agents?withMetrics=true".into(),
            json!({}),
            "withMetrics",
        ),
        (
            &post,
            format!("{}?sys_monitoring=true", policies()),
            named("x", Value::Null),
            "sys_monitoring",
        ),
        (
            &post,
            policies(),
            named("is_protected", json!(true)),
            "is_protected",
        ),
        (
            &post,
            policies(),
            named("monitoring_output_id", json!("o")),
            "monitoring_output_id",
        ),
        (
            &post,
            policies(),
            named("unenroll_timeout", json!(60)),
            "unenroll_timeout",
        ),
        (
            &put,
            "/api/fleet/agent_policies/P".into(),
            json!({"space_ids": ["other"]}),
            "space_ids",
        ),
        (
            &post,
            "/api/fleet/agent_policies/delete".into(),
            json!({"agentPolicyId": "P", "force": true}),
            "force",
        ),
        (
            &post,
            "/api/fleet/enrollment_api_keys".into(),
            json!({"policy_id": "P", "expires": "7d"}),
            "expires",
        ),
        (&post, of_agent("/unenroll"), json!({"forced": true}), "forced"),
        (&post, of_agent("/actions"), upgrade("ack_data"), "ack_data"),
        (&post, of_agent("/actions"), upgrade("input_type"), "input_type"),
        (
            &post,
            of_agent("/actions"),
            json!({"action": {"type": "UPGRADE", "data": {"version": "9.6.0", "url": "u"}}}),
            "data.url",
        ),
    ] {
        let said = refused(&send(&house, &face, method.clone(), &path, body).await);
        assert!(said.contains(part), "{path}: {said}");
    }
    // What asks for nothing, and what was read, may be sent.
    let nothing = json!({"name": "n", "namespace": "n", "is_protected": false, "space_ids": ["default"]});
    let made = send(&house, &face, Method::POST, &policies(), nothing).await.ok();
    let path = format!("{}/{}", policies(), made["item"]["id"].as_str().unwrap());
    send(&house, &face, Method::PUT, &path, made["item"].clone())
        .await
        .ok();
    let listed = face
        .send(house.admin(Method::GET, &format!("{}?noAgentCount=true", policies())))
        .await
        .ok();
    assert!(listed["items"][0].get("agents").is_none());
}
