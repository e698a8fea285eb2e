//! Long-lived state with one owner each.

pub(crate) mod action_dispatcher;
pub(crate) mod checkin_writer;
pub(crate) mod collector;
pub(crate) mod feed;
pub(crate) mod health_monitor;
pub(crate) mod pacer;
pub(crate) mod policy_monitor;
#[cfg(test)]
mod tests;

use actix::{Actor, Context, Handler};
use prometheus_client::metrics::counter::Counter;
use supervise::{Exit, Stop, Supervised, supervise_on_thread};

/// Starts an actor on a thread of its own, and again after each panic, which is counted and told.
pub(crate) fn start<A>(
    name: &'static str,
    restarts: Counter,
    factory: impl FnMut(Exit) -> A + Send + 'static,
) -> Supervised<A>
where
    A: Actor<Context = Context<A>> + Handler<Stop> + Send,
{
    supervise_on_thread(factory, move || {
        restarts.inc();
        log::error!("event.action" = "actor-restart", "actor" = name; "{name} panicked and is started again");
    })
}
