//! `HealthMonitor` owns the state that `/api/status` shows and the gauges that are counted from the store
//! (http-api 4.3 stand-alone; data-model 3.7). Every 5 seconds it asks the store; every 15 it counts agents.
//! Mailbox: 16, only the stop. A restart keeps the last state, which is shared.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use actix::{Actor, ActorContext as _, AsyncContext as _, Context, Handler, WrapFuture as _};
use store::{AgentQuery, AgentStatus, PageRequest, PolicyId, Store, StoreHealth, Timestamp};
use supervise::{Exit, Stop};

use tokio::sync::Notify;

use crate::metrics::{Metrics, PolicyLabel, StatusLabel};

/// State of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthState {
    /// The store has not answered yet.
    Starting,
    /// All is well.
    Healthy,
    /// It runs, but something is wrong.
    Degraded,
    /// It stops.
    Stopping,
}

impl HealthState {
    /// Its name in `/api/status`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "STARTING",
            Self::Healthy => "HEALTHY",
            Self::Degraded => "DEGRADED",
            Self::Stopping => "STOPPING",
        }
    }
}

/// State with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// The state.
    pub state: HealthState,
    /// Why, for people.
    pub message: String,
}

/// The state, shared.
#[derive(Debug)]
pub(crate) struct SharedHealth(RwLock<Health>);

impl SharedHealth {
    pub(crate) fn new() -> Arc<Self> {
        let message = "the store has not answered yet".to_owned();
        Arc::new(Self(RwLock::new(Health {
            state: HealthState::Starting,
            message,
        })))
    }

    pub(crate) fn get(&self) -> Health {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The server stops: no later look changes that.
    pub(crate) fn stopping(&self) {
        let stopping = Health {
            state: HealthState::Stopping,
            message: "stopping".to_owned(),
        };
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = stopping;
    }

    fn seen(&self, store: &StoreHealth) {
        let mut health = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let next = next(health.state, store);
        if next.state != health.state {
            let (old, new) = (health.state.as_str(), next.state.as_str());
            match next.state {
                HealthState::Degraded => {
                    log::error!("state" = new; "state changed from {old} to {new}: {}", next.message);
                }
                _ => log::info!("state" = new; "state changed from {old} to {new}: {}", next.message),
            }
        }
        *health = next;
    }
}

/// The state after a look at the store.
fn next(current: HealthState, store: &StoreHealth) -> Health {
    let is_well = store.readable && store.writable;
    let state = match (current, is_well) {
        (HealthState::Stopping, _) => HealthState::Stopping,
        (_, true) => HealthState::Healthy,
        (HealthState::Starting, false) => HealthState::Starting,
        (_, false) => HealthState::Degraded,
    };
    let message = match (is_well, &store.reason) {
        (true, _) => "running".to_owned(),
        (false, Some(reason)) => reason.clone(),
        (false, None) => "the store is not available".to_owned(),
    };
    Health { state, message }
}

pub(crate) struct HealthMonitor {
    pub(crate) exit: Exit,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) health: Arc<SharedHealth>,
    pub(crate) metrics: Metrics,
    pub(crate) recount: Arc<Notify>,
}

impl Actor for HealthMonitor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let looks = look_for_ever(Arc::clone(&self.store), Arc::clone(&self.health));
        ctx.spawn(looks.into_actor(self));
        ctx.spawn(
            count_for_ever(
                Arc::clone(&self.store),
                self.metrics.clone(),
                Arc::clone(&self.recount),
            )
            .into_actor(self),
        );
    }
}

impl Handler<Stop> for HealthMonitor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        self.exit.meant();
        ctx.stop();
    }
}

/// One look, awaited at the start so that a healthy server never shows STARTING to its first client.
pub(crate) async fn look(store: &dyn Store, health: &SharedHealth) {
    health.seen(&store.health().await);
}

async fn look_for_ever(store: Arc<dyn Store>, health: Arc<SharedHealth>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        look(&*store, &health).await;
    }
}

async fn count_for_ever(store: Arc<dyn Store>, metrics: Metrics, recount: Arc<Notify>) {
    let mut shown: HashSet<PolicyId> = HashSet::new();
    loop {
        if let Err(error) = count(&*store, &metrics, &mut shown).await {
            log::warn!("error.message":% = error; "agents not counted");
        }
        // At least a second between two counts, however often one is asked for.
        tokio::time::sleep(LEAST_PAUSE).await;
        tokio::select! {
            () = tokio::time::sleep(COUNT_EVERY) => {}
            () = recount.notified() => {}
        }
    }
}

async fn count(store: &dyn Store, metrics: &Metrics, shown: &mut HashSet<PolicyId>) -> store::Result<()> {
    let all = AgentQuery {
        shows_inactive: true,
        ..AgentQuery::default()
    };
    let counts = store.count_by_status(&all, Timestamp::now()).await?;
    for status in AgentStatus::ALL {
        let count = counts.get(&status).copied().unwrap_or(0);
        let gauge = metrics.agents.get_or_create(&StatusLabel {
            status: status.as_str(),
        });
        gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
    let mut present = HashSet::new();
    let mut offset = 0;
    loop {
        let page = store.policies(PageRequest { offset, limit: PAGE }).await?;
        for summary in &page.items {
            let policy = summary.latest.policy.clone();
            let gauge = metrics.rollout_pending.get_or_create(&PolicyLabel {
                policy: policy.to_string(),
            });
            gauge.set(i64::try_from(summary.pending).unwrap_or(i64::MAX));
            present.insert(policy);
        }
        offset += page.items.len() as u64;
        if page.items.is_empty() || offset >= page.total {
            break;
        }
    }
    for gone in shown.difference(&present) {
        metrics.rollout_pending.remove(&PolicyLabel {
            policy: gone.to_string(),
        });
    }
    *shown = present;
    Ok(())
}

const LOOK_EVERY: Duration = Duration::from_secs(5);
const LEAST_PAUSE: Duration = Duration::from_secs(1);
const COUNT_EVERY: Duration = Duration::from_secs(15);
const PAGE: u32 = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sta_04_states_follow_the_store() {
        let well = StoreHealth {
            readable: true,
            writable: true,
            reason: None,
        };
        let full = StoreHealth {
            readable: true,
            writable: false,
            reason: Some("disk full".into()),
        };
        assert_eq!(next(HealthState::Starting, &full).state, HealthState::Starting);
        assert_eq!(next(HealthState::Starting, &well).state, HealthState::Healthy);
        let degraded = next(HealthState::Healthy, &full);
        assert_eq!(
            (degraded.state, degraded.message.as_str()),
            (HealthState::Degraded, "disk full")
        );
        assert_eq!(next(HealthState::Degraded, &well).state, HealthState::Healthy);
        assert_eq!(next(HealthState::Stopping, &well).state, HealthState::Stopping);
    }
}
