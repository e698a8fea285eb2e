//! S8–S11, S20: actions, queues, results.

use std::collections::BTreeSet;

use super::{Bench, samples::*};
use crate::{
    ActionDocId, ActionId, ActionProgress, AgentId, AgentMark, CheckinRecord, Conflict, Inserted,
    PageRequest, StoreError,
};

/// S8, M1, M2: whoever sees a number sees every lower one, and numbers outlive a restart.
pub async fn s08_parallel_appends_leave_no_hole(bench: &mut impl Bench) {
    let store = bench.store();
    enrolled(&*store, "a").await;
    let writers: Vec<_> = (0..100)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { store.append_actions(vec![action(&format!("d{n}"), &["a"])]).await })
        })
        .collect();
    // A reader beside the writers: what it saw once, complete up to a number, never gets a lower neighbour.
    let agent = AgentId::from("a");
    let mut seen = BTreeSet::new();
    while seen.len() < 100 {
        let after = seen.last().copied();
        for one in store.pending_actions(&agent, after, at(1), 1000).await.unwrap() {
            assert!(seen.insert(one.action.sequence));
        }
        let everything = store.pending_actions(&agent, None, at(1), 1000).await.unwrap();
        let upto = everything
            .iter()
            .map(|one| one.action.sequence)
            .filter(|one| Some(one) <= seen.last());
        assert!(upto.eq(seen.iter().copied()), "a hole was filled after the fact");
    }
    let mut given = BTreeSet::new();
    for writer in writers {
        let sequences = writer.await.unwrap().unwrap();
        assert_eq!(sequences.len(), 1);
        given.extend(sequences);
    }
    assert_eq!(given, seen);

    // Never reused: not after deletion, not after a restart.
    let last = seen.last().copied().unwrap();
    assert_eq!(store.delete_expired_actions(at(10_000), 1000).await.unwrap(), 100);
    bench.restart().await;
    let next = bench
        .store()
        .append_actions(vec![action("next", &["a"])])
        .await
        .unwrap();
    assert!(next[0] > last, "{next:?} after {last}");
}

/// S9, M3: an action is found by the query or by the feed, and in both it is the same one.
pub async fn s09_subscribe_append_query_delivers_once(bench: &mut impl Bench) {
    let store = bench.store();
    enrolled(&*store, "a").await;
    let agent = AgentId::from("a");
    let mut delivered = Vec::new();
    let mut position = None;
    for n in 0..50 {
        let subscribed = store.last_change().await.unwrap();
        let doc = format!("d{n}");
        let appending = {
            let (store, doc) = (store.clone(), doc.clone());
            tokio::spawn(async move { store.append_actions(vec![action(&doc, &["a"])]).await })
        };
        let mut pending = store.pending_actions(&agent, position, at(1), 10).await.unwrap();
        if pending.is_empty() {
            let pushed = store
                .changes(subscribed, 10, std::time::Duration::from_secs(30))
                .await
                .unwrap();
            assert_eq!(
                pushed.iter().map(|change| change.id.as_str()).collect::<Vec<_>>(),
                [doc.as_str()]
            );
            pending = store.pending_actions(&agent, position, at(1), 10).await.unwrap();
        }
        appending.await.unwrap().unwrap();
        assert_eq!(pending.len(), 1, "{pending:?}");
        position = pending.last().map(|one| one.action.sequence);
        delivered.extend(pending.into_iter().map(|one| one.action.doc.to_string()));
    }
    assert_eq!(delivered, (0..50).map(|n| format!("d{n}")).collect::<Vec<_>>());
}

/// S10, M4: a deleted document resolves to nothing; the agent's own position still cuts the queue.
pub async fn s10_a_deleted_position_leaves_the_agents_own(bench: &mut impl Bench) {
    let store = bench.store();
    enrolled(&*store, "a").await;
    let agent_id = AgentId::from("a");
    let mut first = action("first", &["a"]);
    first.expiration = Some(at(10));
    let given = store
        .append_actions(vec![first, action("second", &["a"]), action("third", &["a"])])
        .await
        .unwrap();
    let token = ActionDocId::from("first");
    assert_eq!(store.position_of(&token).await.unwrap(), Some(given[0]));
    store
        .record_checkins(vec![CheckinRecord {
            position: Some(given[1]),
            ..checkin("a", at(1))
        }])
        .await
        .unwrap();
    assert_eq!(store.delete_expired_actions(at(11), 10).await.unwrap(), 1);
    assert_eq!(store.position_of(&token).await.unwrap(), None);
    let position = agent(&*store, "a").await.action_position;
    let pending = store
        .pending_actions(&agent_id, position, at(20), 10)
        .await
        .unwrap();
    assert_eq!(
        pending
            .iter()
            .map(|one| one.action.doc.as_str())
            .collect::<Vec<_>>(),
        ["third"]
    );
}

/// S11, M7.
pub async fn s11_a_result_is_stored_once(bench: &mut impl Bench) {
    let store = bench.store();
    store
        .append_actions(vec![action("d1", &["a", "b", "c"]), action("d2", &["d"])])
        .await
        .unwrap();
    let id = ActionId::from("action of d1");
    let mut first = result(id.as_str(), "a");
    first.details = Some(json(r#"{"data":{"upload_id":"u"}}"#));
    assert_eq!(store.insert_result(first.clone()).await.unwrap(), Inserted::New);
    let mut second = first.clone();
    second.error = Some("other".to_owned());
    assert_eq!(
        store.insert_result(second.clone()).await.unwrap(),
        Inserted::Already
    );
    second.agent = AgentId::from("b");
    assert_eq!(store.insert_result(second.clone()).await.unwrap(), Inserted::New);
    let page = store.results(&id, all()).await.unwrap();
    assert_eq!((page.items, page.total), (vec![first, second.clone()], 2));
    let page = store
        .results(&id, PageRequest { offset: 1, limit: 1 })
        .await
        .unwrap();
    assert_eq!((page.items, page.total), (vec![second], 2));
    let progress = store.action_progress(&id).await.unwrap();
    assert_eq!(
        progress,
        ActionProgress {
            targets: 3,
            succeeded: 1,
            failed: 1
        }
    );
    let none = store.action_progress(&ActionId::from("none")).await.unwrap();
    assert_eq!(none, ActionProgress::default());
    // Results outlive their action.
    store.delete_expired_actions(at(10_000), 10).await.unwrap();
    assert_eq!(store.results(&id, all()).await.unwrap().total, 2);
}

/// S20, M2: expired actions go in bounded batches, with their queue entries, and later ones are delivered.
pub async fn s20_expired_actions_go_in_batches(bench: &mut impl Bench) {
    let store = bench.store();
    enrolled(&*store, "a").await;
    let agent = AgentId::from("a");
    let mut actions: Vec<_> = (0..25).map(|n| action(&format!("d{n}"), &["a"])).collect();
    for (n, action) in actions.iter_mut().enumerate() {
        action.expiration = Some(at(if n % 5 == 0 { 5000 } else { 100 }));
    }
    let mut endless = action("endless", &["a"]);
    endless.expiration = None;
    actions.push(endless);
    store.append_actions(actions).await.unwrap();
    // Expired ones are not delivered even before they are removed; without an end none ever is.
    let fresh = store.pending_actions(&agent, None, at(101), 100).await.unwrap();
    assert_eq!(fresh.len(), 5);
    assert_eq!(
        store
            .pending_actions(&agent, None, at(50), 100)
            .await
            .unwrap()
            .len(),
        25
    );
    for expected in [8, 8, 4, 0] {
        assert_eq!(store.delete_expired_actions(at(101), 8).await.unwrap(), expected);
    }
    assert_eq!(
        store.pending_actions(&agent, None, at(101), 100).await.unwrap(),
        fresh
    );
    assert_eq!(
        store.pending_actions(&agent, None, at(50), 100).await.unwrap(),
        fresh,
        "entries went too"
    );
    assert!(
        store
            .action(&ActionId::from("action of endless"))
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(store.stats().await.unwrap().actions, 6);
    // The feed is not stalled by the gaps.
    let before = store.last_change().await.unwrap();
    store.append_actions(vec![action("later", &["a"])]).await.unwrap();
    let changes = store
        .changes(before, 10, std::time::Duration::from_secs(30))
        .await
        .unwrap();
    assert_eq!(changes.len(), 1);
    let position = fresh.last().map(|one| one.action.sequence);
    assert_eq!(
        store
            .pending_actions(&agent, position, at(101), 10)
            .await
            .unwrap()
            .len(),
        1
    );
}

/// O9, O10, O11: one unit; log-only types never queue; index and count of targets come with the action.
pub async fn o09_marks_and_queue_belong_to_the_append(bench: &mut impl Bench) {
    let store = bench.store();
    enrolled(&*store, "a").await;
    enrolled(&*store, "b").await;
    let mut full = action("full", &["x", "b", "a", "b"]);
    full.action = ActionId::from("shared");
    full.mark = Some(AgentMark::UnenrollmentStarted);
    full.at = at(7);
    full.start_time = Some(at(8));
    full.rollout_duration_seconds = Some(600);
    full.timeout = Some(-5);
    full.user_id = Some("someone".to_owned());
    full.input_type = Some("osquery".to_owned());
    full.traceparent = Some("00-1".to_owned());
    full.signed = Some(json(r#"{"data":"x","signature":"y"}"#));
    full.namespaces = vec!["one".to_owned(), "two".to_owned()];
    let mut log = action("log", &["a"]);
    log.action = ActionId::from("shared");
    log.is_deliverable = false;
    let given = store.append_actions(vec![full.clone(), log]).await.unwrap();
    assert!(given[0] < given[1]);

    let pending = store
        .pending_actions(&AgentId::from("b"), None, at(9), 10)
        .await
        .unwrap();
    assert_eq!(pending.len(), 1);
    let one = &pending[0];
    assert_eq!((one.index, one.targets), (1, 4));
    assert_eq!((one.action.sequence, &one.action.doc), (given[0], &full.doc));
    assert_eq!(
        (one.action.start_time, one.action.rollout_duration_seconds),
        (Some(at(8)), Some(600))
    );
    assert_eq!(
        (one.action.timeout, &one.action.user_id),
        (Some(-5), &full.user_id)
    );
    assert_eq!(
        (&one.action.input_type, &one.action.traceparent),
        (&full.input_type, &full.traceparent)
    );
    assert_eq!((&one.action.signed, &one.action.data), (&full.signed, &full.data));
    assert_eq!(
        (one.action.at, one.action.expiration, &one.action.namespaces),
        (full.at, full.expiration, &full.namespaces)
    );
    assert_eq!(
        store
            .pending_actions(&AgentId::from("b"), Some(given[0]), at(9), 10)
            .await
            .unwrap(),
        []
    );
    assert_eq!(
        store
            .pending_actions(&AgentId::from("a"), None, at(9), 10)
            .await
            .unwrap()
            .len(),
        1
    );
    assert_eq!(agent(&*store, "a").await.unenrollment_started_at, Some(at(7)));
    assert_eq!(store.action_targets(&full.doc).await.unwrap(), full.agents);
    let newest = store.action(&ActionId::from("shared")).await.unwrap().unwrap();
    assert_eq!(newest.sequence, given[1]);

    // A taken document id refuses the whole call.
    let refused = store
        .append_actions(vec![action("fresh", &["a"]), action("full", &["a"])])
        .await
        .unwrap_err();
    assert!(
        matches!(refused, StoreError::Conflict(Conflict::IdTaken(_))),
        "{refused}"
    );
    assert_eq!(
        store.position_of(&ActionDocId::from("fresh")).await.unwrap(),
        None
    );
    assert_eq!(
        store
            .pending_actions(&AgentId::from("a"), Some(given[0]), at(9), 10)
            .await
            .unwrap(),
        []
    );
}
