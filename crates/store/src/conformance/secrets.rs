//! O18: secrets.

use super::{Bench, samples::*};
use crate::{Conflict, NewAction, SealedSecret, SecretId, StoreError, Timestamp};

fn sealed(id: &str, at: Timestamp) -> SealedSecret {
    SealedSecret {
        id: id.into(),
        name: format!("name of {id}"),
        action: None,
        key: "key-1".to_owned(),
        sealed: vec![0, 255, 1, 254],
        created_at: at,
    }
}

/// O18: what is put is found as it was, also after a restart, once for an id.
pub async fn o18_a_secret_is_kept_as_it_was_sealed(bench: &mut impl Bench) {
    let store = bench.store();
    let (older, newer) = (sealed("b", at(1)), sealed("a", at(2)));
    store.put_secret(newer.clone()).await.unwrap();
    store.put_secret(older.clone()).await.unwrap();
    let again = SealedSecret {
        sealed: vec![7],
        ..older.clone()
    };
    let taken = store.put_secret(again).await.unwrap_err();
    assert!(
        matches!(taken, StoreError::Conflict(Conflict::IdTaken(_))),
        "{taken:?}"
    );
    drop(store);
    bench.restart().await;
    let store = bench.store();
    assert_eq!(store.secret(&older.id).await.unwrap(), Some(older.clone()));
    let page = store.secrets(all()).await.unwrap();
    assert_eq!(
        (page.items, page.total.count()),
        (vec![older.clone(), newer.clone()], 2)
    );
    store.delete_secret(&older.id).await.unwrap();
    assert_eq!(store.secret(&older.id).await.unwrap(), None);
    let gone = store.delete_secret(&older.id).await.unwrap_err();
    assert!(matches!(gone, StoreError::NotFound { .. }), "{gone:?}");
}

/// O18: sealing anew changes value and key, and nothing else.
pub async fn o18_secrets_are_sealed_anew(bench: &mut impl Bench) {
    let store = bench.store();
    assert!(store.secret_keys().await.unwrap().is_empty());
    let (first, second) = (sealed("a", at(1)), sealed("b", at(2)));
    for secret in [&first, &second] {
        store.put_secret(secret.clone()).await.unwrap();
    }
    let anew = |secret: &SealedSecret| SealedSecret {
        key: "key-2".to_owned(),
        sealed: vec![9; 100],
        ..secret.clone()
    };
    store
        .reseal_secrets(vec![anew(&first), anew(&second)])
        .await
        .unwrap();
    assert_eq!(store.secret_keys().await.unwrap(), ["key-2"]);
    assert_eq!(store.secret(&first.id).await.unwrap(), Some(anew(&first)));
}

/// O18: of several, all are sealed anew or none.
pub async fn transactional_o18_secrets_are_sealed_anew_together(bench: &mut impl Bench) {
    let store = bench.store();
    let first = sealed("a", at(1));
    store.put_secret(first.clone()).await.unwrap();
    let anew = |secret: SealedSecret| SealedSecret {
        key: "key-2".to_owned(),
        ..secret
    };
    let both = vec![anew(first.clone()), anew(sealed("gone", at(1)))];
    let error = store.reseal_secrets(both).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { .. }), "{error:?}");
    assert_eq!(store.secret_keys().await.unwrap(), ["key-1"]);
}

/// O9, O18, O24: the secrets of an action come and go with it.
pub async fn o18_secrets_of_an_action_come_and_go_with_it(bench: &mut impl Bench) {
    let store = bench.store();
    enrolled(&*store, "x").await;
    let own = SealedSecret {
        action: Some("doc".into()),
        ..sealed("own", at(0))
    };
    store.put_secret(sealed("other", at(0))).await.unwrap();
    let new = NewAction {
        secrets: vec![own.clone()],
        ..action("doc", &["x"])
    };
    store.append_actions(vec![new]).await.unwrap();
    assert_eq!(store.secret(&own.id).await.unwrap(), Some(own.clone()));
    assert_eq!(store.delete_expired_actions(at(3601), 10).await.unwrap(), 1);
    assert_eq!(store.secret(&own.id).await.unwrap(), None);
    assert!(store.secret(&SecretId::from("other")).await.unwrap().is_some());
}
