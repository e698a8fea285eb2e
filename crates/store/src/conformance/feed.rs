//! S19, O23, O26: the change feed and the end.

use std::time::Duration;

use super::{Bench, samples::*};
use crate::{AgentId, ChangeKind, Cursor, PolicyId, Store, StoreError, TokenId};

/// S19: read in small steps during writes and over a restart: every change once, in order.
pub async fn s19_the_feed_misses_and_doubles_nothing_over_a_reconnect(bench: &mut impl Bench) {
    let mut read: Vec<String> = Vec::new();
    let mut place = bench.store().last_change(ChangeKind::Agent).await.unwrap();
    for round in 0..3 {
        let store = bench.store();
        let writers: Vec<_> = (0..40)
            .map(|n| {
                let store = store.clone();
                tokio::spawn(async move {
                    let name = format!("a{round}-{n}");
                    // Other kinds in between, each before the next agent of this writer.
                    policy(&*store, &name).await;
                    enrolled(&*store, &name).await;
                    store.append_actions(vec![action(&name, &[&name])]).await.unwrap();
                })
            })
            .collect();
        while read.len() < 40 * round + 25 {
            let changes = store
                .changes(ChangeKind::Agent, &place, 7, Duration::from_secs(30))
                .await
                .unwrap();
            assert!(!changes.ids.is_empty() && changes.ids.len() <= 7);
            place = changes.next;
            read.extend(changes.ids);
        }
        for writer in writers {
            writer.await.unwrap();
        }
        bench.restart().await;
    }
    let store = bench.store();
    loop {
        let changes = store
            .changes(ChangeKind::Agent, &place, 7, Duration::ZERO)
            .await
            .unwrap();
        place = changes.next;
        if changes.ids.is_empty() {
            break;
        }
        read.extend(changes.ids);
    }
    // A reader at the cursor of a new reader sees nothing either.
    let newest = store.last_change(ChangeKind::Agent).await.unwrap();
    assert_eq!(after(&*store, ChangeKind::Agent, &newest).await, no_ids());
    read.sort();
    let mut expected: Vec<_> = (0..3)
        .flat_map(|round| (0..40).map(move |n| format!("a{round}-{n}")))
        .collect();
    expected.sort();
    assert_eq!(read, expected);
}

/// S19, M1: one after the other, changes of a kind are told in the order of their commits, also over other kinds.
pub async fn s19c_changes_of_a_kind_come_in_the_order_of_commits(bench: &mut impl Bench) {
    let store = bench.store();
    let start = store.last_change(ChangeKind::Agent).await.unwrap();
    let mut expected = Vec::new();
    for n in 0..30 {
        let name = format!("a{}", (n * 7) % 30);
        enrolled(&*store, &name).await;
        store.append_actions(vec![action(&name, &[&name])]).await.unwrap();
        expected.push(name);
    }
    assert_eq!(after(&*store, ChangeKind::Agent, &start).await, expected);
    let mut place = start;
    for expected in expected.chunks(4) {
        let changes = store
            .changes(ChangeKind::Agent, &place, 4, Duration::ZERO)
            .await
            .unwrap();
        assert_eq!(changes.ids, expected);
        place = changes.next;
    }
}

async fn after(store: &dyn Store, kind: ChangeKind, place: &Cursor) -> Vec<String> {
    store.changes(kind, place, 100, Duration::ZERO).await.unwrap().ids
}

const fn no_ids() -> Vec<String> {
    Vec::new()
}

/// Where a new reader of each kind would start.
async fn places(store: &dyn Store) -> Vec<(ChangeKind, Cursor)> {
    let mut places = Vec::new();
    for kind in ChangeKind::ALL.iter().copied() {
        places.push((kind, store.last_change(kind).await.unwrap()));
    }
    places
}

/// O23: an idle reader waits, is woken by a commit of its kind, and each kind hears only of its own.
pub async fn s19b_the_feed_waits_and_wakes(bench: &mut impl Bench) {
    let store = bench.store();
    let start = store.last_change(ChangeKind::Policy).await.unwrap();
    let idle = store
        .changes(ChangeKind::Policy, &start, 10, Duration::from_millis(20))
        .await
        .unwrap();
    assert_eq!(idle.ids, no_ids());
    let waiting = {
        let store = store.clone();
        tokio::spawn(async move {
            store
                .changes(ChangeKind::Policy, &idle.next, 10, Duration::from_secs(60))
                .await
        })
    };
    enrolled(&*store, "other").await;
    policy(&*store, "p").await;
    assert_eq!(waiting.await.unwrap().unwrap().ids, ["p"]);

    // Each step, and what each kind hears of it.
    let expect = async |places: Vec<(ChangeKind, Cursor)>, heard: &[(ChangeKind, &str)]| {
        for (kind, place) in places {
            let expected: Vec<_> = heard
                .iter()
                .filter(|(of, _)| *of == kind)
                .map(|(_, id)| *id)
                .collect();
            assert_eq!(after(&*store, kind, &place).await, expected, "{kind}");
        }
    };
    let agent = AgentId::from("a");
    let before = places(&*store).await;
    enrolled(&*store, "a").await;
    expect(before, &[(ChangeKind::Agent, "a")]).await;
    let before = places(&*store).await;
    store.record_checkins(vec![checkin("a", at(1))]).await.unwrap();
    confirm(&*store, "a", 1).await;
    expect(before, &[]).await;
    let before = places(&*store).await;
    store.append_actions(vec![action("d", &["a"])]).await.unwrap();
    expect(before, &[(ChangeKind::Action, "d")]).await;
    policy(&*store, "q").await;
    let before = places(&*store).await;
    store
        .reassign(std::slice::from_ref(&agent), &PolicyId::from("q"), at(2))
        .await
        .unwrap();
    expect(before, &[(ChangeKind::Agent, "a")]).await;
    let before = places(&*store).await;
    store.unenroll(&agent, None, at(3)).await.unwrap();
    expect(before, &[(ChangeKind::Agent, "a")]).await;
    let before = places(&*store).await;
    admitting(&*store, "t", "p").await;
    expect(before, &[(ChangeKind::Token, "t")]).await;
    let before = places(&*store).await;
    store.revoke_token(&TokenId::from("t"), at(4)).await.unwrap();
    expect(before, &[(ChangeKind::Token, "t")]).await;
    // A refused operation changes nothing.
    let before = places(&*store).await;
    store
        .append_policy_revision(None, revision("p"))
        .await
        .unwrap_err();
    expect(before, &[]).await;
}

/// O26: what was accepted is durable; afterwards everything is `Unavailable`, waiting readers too.
pub async fn o26_close_ends_everything(bench: &mut impl Bench) {
    let store = bench.store();
    let health = store.health().await;
    assert_eq!(
        (health.readable, health.writable, health.reason),
        (true, true, None)
    );
    policy(&*store, "p").await;
    enrolled(&*store, "a").await;
    store.append_actions(vec![action("d", &["a"])]).await.unwrap();
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.agents, stats.actions, stats.policies), (1, 1, 1));
    assert!(stats.bytes > 0);
    let last = store.last_change(ChangeKind::Agent).await.unwrap();
    let waiting = {
        let (store, last) = (store.clone(), last.clone());
        tokio::spawn(async move {
            store
                .changes(ChangeKind::Agent, &last, 10, Duration::from_secs(60))
                .await
        })
    };
    let writing: Vec<_> = (0..20)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { store.enroll(enrollment(&format!("b{n}"), "p")).await })
        })
        .collect();
    store.close().await.unwrap();
    store.close().await.unwrap();
    let waited = waiting.await.unwrap();
    match waited {
        Ok(changes) => assert!(!changes.ids.is_empty(), "woken by a write before the end"),
        Err(error) => assert!(matches!(error, StoreError::Unavailable { .. }), "{error}"),
    }
    let mut stored = vec!["a".to_owned()];
    for one in writing {
        match one.await.unwrap() {
            Ok(enrolled) => stored.push(enrolled.agent.id.to_string()),
            Err(error) => assert!(matches!(error, StoreError::Unavailable { .. }), "{error}"),
        }
    }
    let refused = store.enroll(enrollment("late", "p")).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable { .. }), "{refused}");
    assert!(matches!(
        store.agent(&AgentId::from("a")).await,
        Err(StoreError::Unavailable { .. })
    ));
    assert!(matches!(
        store.changes(ChangeKind::Agent, &last, 1, Duration::ZERO).await,
        Err(StoreError::Unavailable { .. })
    ));
    let health = store.health().await;
    assert_eq!((health.readable, health.writable), (false, false));
    assert!(health.reason.is_some());
    drop(store);
    bench.restart().await;
    let page = bench.store().agents(&everyone(), all(), at(1)).await.unwrap();
    let mut found: Vec<_> = page
        .items
        .into_iter()
        .map(|one| one.agent.id.to_string())
        .collect();
    found.sort();
    stored.sort();
    assert_eq!(found, stored);
}
