//! Keeps one actor alive: builds it from a factory, waits for its end, builds the next one after a panic.
//!
//! ```text
//! factory(Exit) ──► actor ── panics: its Exit is dropped without a word ──► Supervisor ──► factory(Exit) …
//!                                                                               │
//!                                     Supervised: the present address ◄─────────┘
//! ```
//!
//! `actix::Supervisor` does not survive a panic: after one in a handler the address is closed for ever. Here the
//! actor is watched from outside, through the [`Exit`] it holds. What the restart means to the program (a counter,
//! a log line) is the caller's callback. This crate never logs, and imports no other crate of the workspace.

mod supervisor;
#[cfg(test)]
mod tests;

use std::fmt;

use actix::{Actor, Addr, Message};
use tokio::sync::{oneshot, watch};

pub use supervisor::{Supervisor, supervise, supervise_on_thread};

/// Asks an actor to write out what it holds and to end. It says [`Exit::meant`] on its way out.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Stop;

/// Held by the actor for its life. Dropped without [`meant`](Self::meant), it tells that the actor panicked.
#[derive(Debug)]
pub struct Exit(Option<oneshot::Sender<()>>);

impl Exit {
    /// The end that follows was asked for. Not from `Actor::stopped`, which also runs while a panic unwinds.
    pub fn meant(&mut self) {
        if let Some(word) = self.0.take() {
            // Only a supervisor that is gone itself does not listen.
            let _heard = word.send(());
        }
    }
}

/// A supervised actor, as the rest of the program holds it. Clones are the same actor; when all are dropped, it goes on.
pub struct Supervised<A: Actor> {
    address: watch::Receiver<Option<Addr<A>>>,
    stop: watch::Sender<bool>,
}

impl<A: Actor> Supervised<A> {
    /// The present address; none between a panic and the restart, and after the end.
    #[must_use]
    pub fn address(&self) -> Option<Addr<A>> {
        self.address.borrow().clone()
    }

    /// The present address and each that follows. Closed when the actor has ended for good.
    #[must_use]
    pub fn addresses(&self) -> watch::Receiver<Option<Addr<A>>> {
        self.address.clone()
    }

    /// Has the actor end in good order, and waits until it has. One that panics on the way is built once more, to
    /// write out what the last one left.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        let mut address = self.address.clone();
        while address.changed().await.is_ok() {}
    }
}

impl<A: Actor> Clone for Supervised<A> {
    fn clone(&self) -> Self {
        Self {
            address: self.address.clone(),
            stop: self.stop.clone(),
        }
    }
}

impl<A: Actor> fmt::Debug for Supervised<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervised")
            .field("lives", &self.address.borrow().is_some())
            .finish_non_exhaustive()
    }
}
