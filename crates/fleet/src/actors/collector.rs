//! `Collector` owns the removal of expired actions (data-model 3.8): first about 10 seconds after the start,
//! then each `cleanup_interval`, in bounded batches. Mailbox: 16, only the stop. A restart starts over.

use std::{sync::Arc, time::Duration};

use actix::{Actor, ActorContext as _, AsyncContext as _, Context, Handler, WrapFuture as _};
use store::{Store, Timestamp};
use supervise::{Exit, Stop};

pub(crate) struct Collector {
    pub(crate) exit: Exit,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) every: Duration,
    pub(crate) kept: Duration,
}

impl Actor for Collector {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.spawn(run(Arc::clone(&self.store), self.every, self.kept).into_actor(self));
    }
}

impl Handler<Stop> for Collector {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        self.exit.meant();
        ctx.stop();
    }
}

async fn run(store: Arc<dyn Store>, every: Duration, kept: Duration) {
    tokio::time::sleep(FIRST.min(every)).await;
    loop {
        let before = Timestamp::now().minus(kept);
        loop {
            match store.delete_expired_actions(before, BATCH).await {
                Ok(0) => break,
                Ok(removed) => {
                    log::info!("event.action" = "collect", "removed" = removed; "expired actions removed")
                }
                Err(error) => {
                    log::warn!("error.message":% = error; "expired actions not removed, next try in {every:?}");
                    break;
                }
            }
        }
        tokio::time::sleep(every.max(LEAST)).await;
    }
}

const FIRST: Duration = Duration::from_secs(10);
const LEAST: Duration = Duration::from_secs(1);
const BATCH: u32 = 500;
