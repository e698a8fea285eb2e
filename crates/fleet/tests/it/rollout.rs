//! Cases D: how a policy change reaches those who wait.

use std::time::{Duration, Instant};

use fleet::{Pace, Settings, Timestamp, policies};
use futures_util::future::join_all;
use serde_json::{Map, json};
use tokio::sync::Notify;

use crate::house::{House, answered, eventually, named};

#[actix_rt::test]
async fn chk_24_a_waiting_agent_gets_the_new_revision() {
    let house = House::new().await;
    let agent = house.enroll().await.agent;
    let waiting = house.poll(&agent.id, house.runs(1)).await;
    assert_eq!(house.change_policy().await, 2);
    assert_eq!(answered(waiting).await["actions"][0]["id"], "policy:P:2");
}

/// More at once than an update tries again: they take turns.
#[actix_rt::test]
async fn many_operators_change_a_policy_at_once_and_each_makes_a_revision() {
    let house = House::new().await;
    let revisions = join_all((0..30).map(|_| house.change_policy())).await;
    let mut sorted = revisions.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (2..32).collect::<Vec<_>>());
}

#[actix_rt::test]
async fn d2_two_quick_edits_become_one_delivery() {
    let house = House::new().await;
    let agent = house.enroll().await.agent;
    let waiting = house.poll(&agent.id, house.runs(1)).await;
    house.change_policy().await;
    house.change_policy().await;
    assert_eq!(answered(waiting).await["actions"][0]["id"], "policy:P:3");
}

#[actix_rt::test]
async fn d4_d5_deliveries_are_paced_in_order_and_the_newest_counts() {
    let pace = Pace {
        interval: Duration::from_millis(20),
        burst: 1,
    };
    let house = House::with(Settings {
        policy_pace: pace,
        ..Settings::default()
    })
    .await;
    let mut waiting = Vec::new();
    for _ in 0..20 {
        let agent = house.enroll().await.agent;
        waiting.push(house.poll(&agent.id, house.runs(1)).await);
    }
    let started = Instant::now();
    let first = Notify::new();
    let answers = waiting.into_iter().map(async |poll| {
        let answer = answered(poll).await;
        first.notify_one();
        (answer, Instant::now())
    });
    let (_, answers) = tokio::join!(
        async {
            house.change_policy().await;
            first.notified().await;
            house.change_policy().await;
        },
        join_all(answers)
    );
    let times: Vec<_> = answers.iter().map(|(_, at)| *at).collect();
    assert!(times.is_sorted(), "in order of arrival");
    assert!(
        started.elapsed() >= Duration::from_millis(380),
        "19 pauses of 20 ms"
    );
    let revisions: Vec<_> = answers
        .iter()
        .map(|(answer, _)| {
            answer["actions"][0]["data"]["policy"]["revision"]
                .as_i64()
                .unwrap()
        })
        .collect();
    assert!(
        revisions.is_sorted() && revisions.first() == Some(&2) && revisions.last() == Some(&3),
        "{revisions:?}"
    );
}

#[actix_rt::test]
async fn d7_chk_39_a_reassigned_agent_gets_its_new_policy_while_it_waits() {
    let house = House::new().await;
    let agent = house.enroll().await.agent;
    policies::create(&house.fleet, Some("Q"), named("Q"), Timestamp::now())
        .await
        .unwrap();
    let waiting = house.poll(&agent.id, house.runs(1)).await;
    house
        .store
        .reassign(std::slice::from_ref(&agent.id), &"Q".into(), Timestamp::now())
        .await
        .unwrap();
    assert_eq!(answered(waiting).await["actions"][0]["id"], "policy:Q:1");
    // M8: it still reports the old one. The answer may have been lost, so it comes again, once at once.
    let repeated = house.answer(&agent.id, house.runs(1)).await;
    assert_eq!(repeated["actions"][0]["id"], "policy:Q:1");
    drop(house.poll(&agent.id, house.runs(1)).await);
    assert_eq!(house.agent(&agent.id).await.policy_revision, None);
}

#[actix_rt::test]
async fn d14_d15_a_policy_that_no_agent_can_run_is_refused_and_the_last_good_stays() {
    let house = House::new().await;
    let agent = house.enroll().await.agent;
    let overrides = |value| {
        let mut changes = Map::new();
        changes.insert("overrides".into(), value);
        changes
    };
    let bad = overrides(json!({"outputs": {"default": {"type": "pigeon"}}}));
    let refused = policies::update(&house.fleet, &house.policy, bad, Timestamp::now())
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("pigeon"), "{refused}");
    // One that came into the store by another way.
    let stored = store::NewRevision {
        policy: house.policy.clone(),
        data: fleet::RawJson::parse(r#"{"outputs":{}}"#.into()).unwrap(),
        settings: fleet::RawJson::parse(r#"{"name":"P","namespace":"d"}"#.into()).unwrap(),
        namespaces: vec![],
        inactivity_timeout: None,
        at: Timestamp::now(),
    };
    let waiting = house.poll(&agent.id, house.runs(1)).await;
    house.store.append_policy_revision(Some(1), stored).await.unwrap();
    assert_eq!(house.change_policy().await, 3);
    assert_eq!(
        answered(waiting).await["actions"][0]["id"],
        "policy:P:3",
        "the server goes on"
    );
}

#[actix_rt::test]
async fn a_rejected_policy_is_not_delivered_again_every_second() {
    let house = House::new().await;
    let agent = house.enroll().await.agent;
    house.change_policy().await;
    assert_eq!(
        house.answer(&agent.id, house.runs(1)).await["actions"][0]["id"],
        "policy:P:2"
    );
    let repeated = house.answer(&agent.id, house.runs(1)).await;
    assert_eq!(
        repeated["actions"][0]["id"], "policy:P:2",
        "the first answer may have been lost"
    );
    let waiting = house.poll(&agent.id, house.runs(1)).await;
    assert_eq!(house.change_policy().await, 3);
    assert_eq!(
        answered(waiting).await["actions"][0]["id"],
        "policy:P:3",
        "a newer one is"
    );
}

#[actix_rt::test]
async fn roll_out_and_agents_are_counted() {
    let house = House::new().await;
    let agent = house.enroll().await.agent;
    drop(house.poll(&agent.id, house.runs(1)).await);
    eventually("counted", async || {
        house.metric("fleet_server_agents{status=\"online\"}") == 0.0
    })
    .await;
    assert_eq!(house.metric("fleet_server_checkins_total"), 1.0);
    assert_eq!(house.metric("fleet_server_checkins_waiting"), 0.0);
}
