//! S12, S13, S24, O16: policies and tokens.

use std::time::Duration;

use super::{Bench, samples::*};
use crate::{
    ChangeKind, CheckinRecord, Conflict, KeyOwner, PageRequest, PageStart, PolicyId, StoreError, TokenId,
    Verification,
};

/// S12, M6: of parallel updates one wins, and the losers learn what is current.
pub async fn s12_a_revision_conflict_names_the_current(bench: &mut impl Bench) {
    let store = bench.store();
    let first = policy(&*store, "p").await;
    assert_eq!((first.revision, first.created_at), (1, at(0)));
    let updates: Vec<_> = (0..8)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.append_policy_revision(Some(1), revision("p")).await })
        })
        .collect();
    let mut won = 0;
    for update in updates {
        match update.await.unwrap() {
            Ok(stored) => {
                won += 1;
                assert_eq!(stored.revision, 2);
            }
            Err(error) => {
                assert_eq!(
                    error,
                    Conflict::Revision {
                        policy: PolicyId::from("p"),
                        current: 2
                    }
                    .into()
                );
            }
        }
    }
    assert_eq!(won, 1);
    let exists = store
        .append_policy_revision(None, revision("p"))
        .await
        .unwrap_err();
    assert_eq!(
        exists,
        Conflict::Revision {
            policy: PolicyId::from("p"),
            current: 2
        }
        .into()
    );
    let missing = store
        .append_policy_revision(Some(1), revision("q"))
        .await
        .unwrap_err();
    assert_eq!(
        missing,
        Conflict::Revision {
            policy: PolicyId::from("q"),
            current: 0
        }
        .into()
    );
    assert_eq!(
        store
            .policy(&PolicyId::from("p"))
            .await
            .unwrap()
            .map(|one| one.revision),
        Some(2)
    );
    assert_eq!(store.policy(&PolicyId::from("q")).await.unwrap(), None);
}

/// S13.
pub async fn s13_history_is_paged_newest_first(bench: &mut impl Bench) {
    let store = bench.store();
    policy(&*store, "other").await;
    for n in 0..7_i64 {
        let mut new = revision("p");
        new.at = at(n);
        new.data = json(&format!("{{\"n\":{n}}}"));
        new.inactivity_timeout = (n % 2 == 0).then(|| Duration::from_millis(1500));
        store
            .append_policy_revision((n > 0).then_some(n), new)
            .await
            .unwrap();
    }
    bench.restart().await;
    let store = bench.store();
    let p = PolicyId::from("p");
    let mut seen = Vec::new();
    for offset in [0, 3, 6, 9] {
        let request = PageRequest {
            from: PageStart::Offset(offset),
            limit: 3,
        };
        let page = store.policy_history(&p, request).await.unwrap();
        assert_total(page.total, 7);
        seen.extend(page.items);
    }
    let mut walked = Vec::new();
    let mut next = Some(PageRequest::first(3));
    while let Some(request) = next {
        let page = store.policy_history(&p, request).await.unwrap();
        assert_total(page.total, 7);
        walked.extend(page.items);
        next = page.next.map(|position| behind(position, 3));
    }
    assert_eq!(walked, seen);
    assert_eq!(
        seen.iter().map(|one| one.revision).collect::<Vec<_>>(),
        [7, 6, 5, 4, 3, 2, 1]
    );
    assert!(seen.iter().all(|one| one.created_at == at(0)));
    assert_eq!(seen[0].inactivity_timeout, Some(Duration::from_millis(1500)));
    assert_eq!(seen[1].inactivity_timeout, None);
    assert_eq!(store.policy(&p).await.unwrap().as_ref(), seen.first());
    assert_eq!(
        store.policy_revision(&p, 3).await.unwrap().as_ref(),
        Some(&seen[4])
    );
    assert_eq!(store.policy_revision(&p, 8).await.unwrap(), None);
    let page = store.policies(all()).await.unwrap();
    assert_total(page.total, 2);
    let first = store.policies(PageRequest::first(1)).await.unwrap();
    let second = store.policies(behind(first.next.unwrap(), 1)).await.unwrap();
    assert_eq!([&first.items[..], &second.items[..]].concat(), page.items);
    let end = store.policies(behind(second.next.unwrap(), 1)).await.unwrap();
    assert_eq!((end.items, end.next), (vec![], None));
    assert_eq!(
        page.items
            .iter()
            .map(|one| one.latest.policy.as_str())
            .collect::<Vec<_>>(),
        ["other", "p"]
    );
}

/// S24: order of keys, spaces, numbers beyond 2^53, repeated keys: all as they came.
pub async fn s24_json_survives_byte_for_byte(bench: &mut impl Bench) {
    let text = "{\"z\": 9007199254740993, \"a\" : 1.0e+400,\t\"a\":-0.0,\"\\u00e9\": \"\u{e9}\\u0000\u{1F600}\", \"n\":[ 12345678901234567890123 ]}";
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    let store = bench.store();
    let mut enrollment = enrollment("a", "p");
    enrollment.agent.local_metadata = Some(json(text));
    enrollment.agent.tags = vec!["\u{e9} \" \\ ' %".to_owned()];
    store.enroll(enrollment.clone()).await.unwrap();
    let record = CheckinRecord {
        components: Some(json(&deep)),
        rollbacks: Some(json(text)),
        message: Some("line\nbreak \u{0} null".to_owned()),
        ..checkin("a", at(1))
    };
    store.record_checkins(vec![record.clone()]).await.unwrap();
    let mut with_data = action("d", &["a"]);
    with_data.data = Some(json(text));
    store.append_actions(vec![with_data]).await.unwrap();
    let mut new = revision("p");
    (new.data, new.settings) = (json(text), json(&deep));
    store.append_policy_revision(None, new).await.unwrap();
    let mut answer = result("r", "a");
    answer.details = Some(json(text));
    store.insert_result(answer.clone()).await.unwrap();
    bench.restart().await;
    let store = bench.store();
    let stored = agent(&*store, "a").await;
    assert_eq!(stored.local_metadata.unwrap().as_str(), text);
    assert_eq!(stored.components.unwrap().as_str(), deep);
    assert_eq!(stored.rollbacks.unwrap().as_str(), text);
    assert_eq!(stored.last_checkin_message, record.message);
    assert_eq!(stored.tags, enrollment.agent.tags);
    let pending = store
        .pending_actions(&stored.id, None, None, at(1), 1)
        .await
        .unwrap();
    assert_eq!(pending.actions[0].action.data.as_ref().unwrap().as_str(), text);
    let policy = store.policy(&PolicyId::from("p")).await.unwrap().unwrap();
    assert_eq!(
        (policy.data.as_str(), policy.settings.as_str()),
        (text, deep.as_str())
    );
    assert_eq!(
        store.results(&answer.action, all()).await.unwrap().items,
        [answer]
    );
}

/// O14: a policy with active agents stays; without, it goes with its tokens.
pub async fn o14_deleting_a_policy_revokes_its_tokens(bench: &mut impl Bench) {
    let store = bench.store();
    let p = PolicyId::from("p");
    policy(&*store, "p").await;
    let (_, t1) = admitting(&*store, "t1", "p").await;
    policy(&*store, "q").await;
    let (_, t2) = admitting(&*store, "t2", "q").await;
    let one = enrolled(&*store, "a").await.agent;
    let refused = store.delete_policy(&p, at(1)).await.unwrap_err();
    assert_eq!(
        refused,
        Conflict::AgentsAssigned {
            policy: p.clone(),
            agents: 1
        }
        .into()
    );
    assert!(is_alive(&*store, &t1).await);
    store.unenroll(&one.id, None, at(2)).await.unwrap();
    let policies = store.last_change(ChangeKind::Policy).await.unwrap();
    let tokens = store.last_change(ChangeKind::Token).await.unwrap();
    store.delete_policy(&p, at(3)).await.unwrap();
    assert_eq!(store.policy(&p).await.unwrap(), None);
    assert_total(store.policy_history(&p, all()).await.unwrap().total, 0);
    let token = store.token(&TokenId::from("t1")).await.unwrap().unwrap();
    assert!(!token.active);
    assert!(!is_alive(&*store, &t1).await);
    assert!(is_alive(&*store, &t2).await);
    for (kind, place, id) in [
        (ChangeKind::Policy, policies, "p"),
        (ChangeKind::Token, tokens, "t1"),
    ] {
        let changes = store.changes(kind, &place, 10, Duration::ZERO).await.unwrap();
        assert_eq!(changes.ids, [id]);
    }
    let gone = store.delete_policy(&p, at(4)).await.unwrap_err();
    assert_eq!(
        gone,
        StoreError::NotFound {
            what: "policy",
            id: "p".to_owned()
        }
    );
}

/// O16.
pub async fn o16_tokens_are_unique_and_listed_newest_first(bench: &mut impl Bench) {
    let store = bench.store();
    let missing = store.create_token(token("t0", "p")).await.unwrap_err();
    assert_eq!(
        missing,
        StoreError::NotFound {
            what: "policy",
            id: "p".to_owned()
        }
    );
    assert_eq!(
        store.tokens(all()).await.unwrap().items,
        [],
        "nothing of it is stored"
    );
    policy(&*store, "p").await;
    let mut keys = Vec::new();
    for (n, id) in ["t1", "t2", "t3"].into_iter().enumerate() {
        let mut token = token(id, "p");
        token.at = at(i64::try_from(n).unwrap());
        token.expires_at = Some(at(500));
        let (stored, key) = store.create_token(token).await.unwrap();
        assert_eq!((stored.active, stored.expires_at), (true, Some(at(500))));
        assert_eq!(stored.key, key.id);
        assert_eq!(
            store.verify(&key).await.unwrap(),
            Verification::Active(KeyOwner::Token(id.into()))
        );
        keys.push(key);
        assert_eq!(store.token_by_key(&stored.key).await.unwrap(), Some(stored));
    }
    let taken = store.create_token(token("t1", "p")).await.unwrap_err();
    assert_eq!(taken, Conflict::TokenExists(TokenId::from("t1")).into());
    store.revoke_token(&TokenId::from("t2"), at(9)).await.unwrap();
    store.revoke_token(&TokenId::from("t2"), at(10)).await.unwrap();
    let page = store.tokens(PageRequest::first(2)).await.unwrap();
    assert_total(page.total, 3);
    let listed: Vec<_> = page
        .items
        .iter()
        .map(|token| (token.id.as_str(), token.active))
        .collect();
    assert_eq!(listed, [("t3", true), ("t2", false)]);
    let rest = store.tokens(behind(page.next.unwrap(), 2)).await.unwrap();
    assert_total(rest.total, 3);
    assert_eq!((rest.items[0].id.as_str(), rest.items.len()), ("t1", 1));
    assert_eq!(rest.next, None);
    assert_eq!(
        store
            .token_by_key(&keys[1].id)
            .await
            .unwrap()
            .map(|token| token.active),
        Some(false)
    );
    let unknown = store
        .revoke_token(&TokenId::from("none"), at(9))
        .await
        .unwrap_err();
    assert_eq!(
        unknown,
        StoreError::NotFound {
            what: "enrollment token",
            id: "none".to_owned()
        }
    );
}

/// O24: the newest revisions of each policy stay, and go on being numbered.
pub async fn transactional_o24_old_revisions_of_a_policy_go(bench: &mut impl Bench) {
    let store = bench.store();
    for id in ["p", "q"] {
        for previous in [None, Some(1), Some(2), Some(3)] {
            store
                .append_policy_revision(previous, revision(id))
                .await
                .unwrap();
        }
    }
    policy(&*store, "young").await;
    assert_eq!(store.trim_policy_history(2, 3).await.unwrap(), 3);
    assert_eq!(store.trim_policy_history(2, 3).await.unwrap(), 1);
    assert_eq!(store.trim_policy_history(2, 3).await.unwrap(), 0);
    for id in ["p", "q"] {
        let id = PolicyId::from(id);
        let page = store.policy_history(&id, PageRequest::first(9)).await.unwrap();
        let left: Vec<_> = page.items.iter().map(|revision| revision.revision).collect();
        assert_eq!((left.as_slice(), page.total.count()), ([4, 3].as_slice(), 2));
        assert_eq!(store.policy_revision(&id, 2).await.unwrap(), None);
        let next = store
            .append_policy_revision(Some(4), revision(id.as_str()))
            .await
            .unwrap();
        assert_eq!(next.revision, 5);
    }
    assert!(store.policy(&PolicyId::from("young")).await.unwrap().is_some());
    // The newest one always stays.
    store.trim_policy_history(0, 99).await.unwrap();
    assert_eq!(
        store
            .policy(&PolicyId::from("p"))
            .await
            .unwrap()
            .unwrap()
            .revision,
        5
    );
}
