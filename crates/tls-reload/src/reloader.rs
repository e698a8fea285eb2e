//! Starting a reloader, and the handle to it.
//!
//! The first load happens on the caller's thread, so that a server that cannot serve never starts (reload.md 7.1).
//! After that an actor owns the watch and the timers; handshakes read the [`Resolver`] and never depend on the actor
//! being alive (reload.md 7.3).

mod actor;
mod course;
mod job;
mod report;
mod shared;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use supervise::{Supervised, supervise};
use tokio::sync::{oneshot, watch};

use crate::error::{Rejected, StartError};
use crate::generation::Generation;
use crate::metrics::ReloadMetrics;
use crate::moment::Clock;
use crate::resolver::Resolver;
use crate::served::Served;
use crate::source::Settings;
use crate::state::{FailureReason, ReloadOutcome, ReloadResult, ReloadState, Trigger, WatchMode};
use crate::watch::{WatcherFactory, system_events};
use actor::{CertReloader, ReloadNow};
use shared::Shared;

/// What a reloader is made of, before it starts.
///
/// ```no_run
/// # fn main() -> Result<(), tls_reload::StartError> {
/// use tls_reload::{PemSource, Reloader, Settings};
/// let settings = Settings::single(PemSource::from_config("tls.crt"), Some(PemSource::from_config("tls.key")));
/// let handle = Reloader::new(settings).spawn_system()?;
/// let config = handle.resolver().server_config(); // for each new connection
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is served or reloaded before it is started"]
pub struct Reloader {
    settings: Settings,
    metrics: ReloadMetrics,
    clock: Clock,
    watcher: WatcherFactory,
    /// A job this long means a file system that does not answer.
    stuck_after: Duration,
}

/// A running reloader. Clones are the same one; it runs until [`shutdown`](Self::shutdown) or the end of its
/// actix system, whether or not a handle is held.
#[derive(Clone)]
pub struct ReloadHandle {
    shared: Arc<Shared>,
    actor: Supervised<CertReloader>,
}

impl Reloader {
    /// A reloader for one TLS set, with the system's events and clock, and unregistered metrics.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            metrics: ReloadMetrics::unregistered(),
            clock: Clock::default(),
            watcher: system_events(),
            stuck_after: STUCK,
        }
    }

    /// Counts into `metrics`.
    pub fn metrics(mut self, metrics: ReloadMetrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// Judges dates by another clock.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Takes events from elsewhere.
    pub fn watcher(mut self, watcher: WatcherFactory) -> Self {
        self.watcher = watcher;
        self
    }

    /// Sets after how long a job counts as stuck (default: half a minute).
    #[cfg(test)]
    fn stuck_after(mut self, time: Duration) -> Self {
        self.stuck_after = time;
        self
    }

    /// Loads the first generation (blocking) and starts the actor on the current actix arbiter.
    ///
    /// # Errors
    /// reload.md 7.1: the set cannot be served; or this thread runs no actix system.
    pub fn start(self) -> Result<ReloadHandle, StartError> {
        let arbiter = actix_rt::Arbiter::try_current().ok_or(StartError::NoSystem)?;
        let (handle, life) = self.load()?;
        if arbiter.spawn(life) {
            Ok(handle)
        } else {
            Err(StartError::NoSystem)
        }
    }

    /// Loads the first generation (blocking) and starts the actor on an actix system of its own, in a thread
    /// of its own: for programs on plain tokio, or on no runtime at all.
    ///
    /// # Errors
    /// reload.md 7.1: the set cannot be served; or the thread cannot be started.
    pub fn spawn_system(self) -> Result<ReloadHandle, StartError> {
        let (handle, life) = self.load()?;
        std::thread::Builder::new()
            .name("tls-reload".to_owned())
            .spawn(move || actix_rt::System::new().block_on(life))?;
        Ok(handle)
    }

    /// The handle, and the life of the actor, which must run on an actix arbiter.
    fn load(self) -> Result<(ReloadHandle, impl Future<Output = ()> + Send + use<>), Rejected> {
        let Self {
            settings,
            metrics,
            clock,
            watcher,
            stuck_after,
        } = self;
        let now = clock.now();
        let generation = Arc::new(Generation::load(&settings, now)?);
        let state = report::first(&generation, &settings, now);
        let served = Served::new(Resolver::new(generation), state);
        metrics.observe(&served);
        let shared = Arc::new(Shared {
            settings,
            served,
            metrics,
            clock,
            watcher,
            stuck_after,
        });
        let (kept, counted, life) = (shared.clone(), shared.clone(), Life(shared.served.clone()));
        let (actor, supervisor) = supervise(
            move |exit| CertReloader::new(kept.clone(), exit),
            move || counted.reloader_panicked(),
        );
        let life = async move {
            let _life = life;
            supervisor.patience(PATIENCE).run().await;
        };
        Ok((ReloadHandle { shared, actor }, life))
    }
}

impl ReloadHandle {
    /// What listeners read.
    #[must_use]
    pub fn resolver(&self) -> Resolver {
        self.shared.served.resolver.clone()
    }

    /// The state now. Cheap: a shared value.
    #[must_use]
    pub fn state(&self) -> Arc<ReloadState> {
        self.shared.served.state()
    }

    /// The state now and each that follows. While a borrowed state is held (in the closure of `wait_for`, too), ask
    /// the handle for nothing and scrape no metrics: the reloader waits for the borrow, and they for the reloader.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<ReloadState>> {
        self.shared.served.subscribe()
    }

    /// Reads the files at once (reload.md 3.2) and returns the outcome. `trigger` names the origin of the request.
    pub async fn reload_now(&self, trigger: Trigger) -> ReloadOutcome {
        if !self.shared.settings.reload.enabled {
            return self.no_reload(
                ReloadResult::Disabled,
                None,
                "reload is disabled",
                Some("set certificate_reload.enabled: true"),
            );
        }
        let mut actor = self.actor.addresses();
        for _ in 0..TRIES {
            let address = match tokio::time::timeout(RESTART, actor.wait_for(Option::is_some)).await {
                Ok(Ok(address)) => address.clone(),
                Ok(Err(_)) => break,
                Err(_) => continue,
            };
            let Some(address) = address else { continue };
            let (answer, answered) = oneshot::channel();
            if address.send(ReloadNow { trigger, answer }).await.is_ok()
                && let Ok(outcome) = answered.await
            {
                return outcome;
            }
            // The actor died with the request: wait for the next one, which has another address.
            let _next = tokio::time::timeout(RESTART, actor.changed()).await;
        }
        self.no_reload(
            ReloadResult::Failure,
            Some(FailureReason::Stopped),
            "the reloader is not running",
            Some("see the log for what stopped it"),
        )
    }

    /// Stops the watcher and all timers (reload.md 7.4). What is served stays served. Returns when it is done.
    pub async fn shutdown(&self) {
        self.actor.stop().await;
        let mut state = self.shared.served.subscribe();
        // The sender is in `shared`, which we hold: waiting cannot fail.
        let _stopped = state.wait_for(|state| state.stopped).await;
    }

    fn no_reload(
        &self,
        result: ReloadResult,
        reason: Option<FailureReason>,
        message: &str,
        hint: Option<&str>,
    ) -> ReloadOutcome {
        ReloadOutcome {
            result,
            fingerprint: self
                .shared
                .served
                .resolver
                .current()
                .info()
                .fingerprint()
                .to_owned(),
            message: message.to_owned(),
            hint: hint.map(str::to_owned),
            reason,
        }
    }
}

/// Held while the supervisor runs. Dropped with it, also when the actix system ends and takes that task along.
struct Life(Arc<Served>);

impl Drop for Life {
    fn drop(&mut self) {
        self.0.update(|state| {
            state.stopped = true;
            state.watch_mode = WatchMode::Off;
            state.watched_directories.clear();
            state.pending_retry = None;
        });
    }
}

impl fmt::Debug for Reloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloader")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ReloadHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReloadHandle")
            .field("serves", &self.shared.served.resolver)
            .finish_non_exhaustive()
    }
}

/// Reading a set takes milliseconds; a disk that is merely busy takes seconds.
const STUCK: Duration = Duration::from_secs(30);
/// How long an actor may take to stop: reload.md 7.4 asks for 100 ms in all.
const PATIENCE: Duration = Duration::from_millis(80);
/// How often a request follows the actor through a restart.
const TRIES: usize = 3;
/// How long a restart may take before a request gives up on it.
const RESTART: Duration = Duration::from_secs(5);
