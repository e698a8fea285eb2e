//! Files of large bodies: what crashes, departed callers and other programs leave, and a disk without room.

use std::{
    collections::HashSet,
    fs,
    hash::{BuildHasher, RandomState},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use futures_util::{FutureExt as _, StreamExt as _, stream};
use store::{BlobId, BlobStream, BlobTerms, Blobs as _, Engine as _, StoreError};

use super::{
    child::{Second, not_run, role, say},
    open,
};

const TERMS: BlobTerms = BlobTerms::at_most(1 << 30);

fn body(byte: u8, pieces: usize) -> BlobStream {
    stream::repeat_with(move || Ok(vec![byte; 40_000].into()))
        .take(pieces)
        .boxed()
}

async fn is_whole(store: &super::SqliteStore, id: &BlobId) -> bool {
    let mut reading = store.read_blob(id, 0..u64::MAX).await.unwrap();
    let mut seen = HashSet::new();
    while let Some(piece) = reading.next().await {
        seen.extend(piece.unwrap());
    }
    seen.len() == 1
}

fn files(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory.join("blobs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn the_start_removes_files_without_a_record_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    store.put_blob(&"kept".into(), body(1, 2), TERMS).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let kept = files(directory.path());
    let blobs = directory.path().join("blobs");
    assert_eq!(fs::metadata(&blobs).unwrap().permissions().mode() & 0o777, 0o700);
    let file = blobs.join(&kept[0]);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let zeros = "0".repeat(32);
    for name in [&zeros, &format!("{zeros}.partial"), "lost+found", "notes.partial"] {
        fs::write(blobs.join(name), "x").unwrap();
    }
    let store = open(directory.path()).unwrap();
    let mut expected = kept;
    expected.extend(["lost+found".to_owned(), "notes.partial".to_owned()]);
    expected.sort();
    assert_eq!(files(directory.path()), expected);
    assert!(is_whole(&store, &"kept".into()).await);
    let space = store.blob_space().await.unwrap();
    assert_eq!((space.blobs, space.bytes), (1, 80_000));
    assert!(space.free_bytes.unwrap() > 0);
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    let id = BlobId::from("a");
    let (reached, waiting) = tokio::sync::oneshot::channel();
    let mut reached = Some(reached);
    let stalled = body(1, 3).chain(stream::poll_fn(move |_| {
        reached.take().map(|reached| reached.send(()));
        std::task::Poll::Pending
    }));
    let mut putting = store.put_blob(&id, stalled.boxed(), TERMS);
    tokio::select! {
        _ = &mut putting => panic!("it has no end"),
        seen = waiting => seen.unwrap(),
    }
    assert_eq!(files(directory.path()).len(), 1);
    drop(putting);
    // The same file system, the same queue of work: what follows is done after the removal.
    while !files(directory.path()).is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.blob(&id).await.unwrap(), None);
    // One that goes away when everything is on the disk has stored it, or nothing is left.
    let mut putting = store.put_blob(&id, body(2, 1), TERMS);
    assert!((&mut putting).now_or_never().is_none());
    drop(putting);
    store.put_blob(&id, body(2, 1), TERMS).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    open(directory.path()).unwrap();
    assert_eq!(files(directory.path()).len(), 1);
}

#[tokio::test]
async fn a_refused_body_is_gone_with_its_answer() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    let id = BlobId::from("a");
    let short = BlobTerms {
        bytes: Some(39_999),
        ..TERMS
    };
    let broken = || stream::iter([Err(StoreError::corrupt("the client went away".to_owned()))]);
    for _ in 0..20 {
        let refused = [
            store.put_blob(&id, body(1, 5), BlobTerms::at_most(100_000)).await,
            store.put_blob(&id, body(1, 1), short).await,
            store
                .put_blob(&id, body(1, 5).chain(broken()).boxed(), TERMS)
                .await,
        ];
        assert!(refused.iter().all(Result::is_err), "{refused:?}");
        assert_eq!(files(directory.path()), [""; 0]);
    }
}

#[tokio::test]
async fn a_body_that_changed_on_the_disk_is_not_given_to_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    for (name, pieces, given) in [("small", 1, 0), ("large", 4, 2)] {
        let id = BlobId::from(name);
        let before = files(directory.path());
        store.put_blob(&id, body(1, pieces), TERMS).await.unwrap();
        let new = files(directory.path())
            .into_iter()
            .find(|file| !before.contains(file));
        let file = directory.path().join("blobs").join(new.unwrap());
        let mut bytes = fs::read(&file).unwrap();
        bytes[7] = 2;
        fs::write(&file, bytes).unwrap();
        let read: Vec<_> = store.read_blob(&id, 0..u64::MAX).await.unwrap().collect().await;
        let (last, whole) = read.split_last().unwrap();
        assert!(matches!(last, Err(StoreError::Corrupt { .. })), "{last:?}");
        assert_eq!(
            whole.iter().filter(|piece| piece.is_ok()).count(),
            given,
            "{name}"
        );
        // Nothing is known of a part alone.
        let part: Vec<_> = store.read_blob(&id, 0..10).await.unwrap().collect().await;
        assert!(part.iter().all(Result::is_ok));
    }
}

#[tokio::test]
async fn a_missing_or_shortened_file_is_damage_and_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    let id = BlobId::from("a");
    store.put_blob(&id, body(1, 2), TERMS).await.unwrap();
    let file = directory.path().join("blobs").join(&files(directory.path())[0]);
    fs::OpenOptions::new()
        .write(true)
        .open(&file)
        .unwrap()
        .set_len(5)
        .unwrap();
    let short = store.read_blob(&id, 0..1).await.err().unwrap();
    assert!(matches!(short, StoreError::Corrupt { .. }), "{short}");
    fs::remove_file(&file).unwrap();
    let missing = store.read_blob(&id, 0..1).await.err().unwrap();
    assert!(missing.to_string().contains("is missing"), "{missing}");
    assert!(store.health().await.reason.unwrap().contains("is missing"));
    store.delete_blobs(std::slice::from_ref(&id)).await.unwrap();
    store.put_blob(&id, body(1, 2), TERMS).await.unwrap();
    assert!(is_whole(&store, &id).await);
}

/// S22 for bodies: a small file system of memory, where this may be mounted.
#[test]
fn s22_a_disk_without_room_for_a_body() {
    let directory = tempfile::tempdir().unwrap();
    let mount =
        "mount -t tmpfs -o size=8m,mode=0700 tmpfs \"$STORE_TEST_CHILD_DIRECTORY\" && exec \"$0\" \"$@\"";
    let mut command = std::process::Command::new("unshare");
    command
        .args(["-Urm", "sh", "-c", mount])
        .arg(std::env::current_exe().unwrap());
    let mut probe = std::process::Command::new("unshare");
    probe
        .args(["-Urm", "sh", "-c", "mount -t tmpfs tmpfs \"$0\""])
        .arg(directory.path());
    match probe.output() {
        Ok(output) if output.status.success() => {
            let test = "tests::blobs::child_has_a_small_disk";
            let mut child = Second::start_through(command, test, directory.path());
            let said: Vec<_> = std::iter::from_fn(|| child.hear()).collect();
            assert!(child.process.wait().unwrap().success(), "{said:?}");
            assert_eq!(said, ["full", "recovered"]);
        }
        refused => not_run(
            "s22_a_disk_without_room_for_a_body",
            &format!("no file system may be mounted here ({refused:?})"),
        ),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_has_a_small_disk() {
    let Some(directory) = role() else { return };
    let store = open(&directory).unwrap();
    let small = BlobId::from("small");
    store.put_blob(&small, body(1, 10), TERMS).await.unwrap();
    let large = BlobId::from("large");
    let full = store.put_blob(&large, body(2, 300), TERMS).await.unwrap_err();
    assert!(matches!(full, StoreError::Full { .. }), "{full}");
    say("full");
    assert_eq!(
        files(&directory).len(),
        1,
        "what was refused is gone with the answer"
    );
    assert!(store.health().await.writable, "other writes go on");
    assert_eq!(store.blob(&large).await.unwrap(), None);
    store.put_blob(&large, body(2, 50), TERMS).await.unwrap();
    assert!(is_whole(&store, &small).await && is_whole(&store, &large).await);
    store.close().await.unwrap();
    say("recovered");
}

/// S21 for bodies.
#[test]
fn s21_kill_9_leaves_whole_bodies_and_no_others() {
    let directory = tempfile::tempdir().unwrap();
    let (mut stored, mut removed) = (HashSet::new(), HashSet::new());
    for round in 0..10_u64 {
        let random = RandomState::new().hash_one(round);
        let mut child = Second::start("tests::blobs::child_stores_bodies", directory.path());
        let mut said = Vec::new();
        for _ in 0..random % 60 {
            said.push(child.hear().expect("the child works until it is killed"));
        }
        for _ in 0..(random >> 32) % 200_000 {
            std::hint::spin_loop();
        }
        child.kill();
        said.extend(std::iter::from_fn(|| child.hear()));
        for line in said {
            let (what, id) = line.split_once(' ').unwrap();
            match what {
                "stored" => stored.insert(id.to_owned()),
                _ => removed.insert(id.to_owned()),
            };
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let store = open(directory.path()).unwrap();
            for id in stored.difference(&removed) {
                // The last one may be on its way out.
                let id = BlobId::from(id.as_str());
                let is_leaving = id.as_str().ends_with("-gone");
                assert!(
                    store.blob(&id).await.unwrap().is_some() || is_leaving,
                    "{id} is lost"
                );
            }
            for id in &removed {
                assert_eq!(
                    store.blob(&BlobId::from(id.as_str())).await.unwrap(),
                    None,
                    "{id}"
                );
            }
            let space = store.blob_space().await.unwrap();
            assert_eq!(files(directory.path()).len() as u64, space.blobs, "round {round}");
            for id in &stored {
                let id = BlobId::from(id.as_str());
                if store.blob(&id).await.unwrap().is_some() {
                    assert!(is_whole(&store, &id).await, "{id}");
                }
            }
            store.close().await.unwrap();
        });
    }
    assert!(
        stored.len() > 10 && !removed.is_empty(),
        "{} bodies",
        stored.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_stores_bodies() {
    let Some(directory) = role() else { return };
    let store = std::sync::Arc::new(open(&directory).unwrap());
    let process = std::process::id();
    let tasks: Vec<_> = (0..4)
        .map(|task: u8| {
            let store = std::sync::Arc::clone(&store);
            tokio::spawn(async move {
                for number in 0..u32::MAX {
                    let (kept, gone) = (
                        format!("{process}-{task}-{number}"),
                        format!("{process}-{task}-{number}-gone"),
                    );
                    for id in [&kept, &gone] {
                        let id = BlobId::from(id.as_str());
                        store.put_blob(&id, body(task, 3), TERMS).await.unwrap();
                        say(&format!("stored {id}"));
                    }
                    store.delete_blobs(&[gone.as_str().into()]).await.unwrap();
                    say(&format!("removed {gone}"));
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}
