//! What agents meet after a start of this server, or after a connection that broke.

use std::time::{Duration, Instant};

use fleet::{Secret, Settings, Timestamp, agents, enrollment::EnrollRequest};

use crate::house::{House, answered, online, request, shown};

/// The clock of the timers goes so far, while nothing else is under way.
async fn later(by: Duration) {
    tokio::time::pause();
    tokio::time::advance(by).await;
    tokio::time::resume();
}

/// An agent that did not read its answer, or rejects the policy, reports the same as before.
#[actix_rt::test]
async fn ac_67_a_lost_answer_is_repeated_at_once_and_then_with_growing_space() {
    let house = House::new().await;
    let (fresh, old) = (house.enroll().await.agent.id, house.enroll().await.agent.id);
    house.change_policy().await;
    // Who reports nothing has no policy, and gets it whenever it asks.
    for _ in 0..5 {
        house.answer(&fresh, online()).await;
    }
    for time in 0..2 {
        let answer = house.answer(&old, house.runs(1)).await;
        assert_eq!(answer["actions"][0]["id"], "policy:P:2", "time {time}");
    }
    for seconds in [5, 15, 60, 60] {
        let waiting = actix_rt::spawn(house.poll(&old, house.runs(1)).await.answer());
        later(Duration::from_millis(seconds * 1000 - 500)).await;
        // A poll that is to be answered is answered before one that comes after it.
        house.answer(&fresh, online()).await;
        assert!(!waiting.is_finished(), "{seconds} s");
        later(Duration::from_millis(600)).await;
        let reply = actix_rt::time::timeout(crate::house::LIMIT, waiting)
            .await
            .expect("it comes again")
            .unwrap()
            .unwrap();
        assert_eq!(shown(&reply)["actions"][0]["id"], "policy:P:2", "{seconds} s");
    }
    // A newer revision is not held back.
    let waiting = house.poll(&old, house.runs(1)).await;
    house.change_policy().await;
    assert_eq!(answered(waiting).await["actions"][0]["id"], "policy:P:3");
}

/// What an agent rejected does not hold back the policy of the one that takes its place under the same id.
#[actix_rt::test]
async fn an_agent_that_enrols_again_gets_its_policy_at_once() {
    let house = House::new().await;
    let request = EnrollRequest {
        id: Some("same".into()),
        replace_token: Some(Secret::from("a token to replace it with".to_owned())),
        ..request()
    };
    let id = house.try_enroll(request.clone()).await.unwrap().agent.id;
    house.change_policy().await;
    for _ in 0..2 {
        house.answer(&id, house.runs(1)).await;
    }
    drop(house.poll(&id, house.runs(1)).await);
    house.try_enroll(request).await.unwrap();
    let answer = house.answer(&id, house.runs(1)).await;
    assert_eq!(answer["actions"][0]["id"], "policy:P:2");
}

#[actix_rt::test]
async fn the_first_poll_of_a_known_agent_after_a_start_is_short() {
    let house = House::new().await;
    let agent = house.enroll().await.agent.id;
    drop(house.poll(&agent, house.runs(1)).await);
    house.flush().await;
    let house = house.restarted().await;
    let fresh = house.enroll().await.agent.id;
    let fresh = house.poll(&fresh, house.runs(1)).await;
    let began = Instant::now();
    let first = house.poll(&agent, house.runs(1)).await;
    let limit = Duration::from_secs(30);
    actix_rt::time::timeout(limit, first.answer())
        .await
        .expect("it ends")
        .unwrap();
    let took = began.elapsed();
    assert!((9..22).contains(&took.as_secs()), "{took:?}");
    // The next one waits in full, as that of a fresh agent does.
    let next = house.poll(&agent, house.runs(1)).await;
    let waits = tokio::join!(
        actix_rt::time::timeout(Duration::from_secs(21), next.answer()),
        actix_rt::time::timeout(Duration::from_secs(21), fresh.answer()),
    );
    assert!(waits.0.is_err() && waits.1.is_err());
}

#[actix_rt::test]
async fn what_is_pending_counts_within_two_seconds() {
    let house = House::with(Settings {
        checkin_flush: Duration::from_secs(3600),
        ..Settings::default()
    })
    .await;
    let agent = house.enroll().await.agent.id;
    let request = fleet::checkin::CheckinRequest {
        status: Some("DEGRADED".into()),
        ..house.runs(1)
    };
    let began = Instant::now();
    drop(house.poll(&agent, request).await);
    let query = fleet::AgentQuery::default();
    crate::house::eventually("the state is shown", async || {
        let counts = agents::counts(&house.fleet, &query, Timestamp::now())
            .await
            .unwrap();
        counts.get(&fleet::AgentStatus::Degraded) == Some(&1)
    })
    .await;
    crate::house::eventually("the roll-out is over", async || {
        house
            .metrics()
            .contains("fleet_server_policy_rollout_pending{policy=\"P\"} 0")
    })
    .await;
    // Two seconds, and as many for a machine under load: batches and counts of their own accord come far later.
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    let shown = agents::get(&house.fleet, &agent, Timestamp::now()).await.unwrap();
    assert_eq!(shown.status, fleet::AgentStatus::Degraded);
}
