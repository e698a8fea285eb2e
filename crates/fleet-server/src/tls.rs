//! The certificates of all listeners: one reloader for the agents' set, a second only for an admin set of its own.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, anyhow};
use api::{Part, PartHealth, TlsAdmin};
use async_trait::async_trait;
use futures_util::future::join_all;
use serde_json::{Map, Value, json};
use tls_reload::{
    HandshakeMetrics, ReloadHandle, ReloadMetrics, ReloadOutcome, ReloadResult, Reloader, Resolver, Settings,
    Trigger,
};
use tokio::time::timeout;

/// The running reloaders by the name of their set.
#[derive(Clone, Default)]
pub(crate) struct TlsSets {
    sets: Vec<(&'static str, ReloadHandle)>,
}

/// What a listener needs of its set.
#[derive(Clone)]
pub(crate) struct ListenerTls {
    /// Gives each new connection its generation.
    pub resolver: Resolver,
    pub handshakes: HandshakeMetrics,
}

impl TlsSets {
    /// Loads a set and begins to watch it.
    ///
    /// # Errors
    /// The set cannot be served: file, reason and remedy (reload.md 7.1).
    pub(crate) async fn add(
        &mut self,
        name: &'static str,
        settings: Settings,
        metrics: ReloadMetrics,
    ) -> Result<ListenerTls> {
        let handshakes = metrics.handshakes();
        // The actor has a thread of its own, so that no listener can delay it.
        let start = move || Reloader::new(settings).metrics(metrics).spawn_system();
        let handle = actix_rt::task::spawn_blocking(start)
            .await?
            .map_err(|error| anyhow!("{}\nhint: {}", fleet::chain(&error), error.hint()))?;
        let resolver = handle.resolver();
        self.sets.push((name, handle));
        Ok(ListenerTls { resolver, handshakes })
    }

    /// The first set, which the agents see.
    #[must_use]
    pub(crate) fn agents(&self) -> Option<&ReloadHandle> {
        self.sets.first().map(|(_, handle)| handle)
    }

    /// Reads every set now and returns each outcome with the set's name.
    pub(crate) async fn reload(&self, trigger: Trigger) -> Vec<(&'static str, ReloadOutcome)> {
        join_all(self.sets.iter().map(async |(name, handle)| {
            let outcome = match timeout(PATIENCE, handle.reload_now(trigger)).await {
                Ok(outcome) => outcome,
                Err(_) => still_reading(handle),
            };
            (*name, outcome)
        }))
        .await
    }

    pub(crate) async fn shutdown(&self) {
        join_all(self.sets.iter().map(|(_, handle)| handle.shutdown())).await;
    }
}

/// The answer when the disk does not respond in time. The reload goes on.
fn still_reading(handle: &ReloadHandle) -> ReloadOutcome {
    let state = handle.state();
    ReloadOutcome {
        result: ReloadResult::Failure,
        fingerprint: state.generation.fingerprint().to_owned(),
        message: format!(
            "the certificate files are still being read after {} seconds; the previous certificates are served meanwhile",
            PATIENCE.as_secs()
        ),
        hint: Some("check that their file system responds; GET /api/tls shows the outcome".to_owned()),
        reason: None,
    }
}

/// How long a reload is waited for; only a disk that does not respond takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

#[async_trait]
impl TlsAdmin for TlsSets {
    fn state(&self) -> Value {
        let sets = self.sets.iter().map(|(name, handle)| {
            let state: Arc<_> = handle.state();
            (
                (*name).to_owned(),
                serde_json::to_value(&*state).unwrap_or_default(),
            )
        });
        json!({"sets": Map::from_iter(sets)})
    }

    async fn reload(&self) -> Value {
        let outcomes = Self::reload(self, Trigger::Api).await;
        let sets = outcomes
            .into_iter()
            .map(|(name, outcome)| (name.to_owned(), serde_json::to_value(outcome).unwrap_or_default()));
        json!({"sets": Map::from_iter(sets)})
    }
}

/// reload.md 8.3: a failed reload or a certificate near its end shows as degraded; the server stays in service.
impl PartHealth for TlsSets {
    fn parts(&self) -> Vec<Part> {
        let part = |(name, handle): &(&'static str, ReloadHandle)| Part {
            name: format!("tls {name}"),
            degraded: handle.state().degraded.clone(),
        };
        self.sets.iter().map(part).collect()
    }
}
