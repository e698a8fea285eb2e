//! O28: the audit log.

use std::sync::Arc;

use super::{Bench, samples::*};
use crate::{
    AuditActor, AuditDraft, AuditEntry, AuditQuery, AuditTarget, NewAudit, OperatorRole, PageRequest,
    PageStart, PolicyId, RawJson, Store, StoreError, TokenId,
};

fn entry(name: &str, action: &str, n: i64) -> NewAudit {
    NewAudit {
        at: at(n),
        actor: AuditActor {
            key: format!("key of {name}").into(),
            name: name.to_owned(),
            role: OperatorRole::Operator,
        },
        action: action.to_owned(),
        target: None,
        before: None,
        after: None,
        address: Some("192.0.2.1".to_owned()),
        request: format!("request-{n}"),
    }
}

fn target(id: &str) -> AuditTarget {
    AuditTarget {
        kind: "thing".to_owned(),
        id: id.to_owned(),
    }
}

async fn found(store: &dyn Store, query: AuditQuery) -> Vec<String> {
    let page = store.audit(&query, PageRequest::first(100)).await.unwrap();
    let requests: Vec<_> = page.items.into_iter().map(|entry| entry.said.request).collect();
    assert_eq!(page.total.count(), requests.len() as u64);
    requests
}

/// O28: an entry goes with the change that it was told of: not with a write before, and not without the change.
pub async fn transactional_o28_an_entry_goes_with_its_change(bench: &mut impl Bench) {
    let store = bench.store();
    let all = || AuditQuery::default();
    let draft = Arc::new(AuditDraft::new(entry("ann", "token.create", 1)));
    let audited = store.audited(Arc::clone(&draft)).unwrap();
    policy(&*audited, "p").await;
    assert_eq!(
        found(&*store, all()).await,
        [""; 0],
        "it is not told of the change yet"
    );
    assert_eq!(draft.left_over().unwrap().request, "request-1");

    let after = RawJson::parse(r#"{"b":1,"a":9007199254740993}"#.to_owned()).unwrap();
    draft.is_due(target("t"), None, Some(after.clone()));
    let refused = audited.create_token(token("t", "no such policy")).await;
    assert!(matches!(refused, Err(StoreError::NotFound { .. })), "{refused:?}");
    assert_eq!(found(&*store, all()).await, [""; 0], "nothing was changed");
    audited.create_token(token("t", "p")).await.unwrap();
    assert_eq!(draft.left_over(), None);
    audited.revoke_token(&TokenId::from("t"), at(2)).await.unwrap();
    assert_eq!(found(&*store, all()).await, ["request-1"], "one write takes it");

    bench.restart().await;
    let page = bench.store().audit(&all(), PageRequest::first(5)).await.unwrap();
    let expected = AuditEntry {
        number: page.items[0].number,
        said: NewAudit {
            target: Some(target("t")),
            after: Some(after),
            ..entry("ann", "token.create", 1)
        },
    };
    assert_eq!(page.items, [expected]);
}

/// O28: pages and filters, newest first; O24: what is older than it may be goes, in batches.
pub async fn transactional_o28_entries_are_found_newest_first_until_their_time_is_over(
    bench: &mut impl Bench,
) {
    let store = bench.store();
    for n in 0..6 {
        let (name, action) = match n % 2 {
            0 => ("ann", "policy.update"),
            _ => ("bob", "policy_x.update"),
        };
        let target = (n > 3).then(|| target("p"));
        let new = NewAudit {
            target,
            ..entry(name, action, n)
        };
        store.append_audit(new).await.unwrap();
    }
    let of = |change: fn(&mut AuditQuery)| {
        let mut query = AuditQuery::default();
        change(&mut query);
        query
    };
    for (query, expected) in [
        (of(|_| {}), "543210"),
        (of(|q| q.actor = Some("ann".into())), "420"),
        (of(|q| q.actor = Some("key of bob".into())), "531"),
        (of(|q| q.action = Some("policy".into())), "420"),
        (of(|q| q.action = Some("policy_x.update".into())), "531"),
        (of(|q| q.action = Some("update".into())), ""),
        (of(|q| q.target = Some("p".into())), "54"),
        (of(|q| (q.from, q.until) = (Some(at(1)), Some(at(3)))), "21"),
        (
            of(|q| (q.actor, q.from) = (Some("ann".into()), Some(at(1)))),
            "42",
        ),
    ] {
        let expected: Vec<_> = expected.chars().map(|n| format!("request-{n}")).collect();
        assert_eq!(found(&*store, query.clone()).await, expected, "{query:?}");
    }
    let mut numbers = Vec::new();
    let mut request = PageRequest::first(2);
    loop {
        let page = store
            .audit(&AuditQuery::default(), request.clone())
            .await
            .unwrap();
        assert_eq!(page.total.count(), 6 + numbers.len() as u64 / 2);
        numbers.extend(page.items.into_iter().map(|entry| entry.number));
        // Pages stay where they are while the log grows.
        store.append_audit(entry("cat", "late", 9)).await.unwrap();
        match page.next {
            Some(position) => request.from = PageStart::After(position),
            None => break,
        }
    }
    assert_eq!(numbers.len(), 6);
    assert!(numbers.is_sorted_by(|one, next| one > next), "{numbers:?}");

    assert_eq!(store.delete_audit(at(4), 3).await.unwrap(), 3);
    assert_eq!(store.delete_audit(at(4), 3).await.unwrap(), 1);
    assert_eq!(store.delete_audit(at(4), 3).await.unwrap(), 0);
    let rest = of(|q| q.until = Some(at(9)));
    assert_eq!(found(&*store, rest).await, ["request-5", "request-4"]);
    assert_eq!(store.policy(&PolicyId::from("p")).await.unwrap(), None);
}
