//! `PolicyMonitor` owns the rendered policies and the roll-out of their changes (data.md 7.1).
//!
//! In: requests for a policy, revisions made here, changes read from the store's feed by its follower. Out: an
//! immutable snapshot that check-ins read without a lock, and wake-ups of the polls that lack a revision, in order of
//! arrival and paced. A revision is rendered once, at the first request; requests that come meanwhile get the same.
//! Polls that lack it are such a request: they are woken when it is rendered, so that each of them finds it ready.
//! Mailbox: 16,384, since a whole fleet may come back at once; a sender that finds it full waits.
//! A restart goes on with the published snapshot, reads all its policies again, and finds which polls lack a revision.

mod known;

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    sync::Arc,
    time::Duration,
};

use actix::{
    Actor, ActorContext as _, ActorFutureExt as _, Addr, AsyncContext as _, Context, Handler, Message,
    ResponseFuture, SpawnHandle, WrapFuture as _,
};
use arc_swap::ArcSwap;
use store::{Cause, ChangeKind, PolicyId, PolicyRevision, Store};
use supervise::{Exit, Stop};
use tokio::{sync::oneshot, time::Instant};

use super::{
    Handle, Parts,
    feed::{Feed, News, RETRY},
    health_monitor::{FaultReporter, HealthMonitor},
    schedule::Schedule,
};
use crate::{
    FleetError, StoreKey, off_the_loop::off_the_loop_if_large, rendered_policy::RenderedPolicy, secrets,
    waiters::Waiters,
};
use known::{Answer, Known, Version};

/// The handle of the actor.
pub(crate) struct Policies {
    pub(super) actor: Handle<PolicyMonitor>,
    known: Arc<ArcSwap<known::Policies>>,
}

impl Policies {
    /// The newest revision that can be delivered; `None` if there is no such policy.
    ///
    /// # Errors
    /// The policy has never had a good revision, the store's fault, or those of [`Handle::ask`].
    pub(crate) async fn latest(&self, policy: &PolicyId) -> Result<Option<Arc<RenderedPolicy>>, FleetError> {
        let answer = self.known.load().get(policy).and_then(Known::answer);
        match answer {
            Some(answer) => answer,
            None => {
                let deadline = Instant::now() + PATIENCE;
                self.actor.ask(Wanted(policy.clone()), deadline).await?
            }
        }
    }

    /// A revision was made here: whoever checks in next gets it, without waiting for the feed.
    pub(crate) async fn revised(&self, stored: &PolicyRevision) -> Result<(), FleetError> {
        let revised = Revised(stored.policy.clone(), Version::of(stored));
        self.actor.ask(revised, Instant::now() + PATIENCE).await
    }

    pub(crate) async fn stop(&self) {
        self.actor.stop().await;
    }
}

/// Somebody asks for the newest revision, which is not in the snapshot.
#[derive(Message)]
#[rtype(result = "Answer")]
struct Wanted(PolicyId);

#[derive(Message)]
#[rtype(result = "()")]
struct Revised(PolicyId, Version);

/// A policy has changed, or is gone. The polls that lack the newest revision are woken.
#[derive(Message)]
#[rtype(result = "()")]
struct Changed(PolicyId, Option<Version>);
pub(crate) struct PolicyMonitor {
    exit: Exit,
    store: Arc<dyn Store>,
    key: Option<StoreKey>,
    waiters: Arc<Waiters>,
    known: known::Policies,
    published: Arc<ArcSwap<known::Policies>>,
    /// Policies that are being read and rendered.
    loads: HashMap<PolicyId, Load>,
    /// The polls that are woken next. What a poll gets is what is newest when it wakes (M6, D5).
    schedule: Schedule,
    timer: Option<SpawnHandle>,
    health: Handle<HealthMonitor>,
}

#[derive(Default)]
struct Load {
    askers: Vec<oneshot::Sender<Answer>>,
    /// Polls are woken when it ends.
    wakes: bool,
    /// It was repeated, because a newer revision came since it began.
    is_second: bool,
}

pub(super) fn start(parts: &mut Parts<'_>) -> Policies {
    let (store, waiters) = (Arc::clone(&parts.store), Arc::clone(&parts.waiters));
    let (pace, health) = (parts.settings.policy_pace, parts.health.clone());
    let key = parts.settings.store_key.clone();
    let published = Arc::<ArcSwap<known::Policies>>::default();
    let known = Arc::clone(&published);
    let actor = Handle::start(NAME, &parts.restarts, move |exit| PolicyMonitor {
        exit,
        store: Arc::clone(&store),
        key: key.clone(),
        waiters: Arc::clone(&waiters),
        known: known::Policies::clone(&published.load()),
        published: Arc::clone(&published),
        loads: HashMap::new(),
        schedule: Schedule::new(pace),
        timer: None,
        health: health.clone(),
    });
    Policies { actor, known }
}

impl Actor for PolicyMonitor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        let follower = Follower {
            feed: Feed::new(
                Arc::clone(&self.store),
                ChangeKind::Policy,
                FaultReporter::new(NAME, self.health.clone()),
            ),
            store: Arc::clone(&self.store),
            waiters: Arc::clone(&self.waiters),
            known: Arc::clone(&self.published),
            actor: ctx.address(),
        };
        ctx.spawn(follower.follow().into_actor(self));
    }
}

impl Handler<Wanted> for PolicyMonitor {
    type Result = ResponseFuture<Answer>;

    fn handle(&mut self, Wanted(policy): Wanted, ctx: &mut Self::Context) -> Self::Result {
        if let Some(answer) = self.known.get(&policy).and_then(Known::answer) {
            return Box::pin(async { answer });
        }
        let (asker, answer) = oneshot::channel();
        self.load_for(policy, ctx, |load| load.askers.push(asker));
        // Dropped unanswered only if the actor ends.
        Box::pin(async { answer.await.unwrap_or(Err(FleetError::ShuttingDown)) })
    }
}

impl Handler<Revised> for PolicyMonitor {
    type Result = ();

    fn handle(&mut self, Revised(policy, version): Revised, _: &mut Self::Context) {
        self.note(&policy, version);
    }
}

impl Handler<Changed> for PolicyMonitor {
    type Result = ();

    fn handle(&mut self, Changed(policy, version): Changed, ctx: &mut Self::Context) {
        match version {
            Some(version) => self.note(&policy, version),
            None => self.forget(&policy),
        }
        let known = self.known.get(&policy);
        let Some(newest) = known.map(Known::newest).or(version) else {
            return;
        };
        if known.and_then(Known::answer).is_some() {
            self.wake_behind(&policy, newest, ctx);
        } else if !self.waiters.behind(&policy, newest.revision).is_empty() {
            // Woken before, all of them would only come back for the rendering.
            self.load_for(policy, ctx, |load| load.wakes = true);
        }
    }
}

impl Handler<Stop> for PolicyMonitor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        self.exit.meant();
        ctx.stop();
    }
}

impl PolicyMonitor {
    fn note(&mut self, policy: &PolicyId, version: Version) {
        // One that nobody has asked for is read when somebody does.
        if self.loads.contains_key(policy) {
            self.known
                .entry(policy.clone())
                .or_insert_with(|| Known::new(version));
        }
        if self
            .known
            .get_mut(policy)
            .is_some_and(|known| known.note(version))
        {
            self.publish();
        }
    }

    fn forget(&mut self, policy: &PolicyId) {
        if self.known.remove(policy).is_some() {
            self.publish();
        }
    }

    fn publish(&self) {
        self.published.store(Arc::new(self.known.clone()));
    }

    /// Loads the newest revision for somebody, unless it is being loaded.
    fn load_for(&mut self, policy: PolicyId, ctx: &mut Context<Self>, add: impl FnOnce(&mut Load)) {
        match self.loads.entry(policy) {
            Entry::Occupied(mut load) => add(load.get_mut()),
            Entry::Vacant(none) => {
                let policy = none.key().clone();
                add(none.insert(Load::default()));
                self.load(policy, ctx);
            }
        }
    }

    /// Reads and renders the newest revision, off this thread if it is large.
    fn load(&self, policy: PolicyId, ctx: &mut Context<Self>) {
        let reading = read_and_render(Arc::clone(&self.store), self.key.clone(), policy.clone());
        ctx.spawn(
            reading
                .into_actor(self)
                .map(move |outcome, this, ctx| this.settle(policy, outcome, ctx)),
        );
    }

    fn settle(
        &mut self,
        policy: PolicyId,
        loaded: Result<Option<Loaded>, FleetError>,
        ctx: &mut Context<Self>,
    ) {
        let answer = match loaded {
            Ok(Some(loaded)) => self.take_over(&policy, loaded),
            Ok(None) => {
                self.forget(&policy);
                Some(Ok(None))
            }
            Err(error) => Some(Err(error)),
        };
        let Entry::Occupied(mut load) = self.loads.entry(policy) else {
            return;
        };
        match answer {
            Some(answer) => {
                let (policy, load) = load.remove_entry();
                self.end(&policy, load, &answer, ctx);
            }
            None if !load.get().is_second => {
                load.get_mut().is_second = true;
                let policy = load.key().clone();
                self.load(policy, ctx);
            }
            // Behind what was said to be there; the feed tells when it is.
            None => {
                let (policy, load) = load.remove_entry();
                if let Some(best) = self.known.get(&policy).map(Known::best) {
                    self.end(&policy, load, &best, ctx);
                }
            }
        }
    }

    fn end(&mut self, policy: &PolicyId, load: Load, answer: &Answer, ctx: &mut Context<Self>) {
        answer_all(load.askers, answer);
        // After a fault too: they look for themselves, and say what they found.
        if load.wakes
            && let Some(newest) = self.known.get(policy).map(Known::newest)
        {
            self.wake_behind(policy, newest, ctx);
        }
    }

    /// The answer, unless a newer revision came while this one was rendered.
    fn take_over(&mut self, policy: &PolicyId, (version, outcome): Loaded) -> Option<Answer> {
        if let Err(fault) = &outcome {
            log::error!(
                "event.action" = "policy-render", "fleet.policy.id":% = policy,
                "fleet.revision_idx" = version.revision, "error.message":% = store::chain(&fault);
                "{fault}; its last good revision stays in use"
            );
        }
        let known = self
            .known
            .entry(policy.clone())
            .or_insert_with(|| Known::new(version));
        known.rendered(version, outcome);
        let answer = known.answer();
        self.publish();
        answer
    }

    fn wake_behind(&mut self, policy: &PolicyId, newest: Version, ctx: &mut Context<Self>) {
        self.schedule.add(self.waiters.behind(policy, newest.revision));
        self.wake_due(ctx);
    }

    fn wake_due(&mut self, ctx: &mut Context<Self>) {
        let (due, wait) = self.schedule.due(Instant::now());
        for poll in due {
            self.waiters.wake_for_policy(poll);
        }
        let next = wait.map(|wait| ctx.run_later(wait, Self::wake_due));
        if let Some(earlier) = std::mem::replace(&mut self.timer, next) {
            ctx.cancel_future(earlier);
        }
    }
}

fn answer_all(askers: Vec<oneshot::Sender<Answer>>, answer: &Answer) {
    for asker in askers {
        // One that is gone asks again if it comes back.
        let _heard = asker.send(answer.clone());
    }
}

type Loaded = (Version, Result<Arc<RenderedPolicy>, FleetError>);

async fn read_and_render(
    store: Arc<dyn Store>,
    key: Option<StoreKey>,
    policy: PolicyId,
) -> Result<Option<Loaded>, FleetError> {
    let Some(stored) = store.policy(&policy).await? else {
        return Ok(None);
    };
    let (version, size) = (Version::of(&stored), stored.data.as_str().len());
    let values = match secrets::values_for_policy(&*store, key.as_ref(), &policy, &stored.data).await {
        Ok(values) => values,
        // Nothing that another try would change: it concerns this policy alone.
        Err(error @ (FleetError::SecretUnreadable { .. } | FleetError::NoStoreKey)) => {
            let source = Cause::new(error);
            return Ok(Some((
                version,
                Err(FleetError::UndeliverablePolicy { policy, source }),
            )));
        }
        Err(error) => return Err(error),
    };
    let rendered = off_the_loop_if_large(size, move || RenderedPolicy::render(&stored, &values)).await?;
    Ok(Some((version, rendered)))
}

/// Turns committed changes into messages. Ends with the actor.
struct Follower {
    feed: Feed,
    store: Arc<dyn Store>,
    waiters: Arc<Waiters>,
    known: Arc<ArcSwap<known::Policies>>,
    actor: Addr<PolicyMonitor>,
}

impl Follower {
    async fn follow(mut self) {
        loop {
            let mut changed = self.changed(IDLE_WAIT).await;
            if !changed.is_empty() {
                // Edits in quick succession become one delivery (D2); a change is never held back for long.
                tokio::time::sleep(COALESCE).await;
                changed.extend(self.changed(Duration::ZERO).await);
            }
            for policy in changed {
                let version = self.newest(&policy).await;
                if self.actor.send(Changed(policy, version)).await.is_err() {
                    return;
                }
            }
        }
    }

    /// The changed policies that somebody here has asked for or waits for.
    async fn changed(&mut self, wait: Duration) -> BTreeSet<PolicyId> {
        let news = self.feed.next(wait).await;
        let known = self.known.load();
        match news {
            News::Changes(policies) => policies
                .into_iter()
                .map(PolicyId::from)
                .filter(|policy| {
                    known.contains_key(policy) || !self.waiters.behind(policy, i64::MAX).is_empty()
                })
                .collect(),
            News::Anything => known.keys().cloned().collect(),
        }
    }

    async fn newest(&self, policy: &PolicyId) -> Option<Version> {
        loop {
            match self.store.policy(policy).await {
                Ok(stored) => return stored.as_ref().map(Version::of),
                Err(error) => {
                    log::error!("fleet.policy.id":% = policy, "error.message":% = store::chain(&error); "policy change not read yet");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }
}

const NAME: &str = "policy_monitor";
const MAILBOX: usize = 16_384;
/// For a policy that must be read first; the store has time-outs of its own.
const PATIENCE: Duration = Duration::from_secs(60);
const IDLE_WAIT: Duration = Duration::from_secs(60);
const COALESCE: Duration = Duration::from_millis(60);
