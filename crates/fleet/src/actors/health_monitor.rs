//! `HealthMonitor` owns the state that `/api/status` shows and the gauges that are counted from the store
//! (agents.md 3.2, data.md 7.4).
//!
//! In: what the store says every 5 seconds, faults that other actors report. Out: the state, which anybody reads
//! without asking the actor. Every 15 seconds, or when somebody asks, it counts agents.
//! Mailbox: 256. Full: a reported fault is dropped, and reported again with the next failure.
//! A restart keeps the last state until the next look; actors report their faults again.

mod gauges;
mod health;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use actix::{
    Actor, ActorContext as _, ActorFutureExt as _, AsyncContext as _, Context, Handler, Message,
    ResponseActFuture, WrapFuture as _,
};
use prometheus_client::registry::Registry;
use store::{Store, StoreHealth};
use supervise::{Exit, Stop};
use tokio::{sync::watch, time::Instant};

use super::{Handle, Restarts};
use crate::FleetError;
use gauges::Gauges;
pub use health::{Health, HealthState};

/// The handle of the actor.
pub(crate) struct Monitor {
    pub(super) actor: Handle<HealthMonitor>,
    state: watch::Receiver<Health>,
}

impl Monitor {
    pub(crate) fn health(&self) -> Health {
        self.state.borrow().clone()
    }

    /// Looks at the store now, so that a healthy server never shows STARTING to its first client.
    pub(crate) async fn look(&self) -> Result<(), FleetError> {
        self.actor.ask(Look, Instant::now() + PATIENCE).await
    }

    /// Has the gauges counted again. Dropped if many ask at once: they are counted every 15 seconds anyway.
    pub(crate) fn recount(&self) {
        self.actor.tell(Recount);
    }
}

/// Asks for a look at the store; answered when the state says what was seen.
#[derive(Message)]
#[rtype(result = "()")]
struct Look;

/// What the gauges count has changed.
#[derive(Message)]
#[rtype(result = "()")]
struct Recount;

/// A part of the server fails, or does not fail any more.
#[derive(Message)]
#[rtype(result = "()")]
struct Report {
    part: &'static str,
    fault: Option<String>,
}

/// How another actor tells of its faults.
pub(super) struct FaultReporter {
    part: &'static str,
    monitor: Handle<HealthMonitor>,
    /// A fault may stand in the monitor: one's own, or that of an incarnation before.
    is_told: bool,
}

impl FaultReporter {
    pub(super) fn new(part: &'static str, monitor: Handle<HealthMonitor>) -> Self {
        Self {
            part,
            monitor,
            is_told: true,
        }
    }

    pub(super) fn fault(&mut self, reason: String) {
        self.is_told = true;
        self.report(Some(reason));
    }

    pub(super) fn well(&mut self) {
        self.is_told = self.is_told && !self.report(None);
    }

    fn report(&self, fault: Option<String>) -> bool {
        self.monitor.tell(Report {
            part: self.part,
            fault,
        })
    }
}
pub(crate) struct HealthMonitor {
    exit: Exit,
    store: Arc<dyn Store>,
    state: Arc<watch::Sender<Health>>,
    /// What the store said last.
    seen: Option<StoreHealth>,
    faults: BTreeMap<&'static str, String>,
    /// Absent while they are being counted.
    gauges: Option<Gauges>,
    next_count: Instant,
}

pub(super) fn start(store: Arc<dyn Store>, restarts: &Restarts, registry: &mut Registry) -> Monitor {
    let gauges = Gauges::register(registry);
    let (publish, state) = watch::channel(Health {
        state: HealthState::Starting,
        message: "the store has not answered yet".to_owned(),
    });
    let publish = Arc::new(publish);
    let actor = Handle::start(NAME, restarts, move |exit| HealthMonitor {
        exit,
        store: Arc::clone(&store),
        state: Arc::clone(&publish),
        seen: None,
        faults: BTreeMap::new(),
        gauges: Some(gauges.anew()),
        next_count: Instant::now(),
    });
    Monitor { actor, state }
}

impl Actor for HealthMonitor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        ctx.run_interval(LOOK_EVERY, |this, ctx| {
            let look = this.look();
            ctx.spawn(look);
        });
        // At least a second between two counts, however often one is asked for.
        ctx.run_interval(LEAST_PAUSE, |this, ctx| this.count_if_due(Instant::now(), ctx));
        self.count_if_due(Instant::now(), ctx);
    }
}

impl Handler<Look> for HealthMonitor {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, _: Look, _: &mut Self::Context) -> Self::Result {
        self.look()
    }
}

impl Handler<Recount> for HealthMonitor {
    type Result = ();

    fn handle(&mut self, _: Recount, _: &mut Self::Context) {
        self.next_count = Instant::now();
    }
}

impl Handler<Report> for HealthMonitor {
    type Result = ();

    fn handle(&mut self, report: Report, _: &mut Self::Context) {
        match report.fault {
            Some(reason) => drop(self.faults.insert(report.part, reason)),
            None => drop(self.faults.remove(report.part)),
        }
        self.settle();
    }
}

impl Handler<Stop> for HealthMonitor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        self.state.send_replace(Health {
            state: HealthState::Stopping,
            message: "stopping".to_owned(),
        });
        self.exit.meant();
        ctx.stop();
    }
}

impl HealthMonitor {
    fn look(&self) -> ResponseActFuture<Self, ()> {
        let store = Arc::clone(&self.store);
        let look = async move { store.health().await };
        Box::pin(look.into_actor(self).map(|seen, this, _| {
            this.seen = Some(seen);
            this.settle();
        }))
    }

    /// Publishes the state that follows from what is known. Before the first look, nothing is.
    fn settle(&self) {
        let Some(seen) = &self.seen else { return };
        let old = self.state.borrow().state;
        let next = health::next(old, seen, &self.faults);
        if next.state != old {
            let (old, new) = (old.as_str(), next.state.as_str());
            match next.state {
                HealthState::Degraded => {
                    log::error!("state" = new; "state changed from {old} to {new}: {}", next.message);
                }
                _ => log::info!("state" = new; "state changed from {old} to {new}: {}", next.message),
            }
        }
        self.state.send_replace(next);
    }

    fn count_if_due(&mut self, now: Instant, ctx: &mut Context<Self>) {
        if now < self.next_count {
            return;
        }
        let Some(mut gauges) = self.gauges.take() else {
            return;
        };
        self.next_count = now + COUNT_EVERY;
        let store = Arc::clone(&self.store);
        let count = async move {
            if let Err(error) = gauges.count(&*store).await {
                log::warn!("error.message":% = store::chain(&error); "agents not counted");
            }
            gauges
        };
        ctx.spawn(
            count
                .into_actor(self)
                .map(|gauges, this, _| this.gauges = Some(gauges)),
        );
    }
}

const NAME: &str = "health_monitor";
const MAILBOX: usize = 256;
const LOOK_EVERY: Duration = Duration::from_secs(5);
const LEAST_PAUSE: Duration = Duration::from_secs(1);
const COUNT_EVERY: Duration = Duration::from_secs(15);
/// For a look that somebody waits for; the store has time-outs of its own.
const PATIENCE: Duration = Duration::from_secs(60);
