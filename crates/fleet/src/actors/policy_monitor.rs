//! `PolicyMonitor` owns the roll-out of policy changes: it follows the store's change feed, renders each new
//! revision once, and wakes the polls that lack it, in order of arrival and paced (data-model 3.3).
//!
//! Mailbox: 16, only the stop. The rendered policies lie in a shared map that check-ins read without asking the
//! actor; a restart finds it as it was and reads the feed from where it stands. One bad policy concerns only
//! that policy: its last good revision stays (D14, D15). Pacing holds no lock (§9 row 4).

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicI64, Ordering::SeqCst},
    },
    time::Duration,
};

use actix::{Actor, ActorContext as _, AsyncContext as _, Context, Handler, WrapFuture as _};
use store::{ChangeKind, PolicyId, Store};
use supervise::{Exit, Stop};
use tokio::{sync::Notify, time::Instant};

use super::{
    feed::{Feed, News, RETRY},
    pacer::Pacer,
};
use crate::{
    FleetError, off_the_loop::off_the_loop_if_large, rendered_policy::RenderedPolicy, settings::Pace,
    waiters::Waiters,
};

/// The newest good revision of each policy that somebody asked for.
pub(crate) struct Policies {
    store: Arc<dyn Store>,
    known: RwLock<HashMap<PolicyId, Known>>,
    /// Held while a policy that nobody asked for yet is read: ten thousand agents that come back after a restart
    /// ask at the same moment, and one of them reads and renders for all.
    first_look: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Known {
    good: Option<Arc<RenderedPolicy>>,
    /// Why the newest revision is not the good one.
    fault: Option<FleetError>,
}

impl Policies {
    pub(crate) fn new(store: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self {
            store,
            known: RwLock::default(),
            first_look: tokio::sync::Mutex::default(),
        })
    }

    /// The newest revision that can be delivered; `None` if there is no such policy.
    ///
    /// # Errors
    /// The policy has never had a good revision, or the store's fault.
    pub(crate) async fn latest(&self, policy: &PolicyId) -> Result<Option<Arc<RenderedPolicy>>, FleetError> {
        let known = match self.known(policy) {
            Some(known) => Some(known),
            None => {
                let _one_at_a_time = self.first_look.lock().await;
                match self.known(policy) {
                    Some(known) => Some(known),
                    None => self.load(policy).await?,
                }
            }
        };
        match known {
            None => Ok(None),
            Some(Known { good: Some(good), .. }) => Ok(Some(good)),
            Some(Known { good: None, fault }) => fault.map_or(Ok(None), Err),
        }
    }

    fn known(&self, policy: &PolicyId) -> Option<Known> {
        self.known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(policy)
            .cloned()
    }

    /// Takes over the newest revision now.
    pub(crate) async fn refresh(&self, policy: &PolicyId) -> Result<(), FleetError> {
        self.load(policy).await.map(drop)
    }

    /// Reads and renders the newest revision.
    async fn load(&self, policy: &PolicyId) -> Result<Option<Known>, FleetError> {
        let Some(stored) = self.store.policy(policy).await? else {
            self.known
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(policy);
            return Ok(None);
        };
        let revision = stored.revision;
        let size = stored.data.as_str().len();
        let rendered = off_the_loop_if_large(size, move || RenderedPolicy::render(&stored)).await?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let entry = known.entry(policy.clone()).or_insert(Known {
            good: None,
            fault: None,
        });
        match rendered {
            // Two loads may end in the other order: the higher revision stays (M6).
            Ok(new)
                if entry
                    .good
                    .as_ref()
                    .is_none_or(|old| old.revision < new.revision || old.created_at != new.created_at) =>
            {
                *entry = Known {
                    good: Some(new),
                    fault: None,
                };
            }
            Ok(_) => {}
            Err(fault) => {
                log::error!(
                    "event.action" = "policy-render", "fleet.policy.id":% = policy,
                    "fleet.revision_idx" = revision; "{fault}; its last good revision stays in use"
                );
                entry.fault = Some(fault);
            }
        }
        Ok(Some(entry.clone()))
    }
}

impl Policies {
    /// Policies that somebody asked for.
    fn asked_for(&self) -> BTreeSet<PolicyId> {
        self.known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .keys()
            .cloned()
            .collect()
    }
}

/// The actor.
pub(crate) struct PolicyMonitor {
    pub(crate) exit: Exit,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) policies: Arc<Policies>,
    pub(crate) waiters: Arc<Waiters>,
    pub(crate) pace: Pace,
    /// Where in the feed the last run stood.
    pub(crate) after: Arc<AtomicI64>,
}

impl Actor for PolicyMonitor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let queue = Arc::new(Queue::default());
        let follower = follow(
            Feed {
                store: Arc::clone(&self.store),
                after: self.after.load(SeqCst),
            },
            Arc::clone(&self.policies),
            Arc::clone(&self.waiters),
            Arc::clone(&queue),
            Arc::clone(&self.after),
        );
        ctx.spawn(follower.into_actor(self));
        let dispatcher = dispatch(queue, Arc::clone(&self.waiters), Pacer::new(self.pace));
        ctx.spawn(dispatcher.into_actor(self));
    }
}

impl Handler<Stop> for PolicyMonitor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        self.exit.meant();
        ctx.stop();
    }
}

/// Polls to be woken; the lowest number began to wait first.
#[derive(Default)]
struct Queue {
    polls: Mutex<BTreeSet<u64>>,
    filled: Notify,
}

/// Turns committed changes into polls to be woken.
async fn follow(
    mut feed: Feed,
    policies: Arc<Policies>,
    waiters: Arc<Waiters>,
    queue: Arc<Queue>,
    after: Arc<AtomicI64>,
) {
    // A roll-out that a panic cut short goes on.
    let mut changed = policies.asked_for();
    loop {
        for policy in std::mem::take(&mut changed) {
            reload(&policies, &policy).await;
            if let Ok(Some(newest)) = policies.latest(&policy).await {
                let behind = waiters.behind(&policy, newest.revision);
                queue
                    .polls
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend(behind);
                queue.filled.notify_one();
            }
        }
        after.store(feed.after, SeqCst);
        changed.extend(changed_policies(feed.next(IDLE_WAIT).await, &policies));
        if !changed.is_empty() {
            // Edits in quick succession become one delivery (D2); a change is never held back for long.
            tokio::time::sleep(COALESCE).await;
            changed.extend(changed_policies(feed.next(Duration::ZERO).await, &policies));
        }
    }
}

fn changed_policies(news: News, policies: &Policies) -> BTreeSet<PolicyId> {
    match news {
        News::Changes(changes) => {
            let changes = changes
                .into_iter()
                .filter(|change| change.kind == ChangeKind::Policy);
            changes.map(|change| PolicyId::from(change.id)).collect()
        }
        News::Missed => policies.asked_for(),
    }
}

/// Wakes the polls of the queue, paced. What a poll gets is what is newest when it wakes (M6, D5).
async fn dispatch(queue: Arc<Queue>, waiters: Arc<Waiters>, mut pacer: Pacer) {
    loop {
        let next = queue
            .polls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_first();
        let Some(poll) = next else {
            queue.filled.notified().await;
            continue;
        };
        let pause = pacer.take(Instant::now());
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        waiters.wake_for_policy(poll);
    }
}

async fn reload(policies: &Policies, policy: &PolicyId) {
    loop {
        match policies.load(policy).await {
            Ok(_) => return,
            Err(error) => {
                log::error!("fleet.policy.id":% = policy, "error.message":% = error; "policy change not read yet");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

const IDLE_WAIT: Duration = Duration::from_secs(60);
const COALESCE: Duration = Duration::from_millis(60);
