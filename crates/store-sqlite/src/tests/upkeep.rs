//! O27: a copy and a look at all of it, while the store is open.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::{StreamExt as _, stream};
use store::{BlobId, BlobStream, BlobTerms, Blobs as _, Engine as _, conformance::samples::*};

use super::{
    super::{OpenError, SqliteStore},
    open,
};

const TERMS: BlobTerms = BlobTerms::at_most(1 << 20);

fn body(byte: u8) -> BlobStream {
    stream::iter([Ok(vec![byte; 100_000].into())]).boxed()
}

#[tokio::test]
async fn a_copy_of_an_open_store_is_a_store_with_its_bodies() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(from.path()).unwrap();
    enrolled(&store, "a").await;
    store.put_blob(&"b".into(), body(1), TERMS).await.unwrap();
    let target = to.path().join("copy");
    let copied = SqliteStore::backup(from.path(), &target).unwrap();
    assert_eq!(copied.blobs, 1);
    assert!(copied.bytes > 100_000);
    // What comes later is not in it, and it is never written over.
    store.put_blob(&"c".into(), body(2), TERMS).await.unwrap();
    let again = SqliteStore::backup(from.path(), &target).unwrap_err();
    assert!(matches!(again, OpenError::NotWritable { .. }), "{again}");
    let checked = SqliteStore::examine(&target, false).unwrap();
    assert_eq!(
        (checked.blobs, checked.leftovers, checked.faults.len()),
        (1, 0, 0)
    );
    let copy = open(&target).unwrap();
    assert!(agent(&copy, "a").await.is_active);
    assert!(copy.blob(&"b".into()).await.unwrap().is_some());
    assert!(copy.blob(&"c".into()).await.unwrap().is_none());
    store.close().await.unwrap();
}

/// Bodies come and go while copies are made: each copy is whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_under_load_is_whole() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = Arc::new(open(from.path()).unwrap());
    let is_over = Arc::new(AtomicBool::new(false));
    let working = {
        let (store, is_over) = (Arc::clone(&store), Arc::clone(&is_over));
        tokio::spawn(async move {
            let mut number = 0;
            while !is_over.load(Ordering::SeqCst) {
                let id = BlobId::from(format!("b{number}"));
                store.put_blob(&id, body(3), TERMS).await.unwrap();
                if number >= 5 {
                    let old = BlobId::from(format!("b{}", number - 5));
                    store.delete_blobs(&[old]).await.unwrap();
                }
                number += 1;
            }
        })
    };
    for round in 0..5 {
        let (from, target) = (from.path().to_owned(), to.path().join(round.to_string()));
        let into = target.clone();
        let copying = tokio::task::spawn_blocking(move || SqliteStore::backup(&from, &into));
        copying.await.unwrap().unwrap();
        let checked = SqliteStore::examine(&target, false).unwrap();
        assert_eq!(
            (checked.faults, checked.leftovers),
            (Vec::new(), 0),
            "round {round}"
        );
    }
    is_over.store(true, Ordering::SeqCst);
    working.await.unwrap();
}

#[tokio::test]
async fn what_is_wrong_with_bodies_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    for (id, byte) in [("good", 1), ("short", 2), ("changed", 3), ("gone", 4)] {
        store.put_blob(&id.into(), body(byte), TERMS).await.unwrap();
    }
    let blobs = directory.path().join("blobs");
    for entry in fs::read_dir(&blobs).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        match bytes[0] {
            2 => bytes.truncate(5),
            3 => bytes[70_000] ^= 1,
            4 => {
                fs::remove_file(&path).unwrap();
                continue;
            }
            _ => continue,
        }
        fs::write(&path, bytes).unwrap();
    }
    fs::write(blobs.join("0".repeat(32)), "x").unwrap();
    let mut checked = SqliteStore::examine(directory.path(), false).unwrap();
    checked.faults.sort();
    let said: Vec<_> = checked
        .faults
        .iter()
        .map(|fault| fault.split(": ").next().unwrap())
        .collect();
    assert_eq!(said, ["body changed", "body gone", "body short"]);
    assert_eq!((checked.blobs, checked.leftovers), (1, 1));
    let quick = SqliteStore::examine(directory.path(), true).unwrap();
    assert_eq!((quick.blobs, quick.faults.len()), (2, 2), "lengths alone");
    let to = tempfile::tempdir().unwrap();
    let refused = SqliteStore::backup(directory.path(), to.path()).unwrap_err();
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
    assert!(!to.path().join("fleet.db").exists());
}
