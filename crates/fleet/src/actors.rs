//! Long-lived state with one owner each.
//!
//! An actor is a file in here and a line in the list below. The handle that the rest of the domain holds is
//! made by `start` in its file and ends in good order with `stop`. Nothing outside sees an actor's state.

pub(crate) mod action_dispatcher;
pub(crate) mod checkin_writer;
pub(crate) mod collector;
mod feed;
mod handle;
pub(crate) mod health_monitor;
mod pacer;
pub(crate) mod policy_monitor;
mod schedule;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use prometheus_client::registry::Registry;
use store::Store;

pub(crate) use handle::{Handle, Restarts};

use crate::{Settings, waiters::Waiters};
use health_monitor::HealthMonitor;

/// What actors are made of.
pub(crate) struct Parts<'a> {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) waiters: Arc<Waiters>,
    pub(crate) registry: &'a mut Registry,
    restarts: Restarts,
    /// Who is told of faults.
    health: Handle<HealthMonitor>,
}

macro_rules! actors {
    ($($actor:ident: $face:ty,)*) => {
        pub(crate) struct Actors {
            pub(crate) health_monitor: health_monitor::Monitor,
            $(pub(crate) $actor: $face,)*
        }

        impl Actors {
            /// Starts all of them.
            pub(crate) fn start(
                store: &Arc<dyn Store>,
                settings: &Arc<Settings>,
                waiters: &Arc<Waiters>,
                registry: &mut Registry,
            ) -> Self {
                let restarts = Restarts::register(registry);
                let health_monitor = health_monitor::start(Arc::clone(store), &restarts, registry);
                let mut parts = Parts {
                    store: Arc::clone(store),
                    settings: Arc::clone(settings),
                    waiters: Arc::clone(waiters),
                    registry,
                    restarts,
                    health: health_monitor.actor.clone(),
                };
                Self {
                    $($actor: $actor::start(&mut parts),)*
                    health_monitor,
                }
            }

            /// Ends all of them, in the order of the list.
            pub(crate) async fn stop(&self) {
                // First, so that the server counts as stopping from here on.
                self.health_monitor.actor.stop().await;
                $(self.$actor.stop().await;)*
            }
        }
    };
}

actors! {
    policy_monitor: policy_monitor::Policies,
    action_dispatcher: Handle<action_dispatcher::ActionDispatcher>,
    collector: Handle<collector::Collector>,
    checkin_writer: checkin_writer::Checkins,
}
