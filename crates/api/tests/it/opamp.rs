//! OPA cases: agents that speak OpAMP over plain HTTP.

use std::time::Duration;

use actix_web::{http::Method, test::TestRequest, web::Bytes};
use api::{AgentOptions, Limits, Route, RouteLimits};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use fleet::{AgentId, Settings, StaticToken, Timestamp, agents, policies, tokens};
use opamp::{
    AgentConfigFile, AgentConfigMap, AgentDescription, AgentDisconnect, AgentToServer, AnyValue,
    ComponentHealth, ConfigEntry, EffectiveConfig, ErrorKind, KeyValue, Message as _, RemoteConfigState,
    RemoteConfigStatus, ServerToAgent, agent_flag, capability,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::house::{Answer, Enrolled, Face, House, LIMIT, checkin_request, post, stranger};

const PROTOBUF: &str = "application/x-protobuf";

fn request(token: &str, body: Vec<u8>) -> TestRequest {
    post("/v1/opamp")
        .insert_header(("authorization", format!("ApiKey {token}")))
        .insert_header(("content-type", PROTOBUF))
        .set_payload(body)
}

/// A message of the agent with this uid.
fn from(uid: Uuid) -> AgentToServer {
    AgentToServer {
        instance_uid: Bytes::copy_from_slice(uid.as_bytes()),
        capabilities: 1,
        ..AgentToServer::default()
    }
}

/// The id of an agent that enrolled so.
pub(crate) async fn enrolled(house: &House, face: &Face) -> String {
    let uid = Uuid::new_v4();
    let answer = face.send(request(&house.token, from(uid).encode_to_vec())).await;
    assert_eq!(answer.status, 200);
    uid.to_string()
}

fn attribute(name: &str, value: &str) -> KeyValue {
    KeyValue {
        key: name.to_owned(),
        value: Some(AnyValue {
            value: Some(opamp::Value::Text(value.to_owned())),
        }),
    }
}

fn described(message: AgentToServer, tags: &str) -> AgentToServer {
    let description = AgentDescription {
        identifying_attributes: vec![
            attribute("service.name", "otelcol"),
            attribute("service.version", "1.2.3"),
        ],
        non_identifying_attributes: vec![
            attribute("host.name", "box"),
            attribute("os.type", "linux"),
            attribute("tags", tags),
        ],
    };
    AgentToServer {
        agent_description: Some(description.encode_to_vec().into()),
        ..message
    }
}

fn ill(message: AgentToServer, healthy: bool, status: &str, last_error: &str) -> AgentToServer {
    let health = ComponentHealth {
        healthy,
        status: status.to_owned(),
        last_error: last_error.to_owned(),
        ..ComponentHealth::default()
    };
    AgentToServer {
        health: Some(health.encode_to_vec().into()),
        ..message
    }
}

fn configured(message: AgentToServer, yaml: &str) -> AgentToServer {
    let config = EffectiveConfig {
        config_map: Some(AgentConfigMap {
            config_map: vec![ConfigEntry {
                key: String::new(),
                value: Some(AgentConfigFile {
                    body: yaml.to_owned().into(),
                    content_type: "text/yaml".to_owned(),
                }),
            }],
        }),
    };
    AgentToServer {
        effective_config: Some(config.encode_to_vec().into()),
        ..message
    }
}

async fn say(house: &House, face: &Face, message: &AgentToServer) -> ServerToAgent {
    let answer = face.send(request(&house.token, message.encode_to_vec())).await;
    read(&answer)
}

#[track_caller]
fn read(answer: &Answer) -> ServerToAgent {
    assert_eq!(
        (answer.status.as_u16(), answer.header("content-type")),
        (200, PROTOBUF),
        "{:?}",
        answer.body
    );
    assert_eq!(answer.header("elastic-api-version"), "");
    assert!(!answer.header("x-request-id").is_empty());
    ServerToAgent::decode(answer.body.as_slice()).unwrap()
}

#[track_caller]
fn assert_bad(reply: &ServerToAgent, reason: &str) {
    let error = reply.error_response.as_ref().expect("an error response");
    assert_eq!(error.r#type(), ErrorKind::BadRequest);
    assert!(error.error_message.contains(reason), "{error:?}");
    assert_eq!((reply.flags, reply.capabilities), (0, 0));
}

#[track_caller]
fn assert_taken(reply: &ServerToAgent, uid: Uuid, capabilities: u64) {
    assert_eq!(reply.error_response, None);
    assert_eq!(reply.instance_uid.as_ref(), uid.as_bytes());
    assert_eq!((reply.flags, reply.capabilities), (1, capabilities));
    assert!(
        reply
            .custom_capabilities
            .as_ref()
            .unwrap()
            .capabilities
            .is_empty()
    );
}

/// The agent as an operator sees it.
async fn shown(house: &House, id: Uuid) -> Value {
    let operators = house.operators().await;
    let path = format!("/api/fleet/agents/{id}");
    operators.send(house.admin(Method::GET, &path)).await.ok()["item"].take()
}

/// The same once it is as expected: what agents say is shown within a second.
async fn shown_when(house: &House, id: Uuid, is_there: impl Fn(&Value) -> bool) -> Value {
    let wait = async {
        loop {
            let item = shown(house, id).await;
            if is_there(&item) {
                return item;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, wait)
        .await
        .expect("it is shown in time")
}

#[actix_rt::test]
async fn opa_01_without_a_good_token_401_without_a_body() {
    let house = House::new().await;
    let face = house.agents().await;
    let agent = house.enroll(&face).await;
    let body = || from(Uuid::new_v4()).encode_to_vec();
    let revoked = {
        let (token, key) = tokens::create(&house.fleet, &house.policy, None, None, Timestamp::now())
            .await
            .unwrap();
        tokens::revoke(&house.fleet, &token.id, Timestamp::now())
            .await
            .unwrap();
        key.to_token()
    };
    let mut requests = vec![
        post("/v1/opamp")
            .insert_header(("content-type", PROTOBUF))
            .set_payload(body()),
    ];
    for key in [
        stranger(),
        revoked,
        agent.key,
        house.admin_key.clone(),
        "nonsense".to_owned(),
    ] {
        requests.push(request(&key, body()));
    }
    for sent in requests {
        let answer = face.send(sent).await;
        assert_eq!(
            (
                answer.status.as_u16(),
                answer.header("content-type"),
                answer.body.len()
            ),
            (401, PROTOBUF, 0)
        );
    }
}

#[actix_rt::test]
async fn opa_02_an_empty_body_is_answered_with_bad_request() {
    let house = House::new().await;
    let face = house.agents().await;
    let reply = read(&face.send(request(&house.token, Vec::new())).await);
    assert_bad(&reply, "failed to parse instance_uid");
    assert!(reply.instance_uid.is_empty());
}

#[actix_rt::test]
async fn opa_03_04_09_the_first_message_enrols_and_the_second_is_known() {
    let house = House::new().await;
    let face = house.agents().await;
    let uid = Uuid::new_v4();
    let first = described(from(uid), " dev , west ,dev,,otelcol");
    assert_taken(&say(&house, &face, &first).await, uid, 5);
    let agent = house.agent(&uid.to_string()).await;
    assert_eq!(
        (agent.kind.as_str(), agent.policy.as_str(), agent.policy_revision),
        ("OPAMP", "P", Some(1))
    );
    assert_eq!(agent.tags, ["otelcol", "dev", "west"]);
    // Its first message is not in the store yet.
    let reply = say(
        &house,
        &face,
        &AgentToServer {
            sequence_num: 1,
            ..first
        },
    )
    .await;
    assert_taken(&reply, uid, 0);
    assert_eq!((reply.agent_identification, reply.remote_config), (None, None));
    let item = shown(&house, uid).await;
    assert_eq!(
        (&item["status"], &item["last_checkin_status"]),
        (&json!("online"), &json!("online"))
    );
    assert_eq!(
        (&item["type"], &item["policy_id"]),
        (&json!("OPAMP"), &json!("P"))
    );
    assert_eq!(item.get("access_api_key_id"), None, "nobody has it");
    let inner = json!({"id": uid, "version": "1.2.3", "type": "otelcol"});
    assert_eq!(item["agent"], inner);
    let metadata = json!({
        "elastic": {"agent": {"id": uid, "version": "1.2.3", "name": "otelcol"}},
        "host": {"hostname": "box", "name": "box"}, "os": {"platform": "linux"},
    });
    assert_eq!(item["local_metadata"], metadata);
    assert_eq!(item["identifying_attributes"]["service.name"], "otelcol");
    assert_eq!(
        item["non_identifying_attributes"],
        json!({"host.name": "box", "os.type": "linux"})
    );
    assert_eq!(
        (&item["capabilities"], &item["sequence_num"]),
        (&json!(["ReportsStatus"]), &json!(1))
    );
    // It stands in the list like any other.
    let operators = house.operators().await;
    let list = operators
        .send(house.admin(Method::GET, "/api/fleet/agents?kuery=tags:west"))
        .await
        .ok();
    assert_eq!(list["items"][0]["id"], json!(uid));
}

#[actix_rt::test]
async fn opa_05_an_agent_that_asks_for_another_uid_enrols_anew_and_its_old_record_says_so() {
    let house = House::new().await;
    let face = house.agents().await;
    let old = Uuid::new_v4();
    say(&house, &face, &from(old)).await;
    let asks = AgentToServer {
        flags: agent_flag::REQUEST_INSTANCE_UID,
        ..from(old)
    };
    let reply = say(&house, &face, &asks).await;
    assert_taken(&reply, old, 5);
    let new = Uuid::from_slice(&reply.agent_identification.unwrap().new_instance_uid).unwrap();
    assert_eq!((new != old, new.get_version_num()), (true, 7));
    shown_when(&house, new, |item| item["last_checkin_status"] == "online").await;
    let mark = house.agent(&old.to_string()).await.audit.unwrap();
    assert_eq!(mark.reason, "reenrolled");
    // Once more: the mark stays as it is.
    say(&house, &face, &asks).await;
    assert_eq!(house.agent(&old.to_string()).await.audit.unwrap(), mark);
    // Nobody known asks: enrolled under the new uid only.
    let unknown = Uuid::new_v4();
    let reply = say(
        &house,
        &face,
        &AgentToServer {
            flags: agent_flag::REQUEST_INSTANCE_UID,
            ..from(unknown)
        },
    )
    .await;
    assert!(reply.agent_identification.is_some());
    let stored = house.store.agent(&AgentId::from(unknown.to_string())).await;
    assert_eq!(stored.unwrap(), None);
}

#[actix_rt::test]
async fn opa_06_a_disconnect_is_recorded_of_those_who_are_known() {
    let house = House::new().await;
    let face = house.agents().await;
    let uid = Uuid::new_v4();
    let leaves = |message| AgentToServer {
        agent_disconnect: Some(AgentDisconnect {}),
        ..message
    };
    let reason = "agent_disconnect set on new enrollment message";
    assert_bad(&say(&house, &face, &leaves(from(uid))).await, reason);
    assert_eq!(house.store.agent(&uid.to_string().into()).await.unwrap(), None);
    say(&house, &face, &from(uid)).await;
    let reply = say(&house, &face, &leaves(from(uid))).await;
    assert_eq!(reply.error_response, None);
    assert_eq!((reply.flags, reply.capabilities), (0, 0));
    shown_when(&house, uid, |item| item["last_checkin_status"] == "disconnected").await;
    let both = AgentToServer {
        flags: agent_flag::REQUEST_INSTANCE_UID,
        ..leaves(from(uid))
    };
    assert_bad(&say(&house, &face, &both).await, reason);
    // It comes back: the server introduces itself again.
    assert_taken(&say(&house, &face, &from(uid)).await, uid, 5);
}

#[actix_rt::test]
async fn opa_07_health_becomes_status_and_message() {
    let house = House::new().await;
    for (healthy, status, last_error, expected) in [
        (
            true,
            "StatusRecoverableError",
            "boom",
            ["degraded", "degraded", "boom"],
        ),
        (
            false,
            "StatusFatalError",
            "",
            ["error", "error", "StatusFatalError"],
        ),
        (true, "StatusOK", "", ["online", "online", "StatusOK"]),
    ] {
        let face = house.agents().await;
        let uid = Uuid::new_v4();
        say(&house, &face, &ill(from(uid), healthy, status, last_error)).await;
        let item = shown_when(&house, uid, |item| item["last_checkin_status"].is_string()).await;
        let said = ["status", "last_checkin_status", "last_checkin_message"].map(|name| item[name].clone());
        assert_eq!(said, expected.map(Value::from));
        let mut health = json!({"status": status});
        if healthy {
            health["healthy"] = true.into();
        }
        if !last_error.is_empty() {
            health["last_error"] = last_error.into();
        }
        assert_eq!(item["health"], health);
    }
}

#[actix_rt::test]
async fn opa_08_the_effective_configuration_is_kept_without_its_secrets() {
    let house = House::new().await;
    let face = house.agents().await;
    let uid = Uuid::new_v4();
    let yaml = "exporters:\n  otlp: {password: p, headers: [{name: Authorization, value: Bearer x}, {name: a, value: b}]}\n\
                routekey: kept\nurl: https://u:p@host/\n";
    say(&house, &face, &configured(from(uid), yaml)).await;
    let expected = json!({
        "exporters": {"otlp": {
            "password": "REDACTED",
            "headers": [{"name": "Authorization", "value": "REDACTED"}, {"name": "a", "value": "b"}],
        }},
        "routekey": "kept", "url": "https://REDACTED@host/",
    });
    let item = shown_when(&house, uid, |item| item["last_checkin_status"].is_string()).await;
    assert_eq!(item["effective_config"], expected);
    let operators = house.operators().await;
    let list = operators
        .send(house.admin(Method::GET, "/api/fleet/agents"))
        .await
        .ok();
    assert_eq!(
        list["items"][0].get("effective_config"),
        None,
        "one agent alone shows it"
    );
    // What is gone is gone, and a message without a configuration changes nothing.
    // One over the bound is as none.
    let large = format!("a: {}\n", "x".repeat(1 << 20));
    for message in [
        configured(from(uid), "routekey: other\n"),
        from(uid),
        configured(from(uid), &large),
    ] {
        assert_eq!(say(&house, &face, &message).await.error_response, None);
    }
    let reply = say(&house, &face, &configured(from(uid), "- no mapping")).await;
    assert_bad(&reply, "effective_config: it is not a mapping");
    house.fleet.stop().await;
    let stored = house
        .store
        .collector(&uid.to_string().into())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        stored.report.effective_config.unwrap().as_str(),
        r#"{"routekey":"other"}"#
    );
}

#[actix_rt::test]
async fn opa_10_a_switch_turns_it_off() {
    let house = House::new().await;
    let face = house
        .agents_with(AgentOptions {
            serves_opamp: false,
            ..AgentOptions::default()
        })
        .await;
    let answer = face
        .send(request(&house.token, from(Uuid::new_v4()).encode_to_vec()))
        .await;
    assert_eq!(
        (answer.status.as_u16(), answer.text().as_str()),
        (404, "404 page not found\n")
    );
}

#[actix_rt::test]
async fn opa_11_what_is_no_message_is_400_without_a_body() {
    let house = House::new().await;
    let face = house.agents().await;
    for body in [
        b"\x0a\xff".to_vec(),
        b"\x0a\xff\xff\xff\xff\x07".to_vec(),
        b"no protobuf".to_vec(),
        // A description that is none.
        AgentToServer {
            agent_description: Some(Bytes::from_static(b"\x0a\x05x")),
            ..from(Uuid::new_v4())
        }
        .encode_to_vec(),
    ] {
        let answer = face.send(request(&house.token, body)).await;
        assert_eq!(
            (
                answer.status.as_u16(),
                answer.header("content-type"),
                answer.body.len()
            ),
            (400, PROTOBUF, 0)
        );
    }
    let not_gzip = request(&house.token, from(Uuid::new_v4()).encode_to_vec())
        .insert_header(("content-encoding", "gzip"));
    assert_eq!(face.send(not_gzip).await.status, 400);
}

#[actix_rt::test]
async fn another_content_type_or_method_is_refused_by_name() {
    let house = House::new().await;
    let face = house.agents().await;
    for kind in ["application/json", "application/x-protobuf2", ""] {
        let sent =
            request(&house.token, from(Uuid::new_v4()).encode_to_vec()).insert_header(("content-type", kind));
        let said = face.send(sent).await.assert_error(415, "UnsupportedMediaType");
        assert!(said.contains(PROTOBUF), "{said}");
    }
    let sent = request(&house.token, from(Uuid::new_v4()).encode_to_vec())
        .insert_header(("content-type", "Application/X-Protobuf; proto=opamp"));
    assert_eq!(face.send(sent).await.status, 200);
    let put = face
        .send(TestRequest::with_uri("/v1/opamp").method(Method::PUT))
        .await;
    assert_eq!((put.status.as_u16(), put.header("allow")), (405, "GET, POST"));
    let get = TestRequest::with_uri("/v1/opamp")
        .insert_header(("authorization", format!("ApiKey {}", house.token)));
    let get = face.send(get).await;
    get.assert_error(426, "UpgradeRequired");
    assert_eq!(
        (get.header("upgrade"), get.header("sec-websocket-version")),
        ("websocket", "13")
    );
}

#[actix_rt::test]
async fn both_bodies_may_be_gzip() {
    let house = House::new().await;
    let face = house.agents().await;
    let uid = Uuid::new_v4();
    let body = crate::checkin::gzip(&described(from(uid), "").encode_to_vec());
    let sent = request(&house.token, body)
        .insert_header(("content-encoding", "gzip"))
        .insert_header(("accept-encoding", "gzip"));
    assert_taken(&read(&face.send(sent).await), uid, 5);
}

#[actix_rt::test]
async fn the_limits_of_bodies_and_requests_hold() {
    let house = House::new().await;
    let face = house.agents().await;
    let long = face.send(request(&house.token, vec![0; 3_145_729])).await;
    assert_eq!((long.status.as_u16(), long.body.len()), (413, 0));
    let bomb = request(&house.token, crate::checkin::gzip(&vec![0; 3_145_729]))
        .insert_header(("content-encoding", "gzip"));
    assert_eq!(face.send(bomb).await.status, 413);

    let once = RouteLimits {
        interval: Some(Duration::from_secs(3600)),
        burst: 1,
        ..RouteLimits::NONE
    };
    let options = |route| AgentOptions {
        limits: Limits::default().with(route, once),
        ..AgentOptions::default()
    };
    let face = house.agents_with(options(Route::OpAmp)).await;
    let body = || from(Uuid::new_v4()).encode_to_vec();
    // A stranger spends nothing of it.
    assert_eq!(face.send(request(&stranger(), body())).await.status, 401);
    assert_eq!(face.send(request(&house.token, body())).await.status, 200);
    let refused = face.send(request(&house.token, body())).await;
    refused.assert_error(429, "RateLimit");
    assert!(!refused.header("retry-after").is_empty());

    // Enrolling is limited with the enrolments of other agents; who is known goes on.
    let face = house.agents_with(options(Route::Enroll)).await;
    let known = from(Uuid::new_v4());
    assert_eq!(say(&house, &face, &known).await.error_response, None);
    let error = say(&house, &face, &from(Uuid::new_v4()))
        .await
        .error_response
        .unwrap();
    assert_eq!(error.r#type(), ErrorKind::Unavailable);
    assert!(error.retry_info.unwrap().retry_after_nanoseconds > 0);
    assert_eq!(say(&house, &face, &known).await.error_response, None);
}

#[actix_rt::test]
async fn a_token_speaks_for_opamp_agents_of_its_policy_alone() {
    let house = House::new().await;
    let face = house.agents().await;
    let settings = serde_json::from_value(json!({"name": "Q", "namespace": "default"})).unwrap();
    let (other, others_token) = policies::create(&house.fleet, Some("Q"), settings, Timestamp::now())
        .await
        .unwrap();
    let uid = Uuid::new_v4();
    say(&house, &face, &from(uid)).await;
    let by_other = || request(&others_token.to_token(), from(uid).encode_to_vec());
    assert_bad(&read(&face.send(by_other()).await), "of another policy");
    // Reassigned, both speak for it: its own token is the only one that it has.
    let id = AgentId::from(uid.to_string());
    agents::reassign(&house.fleet, vec![id.clone()], &other.policy, Timestamp::now())
        .await
        .unwrap();
    assert_eq!(house.agent(id.as_str()).await.policy_revision, None);
    assert_eq!(read(&face.send(by_other()).await).error_response, None);
    assert_eq!(say(&house, &face, &from(uid)).await.error_response, None);
    assert_eq!(
        house.agent(id.as_str()).await.policy_revision,
        Some(1),
        "it takes no configuration, so there is nothing to wait for"
    );

    // An ordinary agent is not touched, also if its id is a uid.
    let agent = house.enroll(&face).await;
    let before = house.agent(&agent.id).await;
    let as_agent = from(Uuid::parse_str(&agent.id).unwrap());
    assert_bad(&say(&house, &face, &as_agent).await, "of another kind");
    let asks = AgentToServer {
        flags: agent_flag::REQUEST_INSTANCE_UID,
        ..as_agent
    };
    assert!(say(&house, &face, &asks).await.agent_identification.is_some());
    assert_eq!(house.agent(&agent.id).await, before);

    // Unenrolled, it stays so.
    agents::unenroll(&house.fleet, &id, Timestamp::now())
        .await
        .unwrap();
    assert!(!house.agent(id.as_str()).await.is_active);
    assert_bad(&say(&house, &face, &from(uid)).await, "unenrolled");
}

#[actix_rt::test]
async fn a_token_of_the_configuration_enrols_too() {
    let house = House::with(Settings {
        static_tokens: vec![StaticToken {
            key: "static-secret".to_owned().into(),
            policy: "P".into(),
        }],
        ..Settings::default()
    })
    .await;
    let face = house.agents().await;
    let uid = Uuid::new_v4();
    let token = STANDARD.encode("any:static-secret");
    let reply = read(&face.send(request(&token, from(uid).encode_to_vec())).await);
    assert_taken(&reply, uid, 5);
    assert_eq!(house.agent(&uid.to_string()).await.policy.as_str(), "P");
}

/// Lays this over the policy, and returns its revision.
async fn overridden(house: &House, overrides: Value) -> i64 {
    let operators = house.operators().await;
    let body = json!({"name": "P", "namespace": "default", "overrides": overrides});
    let put = house
        .admin(Method::PUT, "/api/fleet/agent_policies/P")
        .set_payload(body.to_string());
    let item = operators.send(put).await.ok();
    item["item"]["revision"].as_i64().unwrap()
}

#[actix_rt::test]
async fn a_policys_sections_are_offered_to_those_who_take_them_and_what_became_of_them_is_shown() {
    let house = House::new().await;
    let face = house.agents().await;
    let takes = |uid| AgentToServer {
        capabilities: 1 | capability::ACCEPTS_REMOTE_CONFIG,
        ..from(uid)
    };
    let uid = Uuid::new_v4();
    let reply = say(&house, &face, &takes(uid)).await;
    assert_taken(&reply, uid, 7);
    assert_eq!(reply.remote_config, None, "there is none yet");
    let sections = json!({
        "receivers": {"otlp": {"protocols": {"grpc": null}}},
        "service": {"pipelines": {"logs": {"receivers": ["otlp"]}}},
    });
    let revision = overridden(&house, sections.clone()).await;
    let offered = say(&house, &face, &takes(uid)).await.remote_config.unwrap();
    let [entry] = &offered.config.as_ref().unwrap().config_map[..] else {
        panic!("{offered:?}")
    };
    assert_eq!(entry.key, "");
    let file = entry.value.as_ref().unwrap();
    assert_eq!(file.content_type, "text/yaml");
    let yaml = notation::yaml::read(&file.body).unwrap().to_json().unwrap();
    let yaml: Value = serde_json::from_str(&yaml).unwrap();
    assert_eq!(yaml, sections);
    assert_eq!(offered.config_hash.len(), 32);
    assert_eq!(
        say(&house, &face, &from(Uuid::new_v4())).await.remote_config,
        None
    );

    let reports = |state: RemoteConfigState, message: &str| AgentToServer {
        remote_config_status: Some(
            RemoteConfigStatus {
                last_remote_config_hash: offered.config_hash.clone(),
                status: state.into(),
                error_message: message.to_owned(),
            }
            .encode_to_vec()
            .into(),
        ),
        ..takes(uid)
    };
    let failed = say(
        &house,
        &face,
        &reports(RemoteConfigState::Failed, "no such receiver"),
    )
    .await;
    assert_eq!(failed.remote_config, None, "it has it");
    assert_eq!(house.agent(&uid.to_string()).await.policy_revision, Some(1));
    let applied = say(&house, &face, &reports(RemoteConfigState::Applied, "")).await;
    assert_eq!(applied.remote_config, None);
    assert_eq!(
        house.agent(&uid.to_string()).await.policy_revision,
        Some(revision)
    );
    let item = shown_when(&house, uid, |item| {
        item["remote_config_status"]["status"] == "APPLIED"
    })
    .await;
    assert_eq!(item["remote_config_status"]["hash"].as_str().unwrap().len(), 64);
    // A revision that changes nothing for it counts as applied; one that does is offered.
    let same = overridden(&house, json!({"agent": {"x": 1}, "receivers": {"otlp": {"protocols": {"grpc": null}}}, "service": sections["service"]})).await;
    assert_eq!(say(&house, &face, &takes(uid)).await.remote_config, None);
    assert_eq!(house.agent(&uid.to_string()).await.policy_revision, Some(same));
    overridden(&house, json!({"receivers": {"other": {"x": 1}}})).await;
    let newer = say(&house, &face, &takes(uid)).await.remote_config.unwrap();
    assert_ne!(newer.config_hash, offered.config_hash);
}

#[actix_rt::test]
async fn a_token_checks_in_for_nobody() {
    let house = House::new().await;
    let face = house.agents().await;
    let uid = Uuid::new_v4();
    say(&house, &face, &from(uid)).await;
    let as_agent = Enrolled {
        id: uid.to_string(),
        key: house.token.clone(),
    };
    let answer = face
        .send(checkin_request(&as_agent, &json!({"status": "online"})))
        .await;
    answer.assert_error(403, "ErrAgentIdentity");
}
