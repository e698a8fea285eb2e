//! ART cases: artifacts, stored by operators, fetched by agents whose policy lists them.

use std::io::Write as _;

use actix_web::{http::Method, test::TestRequest};
use flate2::{Compression, write::ZlibEncoder};
use serde_json::{Value, json};

use crate::{
    house::{Enrolled, Face, House, checkin_request, with_key},
    uploads::{sha256, unpaced},
};

const NAME: &str = "endpoint-exceptionlist-windows-v1";

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn put(house: &House, name: &str, bytes: Vec<u8>) -> TestRequest {
    house
        .admin(Method::PUT, &format!("/api/fleet/artifacts/{name}"))
        .set_payload(bytes)
}

fn get(agent: &Enrolled, name: &str, decoded: &str) -> TestRequest {
    with_key(&format!("/api/fleet/artifacts/{name}/{decoded}"), &agent.key).method(Method::GET)
}

/// The policy gets this manifest's entry.
async fn list(house: &House, operators: &Face, policy: &str, name: &str, entry: &Value) {
    let path = format!("/api/fleet/agent_policies/{policy}");
    let inputs = json!([{"type": "endpoint", "artifact_manifest": {
        "manifest_version": "1.0.0", "schema_version": "v1", "artifacts": {name: entry},
    }}]);
    let body = json!({"name": policy, "namespace": "default", "overrides": {"inputs": inputs}});
    let request = house.admin(Method::PUT, &path).set_payload(body.to_string());
    operators.send(request).await.ok();
}

/// The path of one that the policy lists.
pub(crate) async fn listed(house: &House, operators: &Face) -> String {
    let stored = operators.send(put(house, NAME, b"bytes".to_vec())).await.ok();
    let entry = &stored["item"]["entry"];
    list(house, operators, house.policy.as_str(), NAME, entry).await;
    entry["relative_url"].as_str().unwrap().to_owned()
}

#[actix_rt::test]
async fn art_01_04_an_artifact_is_stored_listed_fetched_and_removed() {
    let house = House::new().await;
    let (face, operators) = (unpaced(&house).await, house.operators().await);
    let agent = house.enroll(&face).await;
    let plain = br#"{"entries":[]}"#.repeat(40_000);
    let packed = zlib(&plain);
    let stored = operators.send(put(&house, NAME, packed.clone())).await.ok();
    let entry = &stored["item"]["entry"];
    assert_eq!(
        entry,
        &json!({
            "encryption_algorithm": "none", "compression_algorithm": "zlib",
            "decoded_sha256": sha256(&plain), "decoded_size": plain.len(),
            "encoded_sha256": sha256(&packed), "encoded_size": packed.len(),
            "relative_url": format!("/api/fleet/artifacts/{NAME}/{}", sha256(&plain)),
        })
    );
    let again = operators.send(put(&house, NAME, packed.clone())).await.ok();
    assert_eq!(again, stored, "equal bytes again are harmless");
    let faster = {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::none());
        encoder.write_all(&plain).unwrap();
        encoder.finish().unwrap()
    };
    let other = operators.send(put(&house, NAME, faster)).await;
    assert_eq!(other.status, 409, "agents know the first by its SHA-256");

    let decoded = sha256(&plain);
    let early = face.send(get(&agent, NAME, &decoded)).await;
    early.assert_error(403, "Forbidden");
    list(&house, &operators, house.policy.as_str(), NAME, entry).await;
    let fetched = face.send(get(&agent, NAME, &decoded)).await;
    assert_eq!(fetched.status, 200);
    assert_eq!(
        fetched.header("content-encoding"),
        "",
        "the client inflates it by itself"
    );
    assert_eq!(fetched.body, packed);

    let path = format!("/api/fleet/artifacts/{NAME}/{decoded}");
    operators.send(house.admin(Method::DELETE, &path)).await.ok();
    face.send(get(&agent, NAME, &decoded))
        .await
        .assert_error(404, "NotFound");
    let twice = operators.send(house.admin(Method::DELETE, &path)).await;
    assert_eq!(twice.status, 404);
}

#[actix_rt::test]
async fn art_02_03_only_the_assigned_policy_opens_an_artifact() {
    let house = House::new().await;
    let (face, operators) = (unpaced(&house).await, house.operators().await);
    let agent = house.enroll(&face).await;
    let stored = operators.send(put(&house, NAME, b"plain".to_vec())).await.ok();
    let entry = &stored["item"]["entry"];
    assert_eq!(entry["compression_algorithm"], "none");
    assert_eq!(entry["decoded_sha256"], entry["encoded_sha256"]);
    let made = operators
        .send(
            house
                .admin(Method::POST, "/api/fleet/agent_policies")
                .set_payload(json!({"id": "other", "name": "other", "namespace": "default"}).to_string()),
        )
        .await;
    assert_eq!(made.status, 200);
    list(&house, &operators, "other", NAME, entry).await;
    let says = json!({"status": "online", "agent_policy_id": "other", "policy_revision_idx": 1, "poll_timeout": "0s"});
    face.send(checkin_request(&agent, &says)).await.ok();
    let decoded = sha256(b"plain");
    face.send(get(&agent, NAME, &decoded))
        .await
        .assert_error(403, "Forbidden");

    list(&house, &operators, house.policy.as_str(), NAME, entry).await;
    assert_eq!(face.send(get(&agent, NAME, &decoded)).await.status, 200);
    let (capitals, zeros) = (decoded.to_ascii_uppercase(), "0".repeat(64));
    for (name, decoded) in [("another", &decoded), (NAME, &zeros), (NAME, &capitals)] {
        face.send(get(&agent, name, decoded))
            .await
            .assert_error(403, "Forbidden");
    }
}

#[actix_rt::test]
async fn g7_an_artifact_is_delivered_as_it_is_stored_until_the_policy_drops_it() {
    let house = House::new().await;
    let (face, operators) = (unpaced(&house).await, house.operators().await);
    let agent = house.enroll(&face).await;
    let packed = zlib(br#"{"entries":[]}"#);
    let stored = operators.send(put(&house, NAME, packed.clone())).await.ok();
    let entry = &stored["item"]["entry"];
    let decoded = entry["decoded_sha256"].as_str().unwrap();
    list(&house, &operators, house.policy.as_str(), NAME, entry).await;
    let fetched = face.send(get(&agent, NAME, decoded)).await;
    assert_eq!((fetched.status.as_u16(), fetched.body), (200, packed));
    let path = format!("/api/fleet/agent_policies/{}", house.policy);
    let dropped = json!({"name": "P", "namespace": "default", "overrides": {}});
    let request = house.admin(Method::PUT, &path).set_payload(dropped.to_string());
    operators.send(request).await.ok();
    face.send(get(&agent, NAME, decoded))
        .await
        .assert_error(403, "Forbidden");
    // The bytes are still there, for other policies.
    let path = format!("/api/fleet/artifacts/{NAME}/{decoded}");
    operators.send(house.admin(Method::DELETE, &path)).await.ok();
}

#[actix_rt::test]
async fn art_05_a_malformed_request_is_the_clients_fault_after_its_key() {
    let house = House::new().await;
    let (face, operators) = (unpaced(&house).await, house.operators().await);
    let agent = house.enroll(&face).await;
    for decoded in ["00", &"g".repeat(64), &"0".repeat(65)] {
        face.send(get(&agent, NAME, decoded))
            .await
            .assert_error(400, "BadRequest");
    }
    let mut stranger = get(&agent, NAME, "00");
    stranger = stranger.insert_header(("authorization", "ApiKey bm9ib2R5OmF0YWxs"));
    face.send(stranger).await.assert_error(401, "ErrUnauthorized");
    for name in ["a%2Fb", "%00", &"x".repeat(257)] {
        let refused = operators.send(put(&house, name, b"{}".to_vec())).await;
        assert_eq!(refused.status, 400, "{name}");
    }
}

#[actix_rt::test]
async fn art_06_many_first_fetches_at_once_are_all_served() {
    let house = House::new().await;
    let (face, operators) = (unpaced(&house).await, house.operators().await);
    let mut agents = Vec::new();
    for _ in 0..6 {
        agents.push(house.enroll(&face).await);
    }
    let stored = operators.send(put(&house, NAME, vec![7; 1 << 20])).await.ok();
    list(
        &house,
        &operators,
        house.policy.as_str(),
        NAME,
        &stored["item"]["entry"],
    )
    .await;
    let decoded = sha256(&vec![7; 1 << 20]);
    // As many as the route serves at once: of each agent as many as one may have under way.
    let fetches = agents.iter().flat_map(|agent| [agent; 8]);
    let fetches = fetches.map(|agent| face.send(get(agent, NAME, &decoded)));
    for fetched in futures_util::future::join_all(fetches).await {
        assert_eq!(fetched.status.as_u16(), 200, "{}", fetched.text());
        assert_eq!(sha256(&fetched.body), decoded);
    }
}

#[actix_rt::test]
async fn artifacts_leave_the_disk_the_room_that_other_writes_need() {
    let settings = fleet::Settings {
        files: fleet::uploads::FileLimits {
            free: u64::MAX,
            ..Default::default()
        },
        ..Default::default()
    };
    let house = House::with(settings).await;
    let operators = house.operators().await;
    let refused = operators.send(put(&house, NAME, b"plain".to_vec())).await;
    refused.assert_error(507, "Insufficient Storage");
    assert!(house.files().is_empty(), "{:?}", house.files());
}
