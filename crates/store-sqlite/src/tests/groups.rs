//! The writer's groups: neighbours, panics, a full queue, the trimmed feed, the end without `close`.

use std::{sync::Arc, time::Duration};

use store::{
    AgentId, Agents as _, ChangeKind, Conflict, Cursor, Engine as _, Feed as _, KeyOwner, Keys as _,
    StoreError, StoreMetrics,
    conformance::{Bench, samples::*},
};

use super::{
    super::{OpenOptions, SqliteStore},
    Directory,
};

/// Keeps the writer busy until the sender is dropped, so that what comes next shares one group.
async fn block(store: &Arc<SqliteStore>) -> std::sync::mpsc::SyncSender<()> {
    let (release, blocked) = std::sync::mpsc::sync_channel::<()>(0);
    let (started, has_started) = tokio::sync::oneshot::channel();
    let blocking = Arc::clone(store);
    tokio::spawn(async move {
        blocking
            .write(move |_| {
                started.send(()).unwrap();
                // An error is the sign to go on.
                assert!(blocked.recv().is_err());
                Ok(())
            })
            .await
            .unwrap();
    });
    has_started.await.unwrap();
    release
}

fn queued(store: &Arc<SqliteStore>) -> i64 {
    store.shared.metrics.queue_length.get()
}

/// Waits until `count` writes are queued.
async fn until_queued(store: &Arc<SqliteStore>, count: i64) {
    let all = async {
        while queued(store) < count {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), all).await.unwrap();
}

#[tokio::test]
async fn a_refused_or_panicking_job_does_not_undo_its_neighbours() {
    let bench = Directory::new();
    let store = bench.store.clone().unwrap();
    let before = store.last_change(ChangeKind::Agent).await.unwrap();
    let release = block(&store).await;
    let one = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.enroll(enrollment("a", "p")).await }
    });
    until_queued(&store, 1).await;
    // Same id, other key: refused after its key was looked up; then one that fails half way.
    let refused = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.enroll(enrollment("a", "p")).await }
    });
    until_queued(&store, 2).await;
    let panicking = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            store
                .write(|unit| -> super::super::fault::Outcome<()> {
                    unit.execute("DELETE FROM presence", [])?;
                    unit.announce(ChangeKind::Agent, "never")?;
                    panic!("on purpose")
                })
                .await
        }
    });
    until_queued(&store, 3).await;
    let last = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.issue(KeyOwner::Operator, purpose("k"), at(0)).await }
    });
    until_queued(&store, 4).await;
    drop(release);
    one.await.unwrap().unwrap();
    assert_eq!(
        refused.await.unwrap().unwrap_err(),
        Conflict::AgentExists(AgentId::from("a")).into()
    );
    let panicked = panicking.await.unwrap().unwrap_err();
    assert!(matches!(panicked, StoreError::Unavailable { .. }), "{panicked}");
    let key = last.await.unwrap().unwrap();
    assert!(agent(&*store, "a").await.is_active);
    assert!(is_alive(&*store, &key).await);
    let changes = store
        .changes(ChangeKind::Agent, &before, 10, Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(changes.ids, ["a"]);
    let health = store.health().await;
    assert_eq!((health.writable, health.reason), (true, None));
    // A panic of the first of a group, and of a reader, makes no difference.
    let alone = store
        .write(|_| -> super::super::fault::Outcome<()> { panic!("on purpose") })
        .await;
    assert!(matches!(alone, Err(StoreError::Unavailable { .. })));
    for _ in 0..10 {
        let reading = store
            .read(|_| -> super::super::fault::Outcome<()> { panic!("on purpose") })
            .await;
        assert!(matches!(reading, Err(StoreError::Unavailable { .. })));
    }
    assert!(agent(&*store, "a").await.is_active);
    enrolled(&*store, "b").await;
}

/// A bulk that is queued among others begins a group of its own and loses nothing.
#[tokio::test]
async fn a_bulk_keeps_its_place() {
    let bench = Directory::new();
    let store = bench.store.clone().unwrap();
    enrolled(&*store, "a").await;
    let release = block(&store).await;
    let mut waiting = Vec::new();
    for round in 0..3_i64 {
        for bulk in [false, true] {
            let size = if bulk { 500 } else { 1 };
            let store = Arc::clone(&store);
            waiting.push(tokio::spawn(async move {
                let batch = (0..size).map(|n| checkin("a", at(round * 1000 + n))).collect();
                store.record_checkins(batch).await
            }));
            until_queued(
                &bench.store.clone().unwrap(),
                i64::try_from(waiting.len()).unwrap(),
            )
            .await;
        }
    }
    drop(release);
    for one in waiting {
        one.await.unwrap().unwrap();
    }
    assert_eq!(agent(&*store, "a").await.last_checkin, Some(at(2499)));
    assert_eq!(queued(&store), 0);
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_reads_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let options = OpenOptions {
        queue_capacity: 2,
        ..OpenOptions::new(directory.path())
    };
    let store = Arc::new(SqliteStore::open(options, StoreMetrics::unregistered()).unwrap());
    let release = block(&store).await;
    let waiting: Vec<_> = (0..2)
        .map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.enroll(enrollment(&format!("a{n}"), "p")).await })
        })
        .collect();
    until_queued(&store, 2).await;
    let refused = store.enroll(enrollment("late", "p")).await.unwrap_err();
    let StoreError::Unavailable {
        reason, retry_after, ..
    } = &refused
    else {
        panic!("{refused}")
    };
    assert!(reason.contains("too many writes"), "{reason}");
    assert!(!retry_after.is_zero());
    assert_eq!(store.agent(&AgentId::from("late")).await.unwrap(), None);
    assert_eq!(store.stats().await.unwrap().queue_length, 2);
    drop(release);
    for one in waiting {
        one.await.unwrap().unwrap();
    }
    store.enroll(enrollment("late", "p")).await.unwrap();
}

/// O23: a reader behind what is kept is told so, never silently skipped.
#[tokio::test]
async fn a_reader_behind_the_trimmed_feed_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let options = OpenOptions {
        kept_changes: 10,
        ..OpenOptions::new(directory.path())
    };
    let store = SqliteStore::open(options, StoreMetrics::unregistered()).unwrap();
    let start = store.last_change(ChangeKind::Agent).await.unwrap();
    let mut places = Vec::new();
    for n in 0..60 {
        enrolled(&store, &format!("a{n}")).await;
        places.push(store.last_change(ChangeKind::Agent).await.unwrap());
    }
    let read = async |kind, place: &Cursor| store.changes(kind, place, 100, Duration::ZERO).await;
    for behind in [&start, &places[3], &places[40]] {
        let behind = read(ChangeKind::Agent, behind).await.unwrap_err();
        assert_eq!(
            behind,
            StoreError::Trimmed {
                kind: ChangeKind::Agent
            }
        );
    }
    let kept = read(ChangeKind::Agent, &places[49]).await.unwrap();
    assert_eq!(kept.ids, (50..60).map(|n| format!("a{n}")).collect::<Vec<_>>());
    assert_eq!(kept.next, places[59]);
    // A reader of a quiet kind is carried along over the others' changes.
    policy(&store, "p").await;
    let mut quiet = store.last_change(ChangeKind::Policy).await.unwrap();
    for n in 60..120 {
        enrolled(&store, &format!("a{n}")).await;
        let idle = read(ChangeKind::Policy, &quiet).await.unwrap();
        assert!(idle.ids.is_empty());
        quiet = idle.next;
    }
    policy(&store, "q").await;
    assert_eq!(read(ChangeKind::Policy, &quiet).await.unwrap().ids, ["q"]);
}

/// Dropping without `close` does what was accepted and frees the lock.
#[tokio::test]
async fn dropping_without_close_keeps_what_was_accepted() {
    let mut bench = Directory::new();
    let store = bench.store.take().unwrap();
    let mut writing = Box::pin(store.enroll(enrollment("a", "p")));
    // Polled once: it is in the queue; then its caller goes away.
    let polled = std::future::poll_fn(|context| std::task::Poll::Ready(writing.as_mut().poll(context))).await;
    drop(writing);
    drop(store);
    bench.restart().await;
    let stored = bench.store().agent(&AgentId::from("a")).await.unwrap();
    assert!(stored.is_some(), "{polled:?}");
}
