//! UPL cases: files that agents send.

use std::time::Duration;

use actix_web::{dev::Payload, test::TestRequest};
use api::{AgentOptions, Limits, Route, RouteLimits};
use bytes::Bytes;
use fleet::{Settings, Timestamp, UploadId, UploadState, uploads::FileLimits};
use futures_util::stream;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use store::{UploadEnd, chunk_blob};

use crate::house::{Answer, Enrolled, Face, House, stranger, until, with_key};

const CHUNK: usize = 4 << 20;

/// The agents' API without a rate, but with the limits on bodies.
pub(crate) async fn unpaced(house: &House) -> Face {
    let mut limits = Limits::default();
    for route in Route::LIMITED.iter().copied() {
        let paced = RouteLimits::default_of(route);
        limits = limits.with(
            route,
            RouteLimits {
                interval: None,
                ..paced
            },
        );
    }
    house
        .agents_with(AgentOptions {
            limits,
            body_timeout: Duration::from_secs(2),
            ..AgentOptions::default()
        })
        .await
}

/// What a real agent says of its diagnostics (AC-78).
pub(crate) fn said(agent: &Enrolled, action: &str, size: i64) -> Value {
    json!({
        "action_id": action, "agent_id": agent.id, "src": "agent",
        "file": {
            "size": size, "name": "elastic-agent-diagnostics-2026-08-21T19-06-21Z-00.zip", "ext": "zip",
            "mime_type": "application/zip", "hash": {"sha256": "", "md5": ""},
        },
        "contents": null,
    })
}

pub(crate) async fn begin(face: &Face, agent: &Enrolled, body: &Value) -> Answer {
    let request = with_key("/api/fleet/uploads?", &agent.key);
    face.send(request.set_payload(body.to_string())).await
}

pub(crate) async fn begun(face: &Face, agent: &Enrolled, action: &str, size: usize) -> String {
    let size = i64::try_from(size).unwrap();
    let body = begin(face, agent, &said(agent, action, size)).await.ok();
    assert_eq!(body["chunk_size"], CHUNK);
    body["upload_id"].as_str().unwrap().to_owned()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn chunk_request(key: &str, upload: &str, number: &str, digest: &str, bytes: &[u8]) -> TestRequest {
    with_key(&format!("/api/fleet/uploads/{upload}/{number}?"), key)
        .method(actix_web::http::Method::PUT)
        .insert_header(("content-type", "application/json"))
        .insert_header(("X-Chunk-Sha2", digest))
        .set_payload(bytes.to_vec())
}

pub(crate) async fn put(face: &Face, agent: &Enrolled, upload: &str, number: usize, bytes: &[u8]) -> Answer {
    let request = chunk_request(&agent.key, upload, &number.to_string(), &sha256(bytes), bytes);
    face.send(request).await
}

pub(crate) async fn complete(face: &Face, key: &str, upload: &str, body: impl Into<Bytes>) -> Answer {
    let request = with_key(&format!("/api/fleet/uploads/{upload}?"), key);
    face.send(request.set_payload(body.into())).await
}

/// SHA-256 over the chunks' SHA-256s.
pub(crate) fn transit(file: &[u8]) -> String {
    let mut hash = Sha256::new();
    file.chunks(CHUNK)
        .for_each(|chunk| hash.update(Sha256::digest(chunk)));
    let transit = hash.finalize();
    json!({"transithash": {"sha256": transit.iter().map(|byte| format!("{byte:02X}")).collect::<String>()}})
        .to_string()
}

fn file(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| u8::try_from(at % 249).unwrap()).collect()
}

async fn state(house: &House, upload: &str) -> UploadState {
    let upload = house.store.upload(&UploadId::from(upload)).await.unwrap();
    upload.unwrap().state
}

async fn stored(house: &House) -> (u64, u64) {
    let space = house.store.blob_space().await.unwrap();
    (space.blobs, space.bytes)
}

#[track_caller]
fn accepted(answer: &Answer) {
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, ""));
}

#[actix_rt::test]
async fn upl_01_ac_78_a_real_agents_beginning_is_taken_and_kept_whole() {
    let house = House::new().await;
    let face = unpaced(&house).await;
    let agent = house.enroll(&face).await;
    let before = Timestamp::now();
    let said = said(&agent, "a1", 12);
    let answer = begin(&face, &agent, &said).await;
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("elastic-api-version"), "2023-06-01");
    let id = answer.ok()["upload_id"].as_str().unwrap().to_owned();
    let upload = house.store.upload(&id.as_str().into()).await.unwrap().unwrap();
    assert_eq!(
        (upload.state, upload.bytes, upload.chunk_bytes),
        (UploadState::Open, 12, CHUNK as u64)
    );
    assert_eq!(upload.file.as_str(), format!("a1.{}", agent.id));
    assert!(upload.started_at >= before && upload.started_at <= Timestamp::now());
    let document = house.store.upload_document(&upload.id).await.unwrap().unwrap();
    assert_eq!(document.as_str(), said.to_string());
}

#[actix_rt::test]
async fn upl_02_03_04_05_what_a_beginning_needs() {
    let house = House::new().await;
    let face = unpaced(&house).await;
    let agent = house.enroll(&face).await;
    let empty = face.send(with_key("/api/fleet/uploads?", &agent.key)).await;
    let message = empty.assert_error(400, "ErrFileInfoBodyRequired");
    assert!(message.contains("body is required"), "{message}");
    for path in ["file.name", "file.mime_type", "action_id", "src"] {
        for value in [Value::Null, json!(""), json!("  "), json!(7)] {
            let mut body = said(&agent, "a1", 12);
            *body.pointer_mut(&format!("/{}", path.replace('.', "/"))).unwrap() = value;
            let message = begin(&face, &agent, &body)
                .await
                .assert_error(400, "ErrFieldRequired");
            assert_eq!(message, format!("{path} is required: field required"));
        }
    }
    for value in [Value::Null, json!(""), json!(7)] {
        let mut body = said(&agent, "a1", 12);
        body["agent_id"] = value;
        begin(&face, &agent, &body)
            .await
            .assert_error(400, "ErrAgentIDMissing");
    }
    for (size, name) in [
        (json!(0), "ErrInvalidFileSize"),
        (json!(-1), "ErrInvalidFileSize"),
        (Value::Null, "ErrFileSizeRequired"),
        (json!("12"), "ErrFileSizeRequired"),
        (json!(1.5), "ErrFileSizeRequired"),
    ] {
        let mut body = said(&agent, "a1", 12);
        body["file"]["size"] = size;
        begin(&face, &agent, &body).await.assert_error(400, name);
    }
    // Text that would become part of a path or a name.
    for (member, value) in [
        ("src", "../x"),
        ("src", "Agent"),
        ("action_id", "a/../b"),
        ("action_id", "a b"),
    ] {
        let mut body = said(&agent, "a1", 12);
        body[member] = json!(value);
        begin(&face, &agent, &body).await.assert_error(400, "BadRequest");
    }
    for body in ["[]", "\"x\"", "{", "{\"agent_id\":"] {
        let request = with_key("/api/fleet/uploads?", &agent.key);
        let answer = face.send(request.set_payload(body)).await;
        answer.assert_error(400, "BadRequest");
    }
    assert_eq!(stored(&house).await, (0, 0));
}

#[actix_rt::test]
async fn upl_06_a_beginning_of_more_than_5_mib() {
    let house = House::new().await;
    let face = unpaced(&house).await;
    let agent = house.enroll(&face).await;
    let mut body = said(&agent, "a1", 12);
    body["contents"] = json!("x".repeat(5 << 20));
    begin(&face, &agent, &body)
        .await
        .assert_error(413, "ErrPayloadSizeTooLarge");
    body["contents"] = json!("x".repeat((5 << 20) - 1000));
    begin(&face, &agent, &body).await.ok();
}

#[actix_rt::test]
async fn upl_07_13_g06_only_the_agents_own_key_opens_its_uploads() {
    let house = House::new().await;
    let face = unpaced(&house).await;
    let (agent, other) = (house.enroll(&face).await, house.enroll(&face).await);
    begin(&face, &other, &said(&agent, "a1", 12))
        .await
        .assert_error(403, "ErrAgentIdentity");
    let upload = begun(&face, &agent, "a1", 12).await;
    put(&face, &other, &upload, 0, b"hello world!")
        .await
        .assert_error(403, "ErrAgentIdentity");
    complete(&face, &other.key, &upload, "{}")
        .await
        .assert_error(403, "ErrAgentIdentity");
    // The key comes first: whoever has none learns nothing of uploads.
    let keys = [
        (stranger(), 401, "ErrUnauthorized"),
        (house.token.clone(), 403, "ErrAgentIdentity"),
    ];
    for (key, status, name) in keys {
        for id in [upload.as_str(), "unknown"] {
            let request = chunk_request(&key, id, "0", "00", b"x");
            face.send(request).await.assert_error(status, name);
            complete(&face, &key, id, "{}").await.assert_error(status, name);
        }
        let request = with_key("/api/fleet/uploads", &key).set_payload("not even read");
        face.send(request).await.assert_error(status, name);
    }
    assert_eq!(
        (state(&house, &upload).await, stored(&house).await),
        (UploadState::Open, (0, 0))
    );
    let id = fleet::AgentId::from(agent.id.as_str());
    fleet::agents::force_unenroll(&house.fleet, &id, Timestamp::now())
        .await
        .unwrap();
    put(&face, &agent, &upload, 0, b"hello world!")
        .await
        .assert_error(401, "ErrAgentInactive");
}

#[actix_rt::test]
async fn upl_08_18_ac_79_a_file_of_one_chunk() {
    let house = House::new().await;
    let face = unpaced(&house).await;
    let agent = house.enroll(&face).await;
    let bytes = file(8192);
    let upload = begun(&face, &agent, "a1", bytes.len()).await;
    accepted(&put(&face, &agent, &upload, 0, &bytes).await);
    let answer = complete(&face, &agent.key, &upload, transit(&bytes)).await;
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.ok(), json!({"status": "ok"}));
    let ready = house
        .store
        .upload(&upload.as_str().into())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(ready.state, UploadState::Ready);
    let hash: Value = serde_json::from_str(&transit(&bytes)).unwrap();
    let hash = hash["transithash"]["sha256"].as_str().unwrap().to_lowercase();
    assert_eq!(ready.transit.unwrap().to_string(), hash);
    complete(&face, &agent.key, &upload, transit(&bytes))
        .await
        .assert_error(400, "ErrStatusNoUploads");
    put(&face, &agent, &upload, 0, &bytes)
        .await
        .assert_error(400, "ErrUploadStopped");
    begin(&face, &agent, &said(&agent, "a1", 8192))
        .await
        .assert_error(409, "ErrUploadExists");
    assert!(house.scrape().contains("fleet_server_upload_bytes_total 8192"));
}

#[actix_rt::test]
async fn g01_g03_upl_16_ac_80_chunks_in_any_order_and_twice() {
    let house = House::new().await;
    let face = unpaced(&house).await;
    let agent = house.enroll(&face).await;
    let bytes = file(2 * CHUNK + 1);
    let upload = begun(&face, &agent, "a1", bytes.len()).await;
    // A beginning whose answer was lost is repeated.
    assert_eq!(begun(&face, &agent, "a1", bytes.len()).await, upload);
    accepted(&put(&face, &agent, &upload, 2, &bytes[2 * CHUNK..]).await);
    accepted(&put(&face, &agent, &upload, 0, &bytes[..CHUNK]).await);
    accepted(&put(&face, &agent, &upload, 0, &bytes[..CHUNK]).await);
    let mut other = bytes[..CHUNK].to_vec();
    other[7] ^= 1;
    let refused = put(&face, &agent, &upload, 0, &other).await;
    assert_eq!(
        refused.assert_error(400, "ErrHashMismatch"),
        "the chunk is stored with other bytes"
    );
    let early = complete(&face, &agent.key, &upload, transit(&bytes)).await;
    early.assert_error(400, "ErrMissingChunks");
    assert_eq!(state(&house, &upload).await, UploadState::Open);
    accepted(&put(&face, &agent, &upload, 1, &bytes[CHUNK..2 * CHUNK]).await);
    complete(&face, &agent.key, &upload, transit(&bytes)).await.ok();
    assert_eq!(stored(&house).await, (3, bytes.len() as u64));
    let last = house
        .store
        .blob(&chunk_blob(&upload.as_str().into(), 2))
        .await
        .unwrap();
    assert_eq!(last.unwrap().bytes, 1);
}

#[actix_rt::test]
async fn upl_09_10_12_15_chunks_that_do_not_exist() {
    let house = House::new().await;
    let face = unpaced(&house).await;
    let agent = house.enroll(&face).await;
    let upload = begun(&face, &agent, "a1", CHUNK + 1).await;
    let digest = sha256(b"x");
    for number in ["-2", "2", "4294967296", "9223372036854775807"] {
        let request = chunk_request(&agent.key, &upload, number, &digest, b"x");
        face.send(request).await.assert_error(400, "ErrInvalidChunkNum");
    }
    for number in ["X", "1.0", "99999999999999999999", "%20"] {
        let request = chunk_request(&agent.key, &upload, number, &digest, b"x");
        face.send(request).await.assert_error(400, "BadRequest");
    }
    let request = with_key(&format!("/api/fleet/uploads/{upload}/0"), &agent.key);
    let answer = face.send(request.method(actix_web::http::Method::PUT)).await;
    assert!(answer.assert_error(400, "BadRequest").contains("X-Chunk-SHA2"));
    let answer = put(&face, &agent, "unknown", 0, b"x").await;
    assert_eq!(answer.assert_error(400, "ErrInvalidFileID"), "ErrInvalidID");
    complete(&face, &agent.key, "unknown", "{}")
        .await
        .assert_error(400, "ErrInvalidFileID");
    assert_eq!(stored(&house).await, (0, 0));
}

#[actix_rt::test]
async fn upl_14_g02_a_chunk_that_is_not_what_was_announced_leaves_nothing() {
    let house = House::new().await;
    let face = unpaced(&house).await;
    let agent = house.enroll(&face).await;
    let upload = begun(&face, &agent, "a1", CHUNK + 1).await;
    for digest in [sha256(b"y"), "x".to_owned(), String::from("zz").repeat(32)] {
        let request = chunk_request(&agent.key, &upload, "1", &digest, b"x");
        face.send(request).await.assert_error(400, "ErrHashMismatch");
    }
    for (number, bytes) in [
        (0, file(CHUNK - 1)),
        (1, file(2)),
        (1, Vec::new()),
        (1, file(CHUNK)),
    ] {
        put(&face, &agent, &upload, number, &bytes)
            .await
            .assert_error(400, "ErrFailValidation");
    }
    put(&face, &agent, &upload, 0, &file(CHUNK + 1))
        .await
        .assert_error(413, "ErrPayloadSizeTooLarge");
    let request = chunk_request(&agent.key, &upload, "1", &sha256(b"x"), b"x");
    let coded = request.insert_header(("content-encoding", "gzip"));
    face.send(coded).await.assert_error(415, "UnsupportedMediaType");
    assert_eq!(
        (state(&house, &upload).await, stored(&house).await),
        (UploadState::Open, (0, 0))
    );
    let request = chunk_request(&agent.key, &upload, "1", &sha256(b"x").to_uppercase(), b"x");
    accepted(&face.send(request).await);
    assert_eq!(stored(&house).await, (1, 1));
}

#[actix_rt::test]
async fn upl_14_a_chunk_that_breaks_off_or_stalls_is_never_a_short_one() {
    let house = House::new().await;
    let face = unpaced(&house).await;
    let agent = house.enroll(&face).await;
    let upload = begun(&face, &agent, "a1", 2).await;
    let streamed = |pieces: stream::LocalBoxStream<'static, _>| {
        let request = chunk_request(&agent.key, &upload, "0", &sha256(b"ab"), b"").to_request();
        let (request, _) = request.replace_payload(Payload::Stream { payload: pieces });
        request
    };
    let broken = actix_web::error::PayloadError::Incomplete(None);
    let pieces = stream::iter([Ok(Bytes::from_static(b"ab")), Err(broken)]);
    let answer = face.send_raw(streamed(Box::pin(pieces))).await;
    answer.assert_error(400, "BadRequest");
    let start = stream::iter([Ok(Bytes::from_static(b"ab"))]);
    let stalled = futures_util::StreamExt::chain(start, stream::pending());
    let answer = face.send_raw(streamed(Box::pin(stalled))).await;
    answer.assert_error(408, "RequestTimeout");
    assert_eq!(stored(&house).await, (0, 0));
    accepted(&put(&face, &agent, &upload, 0, b"ab").await);
}

#[actix_rt::test]
async fn upl_11_12_g05_chunks_and_ends_for_what_is_over() {
    let house = House::new().await;
    let face = unpaced(&house).await;
    let agent = house.enroll(&face).await;
    for (action, end) in [("failed", UploadEnd::Failed), ("deleted", UploadEnd::Deleted)] {
        let upload = begun(&face, &agent, action, 1).await;
        let id = UploadId::from(upload.as_str());
        house.store.end_upload(&id, end, Timestamp::now()).await.unwrap();
        put(&face, &agent, &upload, 0, b"x")
            .await
            .assert_error(400, "ErrUploadStopped");
        complete(&face, &agent.key, &upload, transit(b"x"))
            .await
            .assert_error(400, "ErrStatusNoUploads");
    }
    // 25 hours later.
    let now = Timestamp::now();
    let upload = begun(&face, &agent, "old", 1).await;
    let record = house
        .store
        .upload(&upload.as_str().into())
        .await
        .unwrap()
        .unwrap();
    let later = now.plus(Duration::from_secs(25 * 3600));
    accepted(&put(&face, &agent, &upload, 0, b"x").await);
    let digest = sha256(Sha256::digest(b"x").as_slice());
    let refused = fleet::uploads::chunk_terms(&house.fleet, &record, 0, &sha256(b"x"), later).await;
    let expired = fleet::uploads::UploadError::Expired {
        upload: record.id.clone(),
    };
    assert_eq!(refused.unwrap_err(), expired.clone().into());
    for hash in [Some(digest.as_str()), None] {
        let refused = fleet::uploads::complete(&house.fleet, &record, hash, later).await;
        assert_eq!(refused.unwrap_err(), expired.clone().into());
    }
    assert_eq!(
        state(&house, &upload).await,
        UploadState::Open,
        "nothing is half-done"
    );
    assert_eq!(house.store.expire_uploads(later, later, 10).await.unwrap(), 1);
    put(&face, &agent, &upload, 0, b"x")
        .await
        .assert_error(400, "ErrUploadExpired");
    complete(&face, &agent.key, &upload, transit(b"x"))
        .await
        .assert_error(400, "ErrUploadExpired");
    // A chunk that was on its way when its upload expired.
    let terms = store::BlobTerms::at_most(1);
    let body = stream::iter([Ok(Bytes::from_static(b"x"))]);
    let body = futures_util::StreamExt::boxed(body);
    let late = fleet::uploads::chunk(&house.fleet, &record, 0, body, terms).await;
    assert_eq!(late.unwrap_err(), expired.into());
    assert_eq!(stored(&house).await, (0, 0));
    // Such a file may be sent once more.
    assert_ne!(begun(&face, &agent, "old", 1).await, upload);
}

#[actix_rt::test]
async fn upl_17_g04_ac_81_a_wrong_transit_hash_ends_the_upload() {
    let house = House::new().await;
    let face = unpaced(&house).await;
    let agent = house.enroll(&face).await;
    for hash in [sha256(b"y"), "no hash".to_owned()] {
        let upload = begun(&face, &agent, "a1", 1).await;
        accepted(&put(&face, &agent, &upload, 0, b"x").await);
        let body = json!({"transithash": {"sha256": hash}}).to_string();
        complete(&face, &agent.key, &upload, body)
            .await
            .assert_error(400, "ErrFailValidation");
        assert_eq!(state(&house, &upload).await, UploadState::Failed);
        assert_eq!(stored(&house).await, (0, 0));
        put(&face, &agent, &upload, 0, b"x")
            .await
            .assert_error(400, "ErrUploadStopped");
    }
}

#[actix_rt::test]
async fn upl_19_ends_that_say_nothing() {
    let house = House::new().await;
    let face = unpaced(&house).await;
    let agent = house.enroll(&face).await;
    let upload = begun(&face, &agent, "a1", 1).await;
    accepted(&put(&face, &agent, &upload, 0, b"x").await);
    for body in [
        "{}",
        r#"{"transithash":{}}"#,
        r#"{"transithash":{"sha256":" "}}"#,
        "null",
    ] {
        let answer = complete(&face, &agent.key, &upload, body).await;
        answer.assert_error(400, "TransitHashRequired");
    }
    for body in ["", "{", "[]", r#"{"transithash":7}"#] {
        let answer = complete(&face, &agent.key, &upload, body).await;
        let message = answer.assert_error(400, "BadRequest");
        assert_eq!(message, "Bad request: unable to decode upload complete request");
    }
    let long = format!("{{\"x\":\"{}\"}}", "x".repeat(1024));
    complete(&face, &agent.key, &upload, long)
        .await
        .assert_error(413, "ErrPayloadSizeTooLarge");
    assert_eq!(state(&house, &upload).await, UploadState::Open);
    complete(&face, &agent.key, &upload, transit(b"x")).await.ok();
}

async fn with_limits(files: FileLimits) -> House {
    House::with(Settings {
        files,
        ..Settings::default()
    })
    .await
}

#[actix_rt::test]
async fn upl_05_files_are_off_or_too_large() {
    let house = with_limits(FileLimits {
        of_file: Some(0),
        ..FileLimits::default()
    })
    .await;
    let face = unpaced(&house).await;
    let agent = house.enroll(&face).await;
    begin(&face, &agent, &said(&agent, "a1", 12))
        .await
        .assert_error(403, "ErrFileFeatureDisable");
    let house = with_limits(FileLimits {
        of_file: Some(12),
        ..FileLimits::default()
    })
    .await;
    let face = unpaced(&house).await;
    let agent = house.enroll(&face).await;
    begin(&face, &agent, &said(&agent, "a1", 13))
        .await
        .assert_error(400, "ErrFileSizeTooLarge");
    begin(&face, &agent, &said(&agent, "a1", i64::MAX))
        .await
        .assert_error(400, "ErrFileSizeTooLarge");
    begun(&face, &agent, "a1", 12).await;
}

#[actix_rt::test]
async fn upl_05_quotas_of_an_agent_of_all_and_of_the_disk() {
    let house = with_limits(FileLimits {
        of_agent: Some(7000),
        of_all: Some(12_500),
        ..FileLimits::default()
    })
    .await;
    let face = unpaced(&house).await;
    let (agent, other) = (house.enroll(&face).await, house.enroll(&face).await);
    begun(&face, &agent, "a1", 2000).await;
    begin(&face, &agent, &said(&agent, "a2", 2000))
        .await
        .assert_error(413, "ErrAgentQuota");
    begin(&face, &other, &said(&other, "a1", 2600))
        .await
        .assert_error(507, "ErrStorageFull");
    begun(&face, &other, "a1", 1000).await;

    let house = with_limits(FileLimits {
        free: u64::MAX / 2,
        ..FileLimits::default()
    })
    .await;
    let face = unpaced(&house).await;
    let agent = house.enroll(&face).await;
    begin(&face, &agent, &said(&agent, "a1", 1))
        .await
        .assert_error(507, "ErrStorageFull");
    // The disk filling up stops files before it stops check-ins.
    let poll = crate::house::checkin_request(&agent, &json!({"status": "online"}));
    face.send(poll).await.ok();
}

/// A record counts what the agent said of it, too.
fn counted(agent: &Enrolled, size: i64) -> u64 {
    let record = said(agent, "a00", size).to_string().len() as u64;
    let size = u64::try_from(size).unwrap();
    store::BlobRoom::in_chunks(size, CHUNK as u64).counted() + record
}

/// Eight beginnings of each agent at once: more of one agent are refused before any quota is looked at.
async fn begun_at_once(face: &Face, agents: &[Enrolled], size: i64) -> Vec<Answer> {
    let all = (0..agents.len() * 8).map(|number| async move {
        let agent = &agents[number / 8];
        begin(face, agent, &said(agent, &format!("a{number:02}"), size)).await
    });
    futures_util::future::join_all(all).await
}

#[actix_rt::test]
async fn upl_05_of_many_beginnings_at_once_as_many_succeed_as_fit() {
    // As long as each of the house's.
    let nobody = Enrolled {
        id: "0".repeat(36),
        key: String::new(),
    };
    // One-byte files: what counts of them is the block that each takes.
    for (size, agents, fit, refused) in [
        (1, 5, 13, (507, "ErrStorageFull")),
        (5 << 20, 5, 13, (507, "ErrStorageFull")),
        (5 << 20, 1, 5, (413, "ErrAgentQuota")),
    ] {
        let room = Some((fit + 1) * counted(&nobody, size) - 1);
        let (of_agent, of_all) = if agents == 1 { (room, None) } else { (None, room) };
        let house = with_limits(FileLimits {
            of_agent,
            of_all,
            open_of_agent: None,
            free: 0,
            ..FileLimits::default()
        })
        .await;
        let face = house.agents_with(AgentOptions::default()).await;
        let mut enrolled = Vec::new();
        for _ in 0..agents {
            enrolled.push(house.enroll(&face).await);
            assert_eq!(enrolled[0].id.len(), nobody.id.len());
        }
        let face = house
            .agents_with(AgentOptions {
                limits: Limits::default().with(Route::UploadStart, RouteLimits::NONE),
                ..AgentOptions::default()
            })
            .await;
        let answers = begun_at_once(&face, &enrolled, size).await;
        let is_begun = |answer: &&Answer| answer.status.is_success();
        assert_eq!(answers.iter().filter(is_begun).count() as u64, fit, "{refused:?}");
        for answer in answers.iter().filter(|answer| !is_begun(answer)) {
            answer.assert_error(refused.0, refused.1);
        }
        // Again: those that are open are answered as they are, and no other is.
        let again = begun_at_once(&face, &enrolled, size).await;
        for (first, again) in answers.iter().zip(&again).filter(|(first, _)| is_begun(first)) {
            assert_eq!(first.json(), again.json());
        }
        assert_eq!(again.iter().filter(is_begun).count() as u64, fit);
        // One that has failed gives its room back, but for its record.
        let first = answers.iter().find(is_begun).unwrap().json();
        let id = UploadId::from(first["upload_id"].as_str().unwrap());
        let failed = house.store.end_upload(&id, UploadEnd::Failed, Timestamp::now());
        failed.await.unwrap();
        let agent = &enrolled[0];
        begun(&face, agent, "b00", usize::try_from(size).unwrap()).await;
        begin(&face, agent, &said(agent, "b01", size))
            .await
            .assert_error(refused.0, refused.1);
    }
}

#[actix_rt::test]
async fn upl_05_an_agent_has_at_most_so_many_uploads_open() {
    let house = with_limits(FileLimits {
        open_of_agent: Some(3),
        ..FileLimits::default()
    })
    .await;
    let face = unpaced(&house).await;
    let (agent, other) = (house.enroll(&face).await, house.enroll(&face).await);
    let all = (0..8).map(|number| {
        let (face, agent) = (&face, &agent);
        async move { begin(face, agent, &said(agent, &format!("a{number}"), 1)).await }
    });
    let answers = futures_util::future::join_all(all).await;
    let (begun_ones, refused): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.status.is_success());
    assert_eq!((begun_ones.len(), refused.len()), (3, 5));
    for answer in refused {
        let message = answer.assert_error(413, "ErrAgentQuota");
        assert!(message.contains("has 3 uploads open"), "{message}");
    }
    begun(&face, &other, "a1", 1).await;
    // One that is complete makes place for another.
    let upload = begun_ones[0].json()["upload_id"].as_str().unwrap().to_owned();
    accepted(&put(&face, &agent, &upload, 0, b"x").await);
    complete(&face, &agent.key, &upload, transit(b"x")).await.ok();
    begun(&face, &agent, "b1", 1).await;
    begin(&face, &agent, &said(&agent, "b2", 1))
        .await
        .assert_error(413, "ErrAgentQuota");
}

#[actix_rt::test]
async fn upl_05_artifacts_and_files_for_agents_take_of_the_same_room() {
    let house = with_limits(FileLimits {
        of_all: Some(20_000),
        ..FileLimits::default()
    })
    .await;
    let (face, operators) = (unpaced(&house).await, house.operators().await);
    let agent = house.enroll(&face).await;
    let upload = begun(&face, &agent, "a1", 4000).await;
    let put_artifact = |name: &str, bytes: usize| {
        let path = format!("/api/fleet/artifacts/{name}");
        let request = house.admin(actix_web::http::Method::PUT, &path);
        operators.send(request.set_payload(vec![b'x'; bytes]))
    };
    let room = 20_000 - counted(&agent, 4000);
    let most = usize::try_from(room).unwrap() - 4096;
    // The record has another length of its id than `counted` takes.
    put_artifact("large", most + 10)
        .await
        .assert_error(507, "Insufficient Storage");
    put_artifact("large", most - 10).await.ok();
    put_artifact("large", most - 10).await.ok();
    let lay_down = || {
        let path = format!("/api/fleet/files?agents={}", agent.id);
        operators.send(house.admin(actix_web::http::Method::POST, &path).set_payload("x"))
    };
    lay_down().await.assert_error(507, "Insufficient Storage");
    begin(&face, &agent, &said(&agent, "a2", 1))
        .await
        .assert_error(507, "ErrStorageFull");
    // What comes of an upload changes nothing; its end without its bytes does.
    accepted(&put(&face, &agent, &upload, 0, &[7; 4000]).await);
    lay_down().await.assert_error(507, "Insufficient Storage");
    let wrong = json!({"transithash": {"sha256": sha256(b"")}}).to_string();
    complete(&face, &agent.key, &upload, wrong)
        .await
        .assert_error(400, "ErrFailValidation");
    lay_down().await.ok();
}

#[actix_rt::test]
async fn upl_14_a_client_that_goes_away_leaves_nothing() {
    let house = House::new().await;
    let face = unpaced(&house).await;
    let agent = house.enroll(&face).await;
    let upload = begun(&face, &agent, "a1", 2).await;
    let request = chunk_request(&agent.key, &upload, "0", &sha256(b"ab"), b"").to_request();
    let (seen, mut reached) = tokio::sync::oneshot::channel();
    let mut seen = Some(seen);
    let start = stream::iter([Ok(Bytes::from_static(b"a"))]);
    let stalled = futures_util::StreamExt::chain(
        start,
        stream::poll_fn(move |_| {
            if let Some(seen) = seen.take() {
                seen.send(()).unwrap();
            }
            std::task::Poll::Pending
        }),
    );
    let stalled: stream::LocalBoxStream<'static, _> = Box::pin(stalled);
    let payload = Payload::Stream { payload: stalled };
    let (request, _) = request.replace_payload(payload);
    let sending = {
        let face = face.clone();
        actix_rt::spawn(async move { face.send_raw(request).await })
    };
    until(|| reached.try_recv().is_ok()).await;
    sending.abort();
    assert!(sending.await.unwrap_err().is_cancelled());
    let files = || house.files().len();
    until(|| files() == 0).await;
    accepted(&put(&face, &agent, &upload, 0, b"ab").await);
    assert_eq!(files(), 1);
}
