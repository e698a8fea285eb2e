//! Brings an actor back after a panic.
//!
//! `actix::Supervisor` does not: after a panic in a handler the address is closed for ever. So the actor holds
//! an [`ExitGuard`]; when that is dropped without a word, the supervisor builds a new actor from its factory,
//! counts it, and publishes the new address.

use std::time::Duration;

use actix::{Actor, Addr, Arbiter, ArbiterHandle, Context, Handler, Message};
use prometheus_client::metrics::counter::Counter;
use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};

/// Asks an actor to write out what it holds and to end. It says [`ExitGuard::meant`] on its way out.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Stop;

/// Held by the actor for its life.
#[derive(Debug)]
pub(crate) struct ExitGuard(Option<oneshot::Sender<()>>);

impl ExitGuard {
    /// The end that follows was asked for.
    pub(crate) fn meant(&mut self) {
        if let Some(word) = self.0.take() {
            // Nobody listens any more only when the supervisor is gone too.
            let _ = word.send(());
        }
    }
}

/// The address of a supervised actor, renewed when the actor is.
#[derive(Debug)]
pub(crate) struct Supervised<A: Actor> {
    address: watch::Receiver<Addr<A>>,
    arbiter: Arbiter,
}

impl<A> Supervised<A>
where
    A: Actor<Context = Context<A>> + Handler<Stop> + Send,
{
    /// Starts the actor on a thread of its own, and again after each panic.
    pub(crate) fn start(
        name: &'static str,
        restarts: Counter,
        factory: impl Fn(ExitGuard) -> A + Send + Clone + 'static,
    ) -> Self {
        let arbiter = Arbiter::new();
        let (first, mut exit) = launch(&arbiter.handle(), factory.clone());
        let (publish, address) = watch::channel(first);
        let handle = arbiter.handle();
        actix_rt::spawn(async move {
            let mut pause = SHORTEST_PAUSE;
            let mut started = Instant::now();
            // An exit with a word was meant.
            while exit.await.is_err() {
                if started.elapsed() > GOOD_LIFE {
                    pause = SHORTEST_PAUSE;
                }
                restarts.inc();
                log::error!("event.action" = "actor-restart", "actor" = name; "{name} panicked and is started again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                let (next, next_exit) = launch(&handle, factory.clone());
                started = Instant::now();
                exit = next_exit;
                if publish.send(next).is_err() {
                    break;
                }
            }
        });
        Self { address, arbiter }
    }

    /// The present address.
    #[cfg(test)]
    pub(crate) fn address(&self) -> Addr<A> {
        self.address.borrow().clone()
    }

    /// Ends the actor in good order and its thread with it.
    pub(crate) async fn stop(&self) {
        let mut address = self.address.clone();
        loop {
            let present = address.borrow_and_update().clone();
            if present.send(Stop).await.is_ok() {
                break;
            }
            // It has just panicked: the next one is on its way, and has to write out what the last one left.
            if !matches!(
                tokio::time::timeout(LONGEST_PAUSE * 2, address.changed()).await,
                Ok(Ok(()))
            ) {
                log::error!("an actor was gone before it could be stopped in good order");
                break;
            }
        }
        self.arbiter.stop();
    }
}

fn launch<A: Actor<Context = Context<A>> + Send>(
    arbiter: &ArbiterHandle,
    factory: impl Fn(ExitGuard) -> A + Send + 'static,
) -> (Addr<A>, oneshot::Receiver<()>) {
    let (word, exit) = oneshot::channel();
    let address = A::start_in_arbiter(arbiter, move |_| factory(ExitGuard(Some(word))));
    (address, exit)
}

const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// An actor that ran so long does not panic in a row.
const GOOD_LIFE: Duration = Duration::from_secs(60);
