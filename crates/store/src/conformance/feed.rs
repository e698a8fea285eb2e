//! S19, O23, O26: the change feed and the end.

use std::time::Duration;

use super::{Bench, samples::*};
use crate::{AgentId, Change, ChangeKind, KeyId, PolicyId, StoreError, TokenId};

/// S19: read in small steps while others write, over a restart: every change once, in order.
pub async fn s19_the_feed_misses_and_doubles_nothing_over_a_reconnect(bench: &mut impl Bench) {
    let mut read: Vec<Change> = Vec::new();
    let mut position = bench.store().last_change().await.unwrap();
    assert_eq!(position, 0);
    for round in 0..3 {
        let store = bench.store();
        let writers: Vec<_> = (0..40)
            .map(|n| {
                let store = store.clone();
                tokio::spawn(async move { enrolled(&*store, &format!("a{round}-{n}")).await })
            })
            .collect();
        while read.len() < 40 * round + 25 {
            let changes = store.changes(position, 7, Duration::from_secs(30)).await.unwrap();
            assert!(!changes.is_empty() && changes.len() <= 7);
            position = changes.last().unwrap().sequence;
            read.extend(changes);
        }
        for writer in writers {
            writer.await.unwrap();
        }
        bench.restart().await;
    }
    let store = bench.store();
    loop {
        let changes = store.changes(position, 7, Duration::ZERO).await.unwrap();
        let Some(last) = changes.last() else { break };
        position = last.sequence;
        read.extend(changes);
    }
    assert_eq!(position, store.last_change().await.unwrap());
    assert!(read.is_sorted_by(|one, next| one.sequence < next.sequence));
    let mut ids: Vec<_> = read.into_iter().map(|change| change.id).collect();
    ids.sort();
    let mut expected: Vec<_> = (0..3)
        .flat_map(|round| (0..40).map(move |n| format!("a{round}-{n}")))
        .collect();
    expected.sort();
    assert_eq!(ids, expected);
}

/// O23: an idle reader waits, is woken by a commit, and learns what kind of thing changed.
pub async fn s19b_the_feed_waits_and_wakes(bench: &mut impl Bench) {
    let store = bench.store();
    assert_eq!(store.changes(0, 10, Duration::from_millis(20)).await.unwrap(), []);
    let waiting = {
        let store = store.clone();
        tokio::spawn(async move { store.changes(0, 10, Duration::from_secs(60)).await })
    };
    policy(&*store, "p").await;
    let woken = waiting.await.unwrap().unwrap();
    assert_eq!(
        woken
            .iter()
            .map(|one| (one.kind, one.id.as_str()))
            .collect::<Vec<_>>(),
        [(ChangeKind::Policy, "p")]
    );

    let kinds_after = async |position: i64| {
        let changes = store.changes(position, 100, Duration::ZERO).await.unwrap();
        changes
            .into_iter()
            .map(|one| (one.kind, one.id))
            .collect::<Vec<_>>()
    };
    let mut position = store.last_change().await.unwrap();
    let agent = AgentId::from("a");
    enrolled(&*store, "a").await;
    assert_eq!(kinds_after(position).await, [(ChangeKind::Agent, "a".to_owned())]);
    position = store.last_change().await.unwrap();
    store.record_checkins(vec![checkin("a", at(1))]).await.unwrap();
    confirm(&*store, "a", 1).await;
    assert_eq!(kinds_after(position).await, []);
    store.append_actions(vec![action("d", &["a"])]).await.unwrap();
    assert_eq!(
        kinds_after(position).await,
        [(ChangeKind::Action, "d".to_owned())]
    );
    position = store.last_change().await.unwrap();
    store
        .reassign(std::slice::from_ref(&agent), &PolicyId::from("q"), at(2))
        .await
        .unwrap();
    assert_eq!(kinds_after(position).await, [(ChangeKind::Agent, "a".to_owned())]);
    position = store.last_change().await.unwrap();
    store.unenroll(&agent, None, at(3)).await.unwrap();
    let unenrolled = kinds_after(position).await;
    assert!(
        unenrolled.contains(&(ChangeKind::Agent, "a".to_owned())),
        "{unenrolled:?}"
    );
    assert!(
        unenrolled.contains(&(ChangeKind::Key, "key-a".to_owned())),
        "{unenrolled:?}"
    );
    position = store.last_change().await.unwrap();
    admitting(&*store, "t", "p").await;
    assert_eq!(kinds_after(position).await, [(ChangeKind::Token, "t".to_owned())]);
    position = store.last_change().await.unwrap();
    store.revoke_token(&TokenId::from("t"), at(4)).await.unwrap();
    let revoked = kinds_after(position).await;
    assert!(
        revoked.contains(&(ChangeKind::Token, "t".to_owned())),
        "{revoked:?}"
    );
    assert!(
        revoked.contains(&(ChangeKind::Key, "key-t".to_owned())),
        "{revoked:?}"
    );
    position = store.last_change().await.unwrap();
    store.create_key(key("k", crate::KeyKind::Admin)).await.unwrap();
    store.invalidate_keys(&[KeyId::from("k")], at(5)).await.unwrap();
    let made = (ChangeKind::Key, "k".to_owned());
    assert_eq!(kinds_after(position).await, [made.clone(), made]);
    // A refused operation changes nothing.
    position = store.last_change().await.unwrap();
    store
        .append_policy_revision(None, revision("p"))
        .await
        .unwrap_err();
    assert_eq!(store.last_change().await.unwrap(), position);
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
    let last = store.last_change().await.unwrap();
    let waiting = {
        let store = store.clone();
        tokio::spawn(async move { store.changes(last, 10, Duration::from_secs(60)).await })
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
        Ok(changes) => assert!(!changes.is_empty(), "woken by a write before the end"),
        Err(error) => assert!(matches!(error, StoreError::Unavailable { .. }), "{error}"),
    }
    let mut stored = vec!["a".to_owned()];
    for one in writing {
        match one.await.unwrap() {
            Ok(agent) => stored.push(agent.id.to_string()),
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
        store.changes(0, 1, Duration::ZERO).await,
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
