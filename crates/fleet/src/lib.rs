//! The domain of the control plane: who enrols, what a check-in says and gets, what is acknowledged.
//!
//! ```text
//! api ──► auth, enrollment, checkin, acks        (agents)          ──► dyn Store
//!     ──► opamp                                  (OpAMP agents)    ──► dyn Store
//!     ──► policies, tokens, agents, operators    (operators)       ──► dyn Store
//!
//! store change feed ──► PolicyMonitor, ActionDispatcher ──► Waiters ──► open polls
//! check-ins ──► CheckinWriter ──► store, in batches
//! ```
//!
//! What is kept in this process alone, and what several servers on one store see of it:
//! - `policy_changes`: operators change a policy in turn. Of two servers one is quicker; the other lays its change over
//!   that one's, by the store's compare-and-set, and after ten tries answers `Busy`.
//! - `deliveries`: the revision that an agent was offered a moment ago. An agent that rejects a policy and moves to
//!   another server is offered it there once more, again once a minute.
//! - pending check-ins (`CheckinWriter`): other servers' lists, counts and states are behind by at most one flush. Two
//!   servers' records of one agent meet in the store: the newest time and the furthest position stay, and an ack token
//!   names its place on whichever server it is presented.
//! - `farewells`: which agents whose key is dead were told so a moment ago. Another server begins with the first step.
//! - `file_room`: room promised to operators' files and artifacts that are on their way. Another server does not see it, and
//!   the quota of all files may be passed by what both take at once; announced uploads are in the store, where both see them.
//! - `replacements`: enrolments that replace one agent, and its first check-in, take turns in one server. Of two servers the
//!   store's compare-and-set makes one succeed; a first check-in that one of them still holds may lose its agent to a
//!   repeated enrolment on the other.
//! - `bounds`: which agents were warned this hour of fields over their bound. Another server warns once more.
//! - `derivations`: places for slow key derivations, by the cores of this machine.
//! - one poll per agent (`waiters`): a second poll on another server does not end the first; both are answered.
//! - waiting polls, their pace and the rendered policies: each server follows the feed, wakes its own polls at its own
//!   pace and renders for itself.
//!
//! Knows no HTTP and no SQL. A request is a plain async function over [`Fleet`]; what outlives requests is an
//! actor. Times are passed in, but where a wait ends.

pub mod acks;
pub mod actions;
mod actors;
pub mod agent_files;
pub mod agents;
pub mod artifacts;
pub mod audit;
pub mod audit_log;
pub mod auth;
pub mod checkin;
mod deliveries;
mod derivations;
mod diff;
pub mod enrollment;
mod error;
pub mod farewell;
mod file_room;
mod ids;
mod namespace;
mod notices;
mod off_the_loop;
pub mod opamp;
pub mod operators;
pub mod policies;
pub mod policy_history;
mod poll_time;
mod randomness;
mod rendered_policy;
mod replace_token;
mod secret_references;
pub mod secrets;
mod settings;
mod store_key;
pub mod tokens;
mod turns;
mod upgrades;
pub mod uploads;
mod versions;
mod waiters;

use std::{
    ops::Deref,
    sync::{Arc, OnceLock},
};

use prometheus_client::registry::Registry;
pub use store::{
    Action, ActionDocId, ActionId, ActionOutcome, ActionProgress, ActionResult, Agent, AgentFile, AgentId,
    AgentQuery, AgentSort, AgentStatus, ApiKey, AuditActor, AuditDraft, AuditEntry, AuditMark, AuditQuery,
    AuditTarget, BlobStream, BodyFault, Collector, CollectorReport, EnrollmentToken, FileId, FromObject,
    KeyId, KeyOwner, NewAudit, OperatorKey, OperatorRole, Page, PagePosition, PageRequest, PageStart,
    PolicyId, PolicyRevision, PolicySummary, RawJson, Secret, SecretId, SortOrder, StatusCounts,
    StatusReport, Store, StoreError, Timestamp, TokenError, TokenId, Total, UnhealthyReason, Upload,
    UploadId, UploadState, chain,
};

pub use actors::health_monitor::{Health, HealthState};
pub use error::FleetError;
pub use notices::{Notice, Notices};
pub use rendered_policy::RenderedPolicy;
pub use settings::{Pace, ReplaceTokenHashing, Settings, StaticToken};
pub use store_key::{NoStoreKey, StoreKey};
pub use versions::{COMPATIBLE_VERSION, Version};

use actors::Actors;
use deliveries::Deliveries;
use derivations::Derivations;
use farewell::Farewells;
use notices::Announcer;
use turns::Turns;
use waiters::Waiters;

/// The domain: the whole, or a handle in the name of one operator's request.
pub struct Fleet {
    store: Arc<dyn Store>,
    audit: Option<Arc<AuditDraft>>,
    shared: Arc<Shared>,
}

/// What all handlers share.
pub struct Shared {
    settings: Arc<Settings>,
    waiters: Arc<Waiters>,
    deliveries: Deliveries,
    derivations: Derivations,
    bounds: checkin::Bounds,
    upload_metrics: uploads::UploadMetrics,
    farewells: Farewells,
    started_at: Timestamp,
    /// The key in this server's data directory.
    own_key: OnceLock<KeyId>,
    /// Turns over one agent: enrolments that replace it, and its first check-in.
    replacements: Turns,
    /// Held over a change of a policy: operators who change the same one at once take turns instead of trying again
    /// and again. The store decides all the same, for another server may change it too.
    policy_changes: tokio::sync::Mutex<()>,
    file_room: Arc<file_room::FileRoom>,
    announcer: Announcer,
    actors: Actors,
}

impl Fleet {
    /// Starts the domain on an open store. Must run inside an actix system; the registry carries the prefix.
    pub async fn start(
        store: Arc<dyn Store>,
        settings: Settings,
        registry: &mut Registry,
    ) -> Result<Arc<Self>, FleetError> {
        let settings = Arc::new(settings);
        let farewells = Farewells::new(settings.farewells);
        let waiters = Waiters::new(registry);
        let actors = Actors::start(&store, &settings, &waiters, registry);
        actors.health_monitor.look().await?;
        let file_room = file_room::FileRoom::new(Arc::clone(&store), settings.files);
        let shared = Arc::new(Shared {
            settings,
            waiters,
            deliveries: Deliveries::register(registry),
            derivations: Derivations::register(registry),
            bounds: checkin::Bounds::register(registry),
            upload_metrics: uploads::UploadMetrics::register(registry),
            farewells,
            started_at: Timestamp::now(),
            own_key: OnceLock::new(),
            replacements: Turns::default(),
            policy_changes: tokio::sync::Mutex::default(),
            file_room,
            announcer: Announcer::new(),
            actors,
        });
        Ok(Arc::new(Self {
            store,
            audit: None,
            shared,
        }))
    }

    /// A handle in whose name the draft's entry is written, in one unit with the change where the store can do that.
    #[must_use]
    pub fn audited(&self, draft: Arc<AuditDraft>) -> Arc<Self> {
        Arc::new(Self {
            store: (self.store.audited(Arc::clone(&draft))).unwrap_or_else(|| Arc::clone(&self.store)),
            audit: Some(draft),
            shared: Arc::clone(&self.shared),
        })
    }
}

impl Deref for Fleet {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Shared {
    /// What the configuration decided.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// State of the server, as `/api/status` shows it.
    #[must_use]
    pub fn health(&self) -> Health {
        self.actors.health_monitor.health()
    }

    /// Check-ins that wait now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiters.count()
    }

    /// The stop begins: every open poll is answered empty, later ones do not wait, and connections that stay open are told.
    pub fn release_waiters(&self) {
        self.announcer.stopping();
        self.waiters.release();
    }

    /// For a connection that stays open.
    #[must_use]
    pub fn notices(&self) -> Notices {
        self.announcer.follow()
    }

    /// Ends the actors in good order; pending check-ins are written out. After the listeners have drained.
    pub async fn stop(&self) {
        self.actors.stop().await;
    }
}
