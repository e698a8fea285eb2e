//! Slow key derivations: so many at once as there are cores, a bounded number that waits, and the rest is refused.
//!
//! Whoever may present a replace token can ask for derivations: they must not take the threads or the cores that others
//! need. A place is held by the work itself, so that a client that goes away does not make room for more.

use std::{num::NonZero, sync::Arc, thread::available_parallelism, time::Duration};

use prometheus_client::{metrics::counter::Counter, registry::Registry};
use tokio::sync::Semaphore;

use crate::{FleetError, off_the_loop::off_the_loop};

#[derive(Debug)]
pub(crate) struct Derivations {
    /// For those that run.
    cores: Arc<Semaphore>,
    /// For those that run and those that wait.
    places: Arc<Semaphore>,
    refused: Counter,
}

impl Derivations {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let derivations = Self::new(available_parallelism().map_or(1, NonZero::get));
        registry.register(
            "key_derivations_refused",
            "Enrolments refused because too many replace tokens were being checked",
            derivations.refused.clone(),
        );
        derivations
    }

    fn new(cores: usize) -> Self {
        Self {
            cores: Arc::new(Semaphore::new(cores)),
            places: Arc::new(Semaphore::new(cores * PLACES_PER_CORE)),
            refused: Counter::default(),
        }
    }

    /// Runs a derivation when its turn comes.
    ///
    /// # Errors
    /// [`FleetError::TooMany`]: there is no place to wait. Those of [`off_the_loop`].
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, FleetError> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            self.refused.inc();
            return Err(FleetError::TooMany {
                what: "replace tokens",
                retry_after: Duration::from_secs(5),
            });
        };
        // Nobody closes it.
        let core = Arc::clone(&self.cores).acquire_owned().await;
        let core = core.map_err(|_| FleetError::ShuttingDown)?;
        off_the_loop(move || {
            let outcome = work();
            drop((place, core));
            outcome
        })
        .await
    }
}

/// One derivation takes about a tenth of a second: the last of them waits about ten seconds.
const PLACES_PER_CORE: usize = 128;

#[cfg(test)]
mod tests {
    use std::sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    };

    use futures_util::{FutureExt as _, future::join_all};

    use super::*;

    #[actix_rt::test]
    async fn attack_07_no_more_run_than_there_are_cores_and_no_more_wait_than_there_are_places() {
        let derivations = Derivations::new(2);
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (go, gate) = mpsc::sync_channel::<()>(1);
        let gate = Arc::new(std::sync::Mutex::new(gate));
        let one = || {
            let (running, most, gate) = (Arc::clone(&running), Arc::clone(&most), Arc::clone(&gate));
            derivations.run(move || {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                // Open once the channel is closed.
                let _ = gate.lock().unwrap().recv();
                running.fetch_sub(1, Ordering::SeqCst);
            })
        };
        let all = join_all((0..2 * PLACES_PER_CORE + 50).map(|_| one()));
        let opened = async {
            while derivations.refused.get() < 50 {
                tokio::task::yield_now().await;
            }
            drop(go);
        };
        let (outcomes, ()) = tokio::join!(all, opened);
        let refused = outcomes
            .iter()
            .filter(|outcome| matches!(outcome, Err(FleetError::TooMany { .. })));
        assert_eq!(refused.count(), 50);
        assert_eq!(
            outcomes.iter().filter(|outcome| outcome.is_ok()).count(),
            2 * PLACES_PER_CORE
        );
        assert!(most.load(Ordering::SeqCst) <= 2);
        assert!(derivations.run(|| ()).await.is_ok(), "every place is free again");
    }

    #[actix_rt::test]
    async fn attack_07_a_client_that_goes_away_frees_no_core_before_its_work_ends() {
        let derivations = Derivations::new(1);
        let (go, gate) = mpsc::sync_channel::<()>(1);
        let mut gone = Box::pin(derivations.run(move || gate.recv().is_ok()));
        while derivations.cores.available_permits() > 0 {
            assert!((&mut gone).now_or_never().is_none());
        }
        drop(gone);
        assert_eq!(derivations.cores.available_permits(), 0);
        drop(go);
        assert!(derivations.run(|| ()).await.is_ok());
    }
}
