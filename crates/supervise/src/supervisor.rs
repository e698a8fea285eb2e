//! The supervisor's own loop. It owns the factory and the life of the present actor; a request to stop and the ends
//! of actors go in, addresses go out. It never looks at what the actor does.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use actix::{Actor, Addr, Arbiter, Context, Handler};
use tokio::{
    sync::{oneshot, watch},
    time::{Instant, sleep, timeout},
};

use crate::{Exit, Stop, Supervised};

/// Owns the life of the actor, not the actor. Nothing lives before [`run`](Self::run) does.
#[must_use = "the actor lives while this runs"]
pub struct Supervisor<A: Actor, F, R> {
    factory: F,
    on_restart: R,
    patience: Duration,
    address: watch::Sender<Option<Addr<A>>>,
    stop: watch::Receiver<bool>,
}

/// A supervisor that builds each actor with `factory` on the arbiter on which it is run, and calls `on_restart` after
/// each panic, before the next actor is built.
pub fn supervise<A, F, R>(factory: F, on_restart: R) -> (Supervised<A>, Supervisor<A, F, R>)
where
    A: Actor<Context = Context<A>> + Handler<Stop>,
    F: FnMut(Exit) -> A,
    R: FnMut(),
{
    let (publish, address) = watch::channel(None);
    let (ask, stop) = watch::channel(false);
    let supervisor = Supervisor {
        factory,
        on_restart,
        patience: Duration::MAX,
        address: publish,
        stop,
    };
    (Supervised { address, stop: ask }, supervisor)
}

/// The same, already running on a thread of its own, which ends with the actor. Needs a running actix system.
pub fn supervise_on_thread<A, F, R>(factory: F, on_restart: R) -> Supervised<A>
where
    A: Actor<Context = Context<A>> + Handler<Stop> + Send,
    F: FnMut(Exit) -> A + Send + 'static,
    R: FnMut() + Send + 'static,
{
    let (supervised, supervisor) = supervise(factory, on_restart);
    let arbiter = Arbiter::new();
    let thread = arbiter.handle();
    arbiter.spawn(async move {
        supervisor.run().await;
        thread.stop();
    });
    supervised
}

impl<A, F, R> Supervisor<A, F, R>
where
    A: Actor<Context = Context<A>> + Handler<Stop>,
    F: FnMut(Exit) -> A,
    R: FnMut(),
{
    /// How long an actor that was asked to stop is waited for; without this, as long as it takes.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Runs until the actor ends in good order. Must be polled on an actix arbiter.
    pub async fn run(mut self) {
        let mut panics_in_a_row = 0;
        loop {
            let began = Instant::now();
            let was_asked = *self.stop.borrow();
            let ended = self.live().await;
            self.address.send_replace(None);
            if ended == Ended::Meant {
                return;
            }
            (self.on_restart)();
            if was_asked {
                return; // it was built to stop, and panicked again
            }
            panics_in_a_row = if began.elapsed() > GOOD_LIFE {
                1
            } else {
                panics_in_a_row + 1
            };
            tokio::select! {
                () = sleep(back_off(panics_in_a_row)) => {}
                () = asked(&mut self.stop) => {}
            }
        }
    }

    /// One actor, from its start to its end.
    async fn live(&mut self) -> Ended {
        let (word, mut exit) = oneshot::channel();
        let factory = &mut self.factory;
        // A factory that panics must not take the supervisor with it. It is called again, with what it captured.
        let Ok(actor) = catch_unwind(AssertUnwindSafe(|| factory(Exit(Some(word))).start())) else {
            return Ended::Panicked;
        };
        self.address.send_replace(Some(actor.clone()));
        tokio::select! {
            exit = &mut exit => Ended::by(exit),
            () = asked(&mut self.stop) => {
                // A full mailbox is waited for, and an actor that died is noticed by its exit.
                let stopping = async {
                    let _heard = actor.send(Stop).await;
                    Ended::by(exit.await)
                };
                within(self.patience, stopping).await
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Meant,
    Panicked,
}

impl Ended {
    fn by(exit: Result<(), oneshot::error::RecvError>) -> Self {
        if exit.is_ok() { Self::Meant } else { Self::Panicked }
    }
}

/// An actor that is not waited for any longer is left to itself.
async fn within(patience: Duration, stopping: impl Future<Output = Ended>) -> Ended {
    timeout(patience, stopping).await.unwrap_or(Ended::Meant)
}

/// Ends when somebody asks to stop. Handles that are all dropped ask for nothing.
async fn asked(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The wait after panic number `panics` in a row (from 1): none after the first, then 1, 2, 4 … 60 s.
fn back_off(panics: u32) -> Duration {
    match panics {
        0 | 1 => Duration::ZERO,
        more => Duration::from_secs(1 << (more - 2).min(6)).min(LONGEST_PAUSE),
    }
}

const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// After a life this long, the next panic counts as the first.
const GOOD_LIFE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_back_off_doubles_up_to_a_minute() {
        let waits: Vec<_> = (1..=9).map(|panics| back_off(panics).as_secs()).collect();
        assert_eq!(waits, [0, 1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(back_off(u32::MAX), LONGEST_PAUSE);
    }
}
