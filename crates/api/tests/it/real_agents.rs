//! AC cases: what real agents send, with all its oddities, and what they must find in the answer.
//!
//! In: requests with the headers and bodies of an Elastic Agent. Out: what it reads. What it does next by itself is
//! not tested here.

use std::{io::Read as _, time::Duration};

use actix_web::{http::Method, test::TestRequest};
use flate2::read::GzDecoder;
use fleet::{
    ActionId, AgentId, PageRequest, RawJson, Timestamp, actions,
    actions::{ActionDraft, ActionKind},
    policies,
};
use serde_json::{Map, Value, json};
use store::NewAction;

use crate::{
    artifacts,
    house::{Answer, Enrolled, Face, House, poll_request, until},
    uploads,
};

/// Carries what an agent writes into every head.
fn head(method: Method, path: &str, key: &str) -> TestRequest {
    TestRequest::with_uri(path)
        .method(method)
        .insert_header(("content-type", "application/json"))
        .insert_header(("accept", "application/json"))
        .insert_header(("accept-encoding", "gzip"))
        .insert_header(("kbn-xsrf", "1"))
        .insert_header(("x-request-id", "01J5S2Q0ZT3M7W8X9Y0ABCDEFG"))
        .insert_header(("user-agent", "Elastic Agent v9.6.0"))
        .insert_header(("elastic-api-version", "2023-06-01"))
        .insert_header(("authorization", format!("ApiKey {key}")))
}

async fn send(face: &Face, agent: &Enrolled, route: &str, body: &Value) -> Answer {
    let path = format!("/api/fleet/agents/{}/{route}?", agent.id);
    let request = head(Method::POST, &path, &agent.key).set_payload(body.to_string());
    let mut answer = face.send(request).await;
    if answer.header("content-encoding") == "gzip" {
        let mut text = Vec::new();
        GzDecoder::new(answer.body.as_slice())
            .read_to_end(&mut text)
            .unwrap();
        answer.body = text;
    }
    answer
}

/// A check-in that reports the first revision of P, laid over what real agents always send.
fn running(more: Value) -> Value {
    let mut body = json!({
        "status": "online", "message": "Running", "components": [], "upgrade": {},
        "agent_policy_id": "P", "policy_revision_idx": 1,
    });
    let Value::Object(more) = more else {
        panic!("an object")
    };
    body.as_object_mut().unwrap().extend(more);
    body
}

/// The body of an enrolment as the command line of an agent sends it.
fn enrolment(id: &str, replace_token: &str) -> Value {
    json!({
        "type": "PERMANENT", "id": id, "replace_token": replace_token,
        "metadata": {
            "local": {
                "elastic": {"agent": {
                    "id": "", "version": "9.6.0", "snapshot": false, "upgradeable": false, "log_level": "info",
                    "build.original": "9.6.0 (build: 0123abc at 2026-08-21 19:06:21 +0000 UTC)",
                    "complete": false, "unprivileged": false, "fips": false,
                }},
                "host": {
                    "architecture": "x86_64", "hostname": "Node-1", "name": "node-1", "id": "b62e",
                    "ip": ["127.0.0.1/8", "::1/128"], "mac": ["02:42:ac:11:00:02"], "memory": 16_777_216_000_u64,
                },
                "os": {"family": "debian", "platform": "debian", "version": "12 (bookworm)"},
            },
            "user_provided": {},
            "tags": null,
        },
    })
}

async fn enroll(house: &House, face: &Face, body: &Value) -> (Enrolled, Value) {
    let request = head(Method::POST, "/api/fleet/agents/enroll?", &house.token);
    let reply = face.send(request.set_payload(body.to_string())).await.ok();
    let text = |name: &str| reply["item"][name].as_str().unwrap().to_owned();
    let agent = Enrolled {
        id: text("id"),
        key: text("access_api_key"),
    };
    (agent, reply)
}

async fn act(house: &House, agents: &[&Enrolled], kind: &str, data: Option<Value>) -> String {
    let draft = ActionDraft {
        data: data.map(|data| RawJson::from_value(&data).unwrap()),
        input_type: (kind == "INPUT_ACTION").then(|| "osquery".to_owned()),
        ..ActionDraft::new(ActionKind::parse(kind).unwrap())
    };
    let targets = agents.iter().map(|agent| AgentId::from(agent.id.as_str()));
    actions::post(&house.fleet, targets.collect(), draft, Timestamp::now())
        .await
        .unwrap()
        .action
        .to_string()
}

/// An event with the members that every one has.
fn event(agent: &Enrolled, action: &str, more: Value) -> Value {
    let mut event = json!({
        "type": "ACTION_RESULT", "subtype": "ACKNOWLEDGED", "action_id": action, "agent_id": agent.id,
        "timestamp": "2026-08-21T21:06:21.123456789+02:00",
        "message": format!("Action \"{action}\" acknowledged."),
    });
    let Value::Object(more) = more else {
        panic!("an object")
    };
    event.as_object_mut().unwrap().extend(more);
    event
}

async fn result(house: &House, action: &str) -> fleet::ActionResult {
    let page = actions::results(&house.fleet, &ActionId::from(action), PageRequest::first(10))
        .await
        .unwrap();
    assert_eq!(page.items.len(), 1, "{action}");
    page.items[0].clone()
}

/// What an agent does on every route, with paths that end so, and with the heads that agents write or without them.
async fn every_route(house: &House, end: &str, has_heads: bool) -> Vec<(&'static str, u16)> {
    let (face, operators) = (uploads::unpaced(house).await, house.operators().await);
    let mut seen = Vec::new();
    let mut ask = async |route: &'static str, method: Method, path: String, key: &str, body: Vec<u8>| {
        let path = format!("{path}{end}");
        let request = match has_heads {
            true => head(method, &path, key),
            false => TestRequest::with_uri(&path)
                .method(method)
                .insert_header(("user-agent", "Elastic Agent v9.6.0"))
                .insert_header(("authorization", format!("ApiKey {key}"))),
        };
        let request = match route {
            "chunk" => request.insert_header(("x-chunk-sha2", uploads::sha256(b"bytes"))),
            "OpAMP" => request.insert_header(("content-type", "application/x-protobuf")),
            _ => request,
        };
        let answer = face.send(request.set_payload(body)).await;
        seen.push((route, answer.status.as_u16()));
        answer
    };
    let (get, post, put) = (|| Method::GET, || Method::POST, || Method::PUT);
    let text = |body: Value| body.to_string().into_bytes();
    ask("status", get(), "/api/status".to_owned(), &house.token, vec![])
        .await
        .ok();
    let enroll = "/api/fleet/agents/enroll".to_owned();
    let reply = ask("enroll", post(), enroll, &house.token, text(enrolment("", "")))
        .await
        .ok();
    let of = |name: &str| reply["item"][name].as_str().unwrap().to_owned();
    let (id, key) = (of("id"), of("access_api_key"));
    let own = |route: &str| format!("/api/fleet/agents/{id}/{route}");
    let online = text(json!({"status": "online"}));
    ask("check-in", post(), own("checkin"), &key, online).await;
    ask("acks", post(), own("acks"), &key, text(json!({"events": null}))).await;
    let enrolled = Enrolled {
        id: id.clone(),
        key: key.clone(),
    };
    let said = text(uploads::said(&enrolled, &id, 5));
    let begun = ask("upload", post(), "/api/fleet/uploads".to_owned(), &key, said)
        .await
        .ok();
    let upload = format!("/api/fleet/uploads/{}", begun["upload_id"].as_str().unwrap());
    ask("chunk", put(), format!("{upload}/0"), &key, b"bytes".to_vec()).await;
    ask(
        "complete",
        post(),
        upload,
        &key,
        uploads::transit(b"bytes").into_bytes(),
    )
    .await;
    let artifact = artifacts::listed(house, &operators).await;
    ask("artifact", get(), artifact, &key, vec![]).await;
    let file = house
        .admin(Method::POST, &format!("/api/fleet/files?agents={id}&name=a"))
        .set_payload("bytes");
    let file = operators.send(file).await.ok();
    let file = format!("/api/fleet/file/{}", file["item"]["id"].as_str().unwrap());
    ask("file", get(), file, &key, vec![]).await;
    let signing_key = "/api/agents/upgrades/9.6.0/pgp-public-key".to_owned();
    ask("signing key", get(), signing_key, &key, vec![]).await;
    let uninstall = text(json!({"reason": "uninstall", "timestamp": "2026-08-21T21:06:21.123456789+02:00"}));
    ask("audit", post(), own("audit/unenroll"), &key, uninstall).await;
    ask("OpAMP", post(), "/v1/opamp".to_owned(), &house.token, vec![]).await;
    ask(
        "OpAMP's socket",
        get(),
        "/v1/opamp".to_owned(),
        &house.token,
        vec![],
    )
    .await;
    seen
}

#[actix_rt::test]
async fn ac_01_02_neither_a_bare_question_mark_nor_the_heads_of_agents_matter() {
    let house = House::new().await;
    let plain = every_route(&house, "", false).await;
    for (route, status) in &plain {
        let expected = match *route {
            // Without TLS there is none, and without an upgrade no socket.
            "signing key" => 501,
            "OpAMP's socket" => 426,
            _ => 200,
        };
        assert_eq!(*status, expected, "{route}");
    }
    for (end, has_heads) in [("?", false), ("", true), ("?", true)] {
        assert_eq!(
            every_route(&house, end, has_heads).await,
            plain,
            "{end} {has_heads}"
        );
    }
    let served = api::openapi()["paths"]
        .as_object()
        .unwrap()
        .values()
        .fold(0, |sum, path| {
            let of_agents =
                |operation: &&Value| operation["tags"].as_array().unwrap().contains(&json!("agents"));
            sum + path.as_object().unwrap().values().filter(of_agents).count()
        });
    assert_eq!(plain.len(), served, "every route is walked");
}

#[actix_rt::test]
async fn ac_08_who_waits_is_served_beside_its_poll() {
    let house = House::new().await;
    let face = house.agents().await;
    let agent = house.enroll(&face).await;
    let waiting = face.start(poll_request(&agent, 1));
    until(|| house.fleet.waiting() == 1).await;
    send(&face, &agent, "acks", &json!({"events": null})).await.ok();
    let upload = uploads::begun(&face, &agent, "diagnostics", 5).await;
    assert_eq!(
        uploads::put(&face, &agent, &upload, 0, b"bytes").await.status,
        200
    );
    let ended = uploads::complete(&face, &agent.key, &upload, uploads::transit(b"bytes")).await;
    assert_eq!(ended.ok()["status"], "ok");
    let status = face.send(head(Method::GET, "/api/status", &agent.key)).await.ok();
    assert_eq!(status["status"], "HEALTHY");
    assert!(!waiting.is_finished(), "the poll went on");
    waiting.abort();
}

#[actix_rt::test]
async fn ac_11_12_the_enrolment_of_a_real_agent() {
    let house = House::new().await;
    let face = house.agents().await;
    let mut odd = enrolment("", "");
    let host = odd["metadata"]["local"]["host"].as_object_mut().unwrap();
    host.remove("memory");
    host.insert("ip".to_owned(), Value::Null);
    odd["metadata"]["user_provided"] = Value::Null;
    for body in [enrolment("", ""), odd] {
        let (agent, reply) = enroll(&house, &face, &body).await;
        let item = &reply["item"];
        assert!(!agent.id.is_empty() && !agent.key.is_empty());
        assert_eq!(
            (&reply["action"], &item["type"]),
            (&json!("created"), &json!("PERMANENT"))
        );
        let enrolled_at = item["enrolled_at"].as_str().unwrap();
        assert!(Timestamp::parse(enrolled_at).is_some(), "{enrolled_at}");
        assert!(item["active"].is_boolean() && item["policy_id"].is_string());
        for (name, is_so) in [
            ("user_provided_metadata", Value::is_object as fn(&Value) -> bool),
            ("local_metadata", Value::is_object),
            ("actions", Value::is_array),
            ("tags", Value::is_array),
        ] {
            assert!(item[name].is_null() || is_so(&item[name]), "{name}: {reply}");
        }
        // What was sent is stored, with the agent's new id in its place.
        let mut stored = body["metadata"]["local"].clone();
        stored["elastic"]["agent"]["id"] = json!(agent.id);
        let kept: Value = house
            .agent(&agent.id)
            .await
            .local_metadata
            .unwrap()
            .read()
            .unwrap();
        assert_eq!(kept, stored);
    }
}

#[actix_rt::test]
async fn ac_13_14_an_id_with_its_token_is_one_agent_and_none_is_a_new_one() {
    let house = House::new().await;
    let face = house.agents().await;
    let (one, _) = enroll(&house, &face, &enrolment("", "")).await;
    let (other, _) = enroll(&house, &face, &enrolment("", "")).await;
    assert_ne!(one.id, other.id);
    for agent in [&one, &other] {
        send(&face, agent, "acks", &json!({"events": null})).await.ok();
    }

    let named = enrolment("host-1", "s3cr3t of this host");
    let (first, _) = enroll(&house, &face, &named).await;
    let (second, _) = enroll(&house, &face, &named).await;
    assert_eq!((first.id.as_str(), second.id.as_str()), ("host-1", "host-1"));
    let dead = send(&face, &first, "acks", &json!({"events": null})).await;
    assert_eq!(dead.status, 401, "{}", dead.text());
    send(&face, &second, "acks", &json!({"events": null})).await.ok();
    let operators = house.operators().await;
    let listed = operators
        .send(house.admin(Method::GET, "/api/fleet/agents"))
        .await
        .ok();
    assert_eq!(listed["total"], 3);
}

#[actix_rt::test]
async fn ac_20_21_22_odd_check_ins_are_served() {
    let house = House::new().await;
    let face = house.agents().await;
    let agent = house.enroll(&face).await;
    let units = [
        json!({"id": "o", "type": "output", "status": "HEALTHY", "message": "Healthy"}),
        json!({"id": "i", "type": "input", "status": "DEGRADED", "message": "", "payload": {"streams": {}}}),
        json!({"id": "x", "type": "", "status": ""}),
    ];
    let component =
        |units: Value| json!([{"id": "c", "type": "otel", "status": "", "message": "", "units": units}]);
    let backwards: Vec<_> = units.iter().rev().cloned().collect();
    let mut taken = 0;
    for more in [
        json!({"status": "DEGRADED", "message": ""}),
        json!({"components": null}),
        json!({"components": component(json!(units))}),
        json!({"components": component(json!(backwards))}),
        json!({"components": component(Value::Null)}),
        json!({"upgrade": {}}),
        json!({"upgrade": {"rollbacks": [{"version": "9.5.2", "valid_until": "2026-08-28T10:00:00Z"}]}}),
        json!({"ack_token": ""}),
    ] {
        // Nothing to do for this agent: only a refusal comes before the stop.
        let body = running(more);
        let path = format!("/api/fleet/agents/{}/checkin?", agent.id);
        let waiting = face.start(head(Method::POST, &path, &agent.key).set_payload(body.to_string()));
        taken += 1;
        let taken = format!("checkins_total {taken}\n");
        until(|| house.scrape().contains(&taken) || waiting.is_finished()).await;
        assert!(
            !waiting.is_finished(),
            "{body}: {}",
            waiting.await.unwrap().text()
        );
        waiting.abort();
        until(|| house.fleet.waiting() == 0).await;
    }
    house.fleet.stop().await;
    assert_eq!(
        house.agent(&agent.id).await.last_checkin_status.as_deref(),
        Some("online")
    );
}

#[actix_rt::test]
async fn ac_24_a_poll_without_work_ends_with_nothing() {
    let settings = fleet::Settings {
        long_poll: Duration::from_millis(20),
        ..fleet::Settings::default()
    };
    let house = House::with(settings).await;
    let face = house.agents().await;
    let agent = house.enroll(&face).await;
    let answer = send(&face, &agent, "checkin", &running(json!({}))).await.ok();
    assert_eq!(answer, json!({"action": "checkin", "ack_token": ""}));
}

#[actix_rt::test]
async fn ac_30_who_was_cut_off_gets_the_action_in_the_next_poll() {
    let house = House::new().await;
    let face = house.agents().await;
    let agent = house.enroll(&face).await;
    let cut = face.start(poll_request(&agent, 1));
    until(|| house.fleet.waiting() == 1).await;
    let next = face.start(poll_request(&agent, 1));
    cut.abort();
    until(|| house.fleet.waiting() == 1).await;
    let action = act(&house, &[&agent], "SETTINGS", Some(json!({"log_level": "info"}))).await;
    assert_eq!(next.await.unwrap().ok()["actions"][0]["id"], json!(action));
}

/// An action as another server, or an earlier version, may have put it into the store: nothing of it was checked.
pub(crate) fn unchecked(id: &str, agent: &Enrolled, kind: &str, data: &Value) -> NewAction {
    NewAction {
        doc: format!("{id}-doc").into(),
        action: id.into(),
        kind: kind.to_owned(),
        is_deliverable: true,
        agents: vec![agent.id.as_str().into()],
        mark: None,
        input_type: None,
        data: Some(RawJson::from_value(data).unwrap()),
        at: Timestamp::now(),
        expiration: Some(Timestamp::now().plus(Duration::from_secs(3600))),
        start_time: None,
        rollout_duration_seconds: None,
        timeout: None,
        user_id: None,
        namespaces: Vec::new(),
        signed: None,
        traceparent: None,
        secrets: Vec::new(),
        recall: None,
    }
}

fn ids(body: &Value) -> Vec<&str> {
    let actions = body["actions"].as_array().unwrap();
    actions
        .iter()
        .map(|action| action["id"].as_str().unwrap())
        .collect()
}

#[actix_rt::test]
async fn ac_26_what_agents_could_not_read_is_left_out_and_has_failed() {
    let house = House::new().await;
    let face = house.agents().await;
    let agent = house.enroll(&face).await;
    let level = |level: Value| json!({ "log_level": level });
    house
        .store
        .append_actions(vec![
            unchecked("good", &agent, "SETTINGS", &level(json!("info"))),
            unchecked("bad level", &agent, "SETTINGS", &level(json!(7))),
            unchecked("bad version", &agent, "UPGRADE", &json!({"version": 9.6})),
            unchecked("good too", &agent, "SETTINGS", &level(json!("debug"))),
        ])
        .await
        .unwrap();
    let body = send(&face, &agent, "checkin", &running(json!({}))).await.ok();
    assert_eq!(ids(&body), ["good", "good too"]);
    for bad in ["bad level", "bad version"] {
        assert!(result(&house, bad).await.error.is_some(), "{bad}");
    }
}

#[actix_rt::test]
async fn ac_32_no_member_of_the_agent_is_delivered() {
    let house = House::new().await;
    let face = house.agents().await;
    let agent = house.enroll(&face).await;
    let own = [
        "is_detected",
        "retry_attempt",
        "response",
        "started_at",
        "completed_at",
        "error",
    ];
    let data = json!({
        "version": "9.6.1", "target_id": "t", "target_uri": "https://x", "enrollment_token": "e",
        "unprivileged": true, "user_info": {}, "log_level": "info", "policy_id": "P",
        "is_detected": true, "retry_attempt": 1, "response": {}, "started_at": "x", "completed_at": "x", "error": "x",
    });
    let kinds = [
        "SETTINGS",
        "UPGRADE",
        "CANCEL",
        "MIGRATE",
        "PRIVILEGE_LEVEL_CHANGE",
        "UNENROLL",
    ];
    let actions = kinds.map(|kind| unchecked(kind, &agent, kind, &data));
    house.store.append_actions(actions.to_vec()).await.unwrap();
    let body = send(&face, &agent, "checkin", &running(json!({}))).await.ok();
    assert_eq!(ids(&body), kinds);
    for action in body["actions"].as_array().unwrap() {
        for name in own {
            assert!(
                action[name].is_null() && action["data"][name].is_null(),
                "{name}: {action}"
            );
        }
    }
}

#[actix_rt::test]
async fn c06_c10_c11_what_is_not_for_agents_does_not_hide_what_is() {
    let house = House::new().await;
    let face = house.agents().await;
    let agent = house.enroll(&face).await;
    let level = json!({"log_level": "info"});
    let mut actions: Vec<_> = (0..120)
        .map(|n| NewAction {
            is_deliverable: false,
            ..unchecked(&format!("log {n}"), &agent, "UPDATE_TAGS", &json!({}))
        })
        .collect();
    actions.push(NewAction {
        expiration: None,
        ..unchecked("endless", &agent, "SETTINGS", &level)
    });
    actions.push(NewAction {
        expiration: Some(Timestamp::now().minus(Duration::from_secs(1))),
        ..unchecked("expired", &agent, "SETTINGS", &level)
    });
    actions.push(unchecked("due", &agent, "SETTINGS", &level));
    house.store.append_actions(actions).await.unwrap();
    let body = send(&face, &agent, "checkin", &running(json!({}))).await.ok();
    assert_eq!(ids(&body), ["due"]);
    assert_eq!(body["ack_token"], "due-doc");
}

#[actix_rt::test]
async fn ac_35_what_nobody_acknowledges_is_delivered_once() {
    let house = House::new().await;
    let face = house.agents().await;
    let agent = house.enroll(&face).await;
    // Of an action of other agents: it is delivered all the same.
    let other = NewAction {
        agents: Vec::new(),
        ..unchecked("other", &agent, "UPGRADE", &json!({"version": "9.6.1"}))
    };
    house.store.append_actions(vec![other]).await.unwrap();
    act(&house, &[&agent], "CANCEL", Some(json!({"target_id": "other"}))).await;
    let body = send(&face, &agent, "checkin", &running(json!({}))).await.ok();
    assert_eq!(body["actions"][0]["type"], "CANCEL");
    let next = running(json!({"ack_token": body["ack_token"]}));
    let path = format!("/api/fleet/agents/{}/checkin?", agent.id);
    let waiting = face.start(head(Method::POST, &path, &agent.key).set_payload(next.to_string()));
    until(|| house.fleet.waiting() == 1 || waiting.is_finished()).await;
    assert!(!waiting.is_finished(), "it is not delivered again");
    let settings = act(&house, &[&agent], "SETTINGS", Some(json!({"log_level": "info"}))).await;
    let body = waiting.await.unwrap().ok();
    assert_eq!(
        body["actions"][0]["id"],
        json!(settings),
        "nothing waits for its answer"
    );
}

#[actix_rt::test]
async fn ac_46_a_large_answer_is_stored_as_it_came() {
    let house = House::new().await;
    let face = house.agents().await;
    let agent = house.enroll(&face).await;
    let query = json!({"query": "select 1", "n": 12_345_678_901_234_567_890_u64});
    let action = act(&house, &[&agent], "INPUT_ACTION", Some(query.clone())).await;
    let response = json!({"osquery": {"rows": "x".repeat(1 << 20), "count": 1.0}});
    let more = json!({
        "action_input_type": "osquery", "action_data": query, "action_response": response,
        "started_at": "2026-01-02T03:04:05Z", "completed_at": "2026-01-02T03:04:06Z",
    });
    let body = json!({"events": [event(&agent, &action, more)]});
    let answer = send(&face, &agent, "acks", &body).await.ok();
    assert_eq!(answer["items"][0]["status"], 200);
    let stored: Map<String, Value> = result(&house, &action).await.details.unwrap().read().unwrap();
    assert_eq!(
        (&stored["action_data"], &stored["action_response"]),
        (&query, &response)
    );
}

#[actix_rt::test]
async fn ac_53_an_error_after_a_success_changes_nothing() {
    let house = House::new().await;
    let face = house.agents().await;
    let agent = house.enroll(&face).await;
    let data = json!({"unprivileged": true, "user_info": {"username": "u"}});
    let action = act(&house, &[&agent], "PRIVILEGE_LEVEL_CHANGE", Some(data)).await;
    for more in [json!({}), json!({"error": "could not restart"})] {
        let body = json!({"events": [event(&agent, &action, more)]});
        let answer = send(&face, &agent, "acks", &body).await.ok();
        assert_eq!(answer["items"], json!([{"status": 200, "message": "OK"}]));
    }
    assert_eq!(result(&house, &action).await.error, None);
}

#[actix_rt::test]
async fn ac_55_56_times_keep_their_instant_and_items_their_order() {
    let house = House::new().await;
    let face = house.agents().await;
    let agent = house.enroll(&face).await;
    let level = json!({"log_level": "info"});
    let one = act(&house, &[&agent], "SETTINGS", Some(level.clone())).await;
    let two = act(&house, &[&agent], "SETTINGS", Some(level)).await;
    let events = [&one, "unknown", &two].map(|action| event(&agent, action, json!({})));
    let answer = send(&face, &agent, "acks", &json!({ "events": events })).await;
    assert_eq!(answer.status, 404);
    let body = answer.json();
    assert_eq!((&body["action"], &body["errors"]), (&json!("acks"), &json!(true)));
    let codes: Vec<_> = body["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["status"])
        .collect();
    assert_eq!(codes, [200, 404, 200]);
    let sent = Timestamp::parse("2026-08-21T19:06:21.123456789Z").unwrap();
    let kept = result(&house, &two).await.timestamp;
    assert_eq!(Timestamp::parse(&kept), Some(sent), "{kept}");
    let good = [&one, &two].map(|action| event(&agent, action, json!({})));
    let body = send(&face, &agent, "acks", &json!({ "events": good })).await.ok();
    assert!(body["errors"].is_null(), "{body}");
}

#[actix_rt::test]
async fn ac_58_59_60_a_batch_of_every_shape_twice() {
    let house = House::new().await;
    let face = house.agents().await;
    let agent = house.enroll(&face).await;
    let mut events = vec![event(&agent, "policy:P:1", json!({}))];
    for (kind, data, more) in [
        ("SETTINGS", Some(json!({"log_level": "info"})), json!({})),
        (
            "INPUT_ACTION",
            Some(json!({"q": 1})),
            json!({
                "error": "matching app is not found", "action_input_type": "osquery", "action_data": {"q": 1},
                "action_response": null, "started_at": "2026-01-02T03:04:05Z", "completed_at": "2026-01-02T03:04:05Z",
            }),
        ),
        (
            "REQUEST_DIAGNOSTICS",
            None,
            json!({"data": {"upload_id": "u"}, "error": "rate limit exceeded"}),
        ),
        (
            "UPGRADE",
            Some(json!({"version": "9.6.1"})),
            json!({"error": "x", "payload": {"retry": true, "retry_attempt": 1}}),
        ),
        ("POLICY_REASSIGN", Some(json!({"policy_id": "P"})), json!({})),
        (
            "MIGRATE",
            Some(json!({"target_uri": "https://x", "enrollment_token": "e"})),
            json!({"error": "not healthy"}),
        ),
        ("UNENROLL", None, json!({"error": "not yet"})),
    ] {
        let action = act(&house, &[&agent], kind, data).await;
        events.push(event(&agent, &action, more));
    }
    let done: Vec<_> = events
        .iter()
        .map(|_| json!({"status": 200, "message": "OK"}))
        .collect();
    // An old revision is acknowledged again at each start of an agent.
    policies::update(&house.fleet, &house.policy, Map::new(), Timestamp::now())
        .await
        .unwrap();
    let mut before = None;
    for _ in 0..2 {
        let body = send(&face, &agent, "acks", &json!({ "events": events }))
            .await
            .ok();
        assert_eq!(body, json!({"action": "acks", "items": done}));
        let agent = house.agent(&agent.id).await;
        assert_eq!((agent.is_active, agent.policy_revision), (true, Some(1)));
        let mut results = Vec::new();
        for event in &events[1..] {
            results.push(result(&house, event["action_id"].as_str().unwrap()).await);
        }
        let seen = (agent, results);
        assert_eq!(
            before.get_or_insert_with(|| seen.clone()),
            &seen,
            "no second effect"
        );
    }
}

#[actix_rt::test]
async fn ac_66_each_revision_of_each_policy_has_its_own_action() {
    let house = House::new().await;
    let face = house.agents().await;
    let mut seen = Vec::new();
    for revision in 1..3 {
        let agent = house.enroll(&face).await;
        let body = send(&face, &agent, "checkin", &json!({"status": "online"}))
            .await
            .ok();
        let action = &body["actions"][0];
        let policy = &action["data"]["policy"];
        assert_eq!(
            (&policy["id"], &policy["revision"]),
            (&json!("P"), &json!(revision))
        );
        seen.push(action["id"].clone());
        policies::update(&house.fleet, &house.policy, Map::new(), Timestamp::now())
            .await
            .unwrap();
    }
    assert_eq!(seen, ["policy:P:1", "policy:P:2"]);
}

#[actix_rt::test]
async fn c16_an_action_that_is_gone_does_not_stop_those_behind_it() {
    let house = House::new().await;
    let face = house.agents().await;
    let agent = house.enroll(&face).await;
    let now = Timestamp::now();
    let gone = NewAction {
        expiration: Some(now.minus(Duration::from_secs(1))),
        ..unchecked("gone", &agent, "SETTINGS", &json!({}))
    };
    house.store.append_actions(vec![gone]).await.unwrap();
    let waiting = face.start(poll_request(&agent, 1));
    until(|| house.fleet.waiting() == 1).await;
    assert_eq!(house.store.delete_expired_actions(now, 10).await.unwrap(), 1);
    let next = act(&house, &[&agent], "SETTINGS", Some(json!({"log_level": "info"}))).await;
    assert_eq!(ids(&waiting.await.unwrap().ok()), [next]);
}
