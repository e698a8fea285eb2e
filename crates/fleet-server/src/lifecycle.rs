//! From start to stop: runs a server until a signal ends it, and tells the service manager on the way.

use std::pin::Pin;

use anyhow::{Result, bail};
use sd_notify::{NotifyState, notify, watchdog_enabled};
use tokio::time::{Interval, interval};

use crate::{
    plan::Plan,
    server::{self, Running},
    signals::{Request, Signals},
};

/// Runs the server until it is asked to stop. `on_ready` is called once all listeners accept.
///
/// # Errors
/// The server could not start, or did not stop in good order.
pub(crate) async fn run(plan: Plan, on_ready: impl FnOnce(&Running) -> Result<()>) -> Result<()> {
    // Before anything is started: a signal during the start is not lost and not fatal.
    let mut signals = Signals::listen()?;
    let running = Box::pin(server::start(plan)).await?;
    on_ready(&running)?;
    tell(&READY);
    // Half of the manager's limit, so that one late beat does not end the server.
    let mut beat = watchdog_enabled()
        .filter(|limit| !limit.is_zero())
        .map(|limit| interval(limit / 2));
    // A reload may wait for a slow disk: signals and the watchdog do not wait with it.
    let mut reload = None;
    let mut again = false;
    loop {
        let request = tokio::select! {
            request = signals.next() => request,
            () = tick(&mut beat) => {
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
            // One that runs may have read before the change that this request is about.
            Request::Reload if reload.is_some() => again = true,
            Request::Reload => {
                reloading();
                reload = Some(Box::pin(running.reload_certificates()));
            }
            Request::Stop(signal) => {
                log::info!("event.action" = "stop", "signal" = signal; "{signal}: stopping");
                tell(&[NotifyState::Stopping]);
                running.stop(asked_again(&mut signals)).await?;
                log::info!("event.action" = "stopped"; "stopped");
                return Ok(());
            }
        }
    }
}

const READY: [NotifyState<'_>; 2] = [NotifyState::Ready, NotifyState::Status("serving")];

fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        // Without the time a manager that waits for it would end the service.
        Err(error) => log::warn!("cannot tell the service manager of a reload: {error}"),
    }
}

/// Tells the service manager, if there is one.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = notify(state) {
        log::warn!("cannot tell the service manager: {error}");
    }
}

/// Resolves when a stop is asked for once more: whoever does that will not wait for slow clients.
async fn asked_again(signals: &mut Signals) {
    loop {
        match signals.next().await {
            Request::Stop(signal) => {
                log::warn!("event.action" = "stop", "signal" = signal; "{signal} again: requests under way are cut");
                return;
            }
            // The certificates of a server that ends are of no use.
            Request::Reload => {}
        }
    }
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
///
/// # Errors
/// Those of `work`.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    actix_rt::System::new().block_on(work)
}
