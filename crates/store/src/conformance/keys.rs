//! S3, S7, O3, O17: keys, from their issue to the unenrolment that revokes them.

use super::{Bench, samples::*};
use crate::{AgentId, ApiKey, Conflict, EngineClass, KeyId, KeyOwner, PolicyId, StoreError, Verification};

/// S7: a reader that sees an agent inactive finds its key revoked.
pub async fn transactional_s07b_an_inactive_agent_has_no_living_key(bench: &mut impl Bench) {
    let store = bench.store();
    for n in 0..20 {
        let enrolled = enrolled(&*store, &format!("a{n}")).await;
        let id = enrolled.agent.id;
        let ending = {
            let (store, id) = (store.clone(), id.clone());
            tokio::spawn(async move { store.unenroll(&id, None, at(1)).await })
        };
        while agent(&*store, id.as_str()).await.is_active {
            tokio::task::yield_now().await;
        }
        assert!(!is_alive(&*store, &enrolled.access_key).await);
        ending.await.unwrap().unwrap();
    }
}

/// S3: on every class, a revocation counts within a second of its answer.
pub async fn s03_a_revoked_key_is_dead_within_a_second(bench: &mut impl Bench) {
    let store = bench.store();
    let key = enrolled(&*store, "a").await.access_key;
    store
        .invalidate_keys(std::slice::from_ref(&key.id), at(1))
        .await
        .unwrap();
    let answered = std::time::Instant::now();
    while is_alive(&*store, &key).await {
        assert!(answered.elapsed() < std::time::Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
}

/// S3: here at once, also over a restart.
pub async fn transactional_s03b_a_revoked_key_is_dead_at_once(bench: &mut impl Bench) {
    let store = bench.store();
    let agents = enrolled(&*store, "a").await.access_key;
    let operators = store
        .issue(KeyOwner::Operator, purpose("operator"), at(0))
        .await
        .unwrap();
    assert!(is_alive(&*store, &operators).await);
    let ids = [operators.id.clone(), KeyId::from("unknown"), agents.id.clone()];
    store.invalidate_keys(&ids, at(1)).await.unwrap();
    assert!(!is_alive(&*store, &operators).await);
    assert!(!is_alive(&*store, &agents).await);
    store.invalidate_keys(&ids, at(2)).await.unwrap();
    bench.restart().await;
    assert_eq!(
        bench.store().verify(&operators).await.unwrap(),
        Verification::Revoked(KeyOwner::Operator),
        "a revoked key stays on record"
    );
}

/// O3: only the right pair of id and secret verifies, and a wrong one does not show which half is wrong.
pub async fn o03_only_the_issued_secret_is_verified(bench: &mut impl Bench) {
    let store = bench.store();
    let key = store
        .issue(KeyOwner::Operator, purpose("one"), at(0))
        .await
        .unwrap();
    let other = store
        .issue(KeyOwner::Operator, purpose("two"), at(0))
        .await
        .unwrap();
    assert!(key.id != other.id && key.secret() != other.secret());
    bench.restart().await;
    let store = bench.store();
    for good in [&key, &other] {
        assert_eq!(
            store.verify(good).await.unwrap(),
            Verification::Active(KeyOwner::Operator)
        );
    }
    let of = |id: &KeyId, secret: &ApiKey| {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        ApiKey::from_token(&STANDARD.encode(format!("{id}:{}", secret.secret().reveal()))).unwrap()
    };
    for wrong in [
        of(&key.id, &other),
        of(&KeyId::from("unknown"), &key),
        given(key.id.as_str()),
    ] {
        assert_eq!(store.verify(&wrong).await.unwrap(), Verification::Unknown);
    }
}

/// O16, O17: keys whose secret comes from outside are adopted once, or refused by name.
pub async fn o17_given_keys_are_adopted_once_or_refused_by_name(bench: &mut impl Bench) {
    let store = bench.store();
    policy(&*store, "p").await;
    let (key, preset) = (given("operator's"), given("preset"));
    let adopted = store
        .adopt_key(&key, KeyOwner::Operator, purpose("o"), at(0))
        .await;
    let token = store.adopt_token(token("t", "p"), &preset).await;
    if store.class() == EngineClass::Document
        && let (Err(one), Err(other)) = (&adopted, &token)
    {
        for refused in [one, other] {
            assert!(matches!(refused, StoreError::Unsupported { .. }), "{refused}");
        }
        return;
    }
    adopted.unwrap();
    let token = token.unwrap();
    assert_eq!(token.key, preset.id);
    for (key, owner) in [
        (&key, KeyOwner::Operator),
        (&preset, KeyOwner::Token(token.id.clone())),
    ] {
        assert_eq!(store.verify(key).await.unwrap(), Verification::Active(owner));
        let taken = store
            .adopt_key(key, KeyOwner::Operator, purpose("o"), at(1))
            .await;
        assert!(
            matches!(taken, Err(StoreError::Conflict(Conflict::IdTaken(_)))),
            "{taken:?}"
        );
    }
    let taken = store.adopt_token(super::samples::token("t2", "p"), &key).await;
    assert_eq!(taken.unwrap_err(), Conflict::TokenExists("t2".into()).into());
}

/// S7.
pub async fn s07_unenrolling_kills_all_keys_of_that_agent_only(bench: &mut impl Bench) {
    let store = bench.store();
    let first = enrolled(&*store, "a").await.access_key;
    let other = enrolled(&*store, "b").await.access_key;
    let id = AgentId::from("a");
    let second = store
        .issue(KeyOwner::Agent(id.clone()), purpose("second"), at(0))
        .await
        .unwrap();
    // A token or an operator's key that happens to have the agent's id does not belong to the agent.
    policy(&*store, "p").await;
    let (_, token) = admitting(&*store, "a", "p").await;
    store.unenroll(&id, Some("manual"), at(9)).await.unwrap();
    let gone = agent(&*store, "a").await;
    assert_eq!((gone.is_active, gone.unenrolled_at), (false, Some(at(9))));
    assert_eq!(gone.unenrolled_reason.as_deref(), Some("manual"));
    for (key, alive) in [(&first, false), (&second, false), (&other, true), (&token, true)] {
        assert_eq!(is_alive(&*store, key).await, alive, "{key:?}");
    }
    store.unenroll(&id, Some("again"), at(10)).await.unwrap();
    assert_eq!(
        agent(&*store, "a").await.unenrolled_reason.as_deref(),
        Some("manual")
    );
    assert!(agent(&*store, "b").await.is_active);
    policy(&*store, "q").await;
    assert_eq!(
        store.reassign(&[id], &PolicyId::from("q"), at(11)).await.unwrap(),
        0
    );
    let unknown = store.unenroll(&AgentId::from("nobody"), None, at(9)).await;
    assert!(matches!(unknown, Err(StoreError::NotFound { what: "agent", .. })));
}
