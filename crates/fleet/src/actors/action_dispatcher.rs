//! `ActionDispatcher` owns the live delivery of actions: it follows the change feed and wakes the polls of the
//! targets, paced by `action_limit`. A woken poll asks the store for what is pending, so there is one path for
//! live and pending actions (§9 row 9). It also wakes polls whose agent was unenrolled or reassigned.
//!
//! Mailbox: 16, only the stop. A restart goes on where the feed stood; what was missed is found at the agents'
//! next check-in.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::SeqCst},
    },
    time::Duration,
};

use actix::{Actor, ActorContext as _, AsyncContext as _, Context, Handler, WrapFuture as _};
use store::{ActionDocId, AgentId, ChangeKind, Store};
use supervise::{Exit, Stop};
use tokio::time::Instant;

use super::{
    feed::{Feed, News},
    pacer::Pacer,
};
use crate::{settings::Pace, waiters::Waiters};

pub(crate) struct ActionDispatcher {
    pub(crate) exit: Exit,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) waiters: Arc<Waiters>,
    pub(crate) pace: Pace,
    pub(crate) after: Arc<AtomicI64>,
}

impl Actor for ActionDispatcher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let feed = Feed {
            store: Arc::clone(&self.store),
            after: self.after.load(SeqCst),
        };
        let run = run(
            feed,
            Arc::clone(&self.waiters),
            Pacer::new(self.pace),
            Arc::clone(&self.after),
        );
        ctx.spawn(run.into_actor(self));
    }
}

impl Handler<Stop> for ActionDispatcher {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        self.exit.meant();
        ctx.stop();
    }
}

async fn run(mut feed: Feed, waiters: Arc<Waiters>, mut pacer: Pacer, after: Arc<AtomicI64>) {
    loop {
        let changes = match feed.next(IDLE_WAIT).await {
            News::Changes(changes) => changes,
            News::Missed => {
                waiters.wake_all();
                Vec::new()
            }
        };
        for change in changes {
            match change.kind {
                ChangeKind::Agent => drop(waiters.wake_for_record(&AgentId::from(change.id))),
                ChangeKind::Action => {
                    let doc = ActionDocId::from(change.id);
                    match feed.store.action_targets(&doc).await {
                        Ok(targets) => wake(&targets, &waiters, &mut pacer).await,
                        // Its agents find it at their next check-in.
                        Err(error) => log::warn!("targets of action document {doc} not read: {error}"),
                    }
                }
                _ => {}
            }
        }
        after.store(feed.after, SeqCst);
    }
}

async fn wake(targets: &[AgentId], waiters: &Waiters, pacer: &mut Pacer) {
    for agent in targets {
        // Only who waits costs a token.
        if waiters.wake_for_actions(agent) {
            let pause = pacer.take(Instant::now());
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
    }
}

const IDLE_WAIT: Duration = Duration::from_secs(60);
