//! Each actor is made to panic: its callers get a typed error, the restart is counted, and its state is there again.

use std::{sync::Arc, time::Duration};

use actix::{Actor, Context, Handler, Message};
use futures_util::{
    FutureExt as _,
    future::{join_all, try_join_all},
};
use prometheus_client::{encoding::text::encode, registry::Registry};
use serde_json::Map;
use store::{Agent, CheckinRecord, PageRequest, PolicyId, Store, StoreMetrics, Timestamp};
use store_sqlite::{OpenOptions, SqliteStore};
use supervise::Stop;
use tempfile::TempDir;
use tokio::time::Instant;

use super::{
    Handle,
    action_dispatcher::ActionDispatcher,
    checkin_writer::{self, CheckinWriter},
    collector::{Collect, Collector},
    health_monitor::{FaultReporter, HealthMonitor},
    policy_monitor::PolicyMonitor,
};
use crate::{
    Fleet, FleetError, HealthState, Pace, Settings,
    actions::{self, ActionDraft, ActionKind},
    checkin, enrollment,
    policies::{self, PolicySettings},
    waiters::Subscription,
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

/// Holds the actor's thread until the other end is dropped.
#[derive(Message)]
#[rtype(result = "()")]
struct Hold(std::sync::mpsc::Receiver<()>);

impl Handler<Hold> for CheckinWriter {
    type Result = ();

    fn handle(&mut self, Hold(end): Hold, _: &mut Self::Context) {
        let _dropped = end.recv();
    }
}

struct House {
    fleet: Arc<Fleet>,
    store: Arc<dyn Store>,
    registry: Registry,
    token: crate::ApiKey,
    policy: PolicyId,
    _directory: TempDir,
}

impl House {
    async fn new(settings: Settings) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(
            SqliteStore::open(OpenOptions::new(directory.path()), StoreMetrics::unregistered()).unwrap(),
        );
        let mut registry = Registry::default();
        let fleet = Fleet::start(Arc::clone(&store), settings, &mut registry)
            .await
            .unwrap();
        let settings = PolicySettings {
            name: "P".into(),
            namespace: "d".into(),
            ..PolicySettings::default()
        };
        let (policy, token) = policies::create(&fleet, Some("P"), settings, Timestamp::now())
            .await
            .unwrap();
        Self {
            fleet,
            store,
            registry,
            token,
            policy: policy.policy,
            _directory: directory,
        }
    }

    fn restarts(&self, name: &str) -> u64 {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        let metric = format!("actor_restarts_total{{actor=\"{name}\"}} ");
        let count = text.lines().find_map(|line| line.strip_prefix(&metric));
        count
            .unwrap_or_else(|| panic!("{metric} in {text}"))
            .parse()
            .unwrap()
    }

    /// Has the actor panic. That it is back, the next message shows.
    async fn break_down<A>(&self, name: &'static str, actor: &Handle<A>)
    where
        A: Actor<Context = Context<A>> + Handler<Stop> + Handler<Panic> + Send,
    {
        let before = self.restarts(name);
        let error = actor.ask(Panic, soon()).await.unwrap_err();
        assert_eq!(error, FleetError::Interrupted { what: name });
        self.started_again(name, before).await;
    }

    /// A restart is counted before the next actor is built, which the next message waits for.
    async fn started_again(&self, name: &str, before: u64) {
        let until = soon();
        while self.restarts(name) == before {
            assert!(Instant::now() < until, "{name} is not started again");
            tokio::task::yield_now().await;
        }
    }

    fn poll(&self, agent: &str) -> Subscription {
        let (agent, policy) = (agent.into(), self.policy.clone());
        self.fleet.waiters.subscribe(agent, policy, 1, Timestamp::now())
    }

    async fn enroll(&self) -> Agent {
        let admission = enrollment::admit(&self.fleet, &self.token).await.unwrap();
        let request = enrollment::EnrollRequest {
            kind: "PERMANENT".into(),
            ..enrollment::EnrollRequest::default()
        };
        enrollment::enroll(&self.fleet, admission, "9.6.0", request, Timestamp::now())
            .await
            .unwrap()
            .agent
    }

    async fn change_policy(&self) {
        policies::update(&self.fleet, &self.policy, Map::new(), Timestamp::now())
            .await
            .unwrap();
    }

    async fn pending(&self, agent: &str) -> Option<CheckinRecord> {
        let writer = &self.fleet.actors.checkin_writer;
        writer.pending(vec![agent.into()]).await.unwrap().pop()
    }
}

/// Generous: only a failing test waits that long.
fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

async fn woken(poll: &Subscription) -> crate::waiters::Reasons {
    tokio::time::timeout_at(soon(), poll.woken())
        .await
        .expect("the poll is woken")
}

fn record(agent: &str, message: &str) -> CheckinRecord {
    CheckinRecord {
        message: Some(message.into()),
        ..checkin_writer::seen(agent.into(), Timestamp::now())
    }
}

/// Nothing is written unless a test wants it.
fn never_flushed() -> Settings {
    Settings {
        checkin_flush: Duration::from_secs(3600),
        ..Settings::default()
    }
}

#[actix_rt::test]
async fn what_the_writer_took_outlives_its_panics_and_is_written() {
    let house = House::new(never_flushed()).await;
    let enrolled = house.enroll().await;
    let agent = enrolled.id.to_string();
    let writer = &house.fleet.actors.checkin_writer;
    writer.record(record(&agent, "first"), soon()).await.unwrap();
    house.break_down("checkin_writer", &writer.actor).await;
    assert_eq!(
        house.pending(&agent).await.unwrap().message.as_deref(),
        Some("first")
    );

    // Those that come while it panics are taken, and are there afterwards.
    let ids: Vec<_> = (0..500).map(|number| format!("agent-{number}")).collect();
    let panicking = async {
        tokio::task::yield_now().await;
        writer.actor.ask(Panic, soon()).await
    };
    let taking = join_all(ids.iter().map(|id| writer.record(record(id, "storm"), soon())));
    let (_, taken) = tokio::join!(panicking, taking);
    for (id, taken) in ids.iter().zip(taken) {
        taken.unwrap();
        assert!(house.pending(id).await.is_some(), "{id} was acknowledged");
    }
    house.fleet.stop().await;
    let stored = house.store.agent(&enrolled.id).await.unwrap().unwrap();
    assert_eq!(stored.last_checkin_message.as_deref(), Some("first"));
    assert_eq!(
        writer.record(record("late", ""), soon()).await,
        Err(FleetError::ShuttingDown)
    );
}

#[actix_rt::test]
async fn a_batch_that_a_panic_cuts_short_is_written_again() {
    let house = House::new(never_flushed()).await;
    let writer = &house.fleet.actors.checkin_writer;
    writer.record(record("a", "kept"), soon()).await.unwrap();
    let (release, hold) = std::sync::mpsc::sync_channel::<()>(1);
    // A stop begins the batch, and the panic comes before the store can have answered.
    let mut all = Box::pin(async {
        let (hold, stop) = (
            writer.actor.ask(Hold(hold), soon()),
            writer.actor.ask(Stop, soon()),
        );
        tokio::join!(hold, stop, writer.actor.ask(Panic, soon()))
    });
    assert!((&mut all).now_or_never().is_none());
    drop(release);
    let (_, stopping, panicked) = all.await;
    assert_eq!((stopping, panicked.is_err()), (Ok(()), true));
    house.started_again("checkin_writer", 0).await;
    assert_eq!(house.pending("a").await.unwrap().message.as_deref(), Some("kept"));
}

#[actix_rt::test]
async fn who_reads_agents_sees_a_record_that_is_still_in_the_mailbox() {
    let house = House::new(never_flushed()).await;
    let agent = house.enroll().await.id;
    let writer = &house.fleet.actors.checkin_writer;
    writer
        .record(record(agent.as_str(), "just now"), soon())
        .await
        .unwrap();
    let shown = crate::agents::get(&house.fleet, &agent, Timestamp::now())
        .await
        .unwrap();
    assert_eq!(shown.agent.last_checkin_message.as_deref(), Some("just now"));
}

#[actix_rt::test]
async fn a_full_mailbox_is_waited_for() {
    let house = House::new(never_flushed()).await;
    let writer = &house.fleet.actors.checkin_writer;
    let (release, hold) = std::sync::mpsc::sync_channel::<()>(1);
    let holding = writer.actor.ask(Hold(hold), soon());
    let records = (0..20_000).map(|number| writer.record(record(&format!("agent-{number}"), ""), soon()));
    let records = try_join_all(records);
    let mut both = Box::pin(async { tokio::join!(holding, records) });
    assert!((&mut both).now_or_never().is_none());
    let late = writer.record(record("late", ""), Instant::now()).await;
    assert!(matches!(late, Err(FleetError::Busy { .. })), "bounded: {late:?}");
    drop(release);
    let (held, recorded) = both.await;
    held.unwrap();
    assert_eq!(recorded.unwrap().len(), 20_000);
    assert!(house.pending("agent-19999").await.is_some());
}

#[actix_rt::test]
async fn only_records_beyond_the_bound_in_bytes_are_refused() {
    let house = House::new(never_flushed()).await;
    let writer = &house.fleet.actors.checkin_writer;
    let half = "x".repeat(128 * 1024 * 1024);
    for agent in ["a", "b"] {
        writer.record(record(agent, &half), soon()).await.unwrap();
    }
    // In the mailbox or in the map, they count.
    for _ in 0..2 {
        let refused = writer.record(record("c", ""), soon()).await;
        assert!(matches!(refused, Err(FleetError::Busy { .. })), "{refused:?}");
        assert!(house.pending("c").await.is_none());
    }
    assert!(house.pending("a").await.is_some() && house.pending("b").await.is_some());
}

#[actix_rt::test]
async fn a_poll_that_is_shorter_than_the_writer_needs_is_not_refused() {
    let house = House::new(Settings {
        long_poll: Duration::from_millis(1),
        checkin_jitter: Duration::ZERO,
        ..never_flushed()
    })
    .await;
    let agent = house.enroll().await;
    let (release, hold) = std::sync::mpsc::sync_channel::<()>(1);
    let writer = &house.fleet.actors.checkin_writer;
    let mut holding = Box::pin(writer.actor.ask(Hold(hold), soon()));
    assert!((&mut holding).now_or_never().is_none());
    // Until the mailbox is full, which only the actor could change.
    let mut number = 0;
    while (writer
        .record(record(&format!("agent-{number}"), ""), soon())
        .now_or_never())
    .is_some()
    {
        number += 1;
    }
    let request = checkin::CheckinRequest {
        status: Some("online".into()),
        ..checkin::CheckinRequest::default()
    };
    let begun = checkin::begin(
        &house.fleet,
        agent,
        "9.6.0",
        request,
        Duration::ZERO,
        Timestamp::now(),
    );
    let releasing = async {
        // The poll is over by then: time itself is what the test needs.
        tokio::time::sleep(Duration::from_millis(200)).await;
        drop(release);
    };
    let (held, begun, ()) = tokio::join!(holding, begun, releasing);
    held.unwrap();
    assert!(begun.is_ok(), "{:?}", begun.err());
}

#[actix_rt::test]
async fn the_policy_monitor_goes_on_with_its_policies_and_finds_what_it_missed() {
    let house = House::new(Settings::default()).await;
    let monitor = &house.fleet.actors.policy_monitor;
    let before = monitor.latest(&house.policy).await.unwrap().unwrap();
    let poll = house.poll("a");
    house.break_down("policy_monitor", &monitor.actor).await;
    let after = monitor.latest(&house.policy).await.unwrap().unwrap();
    assert!(Arc::ptr_eq(&before, &after), "not rendered again");
    house.change_policy().await;
    drop(monitor.actor.ask(Panic, soon()).await);
    while !woken(&poll).await.policy() {}
    assert_eq!(monitor.latest(&house.policy).await.unwrap().unwrap().revision, 2);
}

#[actix_rt::test]
async fn a_revision_is_rendered_once_for_all_who_ask() {
    let house = House::new(Settings::default()).await;
    let monitor = &house.fleet.actors.policy_monitor;
    for revision in 1..=3 {
        let asking = (0..500).map(|_| monitor.latest(&house.policy));
        let all = try_join_all(asking).await.unwrap();
        let first = all[0].as_ref().unwrap();
        assert_eq!(first.revision, revision);
        assert!(all.iter().flatten().all(|other| Arc::ptr_eq(first, other)));
        house.change_policy().await;
    }
    assert!(monitor.latest(&"none".into()).await.unwrap().is_none());
}

#[actix_rt::test]
async fn polls_are_woken_for_a_revision_that_is_ready() {
    let house = House::new(Settings::default()).await;
    let monitor = &house.fleet.actors.policy_monitor;
    let poll = house.poll("a");
    for revision in 2..=4 {
        house.change_policy().await;
        while !woken(&poll).await.policy() {}
        let ready = monitor.latest(&house.policy).now_or_never();
        let policy = ready.expect("no question to the monitor").unwrap().unwrap();
        assert_eq!(policy.revision, revision);
    }
}

#[actix_rt::test]
async fn who_stood_in_the_dispatchers_schedule_looks_for_itself_after_a_panic() {
    let house = House::new(Settings {
        action_pace: Pace {
            interval: Duration::from_secs(3600),
            burst: 1,
        },
        ..Settings::default()
    })
    .await;
    let dispatcher = &house.fleet.actors.action_dispatcher;
    let (first, second) = (house.poll("a"), house.poll("b"));
    // Told to look for themselves when the dispatcher began, unless it had begun before.
    let _begun = (first.woken().now_or_never(), second.woken().now_or_never());
    let appended = super::action_dispatcher::Appended(vec!["a".into(), "b".into()]);
    dispatcher.ask(appended, soon()).await.unwrap();
    assert!(woken(&first).await.actions());
    assert!(second.woken().now_or_never().is_none(), "paced");
    house.break_down("action_dispatcher", dispatcher).await;
    assert!(woken(&second).await.actions());
}

#[actix_rt::test]
async fn the_health_monitor_hears_of_faults_before_and_after_a_panic() {
    let house = House::new(Settings::default()).await;
    let monitor = &house.fleet.actors.health_monitor;
    let mut faults = FaultReporter::new("part", monitor.actor.clone());
    for _ in 0..2 {
        faults.fault("does not work".into());
        monitor.look().await.unwrap();
        let health = house.fleet.health();
        assert_eq!(
            (health.state, health.message.as_str()),
            (HealthState::Degraded, "does not work")
        );
        house.break_down("health_monitor", &monitor.actor).await;
        assert_eq!(
            house.fleet.health().state,
            HealthState::Degraded,
            "until it looks"
        );
        monitor.look().await.unwrap();
        assert_eq!(house.fleet.health().state, HealthState::Healthy);
    }
    faults.fault("does not work".into());
    faults.well();
    monitor.look().await.unwrap();
    assert_eq!(house.fleet.health().state, HealthState::Healthy);
    house.fleet.stop().await;
    assert_eq!(house.fleet.health().state, HealthState::Stopping);
}

#[actix_rt::test]
async fn the_collector_goes_on_after_a_panic() {
    let house = House::new(Settings::default()).await;
    let collector = &house.fleet.actors.collector;
    house.break_down("collector", collector).await;
    assert_eq!(collector.ask(Collect, soon()).await.unwrap(), Ok(0));
}

#[actix_rt::test]
async fn g8_what_expired_long_ago_goes() {
    let house = House::new(Settings::default()).await;
    let agent = house.enroll().await;
    let now = Timestamp::now();
    let day = Duration::from_secs(24 * 3600);
    let mut posted = Vec::new();
    for days in [31, 29] {
        let draft = ActionDraft {
            expiration: Some(now.minus(day * days)),
            ..ActionDraft::new(ActionKind::Unenroll)
        };
        let targets = vec![agent.id.clone()];
        let action = actions::post(&house.fleet, targets, draft, now.minus(day * 40)).await;
        posted.push(action.unwrap().action);
    }
    for action in &posted {
        let event = crate::acks::AckEvent {
            action_id: action.to_string(),
            error: Some("cannot".to_owned()),
            ..crate::acks::AckEvent::default()
        };
        crate::acks::apply(&house.fleet, agent.clone(), vec![event], now).await;
    }
    let collector = &house.fleet.actors.collector;
    assert_eq!(collector.ask(Collect, soon()).await.unwrap(), Ok(1));
    for (action, is_there) in posted.iter().zip([false, true]) {
        assert_eq!(house.store.action(action).await.unwrap().is_some(), is_there);
        let results = house.store.results(action, PageRequest::first(5)).await.unwrap();
        assert_eq!(results.items.len(), usize::from(is_there));
    }
}

/// Nobody asks it to.
#[actix_rt::test]
async fn g8_the_collector_cleans_up_by_its_own_calendar_again_and_again() {
    let house = House::new(Settings {
        cleanup_interval: Duration::from_secs(1),
        ..Settings::default()
    })
    .await;
    let agent = house.enroll().await;
    let now = Timestamp::now();
    let day = Duration::from_secs(24 * 3600);
    for _ in 0..2 {
        let draft = ActionDraft {
            expiration: Some(now.minus(day * 31)),
            ..ActionDraft::new(ActionKind::Unenroll)
        };
        let targets = vec![agent.id.clone()];
        let action = actions::post(&house.fleet, targets, draft, now.minus(day * 40))
            .await
            .unwrap()
            .action;
        let until = soon();
        while house.store.action(&action).await.unwrap().is_some() {
            assert!(Instant::now() < until, "it is not removed");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
