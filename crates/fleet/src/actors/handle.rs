//! How the domain reaches an actor: by messages, over its restarts.
//!
//! Owns the count of restarts. A message goes in, its answer comes out, or an error that says what became of the
//! actor. Never sends twice: what a message did before the actor panicked, only the sender can judge.

use std::{fmt, time::Duration};

use actix::{Actor, Addr, Context, Handler, Message};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use supervise::{Exit, Stop, Supervised, supervise_on_thread};
use tokio::time::{Instant, timeout_at};

use crate::FleetError;

#[derive(Clone, Debug)]
pub(crate) struct Restarts(Family<ActorLabel, Counter>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ActorLabel {
    actor: &'static str,
}

impl Restarts {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let restarts = Family::default();
        registry.register(
            "actor_restarts",
            "Actors started again after a panic",
            restarts.clone(),
        );
        Self(restarts)
    }

    pub(crate) fn of(&self, actor: &'static str) -> Counter {
        self.0.get_or_create(&ActorLabel { actor }).clone()
    }
}

/// A running actor. Clones reach the same one.
pub(crate) struct Handle<A: Actor> {
    name: &'static str,
    actor: Supervised<A>,
}

impl<A> Handle<A>
where
    A: Actor<Context = Context<A>> + Handler<Stop> + Send,
{
    /// Starts the actor on a thread of its own, and again after each panic, which is counted and logged.
    pub(crate) fn start(
        name: &'static str,
        restarts: &Restarts,
        factory: impl FnMut(Exit) -> A + Send + 'static,
    ) -> Self {
        let restarts = restarts.of(name);
        let actor = supervise_on_thread(factory, move || {
            restarts.inc();
            log::error!("event.action" = "actor-restart", "actor" = name; "{name} panicked and is started again");
        });
        Self { name, actor }
    }
}

impl<A: Actor<Context = Context<A>>> Handle<A> {
    /// Sends the message and waits for its answer. An actor that is being restarted and a full mailbox are waited
    /// for, until the deadline.
    ///
    /// # Errors
    /// [`FleetError::Interrupted`]: the actor panicked before it answered. [`FleetError::Busy`]: not answered until
    /// the deadline. [`FleetError::ShuttingDown`]: it has ended.
    pub(crate) async fn ask<M>(&self, message: M, deadline: Instant) -> Result<M::Result, FleetError>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        let asking = async {
            let mut addresses = self.actor.addresses();
            let lives = |address: &Option<Addr<A>>| address.as_ref().is_some_and(Addr::connected);
            // The guard must not be held while the answer is waited for.
            let answer = match addresses.wait_for(lives).await {
                Ok(address) => address.as_ref().map(|address| address.send(message)),
                Err(_) => None,
            };
            let answer = answer.ok_or(FleetError::ShuttingDown)?;
            answer
                .await
                .map_err(|_| FleetError::Interrupted { what: self.name })
        };
        timeout_at(deadline, asking)
            .await
            .unwrap_or(Err(FleetError::Busy {
                what: self.name,
                retry_after: BUSY,
            }))
    }

    /// Leaves a message; `false` if the actor cannot take it now.
    pub(crate) fn tell<M>(&self, message: M) -> bool
    where
        A: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        self.address()
            .is_some_and(|address| address.try_send(message).is_ok())
    }

    fn address(&self) -> Option<Addr<A>> {
        self.actor.address()
    }

    /// Ends the actor in good order and its thread with it.
    pub(crate) async fn stop(&self) {
        self.actor.stop().await;
    }
}

impl<A: Actor> Clone for Handle<A> {
    fn clone(&self) -> Self {
        Self {
            name: self.name,
            actor: self.actor.clone(),
        }
    }
}

impl<A: Actor> fmt::Debug for Handle<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handle").field(&self.name).finish()
    }
}

/// When to come again after a deadline that passed.
const BUSY: Duration = Duration::from_secs(10);
