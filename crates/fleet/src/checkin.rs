//! Check-in: record what the agent says, then answer at once or wait for a change (agents.md 5.2).
//!
//! In: an authenticated agent and its request. Out: a reply, or a [`Waiting`] that holds neither. Dropping the
//! wait (when the client is gone) unsubscribes at once.

mod bounds;
mod upgrade;

use std::{sync::Arc, time::Duration};

use store::{
    ActionDocId, ActionId, ActionOutcome, ActionResult, Agent, AgentId, CheckinRecord, PendingAction,
    PolicyId, Position, RawJson, Timestamp,
};
use tokio::{sync::MutexGuard, time::Instant};

use crate::{
    Fleet, FleetError,
    actions::{
        ActionKind, DeliveredAction,
        deliver::{Delivery, Refused},
    },
    diff,
    off_the_loop::off_the_loop_if_large,
    poll_time,
    randomness::random,
    rendered_policy::RenderedPolicy,
    secrets,
    waiters::Subscription,
};

pub(crate) use bounds::Bounds;

/// What an agent sends at check-in (agents.md 5.1).
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the members of agents.md 5.1")]
pub struct CheckinRequest {
    /// Required, not empty.
    pub status: Option<String>,
    pub message: Option<String>,
    /// Token of the last delivered actions.
    pub ack_token: Option<String>,
    pub local_metadata: Option<RawJson>,
    pub components: Option<RawJson>,
    /// The client's own time-out.
    pub poll_timeout: Option<Duration>,
    pub upgrade_details: Option<RawJson>,
    pub rollbacks: Option<RawJson>,
    pub agent_policy_id: Option<String>,
    pub policy_revision_idx: Option<i64>,
}

/// The outcome of [`begin`].
pub enum Begun {
    /// Something is due.
    Reply(CheckinReply),
    /// Nothing is due.
    Wait(Box<Waiting>),
}

/// A reply to a check-in, which the api renders.
#[derive(Debug)]
pub enum CheckinReply {
    /// Nothing is due: the poll's time is up, or the server stops.
    Empty,
    /// The agent's due actions.
    Actions {
        /// The agent that they are for.
        agent: AgentId,
        /// Confirms, at the next check-in, all up to the last of the list.
        ack_token: ActionDocId,
        /// Oldest first; empty if none of them could be sent.
        actions: Vec<DeliveredAction>,
    },
    /// The newest revision of the agent's policy.
    Policy {
        /// The agent that it is for.
        agent: AgentId,
        /// The rendered revision.
        policy: Arc<RenderedPolicy>,
    },
}

/// A poll that waits for a change.
pub struct Waiting {
    fleet: Arc<Fleet>,
    subscription: Subscription,
    agent: AgentId,
    position: Option<Position>,
    policy: PolicyId,
    revision: i64,
    /// Policy and revision that the agent reported, if it did.
    reported: Option<(PolicyId, i64)>,
    deadline: Instant,
    /// When to offer the newest revision again, if it was delivered a moment ago.
    offer_again: Option<Instant>,
}

/// Stores what the check-in says and looks for what is due. `spent` is the time since the request began.
///
/// # Errors
/// A request that breaks the contract, of which nothing is stored; or a store error: what was stored before it stays,
/// and the agent repeats the rest.
pub async fn begin(
    fleet: &Arc<Fleet>,
    agent: Agent,
    version: &str,
    mut request: CheckinRequest,
    spent: Duration,
    now: Timestamp,
) -> Result<Begun, FleetError> {
    fleet.bounds.apply(&agent, &mut request)?;
    let Some(status) = request.status.filter(|status| !status.is_empty()) else {
        return Err(FleetError::StatusMissing);
    };
    // Looked up before anything is compared: what is stored may be older than a change that waits to be written.
    let says_all = fleet.actors.checkin_writer.is_unsettled(&agent.id);
    let Changes {
        local_metadata,
        components,
        is_news: mut is_changed,
    } = changes(&agent, request.local_metadata, request.components, says_all).await?;
    let rollbacks = diff::rollbacks(agent.rollbacks.as_ref(), request.rollbacks.clone());
    is_changed |= rollbacks.is_some() || agent.version != version;
    if is_changed {
        fleet.actors.checkin_writer.unsettles(&agent.id);
    }
    let wait = poll_time::wait(request.poll_timeout, spent, chance()?, &fleet.settings);
    let upgrade = upgrade::course(
        fleet,
        &agent,
        request.upgrade_details.as_ref(),
        version,
        local_metadata.as_ref(),
        now,
    )
    .await?;
    let is_first = is_first_since_start(fleet, &agent).await?;
    let token = request.ack_token.filter(|token| !token.is_empty());
    let reported = match (request.agent_policy_id, request.policy_revision_idx) {
        (Some(policy), Some(revision)) if !fleet.settings.ignores_reported_policy && revision >= 0 => {
            Some((PolicyId::from(policy), revision))
        }
        _ => None,
    };

    upgrade::apply(fleet, &agent.id, upgrade, now).await?;
    let newest = fleet.actors.policy_monitor.latest(&agent.policy).await;
    let revision = subscribed_revision(
        &agent,
        reported.as_ref(),
        newest.as_ref().ok().and_then(Option::as_ref),
    );
    if let Some((policy, revision)) = reported.as_ref().filter(|pair| is_news(&agent, pair)) {
        fleet
            .store
            .report_policy(&agent.id, policy, *revision, now)
            .await?;
        fleet.actors.health_monitor.recount();
    }
    let subscription = fleet
        .waiters
        .subscribe(agent.id.clone(), agent.policy.clone(), revision, now);
    // After the subscription: an action that comes later wakes the poll (M3).
    let due = fleet
        .store
        .pending_actions(
            &agent.id,
            token.map(ActionDocId::from).as_ref(),
            agent.action_position.as_ref(),
            now,
            MAX_ACTIONS,
        )
        .await?;
    let (components, unhealthy_reason) = match components {
        Some(change) => (Some(change.components), Some(change.reasons)),
        None => (None, None),
    };
    let began = Instant::now();
    let deadline = began + wait;
    let record = CheckinRecord {
        agent: agent.id.clone(),
        at: now,
        // Agents write `DEGRADED` in capitals (agents.md 5.1); the state is computed from lower case.
        status: Some(status.to_ascii_lowercase()),
        message: Some(request.message.unwrap_or_default()),
        version: (says_all || agent.version != version).then(|| version.to_owned()),
        local_metadata,
        components,
        unhealthy_reason,
        positions: due
            .position
            .clone()
            .filter(|position| agent.action_position.as_ref() != Some(position))
            .into_iter()
            .collect(),
        rollbacks: match says_all {
            true => diff::rollbacks_as_sent(request.rollbacks),
            false => rollbacks,
        },
        clears_audit: agent.audit.is_some() || agent.unenrolled_at.is_some(),
        collector: None,
    };
    // `checkin_long_poll` may be shorter than the writer needs when it is late: that must not refuse an agent.
    let patience = deadline.max(Instant::now() + LEAST_PATIENCE);
    let turn = match agent.last_checkin {
        None => Some(first_turn(fleet, &agent).await?),
        Some(_) => None,
    };
    fleet.actors.checkin_writer.record(record, patience).await?;
    drop(turn);

    let mut waiting = Box::new(Waiting {
        fleet: Arc::clone(fleet),
        subscription,
        agent: agent.id,
        position: due.position,
        policy: agent.policy,
        revision,
        reported,
        deadline,
        offer_again: None,
    });
    if let Some(reply) = waiting.list(due.actions, now).await? {
        return Ok(Begun::Reply(reply));
    }
    // Looked up again: a revision between the first look-up and the subscription did not wake this poll (M3).
    if let Some(policy) = fleet.actors.policy_monitor.latest(&waiting.policy).await?
        && let Some(reply) = waiting.offer(policy, true)
    {
        return Ok(Begun::Reply(reply));
    }
    if is_first && waiting.revision > 0 && waiting.offer_again.is_none() {
        waiting.deadline = waiting
            .deadline
            .min(began + poll_time::first_after_start(wait, chance()?));
    }
    Ok(Begun::Wait(waiting))
}

/// Keeps a repeated enrolment from removing the agent while it checks in for the first time.
///
/// # Errors
/// [`FleetError::KeyRevoked`]: it was removed since the key was looked at.
async fn first_turn<'a>(fleet: &'a Fleet, agent: &Agent) -> Result<MutexGuard<'a, ()>, FleetError> {
    let turn = fleet.replacements.of(&agent.id).await;
    let now = fleet.store.agent(&agent.id).await?;
    match now.is_some_and(|now| now.access_key == agent.access_key) {
        true => Ok(turn),
        false => Err(FleetError::KeyRevoked),
    }
}

impl Waiting {
    /// Waits for the first of: actions, a newer policy, the deadline, the server's stop.
    ///
    /// # Errors
    /// [`FleetError::AgentInactive`] if the agent was unenrolled meanwhile. A store error does not end the poll, since
    /// the agent would stay away for minutes: what was due is found at the next check-in.
    pub async fn answer(mut self: Box<Self>) -> Result<CheckinReply, FleetError> {
        // What happens after the wait is boxed: its state is not carried through the wait.
        loop {
            let until = self.offer_again.map_or(self.deadline, |at| at.min(self.deadline));
            let reasons = tokio::select! {
                biased;
                reasons = self.subscription.woken() => reasons,
                () = tokio::time::sleep_until(until) => {
                    if until >= self.deadline {
                        return Ok(CheckinReply::Empty);
                    }
                    self.offer_again = None;
                    match Box::pin(self.newer_policy()).await {
                        Some(reply) => return Ok(reply),
                        None => continue,
                    }
                }
            };
            if reasons.released() {
                return Ok(CheckinReply::Empty);
            }
            let is_moved = reasons.agent() && Box::pin(self.reread()).await?;
            if reasons.actions() {
                match Box::pin(self.due_actions()).await {
                    Ok(Some(reply)) => return Ok(reply),
                    Ok(None) => {}
                    Err(error) => self.goes_on(&error),
                }
            }
            if (reasons.policy() || is_moved)
                && let Some(reply) = Box::pin(self.newer_policy()).await
            {
                return Ok(reply);
            }
        }
    }

    /// Reads the agent's record again after a change; returns whether another policy is assigned.
    async fn reread(&mut self) -> Result<bool, FleetError> {
        match self.fleet.store.agent(&self.agent).await {
            Ok(Some(agent)) if agent.is_active => {
                let is_moved = agent.policy != self.policy;
                if is_moved {
                    self.policy = agent.policy;
                    self.revision = 0;
                    self.subscription.moved(&self.policy, 0);
                }
                Ok(is_moved)
            }
            Ok(_) => Err(FleetError::AgentInactive {
                agent: self.agent.clone(),
            }),
            Err(error) => {
                self.goes_on(&error.into());
                Ok(false)
            }
        }
    }

    async fn newer_policy(&mut self) -> Option<CheckinReply> {
        match self.fleet.actors.policy_monitor.latest(&self.policy).await {
            Ok(Some(policy)) => self.offer(policy, false),
            Ok(None) => None,
            Err(error) => {
                self.goes_on(&error);
                None
            }
        }
    }

    /// The reply with the policy, if the agent lacks it and did not get it a moment ago.
    fn offer(&mut self, policy: Arc<RenderedPolicy>, is_new: bool) -> Option<CheckinReply> {
        if policy.revision <= self.revision {
            return None;
        }
        let now = Instant::now();
        if is_new
            && let Some(again) =
                self.fleet
                    .deliveries
                    .again_at(&self.agent, &policy, self.reported.as_ref(), now)
        {
            self.offer_again = Some(again);
            return None;
        }
        self.fleet
            .deliveries
            .delivered(&self.agent, &policy, self.reported.take(), now);
        log::debug!(
            "fleet.agent.id":% = self.agent, "fleet.policy.id":% = policy.policy,
            "fleet.revision_idx" = policy.revision; "policy change delivered"
        );
        Some(CheckinReply::Policy {
            agent: self.agent.clone(),
            policy,
        })
    }

    /// Everything due after the agent's position, in one list.
    async fn due_actions(&self) -> Result<Option<CheckinReply>, FleetError> {
        let now = Timestamp::now();
        let pending = self
            .fleet
            .store
            .pending_actions(&self.agent, None, self.position.as_ref(), now, MAX_ACTIONS)
            .await?;
        self.list(pending.actions, now).await
    }

    /// The reply with these actions, if there are any.
    async fn list(
        &self,
        pending: Vec<PendingAction>,
        now: Timestamp,
    ) -> Result<Option<CheckinReply>, FleetError> {
        let cancels: Vec<_> = pending
            .iter()
            .filter(|pending| ActionKind::named(&pending.action.kind) == Some(ActionKind::Cancel))
            .map(|pending| (pending.action.action.clone(), pending.action.namespaces.clone()))
            .collect();
        let data = pending.iter().filter_map(|pending| pending.action.data.as_ref());
        let values = secrets::values_for_actions(&self.fleet, data).await?;
        let Some(delivery) = Delivery::of(pending, &values) else {
            return Ok(None);
        };
        // Agents never acknowledge a CANCEL: it is complete once it is delivered (agents.md 8.5).
        for (cancel, namespaces) in cancels {
            if delivery.actions.iter().any(|delivered| delivered.id == cancel) {
                self.conclude(cancel, namespaces, ActionOutcome::Succeeded, None, now)
                    .await?;
            }
        }
        // The token moves past them, so they are recorded as failed (agents.md 6.4).
        for refused in delivery.refused {
            self.refuse(refused, now).await?;
        }
        self.fleet.deliveries.delivered_actions(delivery.actions.len());
        Ok(Some(CheckinReply::Actions {
            agent: self.agent.clone(),
            ack_token: delivery.ack_token,
            actions: delivery.actions,
        }))
    }

    async fn refuse(&self, refused: Refused, now: Timestamp) -> Result<(), FleetError> {
        let Refused {
            action,
            namespaces,
            reason,
        } = refused;
        log::warn!(
            "fleet.agent.id":% = self.agent, "fleet.action.id":% = action;
            "action not sent, since agents could not read it: {reason}"
        );
        let error = Some(format!("not sent: {reason}"));
        self.conclude(action, namespaces, ActionOutcome::Failed, error, now)
            .await
    }

    /// Stores a result that the agent does not send itself.
    async fn conclude(
        &self,
        action: ActionId,
        namespaces: Vec<String>,
        outcome: ActionOutcome,
        error: Option<String>,
        now: Timestamp,
    ) -> Result<(), FleetError> {
        let result = ActionResult {
            action,
            agent: self.agent.clone(),
            timestamp: now.to_seconds_text(),
            received_at: now,
            outcome,
            error,
            namespaces,
            details: None,
        };
        self.fleet.store.insert_result(result).await?;
        Ok(())
    }

    fn goes_on(&self, error: &FleetError) {
        log::warn!("fleet.agent.id":% = self.agent, "error.message":% = store::chain(&error); "a waiting check-in continues after an error");
    }
}

/// What is to be stored of metadata and components.
struct Changes {
    local_metadata: Option<RawJson>,
    components: Option<diff::ComponentChange>,
    /// Whether any of it differs from what is stored.
    is_news: bool,
}

/// The changes in metadata and components; if the agent `says_all`, also what is as it is stored. Both sides are parsed to
/// compare them, off the event loop if they are large.
async fn changes(
    agent: &Agent,
    local_metadata: Option<RawJson>,
    components: Option<RawJson>,
    says_all: bool,
) -> Result<Changes, FleetError> {
    let differ = |stored: &Option<RawJson>, sent: &Option<RawJson>| match sent {
        Some(sent) if says_all || stored.as_ref() != Some(sent) => {
            sent.as_str().len() + stored.as_ref().map_or(0, |stored| stored.as_str().len())
        }
        _ => 0,
    };
    let bytes = differ(&agent.local_metadata, &local_metadata) + differ(&agent.components, &components);
    let (stored_metadata, stored_components) = (agent.local_metadata.clone(), agent.components.clone());
    off_the_loop_if_large(bytes, move || {
        let all = says_all.then(|| (local_metadata.clone(), components.clone()));
        let mut changes = Changes {
            local_metadata: diff::metadata(stored_metadata.as_ref(), local_metadata)?,
            components: diff::components(stored_components.as_ref(), components)?,
            is_news: false,
        };
        changes.is_news = changes.local_metadata.is_some() || changes.components.is_some();
        if let Some((local_metadata, components)) = all {
            changes.local_metadata = diff::metadata_as_sent(local_metadata);
            changes.components = diff::components_as_sent(components)?;
        }
        Ok(changes)
    })
    .await?
}

/// Whether the agent is enrolled since before the start of this server, and has not checked in since.
async fn is_first_since_start(fleet: &Fleet, agent: &Agent) -> Result<bool, FleetError> {
    let has_been_here = agent.last_checkin.is_none_or(|at| at >= fleet.started_at);
    if has_been_here {
        return Ok(false);
    }
    // Its last check-in may not be in the store yet.
    let pending = fleet
        .actors
        .checkin_writer
        .pending(vec![agent.id.clone()])
        .await?;
    Ok(pending.is_empty())
}

/// Whether the reported pair differs from what is stored. The revision counts only for the assigned policy (M8).
fn is_news(agent: &Agent, (policy, revision): &(PolicyId, i64)) -> bool {
    agent.reported_policy.as_ref() != Some(policy)
        || (*policy == agent.policy && agent.policy_revision != Some(*revision))
}

/// The revision that the agent counts as having (agents.md 5.6).
fn subscribed_revision(
    agent: &Agent,
    reported: Option<&(PolicyId, i64)>,
    newest: Option<&Arc<RenderedPolicy>>,
) -> i64 {
    match reported {
        // Above the newest after a restore: it is ignored.
        None => match agent.policy_revision {
            Some(revision) if newest.is_none_or(|newest| revision <= newest.revision) => revision,
            _ => 0,
        },
        Some((policy, _)) if *policy != agent.policy => 0,
        Some((_, revision)) if newest.is_some_and(|newest| *revision > newest.revision) => 0,
        Some((_, revision)) => *revision,
    }
}

/// A random number from 0 to 1.
fn chance() -> Result<f64, FleetError> {
    let mut bytes = [0; 4];
    random(&mut bytes)?;
    Ok(f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX))
}

/// Time for the writer to take a record, however short the poll.
pub(crate) const LEAST_PATIENCE: Duration = Duration::from_secs(30);
/// Most actions in one answer; the rest follows at the next check-in.
const MAX_ACTIONS: u32 = 100;
