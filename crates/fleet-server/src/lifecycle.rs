//! From start to stop: runs a server until a signal ends it or a new process takes its place, and tells the service
//! manager on the way.

use std::{
    path::Path,
    pin::{Pin, pin},
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, bail};
use fleet::Timestamp;
use listener::PassedSockets;
use sd_notify::{NotifyState, notify, watchdog_enabled};
use tokio::time::{Interval, interval};

use crate::{
    plan::Plan,
    restart_outcome::RestartOutcome,
    server::{self, Prepared, Running},
    signals::{Request, Signals},
    succession::{self, Predecessor, Successor},
};

/// What a serving process sets up before it reads its configuration.
pub(crate) struct Beginning {
    /// Taken over first, so that no signal is lost or fatal.
    signals: Signals,
    /// Sockets that this process was started with.
    sockets: PassedSockets,
    predecessor: Option<Predecessor>,
}

impl Beginning {
    /// Tells the predecessor, if one waits, why this process does not serve.
    pub(crate) async fn failed(&mut self, error: &anyhow::Error) {
        if let Some(mut predecessor) = self.predecessor.take() {
            predecessor.failed(error).await;
        }
    }
}

/// Runs `work`, which reads the configuration and then [`run`]s the server, the way a server needs it: an actix system
/// on this thread, signals taken over, sockets that were passed. A predecessor hears why it failed.
///
/// # Errors
/// Those of `work`; a socket or channel that was passed and cannot be used.
pub(crate) fn process<T>(work: impl AsyncFnOnce(&mut Beginning) -> Result<T>) -> Result<T> {
    // Before there are threads.
    let sockets = succession::passed_sockets()?;
    block_on(async {
        let mut beginning = Beginning {
            signals: Signals::listen()?,
            sockets,
            predecessor: Predecessor::from_environment()?,
        };
        let outcome = work(&mut beginning).await;
        if let Err(error) = &outcome {
            beginning.failed(error).await;
        }
        outcome
    })
}

/// Runs the server until it is asked to stop, or until a new process serves in its place. `on_ready` is called once all
/// listeners accept; it is told whether this process took the place of another.
pub(crate) async fn run(
    plan: Plan,
    beginning: &mut Beginning,
    on_ready: impl FnOnce(&Running, bool) -> Result<()>,
) -> Result<()> {
    let Beginning {
        signals,
        sockets,
        predecessor,
    } = beginning;
    let started = Box::pin(async {
        let prepared = server::prepare(plan, std::mem::take(sockets)).await?;
        if let Some(predecessor) = predecessor.as_mut() {
            prepared.check_store().await?;
            predecessor.await_turn().await?;
        }
        let running = prepared.start().await?;
        anyhow::Ok((prepared, running))
    });
    let (mut prepared, mut running) = tokio::select! {
        started = started => started?,
        signal = stop(signals) => {
            log::info!("event.action" = "stopped", "signal" = signal; "{signal}: stopped before the start was over");
            return Ok(());
        }
    };
    on_ready(&running, predecessor.is_some())?;
    if let Some(mut predecessor) = predecessor.take()
        && let Err(error) = predecessor.serving().await
    {
        log::warn!("error.message":% = error; "the server that this process replaces ended early: {error}");
    }
    let mut service = Service {
        // Half of the manager's limit, so that one late beat does not end the server.
        beat: watchdog_enabled()
            .filter(|limit| !limit.is_zero())
            .map(|limit| interval(limit / 2)),
        signals,
    };
    tell(&READY);
    loop {
        match service.serve(&running).await? {
            End::Stop(signal) => {
                log::info!("event.action" = "stop", "signal" = signal; "{signal}: stopping");
                tell(&[NotifyState::Stopping]);
                prepared.release_sockets();
                running.stop(asked_again(service.signals)).await?;
                break;
            }
            End::Restart => match service.give_place(&prepared, &running).await? {
                Place::Given => break,
                Place::Kept => {}
                Place::Returned => {
                    running = Box::pin(prepared.start()).await?;
                    tell(&READY);
                }
            },
        }
    }
    prepared.shutdown().await;
    log::info!("event.action" = "stopped"; "stopped");
    Ok(())
}

enum End {
    Stop(&'static str),
    Restart,
}

/// The outcome of an attempt to hand over to a new process.
enum Place {
    /// The new process serves, or a stop was requested meanwhile; this process ends.
    Given,
    /// The new process did not get ready; this one never stopped serving.
    Kept,
    /// The new process failed after this one had closed everything; this one starts again.
    Returned,
}

/// What a running server reacts to: signals, the predecessor, the service manager.
struct Service<'a> {
    beat: Option<Interval>,
    signals: &'a mut Signals,
}

impl Service<'_> {
    /// Serves until something ends it.
    async fn serve(&mut self, running: &Running) -> Result<End> {
        // A reload may wait for a slow disk: signals and the watchdog do not wait with it.
        let mut reload = None;
        let mut again = false;
        loop {
            let request = tokio::select! {
                request = self.signals.next() => request,
                () = tick(&mut self.beat) => {
                    tell(&[NotifyState::Watchdog]);
                    continue;
                }
                () = running.ended() => {
                    running.stop(std::future::pending()).await?;
                    bail!("the listeners ended on their own; the log says why");
                }
                () = ended(&mut reload) => {
                    reload = std::mem::take(&mut again).then(|| Box::pin(running.reload_certificates()));
                    if reload.is_none() {
                        tell(&READY);
                    }
                    continue;
                }
            };
            match request {
                // A reload under way may have read the files before the change that this request is about.
                Request::Reload if reload.is_some() => again = true,
                Request::Reload => {
                    reloading();
                    reload = Some(Box::pin(running.reload_certificates()));
                }
                Request::Restart => return Ok(End::Restart),
                Request::Stop(signal) => return Ok(End::Stop(signal)),
            }
        }
    }

    /// Lets a new process serve in place of this one.
    async fn give_place(&mut self, prepared: &Prepared, running: &Running) -> Result<Place> {
        let data = prepared.data();
        if std::process::id() == 1 {
            kept(
                data,
                &anyhow!("process 1 cannot be replaced; in a container, roll the pod instead"),
            );
            return Ok(Place::Kept);
        }
        log::info!("event.action" = "restart"; "a new process is started to take this one's place");
        let mut successor = match self.beside(Successor::prepare(prepared.sockets())).await {
            Ok(Ok(successor)) => successor,
            Ok(Err(error)) => {
                kept(data, &error);
                return Ok(Place::Kept);
            }
            Err(signal) => return self.stop_instead(running, signal).await,
        };
        let since = Instant::now();
        let mut stopped = None;
        running
            .stop(async { stopped = Some(stop(self.signals).await) })
            .await?;
        if let Some(signal) = stopped {
            log::info!("event.action" = "stop", "signal" = signal; "{signal}: stopping instead of restarting");
            return Ok(Place::Given);
        }
        match self.beside(successor.take_over()).await {
            Ok(Ok(pid)) => {
                let gap = since.elapsed();
                tell(&[NotifyState::MainPid(pid)]);
                if let Err(error) = successor.serve().await {
                    log::warn!("process.pid" = pid, "error.message":% = error; "the new process cannot be told that it serves: {error}");
                }
                log::info!(
                    "event.action" = "restart", "event.outcome" = "success", "process.pid" = pid,
                    "gap_ms" = gap.as_millis() as u64;
                    "process {pid} serves now; connections waited {} ms at most", gap.as_millis()
                );
                keep_outcome(data, Some(pid), Some(gap), None);
                Ok(Place::Given)
            }
            Ok(Err(error)) => {
                drop(successor);
                kept(data, &error);
                Ok(Place::Returned)
            }
            Err(signal) => {
                log::info!("event.action" = "stop", "signal" = signal; "{signal}: stopping instead of restarting");
                Ok(Place::Given)
            }
        }
    }

    async fn stop_instead(&mut self, running: &Running, signal: &'static str) -> Result<Place> {
        log::info!("event.action" = "stop", "signal" = signal; "{signal}: stopping instead of restarting");
        tell(&[NotifyState::Stopping]);
        running.stop(asked_again(self.signals)).await?;
        Ok(Place::Given)
    }

    /// Waits for `work` while the watchdog is told that the process lives. A stop ends the wait.
    async fn beside<T>(&mut self, work: impl Future<Output = T>) -> Result<T, &'static str> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                () = tick(&mut self.beat) => tell(&[NotifyState::Watchdog]),
                signal = stop(self.signals) => return Err(signal),
            }
        }
    }
}

fn kept(data: &Path, error: &anyhow::Error) {
    log::error!(
        "event.action" = "restart", "event.outcome" = "failure", "error.message":% = format!("{error:#}");
        "the restart failed, and this process goes on serving: {error:#}"
    );
    keep_outcome(data, None, None, Some(format!("{error:#}")));
}

fn keep_outcome(data: &Path, to: Option<u32>, gap: Option<Duration>, error: Option<String>) {
    let outcome = RestartOutcome {
        at: Timestamp::now().to_string(),
        from: std::process::id(),
        to,
        gap_ms: gap.and_then(|gap| u64::try_from(gap.as_millis()).ok()),
        error,
    };
    // One small file, at a moment when no request waits for this thread.
    if let Err(error) = outcome.write(data) {
        log::warn!("error.message":% = error; "cannot write the outcome of the restart to {}: {error}", data.display());
    }
}

/// Waits for a stop; nothing else is done meanwhile.
async fn stop(signals: &mut Signals) -> &'static str {
    loop {
        if let Request::Stop(signal) = signals.next().await {
            return signal;
        }
    }
}

const READY: [NotifyState<'_>; 2] = [NotifyState::Ready, NotifyState::Status("serving")];

fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        // A service manager that waits for the time stamp would end the service without it.
        Err(error) => log::warn!("cannot tell the service manager of a reload: {error}"),
    }
}

/// Tells the service manager, if there is one.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = notify(state) {
        log::warn!("cannot tell the service manager: {error}");
    }
}

/// Resolves at a second request to stop: slow clients are then no longer waited for.
async fn asked_again(signals: &mut Signals) {
    let signal = stop(signals).await;
    log::warn!("event.action" = "stop", "signal" = signal; "{signal} again: requests under way are cut");
}

async fn ended<F: Future<Output = ()>>(work: &mut Option<Pin<Box<F>>>) {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}

async fn tick(beat: &mut Option<Interval>) {
    match beat {
        Some(beat) => drop(beat.tick().await),
        None => std::future::pending().await,
    }
}

/// Runs async code the way the server needs it: an actix system on this thread.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    actix_rt::System::new().block_on(work)
}
