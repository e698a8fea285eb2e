//! S15 for uploads, O20, O24.

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};

use super::{Bench, samples::*};
use crate::{
    AgentId, BODY_BLOCK_BYTES, BlobRoom, BlobStream, BlobTerms, Claims, Conflict, Digest, NewUpload, Store,
    StoreError, Timestamp, Upload, UploadEnd, UploadId, UploadState, UploadTerms, chunk_blob,
};

fn new(id: &str, file: &str, agent: &str, bytes: u64) -> NewUpload {
    NewUpload {
        id: id.into(),
        file: file.into(),
        action: "act".into(),
        agent: agent.into(),
        source: "agent".to_owned(),
        name: "../a \"b\".zip".to_owned(),
        mime_type: "application/zip".to_owned(),
        bytes,
        chunk_bytes: 4,
        namespaces: vec!["default".to_owned()],
        document: json(r#"{"z": 1.0, "file":{"size":9007199254740993}}"#),
        at: at(10),
    }
}

/// What [`new`]'s document adds to a quota.
const DOCUMENT: u64 = 44;
const TERMS: UploadTerms = UploadTerms {
    of_agent: None,
    open_of_agent: None,
    of_all: None,
    on_disk: BlobRoom::ANY,
    stale_before: Timestamp::from_millis(0),
};

fn body(bytes: &'static [u8]) -> BlobStream {
    stream::iter([Ok(Bytes::from_static(bytes))]).boxed()
}

async fn put(store: &dyn Store, id: &str, number: u32, bytes: &'static [u8]) -> crate::Result<crate::Blob> {
    let id = UploadId::from(id);
    store
        .put_chunk(&id, number, body(bytes), BlobTerms::at_most(4))
        .await
}

async fn upload(store: &dyn Store, id: &str) -> Upload {
    store.upload(&id.into()).await.unwrap().unwrap()
}

async fn usage(store: &dyn Store) -> (u64, u64) {
    let space = store.blob_space().await.unwrap();
    (space.blobs, space.bytes)
}

#[track_caller]
fn ended(outcome: crate::Result<impl std::fmt::Debug>) -> UploadState {
    match outcome {
        Err(StoreError::Conflict(Conflict::UploadEnded { state, .. })) => state,
        other => panic!("{other:?}"),
    }
}

/// S15.
pub async fn s15d_chunks_come_in_any_order_and_stay_what_they_are(bench: &mut dyn Bench) {
    let store = bench.store();
    let begun = store.begin_upload(new("u", "f", "a", 10), TERMS).await.unwrap();
    assert_eq!(
        (begun.state, begun.bytes, begun.started_at),
        (UploadState::Open, 10, at(10))
    );
    assert_eq!(store.upload_of(&"f".into()).await.unwrap(), Some(begun.clone()));
    let document = store.upload_document(&"u".into()).await.unwrap().unwrap();
    assert_eq!(
        document.as_str(),
        r#"{"z": 1.0, "file":{"size":9007199254740993}}"#
    );
    put(&*store, "u", 2, b"ij").await.unwrap();
    put(&*store, "u", 0, b"abcd").await.unwrap();
    put(&*store, "u", 0, b"abcd").await.unwrap();
    let other = put(&*store, "u", 0, b"abcx").await.unwrap_err();
    assert!(
        matches!(other, StoreError::Conflict(Conflict::IdTaken(_))),
        "{other}"
    );
    let nobody = put(&*store, "nobody's", 0, b"abcd").await.unwrap_err();
    assert!(matches!(nobody, StoreError::NotFound { .. }), "{nobody}");
    assert_eq!(usage(&*store).await, (2, 6));
    let numbers = |chunks: Vec<crate::Chunk>| chunks.iter().map(|chunk| chunk.number).collect::<Vec<_>>();
    assert_eq!(numbers(store.chunks(&"u".into()).await.unwrap()), [0, 2]);
    drop(store);

    bench.restart().await;
    let store = bench.store();
    assert_eq!(upload(&*store, "u").await, begun);
    put(&*store, "u", 1, b"efgh").await.unwrap();
    let chunks = store.chunks(&"u".into()).await.unwrap();
    assert_eq!(numbers(chunks.clone()), [0, 1, 2]);
    assert_eq!(chunks[2].blob.bytes, 2);
    let transit = Digest::from([7; 32]);
    store
        .end_upload(&"u".into(), UploadEnd::Ready(transit), at(20))
        .await
        .unwrap();
    let ready = upload(&*store, "u").await;
    assert_eq!(
        (ready.state, ready.ended_at, ready.transit),
        (UploadState::Ready, Some(at(20)), Some(transit))
    );
    assert_eq!(ended(put(&*store, "u", 0, b"abcd").await), UploadState::Ready);
    let again = store
        .end_upload(&"u".into(), UploadEnd::Ready(transit), at(21))
        .await;
    assert_eq!(ended(again), UploadState::Ready);
    let mut reading = store.read_blob(&chunk_blob(&"u".into(), 1), 1..3).await.unwrap();
    assert_eq!(reading.next().await.unwrap().unwrap(), "fg");
    assert_eq!(usage(&*store).await, (3, 10));
    store
        .end_upload(&"u".into(), UploadEnd::Deleted, at(30))
        .await
        .unwrap();
    assert_eq!(usage(&*store).await, (0, 0));
    let deleted = upload(&*store, "u").await;
    assert_eq!(
        (deleted.state, deleted.ended_at),
        (UploadState::Deleted, Some(at(20)))
    );
}

/// O20.
pub async fn o20_beginning_again_goes_on_or_begins_anew(bench: &mut dyn Bench) {
    let store = bench.store();
    store.begin_upload(new("u1", "f", "a", 10), TERMS).await.unwrap();
    put(&*store, "u1", 0, b"abcd").await.unwrap();
    let same = store.begin_upload(new("u2", "f", "a", 10), TERMS).await.unwrap();
    assert_eq!(same.id.as_str(), "u1");
    assert!(store.upload(&"u2".into()).await.unwrap().is_none());
    // Another length is another file: what came of the earlier one goes.
    let other = store.begin_upload(new("u3", "f", "a", 4), TERMS).await.unwrap();
    assert_eq!(other.id.as_str(), "u3");
    assert!(store.upload(&"u1".into()).await.unwrap().is_none());
    assert_eq!(usage(&*store).await, (0, 0));
    put(&*store, "u3", 0, b"abcd").await.unwrap();
    store
        .end_upload(&"u3".into(), UploadEnd::Failed, at(20))
        .await
        .unwrap();
    assert_eq!(usage(&*store).await, (0, 0), "a failed upload keeps nothing");
    let anew = store.begin_upload(new("u4", "f", "a", 4), TERMS).await.unwrap();
    assert_eq!((anew.id.as_str(), anew.state), ("u4", UploadState::Open));
    let ready = UploadEnd::Ready(Digest::from([1; 32]));
    store.end_upload(&"u4".into(), ready, at(30)).await.unwrap();
    let late = store.begin_upload(new("u5", "f", "a", 4), TERMS).await;
    assert_eq!(ended(late), UploadState::Ready);
    store
        .end_upload(&"u4".into(), UploadEnd::Deleted, at(40))
        .await
        .unwrap();
    let late = store.begin_upload(new("u6", "f", "a", 4), TERMS).await;
    assert_eq!(ended(late), UploadState::Deleted);
}

/// O20.
pub async fn o20_one_file_id_of_two_owners_is_the_first_ones(bench: &mut dyn Bench) {
    let store = bench.store();
    let of = |id: &str, action: &str, agent: &str| NewUpload {
        action: action.into(),
        ..new(id, "a.b.c", agent, 10)
    };
    let first = store.begin_upload(of("u1", "a.b", "c"), TERMS).await.unwrap();
    put(&*store, "u1", 0, b"abcd").await.unwrap();
    for bytes in [10, 4] {
        let other = NewUpload {
            bytes,
            ..of("u2", "a", "b.c")
        };
        let refused = store.begin_upload(other, TERMS).await.unwrap_err();
        assert!(
            matches!(refused, StoreError::Conflict(Conflict::IdTaken(_))),
            "{refused}"
        );
    }
    assert_eq!(upload(&*store, "u1").await, first);
    assert_eq!(usage(&*store).await, (1, 4));
}

/// O20.
pub async fn o20_an_open_upload_that_is_stale_is_not_gone_on_with(bench: &mut dyn Bench) {
    let store = bench.store();
    store.begin_upload(new("u1", "f", "a", 10), TERMS).await.unwrap();
    put(&*store, "u1", 0, b"abcd").await.unwrap();
    let terms = |stale_before| UploadTerms {
        stale_before,
        ..TERMS
    };
    let same = store.begin_upload(new("u2", "f", "a", 10), terms(at(10))).await;
    assert_eq!(same.unwrap().id.as_str(), "u1");
    let anew = store.begin_upload(new("u3", "f", "a", 10), terms(at(11))).await;
    assert_eq!(anew.unwrap().id.as_str(), "u3");
    assert!(store.upload(&"u1".into()).await.unwrap().is_none());
    assert_eq!(usage(&*store).await, (0, 0));
}

/// O20.
pub async fn o20_what_was_announced_counts_in_quotas(bench: &mut dyn Bench) {
    let store = bench.store();
    let of_agent = |bytes| UploadTerms {
        of_agent: Some(bytes),
        ..TERMS
    };
    let of_all = |bytes| UploadTerms {
        of_all: Some(bytes),
        ..TERMS
    };
    // Ten bytes are three bodies.
    let one = 10 + 3 * BODY_BLOCK_BYTES + DOCUMENT;
    assert_eq!(store.claims(at(0)).await.unwrap(), Claims::default());
    store
        .begin_upload(new("u1", "f1", "a", 10), of_agent(one))
        .await
        .unwrap();
    let second = store
        .begin_upload(new("u2", "f2", "a", 10), of_agent(2 * one - 1))
        .await;
    let quota = Conflict::AgentQuota {
        agent: AgentId::from("a"),
        most_bytes: 2 * one - 1,
    };
    assert_eq!(second.unwrap_err(), StoreError::Conflict(quota));
    store
        .begin_upload(new("u3", "f3", "b", 10), of_agent(one))
        .await
        .unwrap();
    // What came does not count twice.
    put(&*store, "u1", 0, b"abcd").await.unwrap();
    let claims = |bodies, bytes| Claims {
        coming: BlobRoom { bodies, bytes },
        record_bytes: 2 * DOCUMENT,
    };
    assert_eq!(store.claims(at(10)).await.unwrap(), claims(5, 16));
    assert_eq!(
        store.claims(at(11)).await.unwrap(),
        claims(0, 0),
        "stale ones claim nothing"
    );
    let third = store
        .begin_upload(new("u4", "f4", "c", 10), of_all(3 * one - 1))
        .await;
    let quota = Conflict::StoreQuota {
        most_bytes: 3 * one - 1,
    };
    assert_eq!(third.unwrap_err(), StoreError::Conflict(quota));
    store
        .begin_upload(new("u4", "f4", "c", 10), of_all(3 * one))
        .await
        .unwrap();
    // What has failed takes no room any more but its record.
    store
        .end_upload(&"u1".into(), UploadEnd::Failed, at(20))
        .await
        .unwrap();
    let room = of_agent(one + DOCUMENT);
    store.begin_upload(new("u2", "f2", "a", 10), room).await.unwrap();
    // Of one that is stale, what came counts until it is removed, and the rest does not.
    put(&*store, "u2", 2, b"ij").await.unwrap();
    let room = UploadTerms {
        stale_before: at(11),
        ..of_agent(2 + BODY_BLOCK_BYTES + one + 2 * DOCUMENT)
    };
    let mut later = new("u5", "f5", "a", 10);
    later.at = at(11);
    store.begin_upload(later, room).await.unwrap();
}

/// O20.
pub async fn o20_what_was_announced_counts_on_the_disk(bench: &mut dyn Bench) {
    let store = bench.store();
    let on_disk = |bodies, bytes| UploadTerms {
        on_disk: BlobRoom { bodies, bytes },
        ..TERMS
    };
    let one = BlobRoom::in_chunks(10, 4).counted();
    let room = on_disk(6, 2 * one);
    store.begin_upload(new("u1", "f1", "a", 10), room).await.unwrap();
    for (room, (files, bytes)) in [
        (on_disk(6, 2 * one - 1), (3, one - 1)),
        (on_disk(5, 2 * one), (2, one)),
        (on_disk(0, 0), (0, 0)),
    ] {
        let second = store.begin_upload(new("u2", "f2", "b", 10), room).await;
        let refused = StoreError::Conflict(Conflict::DiskRoom { bytes, files });
        assert_eq!(second.unwrap_err(), refused);
        // Its beginning again needs no more than it has.
        let same = store.begin_upload(new("u3", "f1", "a", 10), room).await;
        assert_eq!(same.unwrap().id.as_str(), "u1");
    }
    // What came is on the disk, which says so itself.
    put(&*store, "u1", 0, b"abcd").await.unwrap();
    let room = on_disk(5, 2 * one - BlobRoom::of(4).counted());
    store.begin_upload(new("u2", "f2", "b", 10), room).await.unwrap();
}

/// O20.
pub async fn o20_an_agent_has_so_many_uploads_open_and_no_more(bench: &mut dyn Bench) {
    let store = bench.store();
    let terms = UploadTerms {
        open_of_agent: Some(2),
        stale_before: at(10),
        ..TERMS
    };
    let begin = |id: &'static str, agent, moment| {
        let (store, mut upload) = (store.clone(), new(id, id, agent, 4));
        upload.at = at(moment);
        async move { store.begin_upload(upload, terms).await }
    };
    begin("stale", "a", 9).await.unwrap();
    begin("u1", "a", 10).await.unwrap();
    begin("u2", "a", 10).await.unwrap();
    let refused = StoreError::Conflict(Conflict::OpenUploads {
        agent: AgentId::from("a"),
        most: 2,
    });
    assert_eq!(begin("u3", "a", 10).await.unwrap_err(), refused);
    begin("u2", "a", 10).await.unwrap();
    begin("other", "b", 10).await.unwrap();
    put(&*store, "u1", 0, b"abcd").await.unwrap();
    let ready = UploadEnd::Ready(Digest::from([1; 32]));
    store.end_upload(&"u1".into(), ready, at(20)).await.unwrap();
    begin("u3", "a", 10).await.unwrap();
    assert_eq!(begin("u4", "a", 10).await.unwrap_err(), refused);
    store
        .end_upload(&"u2".into(), UploadEnd::Failed, at(20))
        .await
        .unwrap();
    begin("u4", "a", 10).await.unwrap();
}

/// O24.
pub async fn o24_stale_uploads_expire_and_old_ones_go(bench: &mut dyn Bench) {
    let store = bench.store();
    for (number, agent) in [(1, "a"), (2, "b"), (3, "a")] {
        let mut upload = new(&format!("u{number}"), &format!("f{number}"), agent, 4);
        upload.at = at(number * 100);
        store.begin_upload(upload, TERMS).await.unwrap();
        put(&*store, &format!("u{number}"), 0, b"abcd").await.unwrap();
    }
    let ids = |page: crate::Page<Upload>| {
        page.items
            .iter()
            .map(|item| item.id.to_string())
            .collect::<Vec<_>>()
    };
    let of_a = store.uploads(Some(&"a".into()), all()).await.unwrap();
    assert_eq!(
        (of_a.total.count(), ids(of_a)),
        (2, vec!["u3".to_owned(), "u1".to_owned()])
    );
    assert_eq!(ids(store.uploads(None, all()).await.unwrap()), ["u3", "u2", "u1"]);
    let ready = UploadEnd::Ready(Digest::from([1; 32]));
    store.end_upload(&"u1".into(), ready, at(110)).await.unwrap();
    assert_eq!(store.expire_uploads(at(300), at(1000), 10).await.unwrap(), 1);
    let expired = upload(&*store, "u2").await;
    assert_eq!(
        (expired.state, expired.ended_at),
        (UploadState::Expired, Some(at(1000)))
    );
    assert_eq!(ended(put(&*store, "u2", 0, b"abcd").await), UploadState::Expired);
    assert_eq!(usage(&*store).await, (2, 8));
    assert_eq!(store.delete_uploads(at(110), 10).await.unwrap(), 0);
    assert_eq!(store.delete_uploads(at(1001), 1).await.unwrap(), 1);
    assert_eq!(store.delete_uploads(at(1001), 10).await.unwrap(), 1);
    assert_eq!(store.delete_uploads(at(1001), 10).await.unwrap(), 0);
    assert_eq!(ids(store.uploads(None, all()).await.unwrap()), ["u3"]);
    assert_eq!(
        usage(&*store).await,
        (1, 4),
        "an open one stays however old it is"
    );
}
