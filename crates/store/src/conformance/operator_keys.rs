//! O17: operators' keys with their roles.

use super::{Bench, samples::*};
use crate::{
    ApiKey, KeyId, KeyOwner, NewOperatorKey, OperatorKey, OperatorRole, PageRequest, PageStart, Store,
    StoreError, Timestamp, Verification,
};

async fn made(
    store: &dyn Store,
    name: &str,
    role: OperatorRole,
    expires_at: Option<Timestamp>,
    at: Timestamp,
) -> (OperatorKey, ApiKey) {
    let name = name.to_owned();
    let new = NewOperatorKey {
        name,
        role,
        expires_at,
        at,
    };
    store.create_operator_key(new).await.unwrap()
}

/// O17: record and key are what was asked for, also after a restart; revoking one ends that one only.
pub async fn o17_operators_keys_have_roles_and_ends(bench: &mut impl Bench) {
    let store = bench.store();
    let mut all = Vec::new();
    for role in OperatorRole::ALL {
        let expires_at = (*role == OperatorRole::Operator).then(|| at(500));
        all.push(made(&*store, role.as_str(), *role, expires_at, at(1)).await);
    }
    let without_role = store
        .issue(KeyOwner::Operator, purpose("first"), at(0))
        .await
        .unwrap();
    bench.restart().await;
    let store = bench.store();
    for ((record, key), role) in all.iter().zip(OperatorRole::ALL) {
        assert_eq!((record.id.as_str(), record.role), (key.id.as_str(), *role));
        assert_eq!(store.operator_key(&key.id).await.unwrap().as_ref(), Some(record));
        // Expired or not: the store does not judge that.
        assert_eq!(
            store.verify(key).await.unwrap(),
            Verification::Active(KeyOwner::Operator)
        );
        assert!(record.active);
    }
    assert_eq!(all[1].0.expires_at, Some(at(500)));
    let first = store.operator_key(&without_role.id).await.unwrap().unwrap();
    assert_eq!((first.role, first.expires_at), (OperatorRole::Admin, None));

    let gone = &all[0].1;
    store.revoke_operator_key(&gone.id, at(9)).await.unwrap();
    store.revoke_operator_key(&gone.id, at(10)).await.unwrap();
    let verified = store.verify(gone).await.unwrap();
    assert_eq!(verified, Verification::Revoked(KeyOwner::Operator));
    assert!(!store.operator_key(&gone.id).await.unwrap().unwrap().active);
    assert!(is_alive(&*store, &all[1].1).await && is_alive(&*store, &without_role).await);

    // Keys of others are none of these.
    let agent = enrolled(&*store, "a").await.access_key;
    assert_eq!(store.operator_key(&agent.id).await.unwrap(), None);
    for unknown in [agent.id.clone(), KeyId::from("unknown")] {
        let refused = store.revoke_operator_key(&unknown, at(9)).await;
        assert!(matches!(refused, Err(StoreError::NotFound { .. })), "{refused:?}");
    }
    assert!(is_alive(&*store, &agent).await);
}

/// O17: pages that follow each other have each key once.
pub async fn o17_operators_keys_are_listed_newest_first(bench: &mut impl Bench) {
    let store = bench.store();
    enrolled(&*store, "a").await;
    for n in 0..5 {
        made(&*store, &format!("k{n}"), OperatorRole::Viewer, None, at(n)).await;
    }
    let mut names = Vec::new();
    let mut request = PageRequest::first(2);
    loop {
        let page = store.operator_keys(request.clone()).await.unwrap();
        assert_eq!(page.total.count(), 5);
        names.extend(page.items.into_iter().map(|key| key.name));
        match page.next {
            Some(position) => request.from = PageStart::After(position),
            None => break,
        }
    }
    assert_eq!(names, ["k4", "k3", "k2", "k1", "k0"]);
}
