//! Keeps one reloader alive (R31): builds it, waits for its end, builds the next after a panic.
//!
//! `actix::Supervisor` does not survive a panic, so the actor is watched from outside: it holds one end of a
//! channel, and an end that is dropped without a word means that it died. A new actor starts from what is
//! served; it looks at the disk first, so nothing that happened in between is missed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, Addr};
use log::Level;
use tokio::sync::{oneshot, watch};

use super::Shared;
use super::actor::{CertReloader, Exit, Stop};
use crate::logging::{ACTION, OUTCOME, emit};
use crate::quiet::backoff;
use crate::state::WatchMode;

/// Owns the life of the actor, not the actor.
pub(super) struct Supervisor {
    shared: Arc<Shared>,
    address: watch::Sender<Option<Addr<CertReloader>>>,
    stopped: watch::Receiver<bool>,
}

impl Supervisor {
    pub(super) fn new(
        shared: Arc<Shared>,
        stopped: watch::Receiver<bool>,
    ) -> (Self, watch::Receiver<Option<Addr<CertReloader>>>) {
        let (address, seen) = watch::channel(None);
        (
            Self {
                shared,
                address,
                stopped,
            },
            seen,
        )
    }

    /// Runs until it is told to stop; `stopped` in the state says so.
    pub(super) async fn run(mut self) {
        let mut panics_in_a_row = 0u32;
        while !*self.stopped.borrow() {
            let began = Instant::now();
            let (exit, mut ended) = oneshot::channel::<Exit>();
            let actor = CertReloader::new(self.shared.clone(), exit).start();
            self.address.send_replace(Some(actor.clone()));
            let is_told = tokio::select! {
                exit = &mut ended => exit.is_ok(),
                () = told(&mut self.stopped) => {
                    // A full mailbox or a dead actor must not hold up the stop.
                    if actor.try_send(Stop).is_ok() {
                        let _ended = tokio::time::timeout(PATIENCE, ended).await;
                    }
                    true
                }
            };
            self.address.send_replace(None);
            if is_told {
                break;
            }
            panics_in_a_row = if began.elapsed() > CALM {
                1
            } else {
                panics_in_a_row.saturating_add(1)
            };
            self.shared.metrics.restarted();
            self.shared
                .update(|state| state.reloader_restarts = state.reloader_restarts.saturating_add(1));
            emit(
                Level::Error,
                "the certificate reloader panicked: certificates are still served, and it is built anew",
                &[(ACTION, "tls-reloader-restart"), (OUTCOME, "failure")],
            );
            if panics_in_a_row > 1 {
                let wait = backoff(panics_in_a_row - 1);
                let _stop_or_time = tokio::time::timeout(wait, told(&mut self.stopped)).await;
            }
        }
    }
}

/// Also when the system ends without a word and takes this task with it.
impl Drop for Supervisor {
    fn drop(&mut self) {
        self.shared.update(|state| {
            state.stopped = true;
            state.watch_mode = WatchMode::Off;
            state.watched_directories.clear();
            state.pending_retry = None;
        });
    }
}

/// Ends when somebody asks to stop. Handles that are all dropped ask for nothing.
async fn told(stopped: &mut watch::Receiver<bool>) {
    let is_gone = stopped.wait_for(|stop| *stop).await.is_err();
    if is_gone {
        std::future::pending::<()>().await;
    }
}

/// R32 asks for 100 ms in all.
const PATIENCE: Duration = Duration::from_millis(80);
/// A life this long makes the next panic the first again.
const CALM: Duration = Duration::from_secs(60);
