//! FIL cases: files for agents.

use actix_web::{http::Method, test::TestRequest};
use fleet::{
    BlobStream, Settings, Timestamp,
    agent_files::{self, Audience, FileDraft},
    uploads::FileLimits,
};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use crate::{
    house::{Answer, Enrolled, Face, House, stranger},
    uploads::{begin, begun, said, sha256, unpaced},
};

async fn laid_down(house: &House, operators: &Face, query: &str, bytes: &[u8]) -> Value {
    let request = house
        .admin(Method::POST, &format!("/api/fleet/files?{query}"))
        .insert_header(("content-type", "application/x-thing"))
        .set_payload(bytes.to_vec());
    operators.send(request).await.ok()["item"].take()
}

fn get(agent: &Enrolled, target: &str) -> TestRequest {
    TestRequest::with_uri(&format!("/api/fleet/file/{target}"))
        .insert_header(("authorization", format!("ApiKey {}", agent.key)))
}

async fn ranged(face: &Face, agent: &Enrolled, id: &str, range: &str) -> Answer {
    face.send(get(agent, id).insert_header(("range", range))).await
}

fn thing() -> Vec<u8> {
    (0..600u32).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

#[actix_rt::test]
async fn fil_01_02_09_a_file_is_for_the_agents_it_names() {
    let house = House::new().await;
    let (face, operators) = (unpaced(&house).await, house.operators().await);
    let (agent, other) = (house.enroll(&face).await, house.enroll(&face).await);
    let bytes = thing();
    let item = laid_down(
        &house,
        &operators,
        &format!("agents={}&name=a.bin", agent.id),
        &bytes,
    )
    .await;
    assert_eq!(
        (&item["size"], &item["sha256"], &item["name"], &item["agents"]),
        (
            &json!(600),
            &json!(sha256(&bytes)),
            &json!("a.bin"),
            &json!([agent.id])
        )
    );
    let id = item["id"].as_str().unwrap();
    let whole = face.send(get(&agent, id)).await;
    assert_eq!(
        (whole.status.as_u16(), whole.body.as_slice()),
        (200, bytes.as_slice())
    );
    for (name, value) in [
        ("content-type", "application/x-thing".to_owned()),
        ("accept-ranges", "bytes".to_owned()),
        ("x-file-sha2", sha256(&bytes)),
        ("etag", format!("\"{}\"", sha256(&bytes))),
        ("x-content-type-options", "nosniff".to_owned()),
        ("content-range", String::new()),
    ] {
        assert_eq!(whole.header(name), value, "{name}");
    }
    for target in [id, "unknown", "..%2F..%2Fadmin.key", ""] {
        let answer = face.send(get(&other, target)).await;
        assert_eq!(answer.status.as_u16(), 404, "{target}");
        if !target.is_empty() {
            assert_eq!(answer.assert_error(404, "ErrNoFile"), "file not found");
        }
    }
    let nobody = Enrolled {
        id: agent.id.clone(),
        key: stranger(),
    };
    face.send(get(&nobody, id))
        .await
        .assert_error(401, "ErrUnauthorized");
    for method in [Method::POST, Method::PUT, Method::DELETE] {
        let answer = face.send(get(&agent, id).method(method)).await;
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (405, ""));
    }
    let known = get(&agent, id).insert_header(("if-none-match", format!("\"x\", W/\"{}\"", sha256(&bytes))));
    let unchanged = face.send(known).await;
    assert_eq!((unchanged.status.as_u16(), unchanged.body.len()), (304, 0));

    let list = operators
        .send(house.admin(Method::GET, "/api/fleet/files"))
        .await
        .ok();
    assert_eq!((&list["total"], &list["items"][0]["id"]), (&json!(1), &json!(id)));
    let path = format!("/api/fleet/files/{id}");
    operators.send(house.admin(Method::DELETE, &path)).await.ok();
    operators
        .send(house.admin(Method::DELETE, &path))
        .await
        .assert_error(404, "Not Found");
    face.send(get(&agent, id)).await.assert_error(404, "ErrNoFile");
    assert!(house.files().is_empty());
}

#[actix_rt::test]
async fn fil_03_04_05_06_one_range_at_most() {
    let house = House::new().await;
    let (face, operators) = (unpaced(&house).await, house.operators().await);
    let agent = house.enroll(&face).await;
    let bytes = thing();
    let item = laid_down(&house, &operators, &format!("agents={}", agent.id), &bytes).await;
    let id = item["id"].as_str().unwrap();
    for (range, first, last) in [
        ("bytes=103-443", 103, 443),
        ("bytes=-150", 450, 599),
        ("bytes=405-", 405, 599),
    ] {
        let part = ranged(&face, &agent, id, range).await;
        assert_eq!(
            (part.status.as_u16(), part.body.as_slice()),
            (206, &bytes[first..=last]),
            "{range}"
        );
        assert_eq!(part.header("content-range"), format!("bytes {first}-{last}/600"));
        assert_eq!(part.header("x-file-sha2"), sha256(&bytes));
    }
    for range in ["bytes=900-1200", "bytes=100-20", "bytes 9-99", "bytes=-0"] {
        let refused = ranged(&face, &agent, id, range).await;
        assert_eq!(refused.header("content-range"), "bytes */600", "{range}");
        assert_eq!(
            refused.assert_error(416, "ErrRangeNotSatisfiable"),
            "range not satisfiable"
        );
    }
    let several = ranged(&face, &agent, id, "bytes=0-50, 100-150").await;
    assert_eq!(several.header("content-range"), "");
    assert_eq!(
        several.assert_error(416, "ErrRangeNotSatisfiable"),
        "Multipart ranges not satisfiable"
    );
    let whole = ranged(&face, &agent, id, "bytes=").await;
    assert_eq!((whole.status.as_u16(), whole.body), (200, bytes.clone()));
    // A range of what is not the same file any more.
    let stale = get(&agent, id)
        .insert_header(("range", "bytes=0-1"))
        .insert_header(("if-range", "\"other\""));
    assert_eq!(face.send(stale).await.status.as_u16(), 200);
    let same = get(&agent, id)
        .insert_header(("range", "bytes=0-1"))
        .insert_header(("if-range", format!("\"{}\"", sha256(&bytes))));
    assert_eq!(face.send(same).await.body, bytes[..2]);
}

#[actix_rt::test]
async fn fil_07_08_libraries_are_for_the_clients_that_know_them() {
    let house = House::new().await;
    let (face, operators) = (unpaced(&house).await, house.operators().await);
    let agent = house.enroll(&face).await;
    let item = laid_down(&house, &operators, "source=x", b"bytes").await;
    let id = item["id"].as_str().unwrap();
    let of = |target: &str, origin: Option<&str>| {
        let request = get(&agent, target);
        origin.map_or_else(
            || get(&agent, target),
            |origin| request.insert_header(("X-elastic-product-origin", origin)),
        )
    };
    let target = format!("{id}?source=x");
    for origin in [None, Some("kibana"), Some("")] {
        face.send(of(&target, origin))
            .await
            .assert_error(403, "ErrClientFileForbidden");
    }
    let read = face
        .send(of(&format!("{id}?source=%20X*"), Some("Endpoint-Security")))
        .await;
    assert_eq!(
        (read.status.as_u16(), read.body.as_slice()),
        (200, b"bytes".as_slice())
    );
    for target in [format!("{id}?source=y"), id.to_owned()] {
        let answer = face.send(of(&target, Some("endpoint-security"))).await;
        answer.assert_error(404, "ErrNoFile");
    }
}

#[actix_rt::test]
async fn fil_02_what_operators_cannot_lay_down() {
    let house = House::with(Settings {
        files: FileLimits {
            of_all: Some(6000),
            ..FileLimits::default()
        },
        ..Settings::default()
    })
    .await;
    let (face, operators) = (unpaced(&house).await, house.operators().await);
    let agent = house.enroll(&face).await;
    let lay_down = |query: String, bytes: usize| {
        house
            .admin(Method::POST, &format!("/api/fleet/files?{query}"))
            .set_payload(vec![b'x'; bytes])
    };
    for query in ["", "agents=", "source=a/b", "agents=a&source=b", "agent=a"] {
        let answer = operators.send(lay_down(query.to_owned(), 1)).await;
        answer.assert_error(400, "Bad Request");
    }
    let nobody = operators.send(lay_down("agents=nobody".to_owned(), 1)).await;
    nobody.assert_error(404, "Not Found");
    let query = format!("agents={}", agent.id);
    let large = operators.send(lay_down(query.clone(), 1905)).await;
    large.assert_error(507, "Insufficient Storage");
    operators.send(lay_down(query.clone(), 600)).await.ok();
    let large = operators.send(lay_down(query, 401)).await;
    large.assert_error(507, "Insufficient Storage");
    assert_eq!(house.files().len(), 1);
}

#[actix_rt::test]
async fn fil_02_room_is_held_while_a_file_comes_and_given_back_when_it_does_not() {
    const MIB: u64 = 1 << 20;
    let house = House::with(Settings {
        files: FileLimits {
            of_all: Some(10 * MIB),
            free: 0,
            ..FileLimits::default()
        },
        ..Settings::default()
    })
    .await;
    let face = unpaced(&house).await;
    let agent = house.enroll(&face).await;
    let lay_down = |bytes: Option<u64>, body: BlobStream| {
        let draft = FileDraft {
            name: "f".to_owned(),
            mime_type: "text/plain".to_owned(),
            audience: Audience::Library("l".to_owned()),
            bytes,
        };
        let fleet = std::sync::Arc::clone(&house.fleet);
        actix_rt::spawn(async move { agent_files::lay_down(&fleet, draft, body, Timestamp::now()).await })
    };
    // Sends one byte, says so, and then nothing more.
    let stalled = || {
        let (said, reached) = tokio::sync::oneshot::channel();
        let told = stream::once(async move {
            said.send(()).unwrap();
            std::future::pending().await
        });
        let byte = stream::iter([Ok(bytes::Bytes::from_static(b"x"))]);
        (byte.chain(told).boxed(), reached)
    };
    for (announced, too_much) in [(Some(8 * MIB), 2 * MIB), (None, 6 * MIB)] {
        let (body, reached) = stalled();
        let coming = lay_down(announced, body);
        reached.await.unwrap();
        let upload = |action: &str, size: u64| said(&agent, action, i64::try_from(size).unwrap());
        begin(&face, &agent, &upload("large", too_much))
            .await
            .assert_error(507, "ErrStorageFull");
        let refused = lay_down(Some(too_much), stream::empty().boxed()).await.unwrap();
        let full = refused.unwrap_err().to_string();
        assert!(full.contains("left for files"), "{full}");
        // What is left may be taken.
        let small = begun(&face, &agent, "small", 1_900_000).await;
        coming.abort();
        assert!(coming.await.unwrap_err().is_cancelled());
        house
            .store
            .end_upload(&small.as_str().into(), store::UploadEnd::Failed, Timestamp::now())
            .await
            .unwrap();
        let whole = begun(&face, &agent, "large", 9_900_000).await;
        house
            .store
            .end_upload(&whole.as_str().into(), store::UploadEnd::Failed, Timestamp::now())
            .await
            .unwrap();
    }
    // Of unknown length, and more than there is: it ends where the room does.
    let piece = bytes::Bytes::from(vec![b'x'; 1 << 20]);
    let without_end = stream::repeat_with(move || Ok(piece.clone())).boxed();
    let refused = lay_down(None, without_end).await.unwrap().unwrap_err();
    assert!(
        refused.to_string().contains("bytes are left for files"),
        "{refused}"
    );
    assert!(house.files().is_empty());
    let piece = bytes::Bytes::from(vec![b'x'; 1 << 20]);
    let fits = stream::repeat_with(move || Ok(piece.clone())).take(9).boxed();
    let stored = lay_down(None, fits).await.unwrap().unwrap();
    assert_eq!(stored.blob.bytes, 9 * MIB);
    begin(&face, &agent, &said(&agent, "large", 1 << 20))
        .await
        .assert_error(507, "ErrStorageFull");
}
