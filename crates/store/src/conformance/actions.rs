//! S8–S11, S20: actions, queues, results.

use std::time::Duration;

use super::{Bench, samples::*};
use crate::{
    Action, ActionDocId, ActionId, ActionOutcome, ActionProgress, AddressedAction, AgentId, AgentMark,
    ChangeKind, Conflict, Inserted, NewAction, PageRequest, PageStart, Recall, StoreError,
};

/// S8, M1, M2: a reader that sees an action sees every earlier one, and positions survive deletion and restart.
pub async fn s08_parallel_appends_leave_no_hole(bench: &mut impl Bench) {
    let store = bench.store();
    enrolled(&*store, "a").await;
    let writers: Vec<_> = (0..100)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { store.append_actions(vec![action(&format!("d{n}"), &["a"])]).await })
        })
        .collect();
    // A concurrent reader: no action may appear later between those that it has already seen.
    let agent = AgentId::from("a");
    let behind = async |token: Option<&ActionDocId>| {
        store
            .pending_actions(&agent, token, None, at(1), 1000)
            .await
            .unwrap()
    };
    let mut seen: Vec<ActionDocId> = Vec::new();
    while seen.len() < 100 {
        let later = behind(seen.last()).await.actions.into_iter();
        let later: Vec<_> = later.map(|one| one.action.doc).collect();
        assert!(later.iter().all(|doc| !seen.contains(doc)));
        seen.extend(later);
        let everything = behind(None).await;
        let everything = docs(&everything);
        let seen: Vec<_> = seen.iter().map(ActionDocId::as_str).collect();
        assert_eq!(everything[..seen.len()], seen, "a hole was filled after the fact");
    }
    for (n, writer) in writers.into_iter().enumerate() {
        let written = writer.await.unwrap().unwrap();
        assert_eq!(written, [Action::from(action(&format!("d{n}"), &["a"]))]);
    }

    // A position is never reused: not after deletion, not after a restart.
    let last = behind(seen.last()).await.position;
    assert!(last.is_some());
    assert_eq!(store.delete_expired_actions(at(10_000), 1000).await.unwrap(), 100);
    bench.restart().await;
    let store = bench.store();
    store.append_actions(vec![action("next", &["a"])]).await.unwrap();
    let pending = store
        .pending_actions(&agent, None, last.as_ref(), at(1), 10)
        .await
        .unwrap();
    assert_eq!(docs(&pending), ["next"], "behind what is gone");
}

/// S9, M3: an action is found by the query or by the feed, and in both it is the same one.
pub async fn s09_subscribe_append_query_delivers_once(bench: &mut impl Bench) {
    let store = bench.store();
    enrolled(&*store, "a").await;
    let agent = AgentId::from("a");
    let mut delivered: Vec<ActionDocId> = Vec::new();
    for n in 0..50 {
        let subscribed = store.last_change(ChangeKind::Action).await.unwrap();
        let doc = format!("d{n}");
        let appending = {
            let (store, doc) = (store.clone(), doc.clone());
            tokio::spawn(async move { store.append_actions(vec![action(&doc, &["a"])]).await })
        };
        let look = async || {
            store
                .pending_actions(&agent, delivered.last(), None, at(1), 10)
                .await
                .unwrap()
        };
        let mut pending = look().await;
        if pending.actions.is_empty() {
            let pushed = store
                .changes(ChangeKind::Action, &subscribed, 10, Duration::from_secs(30))
                .await
                .unwrap();
            assert_eq!(pushed.ids, [doc]);
            pending = look().await;
        }
        appending.await.unwrap().unwrap();
        assert_eq!(pending.actions.len(), 1, "{pending:?}");
        delivered.extend(pending.actions.into_iter().map(|one| one.action.doc));
    }
    let expected: Vec<ActionDocId> = (0..50).map(|n| format!("d{n}").into()).collect();
    assert_eq!(delivered, expected);
}

/// S10, M4: the token of a deleted document has no effect; the agent's stored position still counts.
pub async fn s10_a_deleted_position_leaves_the_agents_own(bench: &mut impl Bench) {
    let store = bench.store();
    enrolled(&*store, "a").await;
    let mut first = action("first", &["a"]);
    first.expiration = Some(at(10));
    store
        .append_actions(vec![first, action("second", &["a"]), action("third", &["a"])])
        .await
        .unwrap();
    acknowledge(&*store, "a", "second", at(1)).await;
    assert_eq!(store.delete_expired_actions(at(11), 10).await.unwrap(), 1);
    let stored = agent(&*store, "a").await;
    let token = ActionDocId::from("first");
    let pending = store
        .pending_actions(
            &stored.id,
            Some(&token),
            stored.action_position.as_ref(),
            at(20),
            10,
        )
        .await
        .unwrap();
    assert_eq!(docs(&pending), ["third"]);
    assert_eq!(pending.position, stored.action_position);
    let unplaced = store
        .pending_actions(&stored.id, Some(&token), None, at(20), 10)
        .await
        .unwrap();
    assert_eq!(docs(&unplaced), ["second", "third"]);
    assert_eq!(unplaced.position, None);
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
    (second.outcome, second.error) = (ActionOutcome::Failed, Some("other".to_owned()));
    assert_eq!(
        store.insert_result(second.clone()).await.unwrap(),
        Inserted::Already
    );
    second.agent = AgentId::from("b");
    assert_eq!(store.insert_result(second.clone()).await.unwrap(), Inserted::New);
    let page = store.results(&id, all()).await.unwrap();
    assert_total(page.total, 2);
    assert_eq!(page.items, [first, second]);
    let one = store.results(&id, PageRequest::first(1)).await.unwrap();
    assert_eq!(one.items, page.items[..1]);
    for request in [
        behind(one.next.unwrap(), 5),
        PageRequest {
            from: PageStart::Offset(1),
            limit: 5,
        },
    ] {
        let rest = store.results(&id, request).await.unwrap();
        assert_total(rest.total, 2);
        assert_eq!((&rest.items[..], rest.next), (&page.items[1..], None));
    }
    let progress = store.action_progress(&id).await.unwrap();
    assert_eq!(
        progress,
        ActionProgress {
            targets: 3,
            succeeded: 1,
            failed: 1,
            cancelled: 0
        }
    );
    let none = store.action_progress(&ActionId::from("none")).await.unwrap();
    assert_eq!(none, ActionProgress::default());
    // They stay as long as a document of their action, and no others go with them.
    let mut again = action("again", &["a"]);
    (again.action, again.expiration) = (id.clone(), Some(at(20_000)));
    store
        .append_actions(vec![again, action("other", &["a"])])
        .await
        .unwrap();
    let other = result("action of other", "a");
    store.insert_result(other.clone()).await.unwrap();
    for (before, left) in [(10_000, 2), (20_001, 0)] {
        store.delete_expired_actions(at(before), 10).await.unwrap();
        assert_total(store.results(&id, all()).await.unwrap().total, left);
    }
    let others = store.results(&other.action, all()).await.unwrap();
    assert_total(others.total, 0);
}

/// M7, AC-41: an answer that is not final is replaced by a final one, once; a corrected result replaces any.
pub async fn s11b_an_answer_that_is_no_end_is_replaced_by_one_that_is(bench: &mut impl Bench) {
    let store = bench.store();
    enrolled(&*store, "a").await;
    let mut upgrade = action("d", &["a", "b"]);
    upgrade.kind = "UPGRADE".to_owned();
    let written = store
        .append_actions(vec![upgrade, action("other", &["a"])])
        .await
        .unwrap();
    let (id, agent) = (written[0].action.clone(), AgentId::from("a"));
    let addressed = async |outcome| {
        let action = written[0].clone();
        let found = store.addressed_actions(&agent, "UPGRADE").await.unwrap();
        assert_eq!(found, [AddressedAction { action, outcome }]);
    };
    addressed(None).await;
    let mut answer = result(id.as_str(), "a");
    let outcomes = [
        (
            ActionOutcome::Acknowledged,
            Inserted::New,
            ActionOutcome::Acknowledged,
        ),
        (
            ActionOutcome::Acknowledged,
            Inserted::Already,
            ActionOutcome::Acknowledged,
        ),
        (ActionOutcome::Cancelled, Inserted::New, ActionOutcome::Cancelled),
        (
            ActionOutcome::Succeeded,
            Inserted::Already,
            ActionOutcome::Cancelled,
        ),
        (
            ActionOutcome::Acknowledged,
            Inserted::Already,
            ActionOutcome::Cancelled,
        ),
    ];
    for (outcome, inserted, stands) in outcomes {
        answer.outcome = outcome;
        assert_eq!(store.insert_result(answer.clone()).await.unwrap(), inserted);
        addressed(Some(stands)).await;
    }
    let progress = store.action_progress(&id).await.unwrap();
    let expected = ActionProgress {
        targets: 2,
        cancelled: 1,
        ..ActionProgress::default()
    };
    assert_eq!(progress, expected);
    (answer.outcome, answer.error) = (ActionOutcome::Failed, Some("rolled back".to_owned()));
    store.replace_result(answer.clone()).await.unwrap();
    assert_eq!(store.results(&id, all()).await.unwrap().items, [answer]);
    let first = result("never answered", "a");
    store.replace_result(first.clone()).await.unwrap();
    assert_eq!(store.results(&first.action, all()).await.unwrap().items, [first]);
    assert!(
        store
            .addressed_actions(&"b".into(), "SETTINGS")
            .await
            .unwrap()
            .is_empty()
    );
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
    let waiting = async |now| {
        let pending = store.pending_actions(&agent, None, None, now, 100).await.unwrap();
        pending.actions
    };
    // Expired actions are not delivered even before they are removed; one without an expiration never is.
    let fresh = waiting(at(101)).await;
    assert_eq!(fresh.len(), 5);
    assert_eq!(waiting(at(50)).await.len(), 25);
    for expected in [8, 8, 4, 0] {
        assert_eq!(store.delete_expired_actions(at(101), 8).await.unwrap(), expected);
    }
    assert_eq!(waiting(at(101)).await, fresh);
    assert_eq!(waiting(at(50)).await, fresh, "entries went too");
    assert!(
        store
            .action(&ActionId::from("action of endless"))
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(store.stats().await.unwrap().actions, 6);
    // The feed is not stalled by the gaps.
    let before = store.last_change(ChangeKind::Action).await.unwrap();
    store.append_actions(vec![action("later", &["a"])]).await.unwrap();
    let changes = store
        .changes(ChangeKind::Action, &before, 10, Duration::from_secs(30))
        .await
        .unwrap();
    assert_eq!(changes.ids, ["later"]);
    let last = fresh.last().map(|one| &one.action.doc);
    let pending = store
        .pending_actions(&agent, last, None, at(101), 10)
        .await
        .unwrap();
    assert_eq!(docs(&pending), ["later"]);
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
    let written = store
        .append_actions(vec![full.clone(), log.clone()])
        .await
        .unwrap();
    assert_eq!(written, [Action::from(full.clone()), Action::from(log)]);

    let pending = store
        .pending_actions(&AgentId::from("b"), None, None, at(9), 10)
        .await
        .unwrap();
    assert_eq!(pending.actions.len(), 1);
    let one = &pending.actions[0];
    assert_eq!((one.index, one.targets), (1, 4));
    assert_eq!(one.action, written[0]);
    let confirmed = store
        .pending_actions(&AgentId::from("b"), Some(&full.doc), None, at(9), 10)
        .await
        .unwrap();
    assert_eq!(confirmed.actions, []);
    let pending = store
        .pending_actions(&AgentId::from("a"), None, None, at(9), 10)
        .await
        .unwrap();
    assert_eq!(docs(&pending), ["full"]);
    assert_eq!(agent(&*store, "a").await.unenrollment_started_at, Some(at(7)));
    assert_eq!(store.action_targets(&full.doc).await.unwrap(), full.agents);
    let newest = store.action(&ActionId::from("shared")).await.unwrap();
    assert_eq!(newest.as_ref(), Some(&written[1]));
}

/// O9, O10.
pub async fn o09_what_is_taken_back_is_never_delivered(bench: &mut dyn Bench) {
    let store = bench.store();
    for name in ["a", "b", "c", "d"] {
        enrolled(&*store, name).await;
    }
    store
        .append_actions(vec![
            action("first", &["a", "b", "c", "d"]),
            action("kept", &["a"]),
        ])
        .await
        .unwrap();
    // It has got it: it is not taken back from an agent that has answered.
    let target = action("first", &[]).action;
    let answer = result(target.as_str(), "b");
    store.insert_result(answer.clone()).await.unwrap();
    let agents = ["a", "b", "d", "nobody"].map(AgentId::from).to_vec();
    let cancel = NewAction {
        recall: Some(Recall {
            action: target.clone(),
            agents,
            reason: "why".to_owned(),
        }),
        ..action("cancel", &["a", "b"])
    };
    store.append_actions(vec![cancel]).await.unwrap();
    let due = async |agent: &str| {
        let pending = store
            .pending_actions(&AgentId::from(agent), None, None, at(9), 10)
            .await;
        let pending = pending.unwrap();
        docs(&pending).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(due("a").await, ["kept", "cancel"]);
    assert_eq!(due("b").await, ["first", "cancel"]);
    assert_eq!(due("c").await, ["first"]);
    assert_eq!(due("d").await, [""; 0]);
    let progress = store.action_progress(&target).await.unwrap();
    assert_eq!(
        (progress.targets, progress.succeeded, progress.cancelled),
        (4, 1, 2)
    );
    let results = store.results(&target, all()).await.unwrap().items;
    assert_eq!(results[0], answer);
    let cancelled = results
        .iter()
        .find(|result| result.agent.as_str() == "a")
        .unwrap();
    assert_eq!(
        (cancelled.outcome, cancelled.error.as_deref()),
        (ActionOutcome::Cancelled, Some("why"))
    );
    let late = result(target.as_str(), "a");
    assert_eq!(store.insert_result(late).await.unwrap(), Inserted::Already);
}

/// O9: a taken document id refuses the whole call.
pub async fn transactional_o09_a_refused_append_writes_nothing(bench: &mut impl Bench) {
    let store = bench.store();
    enrolled(&*store, "a").await;
    store.append_actions(vec![action("taken", &["a"])]).await.unwrap();
    let before = store.last_change(ChangeKind::Action).await.unwrap();
    let mut fresh = action("fresh", &["a"]);
    fresh.mark = Some(AgentMark::UpgradeStarted);
    let refused = store
        .append_actions(vec![fresh, action("taken", &["a"])])
        .await
        .unwrap_err();
    assert!(
        matches!(refused, StoreError::Conflict(Conflict::IdTaken(_))),
        "{refused}"
    );
    let pending = store
        .pending_actions(&AgentId::from("a"), None, None, at(9), 10)
        .await
        .unwrap();
    assert_eq!(docs(&pending), ["taken"]);
    assert_eq!(agent(&*store, "a").await.upgrade_started_at, None);
    let changes = store
        .changes(ChangeKind::Action, &before, 10, Duration::ZERO)
        .await
        .unwrap();
    assert!(changes.ids.is_empty(), "{changes:?}");
}

/// O9: of a refused call each action is there with everything that belongs to it, or not at all; appending the
/// missing ones again completes it.
pub async fn document_o09_each_action_is_whole_or_absent(bench: &mut impl Bench) {
    let store = bench.store();
    let names = ["one", "two"];
    let new = |doc: &str| {
        let mut new = action(doc, &[doc]);
        new.mark = Some(AgentMark::UnenrollmentStarted);
        new
    };
    for name in names {
        enrolled(&*store, name).await;
    }
    store.append_actions(vec![action("taken", &[])]).await.unwrap();
    let refused = store
        .append_actions(vec![new("one"), action("taken", &[]), new("two")])
        .await
        .unwrap_err();
    assert!(
        matches!(refused, StoreError::Conflict(Conflict::IdTaken(_))),
        "{refused}"
    );
    let is_whole = async |name: &str| {
        let pending = store
            .pending_actions(&AgentId::from(name), None, None, at(9), 10)
            .await
            .unwrap();
        let is_marked = agent(&*store, name).await.unenrollment_started_at.is_some();
        assert_eq!(docs(&pending) == [name], is_marked, "{name}");
        is_marked
    };
    for name in names {
        let is_there = store.action(&new(name).action).await.unwrap().is_some();
        assert_eq!(is_whole(name).await, is_there, "{name}");
        if !is_there {
            store.append_actions(vec![new(name)]).await.unwrap();
        }
        assert!(is_whole(name).await, "{name}");
    }
}
