//! S15, S16: large bodies.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};

use super::Bench;
use crate::{Blob, BlobId, BlobStream, BlobTerms, BodyFault, Conflict, Store, StoreError};

fn body(pieces: &[&'static [u8]]) -> BlobStream {
    let pieces: Vec<_> = pieces.iter().map(|piece| Ok(Bytes::from_static(piece))).collect();
    stream::iter(pieces).boxed()
}

async fn read(store: &dyn Store, id: &BlobId, range: Range<u64>) -> Vec<u8> {
    let mut pieces = store.read_blob(id, range).await.unwrap();
    let mut read = Vec::new();
    while let Some(piece) = pieces.next().await {
        read.extend_from_slice(&piece.unwrap());
    }
    read
}

async fn usage(store: &dyn Store) -> (u64, u64) {
    let space = store.blob_space().await.unwrap();
    (space.blobs, space.bytes)
}

/// S15 for a body of its own.
pub async fn s15_a_body_put_twice_is_harmless_with_other_bytes_refused(bench: &mut dyn Bench) {
    let (id, terms) = (BlobId::from("a/b ../c"), BlobTerms::at_most(100));
    let store = bench.store();
    assert_eq!(store.blob(&id).await.unwrap(), None);
    let stored = store
        .put_blob(&id, body(&[b"hello ", b"world"]), terms)
        .await
        .unwrap();
    assert_eq!(stored.bytes, 11);
    assert_eq!(
        stored.digest.to_string(),
        "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"
    );
    let again = store.put_blob(&id, body(&[b"hello world"]), terms).await.unwrap();
    assert_eq!(again, stored);
    let other = store.put_blob(&id, body(&[b"hello"]), terms).await.unwrap_err();
    assert!(
        matches!(other, StoreError::Conflict(Conflict::IdTaken(_))),
        "{other}"
    );
    assert_eq!(
        usage(&*store).await,
        (1, 11),
        "a refused body and a repeat take no room"
    );
    let elsewhere = BlobId::from("other");
    store
        .put_blob(&elsewhere, body(&[b"hello world"]), terms)
        .await
        .unwrap();
    drop(store);

    bench.restart().await;
    let store = bench.store();
    assert_eq!(store.blob(&id).await.unwrap(), Some(stored));
    assert_eq!(usage(&*store).await, (2, 22));
    assert_eq!(read(&*store, &id, 0..u64::MAX).await, b"hello world");
    // A body is its id's alone, also if another has equal bytes; who reads goes on to the end.
    let mut reading = store.read_blob(&id, 0..11).await.unwrap();
    store
        .delete_blobs(&[id.clone(), BlobId::from("nobody's")])
        .await
        .unwrap();
    assert_eq!(reading.next().await.unwrap().unwrap(), "hello world");
    assert_eq!(store.blob(&id).await.unwrap(), None);
    let gone = store.read_blob(&id, 0..1).await.err();
    assert!(matches!(gone, Some(StoreError::NotFound { .. })), "{gone:?}");
    assert_eq!(read(&*store, &elsewhere, 0..11).await, b"hello world");
    assert_eq!(usage(&*store).await, (1, 11));
    store.put_blob(&id, body(&[b"new"]), terms).await.unwrap();
    assert_eq!(read(&*store, &id, 0..11).await, b"new");
}

/// S15: what is not what it has to be is not there afterwards.
pub async fn s15b_a_body_that_is_not_as_announced_leaves_nothing(bench: &mut dyn Bench) {
    let (store, id) = (bench.store(), BlobId::from("b"));
    let digest = "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"
        .parse()
        .unwrap();
    let terms = BlobTerms {
        most_bytes: 100,
        bytes: Some(11),
        digest: Some(digest),
    };
    let fault = |error: StoreError| match error {
        StoreError::Body(fault) => fault,
        other => panic!("{other}"),
    };
    let short = store.put_blob(&id, body(&[b"hello"]), terms).await.unwrap_err();
    assert_eq!(
        fault(short),
        BodyFault::WrongLength {
            expected: 11,
            bytes: 5
        }
    );
    let endless = stream::repeat_with(|| Ok(Bytes::from_static(b"hello "))).boxed();
    let long = store.put_blob(&id, endless, terms).await.unwrap_err();
    assert_eq!(fault(long), BodyFault::TooLong { most_bytes: 11 });
    let wrong = store
        .put_blob(&id, body(&[b"hello_world"]), terms)
        .await
        .unwrap_err();
    assert!(matches!(fault(wrong), BodyFault::WrongDigest { expected, .. } if expected == digest));
    let reason = || BodyFault::CutShort {
        reason: "gone".to_owned(),
    };
    let pieces = [Ok(Bytes::from_static(b"hello ")), Err(reason().into())];
    let cut = store.put_blob(&id, stream::iter(pieces).boxed(), terms).await;
    assert_eq!(fault(cut.unwrap_err()), reason());
    assert_eq!(store.blob(&id).await.unwrap(), None);
    assert_eq!(usage(&*store).await, (0, 0));
    store.put_blob(&id, body(&[b"hello world"]), terms).await.unwrap();
    let empty = BlobId::from("empty");
    let nothing = store
        .put_blob(&empty, body(&[]), BlobTerms::at_most(0))
        .await
        .unwrap();
    assert_eq!(nothing.bytes, 0);
    assert!(read(&*store, &empty, 0..10).await.is_empty());
}

/// S15: puts of one id at the same time.
pub async fn s15c_of_bodies_put_at_once_one_is_stored(bench: &mut dyn Bench) {
    let (store, id) = (bench.store(), BlobId::from("raced"));
    let putting: Vec<_> = [&b"one"[..], b"two", b"one", b"two"]
        .into_iter()
        .map(|bytes| {
            let (store, id) = (Arc::clone(&store), id.clone());
            tokio::spawn(async move {
                let put = store.put_blob(&id, body(&[bytes]), BlobTerms::at_most(3)).await;
                (bytes, put)
            })
        })
        .collect();
    let mut stored = Vec::new();
    for put in putting {
        match put.await.unwrap() {
            (bytes, Ok(_)) => stored.push(bytes),
            (_, Err(StoreError::Conflict(Conflict::IdTaken(_)))) => {}
            (_, Err(other)) => panic!("{other}"),
        }
    }
    assert_eq!(stored.len(), 2, "both of the winner's: {stored:?}");
    assert_eq!(stored[0], stored[1]);
    assert_eq!(read(&*store, &id, 0..3).await, stored[0]);
    assert_eq!(usage(&*store).await, (1, 3));
}

/// S16.
pub async fn s16_a_range_of_a_large_body_in_constant_memory(bench: &mut dyn Bench) {
    const PIECES: u64 = 1600;
    const PIECE: u64 = 64 * 1024;
    let (store, id) = (bench.store(), BlobId::from("large"));
    // Pieces that count how many of them are alive.
    let (alive, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, peak) = (Arc::clone(&alive), Arc::clone(&most));
    let pieces = stream::iter(0..PIECES).map(move |number| {
        let now = counted.fetch_add(1, Ordering::SeqCst) + 1;
        peak.fetch_max(now, Ordering::SeqCst);
        Ok(Bytes::from_owner(Piece(
            vec![marks(number); usize::try_from(PIECE).unwrap()],
            Arc::clone(&counted),
        )))
    });
    let stored: Blob = store
        .put_blob(&id, pieces.boxed(), BlobTerms::at_most(u64::MAX))
        .await
        .unwrap();
    assert_eq!(stored.bytes, PIECES * PIECE);
    assert_eq!(alive.load(Ordering::SeqCst), 0);
    assert!(
        most.load(Ordering::SeqCst) <= 2,
        "{most:?} pieces were held at once"
    );

    for (range, expected) in [
        (0..10, 0..10),
        (PIECE * 700 - 1..PIECE * 700 + 1, PIECE * 700 - 1..PIECE * 700 + 1),
        (
            PIECE * (PIECES - 1)..u64::MAX,
            PIECE * (PIECES - 1)..PIECE * PIECES,
        ),
        (PIECE * PIECES..u64::MAX, 0..0),
        (0..u64::MAX, 0..PIECE * PIECES),
    ] {
        let mut reading = store.read_blob(&id, range).await.unwrap();
        let mut at = expected.start;
        while let Some(piece) = reading.next().await {
            let piece = piece.unwrap();
            assert!(piece.len() <= 256 * 1024, "a piece of {} bytes", piece.len());
            for byte in piece {
                if byte != marks(at / PIECE) {
                    panic!("byte {at} is {byte}");
                }
                at += 1;
            }
        }
        assert_eq!(at, expected.end);
    }
}

fn marks(piece: u64) -> u8 {
    u8::try_from(piece % 251).unwrap()
}

struct Piece(Vec<u8>, Arc<AtomicUsize>);

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::SeqCst);
    }
}
