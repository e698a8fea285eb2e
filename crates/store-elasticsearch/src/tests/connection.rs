//! The connection: whom it trusts and as whom it comes, hosts that are dead, and keys.

use std::time::{Duration, Instant, SystemTime};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::Method;
use serde_json::json;
use store::{ApiKey, Secret};

use super::{
    cluster::{Cluster, trusting},
    nobody,
};
use crate::{
    Connection, Credentials, Failure, Fit,
    api_keys::NewApiKey,
    connection::{Body, Call},
};

fn root() -> Call {
    Call::new(Method::GET, "/", Body::None)
}

#[tokio::test]
#[ignore = "needs make elastic-check"]
async fn the_version_is_read_and_judged() {
    let connection = Cluster::named().connect_as_server().await;
    let (version, fit) = connection.version("9.1.3".parse().unwrap()).await.unwrap();
    assert_eq!((version.to_string().as_str(), fit), ("9.1.0", Fit::Good));
    let (_, fit) = connection.version("9.6.0".parse().unwrap()).await.unwrap();
    assert_eq!(fit, Fit::Older);
}

#[tokio::test]
#[ignore = "needs make elastic-check"]
async fn credentials_of_each_kind_are_accepted_and_wrong_ones_told() {
    let cluster = Cluster::named();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    std::fs::write(&path, "AAEAAWVsYXN0aWM=\n").unwrap();
    let connection = Connection::new(cluster.settings(Credentials::ServiceTokenFile(path.clone()))).unwrap();
    let refused = connection.call(root()).await.unwrap_err();
    assert!(matches!(refused, Failure::Unauthorized { .. }), "{refused}");
    // The file was replaced: the next call counts.
    std::fs::write(&path, format!("{}\n", cluster.service_token().await.reveal())).unwrap();
    connection.call(root()).await.unwrap();

    let operator = cluster.connect_as_operator();
    operator.call(root()).await.unwrap();
    let key = operator.issue_key(new_key("as an operator")).await.unwrap();
    let with_key =
        Connection::new(cluster.settings(Credentials::ApiKey(Secret::from(key.to_token())))).unwrap();
    let denied = with_key
        .call(Call::new(Method::GET, "/.fleet-agents/_search", Body::None))
        .await
        .unwrap_err();
    assert!(matches!(denied, Failure::Forbidden { .. }), "{denied}");
}

#[tokio::test]
#[ignore = "needs make elastic-check"]
async fn an_authority_that_is_not_trusted_is_told_with_the_host() {
    let cluster = Cluster::named();
    let mut settings = cluster.settings(Credentials::ServiceToken(cluster.service_token().await));
    settings.tls = trusting(Vec::new());
    let refused = Connection::new(settings).unwrap().call(root()).await.unwrap_err();
    let text = store::chain(&refused);
    assert!(matches!(refused, Failure::Unreachable { .. }), "{text}");
    assert!(
        text.contains("127.0.0.1") && text.contains("UnknownIssuer"),
        "{text}"
    );
}

#[tokio::test]
#[ignore = "needs make elastic-check"]
async fn a_dead_host_is_left_out() {
    let cluster = Cluster::named();
    let mut settings = cluster.settings(Credentials::ServiceToken(cluster.service_token().await));
    settings.hosts = vec![nobody(), cluster.url.clone(), nobody()];
    let connection = Connection::new(settings).unwrap();
    connection.call(root()).await.unwrap();
    let started = Instant::now();
    for _ in 0..20 {
        connection.call(root()).await.unwrap();
    }
    // Each try of a dead host would cost a wait of a quarter of a second at least.
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
#[ignore = "needs make elastic-check"]
async fn a_large_body_is_compressed_and_understood() {
    let connection = Cluster::named().connect_as_operator();
    let query =
        json!({"query": {"terms": {"agents": (0..1000).map(|n| format!("agent-{n}")).collect::<Vec<_>>()}}});
    let call = Call::new(
        Method::POST,
        "/.fleet-actions/_search",
        crate::api_keys::write(&query).unwrap(),
    );
    let answer: serde_json::Value = connection.json(call).await.unwrap();
    assert_eq!(answer["hits"]["hits"], json!([]));
}

#[tokio::test]
#[ignore = "needs make elastic-check"]
async fn a_key_is_issued_verified_and_seen_among_the_invalidated() {
    let cluster = Cluster::named();
    let connection = cluster.connect_as_server().await;
    let before = SystemTime::now() - Duration::from_secs(5);
    let key = connection.issue_key(new_key("agent-1")).await.unwrap();
    assert_eq!(
        connection.authenticate(&key).await.unwrap().as_deref(),
        Some("agent-1")
    );
    let wrong = ApiKey::from_token(&STANDARD.encode(format!("{}:wrong", key.id))).unwrap();
    assert_eq!(connection.authenticate(&wrong).await.unwrap(), None);
    let listed = connection.living_keys("agent_id", "of the test").await.unwrap();
    assert!(listed.iter().any(|one| one.id == key.id));
    // As somebody else does it: not by this server.
    let unknown = "no such key".into();
    cluster
        .connect_as_server()
        .await
        .invalidate_api_keys(&[key.id.clone(), unknown])
        .await
        .unwrap();
    assert_eq!(connection.authenticate(&key).await.unwrap(), None);
    assert!(
        connection
            .invalidated_since(before)
            .await
            .unwrap()
            .contains(&key.id)
    );
    connection
        .invalidate_api_keys(&["no such key".into()])
        .await
        .unwrap();
}

fn new_key(name: &str) -> NewApiKey<'_> {
    NewApiKey {
        name,
        role: "fleet-apikey-access",
        metadata: json!({"agent_id": "of the test"}),
        expires_in: Some(Duration::from_secs(3600)),
        is_found_at_once: true,
    }
}

#[tokio::test]
async fn without_a_host_there_is_no_connection() {
    let settings = crate::Settings {
        hosts: Vec::new(),
        credentials: Credentials::ApiKey(Secret::from(String::new())),
        tls: trusting(Vec::new()),
        proxy: None,
        headers: reqwest::header::HeaderMap::new(),
        compresses: false,
        timeout: Duration::from_secs(1),
        user_agent: String::new(),
    };
    let refused = Connection::new(settings).unwrap_err();
    assert!(matches!(refused, crate::ConnectionError::NoHost), "{refused}");
}
