//! The operators' API: keys, tokens, agents, actions, TLS (data.md 9.1).

use actix_web::{http::Method, test::TestRequest};
use serde_json::{Value, json};

use crate::house::{
    Enrolled, Face, House, acks_request, checkin_request, enroll_request, poll_request, until,
};

async fn get(house: &House, face: &Face, path: &str) -> Value {
    face.send(house.admin(Method::GET, path)).await.ok()
}

async fn send(house: &House, face: &Face, method: Method, path: &str, body: Value) -> Value {
    face.send(house.admin(method, path).set_payload(body.to_string()))
        .await
        .ok()
}

#[actix_rt::test]
async fn every_route_needs_an_operators_key() {
    let house = House::new().await;
    let (face, agents) = (house.operators().await, house.agents().await);
    let agent = house.enroll(&agents).await;
    for path in [
        "/api/status",
        "/api/tls",
        "/api/fleet/agents",
        "/api/fleet/agent_policies",
        "/api/fleet/agents/x",
    ] {
        face.send(TestRequest::with_uri(path))
            .await
            .assert_error(401, "Unauthorized");
        for key in [&house.token, &agent.key] {
            let request =
                TestRequest::with_uri(path).insert_header(("authorization", format!("ApiKey {key}")));
            face.send(request).await.assert_error(403, "Forbidden");
        }
        let junk = TestRequest::with_uri(path).insert_header(("authorization", "Bearer x"));
        face.send(junk).await.assert_error(400, "Bad Request");
    }
}

#[actix_rt::test]
async fn writes_need_kbn_xsrf_and_paths_their_methods() {
    let house = House::new().await;
    let face = house.operators().await;
    let bare = TestRequest::post()
        .uri("/api/tls/reload")
        .insert_header(("authorization", format!("ApiKey {}", house.admin_key)));
    let message = face.send(bare).await.assert_error(400, "Bad Request");
    assert!(message.contains("kbn-xsrf"), "{message}");
    let answer = face
        .send(house.admin(Method::PATCH, "/api/fleet/agent_policies/x"))
        .await;
    answer.assert_error(405, "Method Not Allowed");
    assert_eq!(answer.header("allow"), "GET, HEAD, PUT");
    face.send(house.admin(Method::GET, "/api/fleet/nothing"))
        .await
        .assert_error(404, "Not Found");
    let dated = house
        .admin(Method::GET, "/api/fleet/agents")
        .insert_header(("elastic-api-version", "2023-10-31"));
    assert_eq!(face.send(dated).await.header("elastic-api-version"), "2023-10-31");
    let other = house
        .admin(Method::GET, "/api/fleet/agents")
        .insert_header(("elastic-api-version", "2020-01-01"));
    face.send(other).await.assert_error(400, "Bad Request");
}

#[actix_rt::test]
async fn the_default_space_may_be_named_and_others_are_not_there() {
    let house = House::new().await;
    let face = house.operators().await;
    assert_eq!(
        get(&house, &face, "/s/default/api/fleet/agent_policies/P").await["item"]["id"],
        "P"
    );
    let answer = face
        .send(house.admin(Method::GET, "/s/other/api/fleet/agents"))
        .await;
    assert!(
        answer.assert_error(404, "Not Found").contains("space"),
        "{}",
        answer.text()
    );
}

#[actix_rt::test]
async fn status_and_tls() {
    let house = House::new().await;
    let face = house.operators().await;
    assert_eq!(
        get(&house, &face, "/api/status").await["version"]["number"],
        "9.6.0"
    );
    assert_eq!(get(&house, &face, "/api/tls").await["fingerprint"], "3f9a");
    assert_eq!(
        send(&house, &face, Method::POST, "/api/tls/reload", json!({})).await["outcome"],
        "unchanged"
    );
}

#[actix_rt::test]
async fn a_token_is_told_once_and_revoked() {
    let house = House::new().await;
    let (face, agents) = (house.operators().await, house.agents().await);
    let made = send(
        &house,
        &face,
        Method::POST,
        "/api/fleet/enrollment_api_keys",
        json!({"policy_id": "P", "name": "n"}),
    )
    .await;
    assert_eq!(made["action"], "created");
    let (id, key) = (
        made["item"]["id"].as_str().unwrap(),
        made["item"]["api_key"].as_str().unwrap(),
    );
    assert_eq!(
        agents
            .send(enroll_request(key, &json!({"type": "PERMANENT"})))
            .await
            .status,
        200
    );
    let path = format!("/api/fleet/enrollment_api_keys/{id}");
    let read = get(&house, &face, &path).await;
    assert_eq!(
        (&read["item"]["active"], &read["item"]["api_key"]),
        (&json!(true), &Value::Null)
    );
    let list = get(&house, &face, "/api/fleet/enrollment_api_keys?perPage=1&page=1").await;
    assert_eq!(
        (&list["total"], &list["page"], &list["perPage"]),
        (&json!(2), &json!(1), &json!(1))
    );
    assert!(!list.to_string().contains(key));
    face.send(house.admin(Method::DELETE, &format!("{path}?forceDelete=true")))
        .await
        .assert_error(400, "Bad Request");
    assert_eq!(
        send(&house, &face, Method::DELETE, &path, json!({})).await,
        json!({"action": "deleted"})
    );
    agents
        .send(enroll_request(key, &json!({"type": "PERMANENT"})))
        .await
        .assert_error(401, "Unauthorized");
    assert_eq!(get(&house, &face, &path).await["item"]["active"], false);
    face.send(house.admin(Method::GET, "/api/fleet/enrollment_api_keys/none"))
        .await
        .assert_error(404, "Not Found");
    for bad in [
        json!({"policy_id": "none"}),
        json!({"name": "x"}),
        json!({"policy_id": "P", "expiration": "soon"}),
        json!({"policy_id": "P", "expiration": "2001-01-01T00:00:00Z"}),
    ] {
        let answer = face
            .send(
                house
                    .admin(Method::POST, "/api/fleet/enrollment_api_keys")
                    .set_payload(bad.to_string()),
            )
            .await;
        assert!(
            [400, 404].contains(&answer.status.as_u16()),
            "{bad}: {}",
            answer.text()
        );
    }
}

#[actix_rt::test]
async fn agents_are_listed_filtered_and_counted() {
    let house = House::new().await;
    let (face, agents) = (house.operators().await, house.agents().await);
    let mut ids = Vec::new();
    for tag in ["a", "b", "b"] {
        let body =
            json!({"type": "PERMANENT", "metadata": {"tags": [tag], "local": {"host": {"hostname": "h"}}}});
        let item = agents.send(enroll_request(&house.token, &body)).await.ok()["item"].take();
        ids.push(Enrolled {
            id: item["id"].as_str().unwrap().into(),
            key: item["access_api_key"].as_str().unwrap().into(),
        });
    }
    agents
        .send(checkin_request(
            &ids[0],
            &json!({"status": "online", "message": "fine"}),
        ))
        .await
        .ok();
    let list = get(
        &house,
        &face,
        "/api/fleet/agents?kuery=tags%3Ab%20and%20policy_id%3AP&perPage=1&getStatusSummary=true",
    )
    .await;
    assert_eq!(
        (&list["total"], list["items"].as_array().unwrap().len()),
        (&json!(2), 1),
        "{list}"
    );
    assert_eq!(list["statusSummary"]["all"], 2);
    let item = &list["items"][0];
    assert_eq!(
        (&item["active"], &item["policy_id"], &item["tags"]),
        (&json!(true), &json!("P"), &json!(["b"]))
    );
    assert_eq!(
        (
            &item["agent"]["version"],
            &item["local_metadata"]["host"]["hostname"]
        ),
        (&json!("9.6.0"), &json!("h"))
    );
    for (query, total) in [
        ("status=updating,enrolling", 3),
        ("status=error", 0),
        ("policyId=Q", 0),
        ("showInactive=true&sortField=last_checkin&sortOrder=asc", 3),
        ("kuery=status:(online%20or%20updating%20or%20enrolling)", 3),
    ] {
        assert_eq!(
            get(&house, &face, &format!("/api/fleet/agents?{query}")).await["total"],
            total,
            "{query}"
        );
    }
    // From page to page, to the end.
    let (mut walked, mut after) = (Vec::new(), String::new());
    loop {
        let page = get(&house, &face, &format!("/api/fleet/agents?perPage=1{after}")).await;
        walked.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["id"].clone()),
        );
        let Some(next) = page["nextSearchAfter"].as_str() else {
            break;
        };
        let next = percent_encoding::utf8_percent_encode(next, percent_encoding::NON_ALPHANUMERIC);
        after = format!("&searchAfter={next}");
    }
    let whole = get(&house, &face, "/api/fleet/agents").await;
    let whole: Vec<_> = whole["items"].as_array().unwrap().iter().collect();
    assert_eq!(
        walked.iter().collect::<Vec<_>>(),
        whole.iter().map(|item| &item["id"]).collect::<Vec<_>>()
    );
    for (query, part) in [
        ("polcyId=P", "parameter polcyId is not known"),
        ("kuery=upgradeable:true", "field upgradeable is not supported"),
        ("status=fine", "status fine is not known"),
        ("sortField=x", "sortField x is not known"),
        ("perPage=0", "perPage must be a number"),
        (
            "page=501",
            "reach the first 10000 items: beyond, give searchAfter",
        ),
        ("page=2&searchAfter=x", "page or searchAfter"),
        ("searchAfter=x", "the position does not belong to this list"),
    ] {
        let answer = face
            .send(house.admin(Method::GET, &format!("/api/fleet/agents?{query}")))
            .await;
        let message = answer.assert_error(400, "Bad Request");
        assert!(message.contains(part), "{query}: {message}");
    }
    let counts = get(&house, &face, "/api/fleet/agent_status?policyId=P").await;
    assert_eq!(
        (&counts["results"]["all"], &counts["results"]["error"]),
        (&json!(3), &json!(0)),
        "{counts}"
    );
    let one = get(&house, &face, &format!("/api/fleet/agents/{}", ids[1].id)).await;
    assert_eq!(one["item"]["id"], ids[1].id.as_str());
    face.send(house.admin(Method::GET, "/api/fleet/agents/none"))
        .await
        .assert_error(404, "Not Found");
}

#[actix_rt::test]
async fn an_action_goes_out_and_its_result_comes_back() {
    let house = House::new().await;
    let (face, agents) = (house.operators().await, house.agents().await);
    let agent = house.enroll(&agents).await;
    let waiting = agents.start(poll_request(&agent, 1));
    until(|| house.fleet.waiting() == 1).await;
    let path = format!("/api/fleet/agents/{}/actions", agent.id);
    let action = json!({"action": {"type": "SETTINGS", "data": {"log_level": "debug"}}});
    let posted = send(&house, &face, Method::POST, &path, action).await;
    let id = posted["item"]["id"].as_str().unwrap().to_owned();
    assert_eq!(waiting.await.unwrap().ok()["actions"][0]["id"], id.as_str());
    let progress = format!("/api/fleet/agents/actions/{id}");
    assert_eq!(
        get(&house, &face, &progress).await["item"]["status"],
        "IN_PROGRESS"
    );
    agents
        .send(acks_request(&agent, &json!({"events": [{"action_id": id}]})))
        .await
        .ok();
    let done = get(&house, &face, &progress).await;
    assert_eq!(
        (&done["item"]["status"], &done["item"]["nbAgentsAck"]),
        (&json!("COMPLETE"), &json!(1)),
        "{done}"
    );
    assert_eq!(done["item"]["results"]["items"][0]["agent_id"], agent.id.as_str());
    for (bad, status) in [
        (json!({"action": {"type": "NONSENSE"}}), 400),
        (
            json!({"action": {"type": "UPGRADE", "data": {"version": 7}}}),
            400,
        ),
        (json!({"action": {}}), 400),
        (json!({}), 400),
        (
            json!({"action": {"type": "SETTINGS", "data": {"log_level": "info"}, "expiration": "soon"}}),
            400,
        ),
    ] {
        let answer = face
            .send(house.admin(Method::POST, &path).set_payload(bad.to_string()))
            .await;
        assert_eq!(answer.status.as_u16(), status, "{bad}: {}", answer.text());
    }
    let nobody = house.admin(Method::POST, "/api/fleet/agents/none/actions");
    let unenroll = json!({"action": {"type": "UNENROLL"}}).to_string();
    face.send(nobody.set_payload(unenroll))
        .await
        .assert_error(404, "Not Found");
}

#[actix_rt::test]
async fn an_agent_is_asked_to_unenrol_or_ended_by_force() {
    let house = House::new().await;
    let (face, agents) = (house.operators().await, house.agents().await);
    let agent = house.enroll(&agents).await;
    let path = format!("/api/fleet/agents/{}/unenroll", agent.id);
    let empty = face.send(house.admin(Method::POST, &path)).await.ok();
    assert_eq!(empty, json!({}));
    let asked = agents.send(poll_request(&agent, 1)).await.ok();
    assert_eq!(asked["actions"][0]["type"], "UNENROLL");
    assert!(house.agent(&agent.id).await.is_active);
    let body = json!({"force": true, "revoke": true});
    assert_eq!(
        send(&house, &face, Method::POST, &path, body.clone()).await,
        json!({})
    );
    assert!(!house.agent(&agent.id).await.is_active);
    assert_eq!(agents.send(poll_request(&agent, 1)).await.status, 401);
    let nobody = house
        .admin(Method::POST, "/api/fleet/agents/none/unenroll")
        .set_payload(body.to_string());
    face.send(nobody).await.assert_error(404, "Not Found");
}

#[actix_rt::test]
async fn a_word_beside_ids_tells_all_the_methods_of_its_path() {
    let house = House::new().await;
    let face = house.operators().await;
    for (method, path, allowed) in [
        (
            "PATCH",
            "/api/fleet/agent_policies/delete",
            "GET, HEAD, PUT, POST",
        ),
        (
            "PUT",
            "/s/default/api/fleet/agents/bulk_reassign",
            "GET, HEAD, POST",
        ),
        ("POST", "/api/fleet/agents/actions/x", "GET, HEAD"),
        ("PUT", "/api/fleet/agents/files/x", "DELETE"),
    ] {
        let answer = face
            .send(TestRequest::with_uri(path).method(method.parse().unwrap()))
            .await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("allow")),
            (405, allowed),
            "{method} {path}"
        );
    }
}
