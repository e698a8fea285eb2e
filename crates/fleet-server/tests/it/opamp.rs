//! Agents that speak OpAMP, over TLS.

use opamp::{
    AgentConfigFile, AgentConfigMap, AgentToServer, ConfigEntry, EffectiveConfig, Message as _,
    ServerToAgent, capability,
};
use serde_json::{Value, json};
use test_support::{HttpClient, LIMIT, Request};
use uuid::Uuid;

use crate::agents::Scene;

pub(crate) async fn say(client: &HttpClient, token: &str, message: &AgentToServer) -> ServerToAgent {
    let request = Request::new("POST", "/v1/opamp")
        .header("Authorization", &format!("ApiKey {token}"))
        .header("Content-Type", "application/x-protobuf")
        .body(message.encode_to_vec());
    let response = client.request(&request).await.unwrap();
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(response.header("content-type"), Some("application/x-protobuf"));
    ServerToAgent::decode(response.body.as_slice()).unwrap()
}

/// The agent as an operator sees it, once it is as expected.
pub(crate) async fn shown_when(scene: &Scene, uid: Uuid, is_there: impl Fn(&Value) -> bool) -> Value {
    let wait = async {
        loop {
            let agent = scene.admin.agent(&uid.to_string()).await;
            if is_there(&agent) {
                return agent;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LIMIT, wait)
        .await
        .expect("it is shown in time")
}

#[actix_rt::test]
async fn opa_03_04_08_a_collector_enrols_over_tls_is_configured_and_shown() {
    let scene = Scene::start();
    let (outside, inside) = (scene.facts.client("url"), scene.facts.client("internal_url"));
    let token = scene.facts.enrollment_token();
    let body = json!({
        "name": "collectors", "namespace": "default",
        "overrides": {"exporters": {"debug": {"verbosity": "basic"}}, "service": {"pipelines": {}}},
    });
    scene.admin.update_policy(scene.facts.policy_id(), &body).await;

    let uid = Uuid::new_v4();
    let config = EffectiveConfig {
        config_map: Some(AgentConfigMap {
            config_map: vec![ConfigEntry {
                key: String::new(),
                value: Some(AgentConfigFile {
                    body: "exporters: {otlp: {api_key: hidden, endpoint: 'https://u:p@host'}}\n".into(),
                    content_type: "text/yaml".to_owned(),
                }),
            }],
        }),
    };
    let message = AgentToServer {
        instance_uid: uid.as_bytes().to_vec().into(),
        capabilities: 1 | capability::ACCEPTS_REMOTE_CONFIG,
        effective_config: Some(config.encode_to_vec().into()),
        ..AgentToServer::default()
    };
    let first = say(&outside, token, &message).await;
    assert_eq!((first.flags, first.capabilities), (1, 7));
    let offered = first.remote_config.expect("the policy's sections");
    let entry = offered.config.unwrap().config_map.remove(0);
    let sections: Value = serde_json::from_slice(&entry.value.unwrap().body).unwrap();
    assert_eq!(sections["exporters"], body["overrides"]["exporters"]);
    let second = say(&inside, token, &message).await;
    assert_eq!((second.flags, second.capabilities), (1, 0));

    let agent = shown_when(&scene, uid, |agent| agent["last_checkin_status"].is_string()).await;
    assert_eq!(
        (&agent["type"], &agent["status"]),
        (&json!("OPAMP"), &json!("online"))
    );
    let expected =
        json!({"exporters": {"otlp": {"api_key": "REDACTED", "endpoint": "https://REDACTED@host"}}});
    assert_eq!(agent["effective_config"], expected);
    assert!(
        scene
            .server
            .log()
            .iter()
            .all(|line| !format!("{line:?}").contains("hidden"))
    );
}
