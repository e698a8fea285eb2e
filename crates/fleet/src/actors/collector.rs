//! `Collector` owns the calendar of what is cleaned up: expired actions (data.md 7.5), first about 10 seconds
//! after the start, then each `cleanup_interval`, in bounded batches.
//!
//! In: its own clock, and requests to run now. Out: removals in the store.
//! Mailbox: 16; a sender that finds it full waits. A stop does not wait for the end of a clean-up: the next start
//! goes on.
//! A restart starts the calendar again.

use std::{sync::Arc, time::Duration};

use actix::{
    Actor, ActorContext as _, ActorFutureExt as _, AsyncContext as _, Context, Handler, Message,
    ResponseActFuture, SpawnHandle, WrapFuture as _,
};
use store::{Store, Timestamp};
use supervise::{Exit, Stop};

use super::{Handle, Parts};

/// Has everything cleaned up now; answered with the number of actions removed.
#[derive(Message)]
#[rtype(result = "store::Result<u64>")]
pub(super) struct Collect;
pub(crate) struct Collector {
    exit: Exit,
    store: Arc<dyn Store>,
    every: Duration,
    kept: Duration,
    /// The next entry of the calendar.
    next: Option<SpawnHandle>,
}

pub(super) fn start(parts: &mut Parts<'_>) -> Handle<Collector> {
    let store = Arc::clone(&parts.store);
    let (every, kept) = (
        parts.settings.cleanup_interval.max(LEAST),
        parts.settings.expired_actions_kept,
    );
    Handle::start("collector", &parts.restarts, move |exit| Collector {
        exit,
        store: Arc::clone(&store),
        every,
        kept,
        next: None,
    })
}

impl Actor for Collector {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.schedule(FIRST.min(self.every), ctx);
    }
}

impl Handler<Collect> for Collector {
    type Result = ResponseActFuture<Self, store::Result<u64>>;

    fn handle(&mut self, _: Collect, _: &mut Self::Context) -> Self::Result {
        let removing = remove_expired(Arc::clone(&self.store), Timestamp::now().minus(self.kept));
        Box::pin(removing.into_actor(self).map(|outcome, this, ctx| {
            this.settle(&outcome);
            this.schedule(this.every, ctx);
            outcome
        }))
    }
}

impl Handler<Stop> for Collector {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        self.exit.meant();
        ctx.stop();
    }
}

impl Collector {
    fn schedule(&mut self, wait: Duration, ctx: &mut Context<Self>) {
        if let Some(earlier) = self.next.replace(ctx.notify_later(Collect, wait)) {
            ctx.cancel_future(earlier);
        }
    }

    fn settle(&self, outcome: &store::Result<u64>) {
        match outcome {
            Ok(0) => {}
            Ok(removed) => {
                log::info!("event.action" = "collect", "removed" = removed; "expired actions removed");
            }
            Err(error) => {
                let every = self.every;
                log::warn!("error.message":% = store::chain(&error); "expired actions not removed, next try in {every:?}");
            }
        }
    }
}

async fn remove_expired(store: Arc<dyn Store>, before: Timestamp) -> store::Result<u64> {
    let mut removed = 0;
    loop {
        match store.delete_expired_actions(before, BATCH).await? {
            0 => return Ok(removed),
            more => removed += more,
        }
    }
}

const FIRST: Duration = Duration::from_secs(10);
const LEAST: Duration = Duration::from_secs(1);
const BATCH: u32 = 500;
