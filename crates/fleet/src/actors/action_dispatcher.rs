//! `ActionDispatcher` owns the schedule by which waiting polls are told of actions: one after the other, paced by
//! `action_limit`. A woken poll asks the store for what is pending, so there is one path for live and pending actions
//! (data.md 7.2); the agent itself keeps to an action's start time. Polls whose agent was unenrolled or reassigned
//! are told at once.
//!
//! In: changes, read from the store's feed by its follower. Out: wake-ups. Only waiting agents are scheduled.
//! Mailbox: 16; full, the follower waits and the feed keeps. A restart has every poll look for itself.

use std::{sync::Arc, time::Duration};

use actix::{
    Actor, ActorContext as _, Addr, AsyncContext as _, Context, Handler, MailboxError, Message, SpawnHandle,
    WrapFuture as _,
};
use store::{ActionDocId, AgentId, ChangeKind, Store};
use supervise::{Exit, Stop};
use tokio::time::Instant;

use super::{
    Handle, Parts,
    feed::{Feed, News},
    health_monitor::{FaultReporter, HealthMonitor},
    schedule::Schedule,
};
use crate::waiters::Waiters;

/// Actions were appended for these agents.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Appended(pub(super) Vec<AgentId>);

#[derive(Message)]
#[rtype(result = "()")]
struct AgentChanged(AgentId);

/// Anything may have happened to anybody.
#[derive(Message)]
#[rtype(result = "()")]
struct Anything;
pub(crate) struct ActionDispatcher {
    exit: Exit,
    store: Arc<dyn Store>,
    waiters: Arc<Waiters>,
    /// The polls that are told next.
    schedule: Schedule,
    timer: Option<SpawnHandle>,
    health: Handle<HealthMonitor>,
}

pub(super) fn start(parts: &mut Parts<'_>) -> Handle<ActionDispatcher> {
    let (store, waiters) = (Arc::clone(&parts.store), Arc::clone(&parts.waiters));
    let (pace, health) = (parts.settings.action_pace, parts.health.clone());
    Handle::start(NAME, &parts.restarts, move |exit| ActionDispatcher {
        exit,
        store: Arc::clone(&store),
        waiters: Arc::clone(&waiters),
        schedule: Schedule::new(pace),
        timer: None,
        health: health.clone(),
    })
}

impl Actor for ActionDispatcher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let feed = |kind, name| {
            let faults = FaultReporter::new(name, self.health.clone());
            Feed::new(Arc::clone(&self.store), kind, faults)
        };
        let (actions, agents) = (
            feed(ChangeKind::Action, NAME),
            feed(ChangeKind::Agent, AGENT_FOLLOWER),
        );
        let actions = follow_actions(actions, Arc::clone(&self.store), ctx.address());
        ctx.spawn(actions.into_actor(self));
        ctx.spawn(follow_agents(agents, ctx.address()).into_actor(self));
    }
}

impl Handler<Appended> for ActionDispatcher {
    type Result = ();

    fn handle(&mut self, Appended(targets): Appended, ctx: &mut Self::Context) {
        for agent in targets {
            self.schedule.add(self.waiters.poll_of(&agent));
        }
        self.wake_due(ctx);
    }
}

impl Handler<AgentChanged> for ActionDispatcher {
    type Result = ();

    fn handle(&mut self, AgentChanged(agent): AgentChanged, _: &mut Self::Context) {
        self.waiters.wake_for_record(&agent);
    }
}

impl Handler<Anything> for ActionDispatcher {
    type Result = ();

    fn handle(&mut self, _: Anything, _: &mut Self::Context) {
        self.waiters.wake_all();
    }
}

impl Handler<Stop> for ActionDispatcher {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        self.exit.meant();
        ctx.stop();
    }
}

impl ActionDispatcher {
    fn wake_due(&mut self, ctx: &mut Context<Self>) {
        let (due, wait) = self.schedule.due(Instant::now());
        for poll in due {
            self.waiters.wake_for_actions(poll);
        }
        let next = wait.map(|wait| ctx.run_later(wait, Self::wake_due));
        if let Some(earlier) = std::mem::replace(&mut self.timer, next) {
            ctx.cancel_future(earlier);
        }
    }
}

/// Turns appended actions into messages. Ends with the actor.
async fn follow_actions(mut feed: Feed, store: Arc<dyn Store>, actor: Addr<ActionDispatcher>) {
    loop {
        let heard = match feed.next(IDLE_WAIT).await {
            News::Changes(docs) => tell_targets(docs, &*store, &actor).await,
            News::Anything => actor.send(Anything).await,
        };
        if heard.is_err() {
            return;
        }
    }
}

async fn tell_targets(
    docs: Vec<String>,
    store: &dyn Store,
    actor: &Addr<ActionDispatcher>,
) -> Result<(), MailboxError> {
    for doc in docs.into_iter().map(ActionDocId::from) {
        match store.action_targets(&doc).await {
            Ok(targets) => actor.send(Appended(targets)).await?,
            // Its agents find it at their next check-in.
            Err(error) => {
                log::warn!("error.message":% = store::chain(&error); "targets of action document {doc} not read")
            }
        }
    }
    Ok(())
}

/// Turns changed records into messages. Ends with the actor.
async fn follow_agents(mut feed: Feed, actor: Addr<ActionDispatcher>) {
    loop {
        let heard = match feed.next(IDLE_WAIT).await {
            News::Changes(agents) => tell_changed(agents, &actor).await,
            News::Anything => actor.send(Anything).await,
        };
        if heard.is_err() {
            return;
        }
    }
}

async fn tell_changed(agents: Vec<String>, actor: &Addr<ActionDispatcher>) -> Result<(), MailboxError> {
    for agent in agents {
        actor.send(AgentChanged(agent.into())).await?;
    }
    Ok(())
}

const NAME: &str = "action_dispatcher";
/// As which the second follower reports its faults.
const AGENT_FOLLOWER: &str = "agent_follower";
const IDLE_WAIT: Duration = Duration::from_secs(60);
