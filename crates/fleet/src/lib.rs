//! The domain of the control plane: who enrols, what a check-in says and gets, what is acknowledged.
//!
//! ```text
//! api ──► auth, enrollment, checkin, acks        (agents)          ──► dyn Store
//!     ──► policies, tokens, agents, actions      (operators)       ──► dyn Store
//!
//! store change feed ──► PolicyMonitor, ActionDispatcher ──► Waiters ──► open polls
//! check-ins ──► CheckinWriter ──► store, in batches
//! ```
//!
//! Knows no HTTP and no SQL. A request is a plain async function over [`Fleet`]; what outlives requests is an
//! actor. Times are passed in, but where a wait ends.

pub mod acks;
pub mod actions;
mod actors;
pub mod agents;
pub mod auth;
pub mod checkin;
mod credentials;
mod deliveries;
mod diff;
pub mod enrollment;
mod error;
mod ids;
mod metrics;
mod off_the_loop;
pub mod operators;
pub mod policies;
mod poll_time;
mod rendered_policy;
mod replace_token;
mod settings;
pub mod tokens;
mod upgrades;
mod waiters;

use std::sync::{Arc, atomic::AtomicI64};

use prometheus_client::registry::Registry;
pub use store::{
    Action, ActionId, ActionProgress, ActionResult, Agent, AgentId, AgentQuery, AgentSort, AgentStatus,
    AuditMark, EnrollmentToken, KeyId, KeyKind, Page, PageRequest, PolicyId, PolicyRevision, PolicySummary,
    RawJson, SortOrder, StatusCounts, StatusReport, Store, StoreError, Timestamp, TokenId, UnhealthyReason,
};
use supervise::Supervised;
use tokio::sync::Notify;

pub use actors::health_monitor::{Health, HealthState};
pub use credentials::{ApiKey, Secret, TokenError};
pub use error::FleetError;
pub use rendered_policy::RenderedPolicy;
pub use settings::{Pace, ReplaceTokenHashing, Settings, StaticToken};

use actors::{
    action_dispatcher::ActionDispatcher,
    checkin_writer::{CheckinWriter, PendingCheckins},
    collector::Collector,
    health_monitor::{self, HealthMonitor, SharedHealth},
    policy_monitor::{Policies, PolicyMonitor},
};
use deliveries::Deliveries;
use metrics::Metrics;
use waiters::Waiters;

/// The domain, shared by all handlers.
pub struct Fleet {
    store: Arc<dyn Store>,
    settings: Arc<Settings>,
    metrics: Metrics,
    waiters: Arc<Waiters>,
    policies: Arc<Policies>,
    checkins: Arc<PendingCheckins>,
    deliveries: Deliveries,
    health: Arc<SharedHealth>,
    /// Asks for the gauges to be counted anew.
    recount: Arc<Notify>,
    /// Held over a change of a policy: operators who change the same one at once take turns instead of trying again
    /// and again. The store decides all the same, for another server may change it too.
    policy_changes: tokio::sync::Mutex<()>,
    actors: Actors,
}

struct Actors {
    policy_monitor: Supervised<PolicyMonitor>,
    action_dispatcher: Supervised<ActionDispatcher>,
    checkin_writer: Supervised<CheckinWriter>,
    health_monitor: Supervised<HealthMonitor>,
    collector: Supervised<Collector>,
}

impl Fleet {
    /// Starts the domain on an open store. Must run inside an actix system; the registry carries the prefix.
    ///
    /// # Errors
    /// The store's fault.
    pub async fn start(
        store: Arc<dyn Store>,
        settings: Settings,
        registry: &mut Registry,
    ) -> Result<Arc<Self>, FleetError> {
        let metrics = Metrics::register(registry);
        let waiters = Waiters::new(metrics.waiting.clone());
        let policies = Policies::new(Arc::clone(&store));
        let checkins = PendingCheckins::new(metrics.checkins_pending.clone());
        let health = SharedHealth::new();
        health_monitor::look(&*store, &health).await;
        let last_change = store.last_change().await?;
        let recount = Arc::new(Notify::new());
        let actors = Actors {
            policy_monitor: {
                let (store, policies, waiters) =
                    (Arc::clone(&store), Arc::clone(&policies), Arc::clone(&waiters));
                let (pace, after) = (settings.policy_pace, Arc::new(AtomicI64::new(last_change)));
                actors::start(
                    "policy_monitor",
                    metrics.restarts_of("policy_monitor"),
                    move |exit| PolicyMonitor {
                        exit,
                        store: Arc::clone(&store),
                        policies: Arc::clone(&policies),
                        waiters: Arc::clone(&waiters),
                        pace,
                        after: Arc::clone(&after),
                    },
                )
            },
            action_dispatcher: {
                let (store, waiters) = (Arc::clone(&store), Arc::clone(&waiters));
                let (pace, after) = (settings.action_pace, Arc::new(AtomicI64::new(last_change)));
                actors::start(
                    "action_dispatcher",
                    metrics.restarts_of("action_dispatcher"),
                    move |exit| ActionDispatcher {
                        exit,
                        store: Arc::clone(&store),
                        waiters: Arc::clone(&waiters),
                        pace,
                        after: Arc::clone(&after),
                    },
                )
            },
            checkin_writer: {
                let (store, pending, waiters) =
                    (Arc::clone(&store), Arc::clone(&checkins), Arc::clone(&waiters));
                let (renew_every, flush_every) = (settings.checkin_timestamp, settings.checkin_flush);
                let flush_duration = metrics.flush_duration.clone();
                actors::start(
                    "checkin_writer",
                    metrics.restarts_of("checkin_writer"),
                    move |exit| CheckinWriter {
                        exit,
                        store: Arc::clone(&store),
                        pending: Arc::clone(&pending),
                        waiters: Arc::clone(&waiters),
                        renew_every,
                        flush_every,
                        flush_duration: flush_duration.clone(),
                    },
                )
            },
            health_monitor: {
                let (store, health, of) = (Arc::clone(&store), Arc::clone(&health), metrics.clone());
                let recount = Arc::clone(&recount);
                actors::start(
                    "health_monitor",
                    metrics.restarts_of("health_monitor"),
                    move |exit| HealthMonitor {
                        exit,
                        store: Arc::clone(&store),
                        health: Arc::clone(&health),
                        metrics: of.clone(),
                        recount: Arc::clone(&recount),
                    },
                )
            },
            collector: {
                let store = Arc::clone(&store);
                let (every, kept) = (settings.cleanup_interval, settings.expired_actions_kept);
                actors::start("collector", metrics.restarts_of("collector"), move |exit| {
                    Collector {
                        exit,
                        store: Arc::clone(&store),
                        every,
                        kept,
                    }
                })
            },
        };
        let deliveries = Deliveries::default();
        Ok(Arc::new(Self {
            store,
            settings: Arc::new(settings),
            metrics,
            waiters,
            policies,
            checkins,
            deliveries,
            health,
            recount,
            policy_changes: tokio::sync::Mutex::default(),
            actors,
        }))
    }

    /// What the configuration decided.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// State of the server, as `/api/status` shows it.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health.get()
    }

    /// Check-ins that wait now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiters.count()
    }

    /// The stop begins: every open poll is answered empty, and later ones do not wait.
    pub fn release_waiters(&self) {
        self.waiters.release();
    }

    /// Ends the actors in good order; pending check-ins are written out. After the listeners have drained.
    pub async fn stop(&self) {
        self.health.stopping();
        self.actors.policy_monitor.stop().await;
        self.actors.action_dispatcher.stop().await;
        self.actors.collector.stop().await;
        self.actors.health_monitor.stop().await;
        self.actors.checkin_writer.stop().await;
    }
}
