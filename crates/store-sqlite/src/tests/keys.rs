//! What is kept of keys: nothing that opens anything, and nothing of what was refused.

use std::fs;

use store::{
    ApiKey, Conflict, Engine as _, KeyOwner, Keys as _,
    conformance::{Bench, samples::*},
};

use super::Directory;

async fn count(bench: &Directory) -> i64 {
    let store = bench.store.clone().unwrap();
    let counted = store
        .read(|connection| Ok(connection.query_row("SELECT count(*) FROM api_key", [], |row| row.get(0))?))
        .await;
    counted.unwrap()
}

#[tokio::test]
async fn no_secret_stands_in_the_file() {
    let bench = Directory::new();
    let store = bench.store.clone().unwrap();
    policy(&*store, "p").await;
    let (_, token) = admitting(&*store, "t", "p").await;
    let access = enrolled(&*store, "a").await.access_key;
    let operators = store
        .issue(KeyOwner::Operator, purpose("o"), at(0))
        .await
        .unwrap();
    store
        .adopt_key(&given("preset"), KeyOwner::Operator, purpose("o"), at(0))
        .await
        .unwrap();
    store.close().await.unwrap();
    let file = fs::read(bench.path.path().join("fleet.db")).unwrap();
    let holds = |text: &str| file.windows(text.len()).any(|part| part == text.as_bytes());
    for key in [token, access, operators, given("preset")] {
        assert!(holds(key.id.as_str()), "the search finds what is there");
        assert!(!holds(key.secret().reveal()) && !holds(&key.to_token()));
    }
}

/// S1, S2, O16: what is refused leaves no key behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_leaves_no_key() {
    let bench = Directory::new();
    let store = bench.store();
    let tries: Vec<_> = (0..8)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { store.enroll(enrollment_with_id(&format!("a{n}"), "same")).await })
        })
        .collect();
    for one in tries {
        // One of them is taken; which one does not matter.
        drop(one.await.unwrap());
    }
    assert_eq!(count(&bench).await, 1);
    store.create_token(token("t", "missing")).await.unwrap_err();
    let mut late = enrollment("late", "p");
    late.admitted_by = Some(ApiKey::generate().unwrap().id);
    assert_eq!(
        store.enroll(late).await.unwrap_err(),
        Conflict::TokenRevoked.into()
    );
    assert_eq!(count(&bench).await, 1);
}
