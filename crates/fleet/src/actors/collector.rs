//! `Collector` owns the calendar of what is cleaned up: expired actions (data.md 7.5) and files (data.md 7.6), first about
//! 10 seconds after the start, then each `cleanup_interval`, in bounded batches.
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

/// Has everything cleaned up now; answered with the number of things removed.
#[derive(Message)]
#[rtype(result = "store::Result<u64>")]
pub(super) struct Collect;
pub(crate) struct Collector {
    exit: Exit,
    store: Arc<dyn Store>,
    every: Duration,
    kept: Kept,
    /// The next entry of the calendar.
    next: Option<SpawnHandle>,
}

pub(super) fn start(parts: &mut Parts<'_>) -> Handle<Collector> {
    let store = Arc::clone(&parts.store);
    let every = parts.settings.cleanup_interval.max(LEAST);
    let kept = Kept {
        expired_actions: parts.settings.expired_actions_kept,
        open_uploads: parts.settings.files.open_for,
        files: parts.settings.files.kept,
        audit: parts.settings.audit_kept,
        revisions: parts.settings.policy_revisions_kept,
    };
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
        let cleaning = clean_up(Arc::clone(&self.store), self.kept, Timestamp::now());
        Box::pin(cleaning.into_actor(self).map(|outcome, this, ctx| {
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
        if let Err(error) = outcome {
            let every = self.every;
            log::warn!("error.message":% = store::chain(error); "what is over was not all removed, next try in {every:?}");
        }
    }
}

/// How long what is over stays.
#[derive(Clone, Copy, Debug)]
struct Kept {
    expired_actions: Duration,
    open_uploads: Duration,
    files: Duration,
    audit: Duration,
    revisions: u32,
}

/// A fault of one kind does not keep the others from being removed.
async fn clean_up(store: Arc<dyn Store>, kept: Kept, now: Timestamp) -> store::Result<u64> {
    let before = |time| now.minus(time);
    let actions = in_batches("expired actions removed", || {
        store.delete_expired_actions(before(kept.expired_actions), BATCH)
    });
    let actions = actions.await;
    let uploads = in_batches("uploads expired that were never completed", || {
        store.expire_uploads(before(kept.open_uploads), now, FILE_BATCH)
    });
    let uploads = uploads.await;
    let files = in_batches("files of agents removed", || {
        store.delete_uploads(before(kept.files), FILE_BATCH)
    });
    let files = files.await;
    let laid_down = in_batches("files for agents removed", || {
        store.delete_agent_files(before(kept.files), FILE_BATCH)
    });
    let laid_down = laid_down.await;
    let audit = in_batches("entries of the audit log removed", || {
        store.delete_audit(before(kept.audit), BATCH)
    });
    let audit = audit.await;
    let revisions = in_batches("old revisions of policies removed", || {
        store.trim_policy_history(kept.revisions, BATCH)
    });
    Ok(actions? + uploads? + files? + laid_down? + audit? + revisions.await?)
}

async fn in_batches<F: Future<Output = store::Result<u64>>>(
    what: &str,
    batch: impl Fn() -> F,
) -> store::Result<u64> {
    let mut removed = 0;
    loop {
        match batch().await? {
            0 => break,
            more => removed += more,
        }
    }
    if removed > 0 {
        log::info!("event.action" = "collect", "removed" = removed; "{what}");
    }
    Ok(removed)
}

const FIRST: Duration = Duration::from_secs(10);
const LEAST: Duration = Duration::from_secs(1);
const BATCH: u32 = 500;
/// Each has a few files to remove.
const FILE_BATCH: u32 = 50;
