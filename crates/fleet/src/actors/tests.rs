//! Each actor is made to panic: it comes back, goes on with its work, and the restart is counted.

use std::{sync::Arc, time::Duration};

use actix::{Actor, Context, Handler, Message};
use prometheus_client::registry::Registry;
use store::{ChangeKind, Store, StoreMetrics, Timestamp};
use store_sqlite::{OpenOptions, SqliteStore};
use supervise::{Stop, Supervised};

use crate::{
    Fleet, Settings,
    actors::{
        action_dispatcher::ActionDispatcher, checkin_writer::CheckinWriter, collector::Collector,
        health_monitor::HealthMonitor, policy_monitor::PolicyMonitor,
    },
    policies::{self, PolicySettings},
};

#[derive(Message)]
#[rtype(result = "()")]
struct Panic;

macro_rules! can_panic {
    ($($actor:ty),*) => {
        $(impl Handler<Panic> for $actor {
            type Result = ();

            fn handle(&mut self, _: Panic, _: &mut Self::Context) {
                panic!("a test asked for it");
            }
        })*
    };
}
can_panic!(
    ActionDispatcher,
    CheckinWriter,
    Collector,
    HealthMonitor,
    PolicyMonitor
);

async fn break_and_heal<A>(fleet: &Fleet, name: &'static str, actor: &Supervised<A>)
where
    A: Actor<Context = Context<A>> + Handler<Stop> + Handler<Panic> + Send,
{
    let restarts = fleet.metrics.restarts_of(name);
    let old = actor.address().expect("it runs");
    assert!(
        old.send(Panic).await.is_err(),
        "a caller gets an error, not silence"
    );
    actix_rt::time::timeout(Duration::from_secs(20), async {
        while restarts.get() == 0 || !actor.address().is_some_and(|next| next.connected()) {
            actix_rt::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("it comes back");
    assert!(!old.connected());
}

#[actix_rt::test]
async fn every_actor_survives_a_panic_and_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(
        SqliteStore::open(OpenOptions::new(directory.path()), StoreMetrics::unregistered()).unwrap(),
    );
    let fleet = Fleet::start(Arc::clone(&store), Settings::default(), &mut Registry::default())
        .await
        .unwrap();
    let now = Timestamp::now();
    let settings = PolicySettings {
        name: "p".into(),
        namespace: "d".into(),
        ..PolicySettings::default()
    };
    let (policy, _) = policies::create(&fleet, Some("p"), settings, now).await.unwrap();

    break_and_heal(&fleet, "policy_monitor", &fleet.actors.policy_monitor).await;
    break_and_heal(&fleet, "action_dispatcher", &fleet.actors.action_dispatcher).await;
    break_and_heal(&fleet, "checkin_writer", &fleet.actors.checkin_writer).await;
    break_and_heal(&fleet, "health_monitor", &fleet.actors.health_monitor).await;
    break_and_heal(&fleet, "collector", &fleet.actors.collector).await;

    let poll = fleet.waiters.subscribe("a".into(), policy.policy.clone(), 1, now);
    policies::update(&fleet, &policy.policy, serde_json::Map::new(), now)
        .await
        .unwrap();
    let reasons = actix_rt::time::timeout(Duration::from_secs(20), poll.woken())
        .await
        .expect("still rolled out");
    assert!(reasons.policy());
    let changes = store.changes(0, 100, Duration::ZERO).await.unwrap();
    assert!(changes.iter().any(|change| change.kind == ChangeKind::Policy));
    fleet.stop().await;
}
