//! What is handed to agents is counted here, and which revision an agent was given last is kept, so that an agent that
//! rejects a policy does not get it again every second for ever (agents.md 5.7). The first repeat comes at once, for
//! the answer may have been lost with its connection. Memory only, bounded; losing it costs some early repeats.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use prometheus_client::{metrics::counter::Counter, registry::Registry};
use store::{AgentId, PolicyId};
use tokio::time::Instant;

use crate::rendered_policy::RenderedPolicy;

#[derive(Debug)]
pub(crate) struct Deliveries {
    recent: Mutex<HashMap<AgentId, Delivery>>,
    policies: Counter,
    actions: Counter,
}

#[derive(Debug)]
struct Delivery {
    policy: PolicyId,
    revision: i64,
    /// What the agent reported when it got it.
    reported: Option<(PolicyId, i64)>,
    at: Instant,
    /// How often it was given so.
    times: usize,
}

impl Delivery {
    fn is_of(&self, policy: &RenderedPolicy, reported: Option<&(PolicyId, i64)>) -> bool {
        self.policy == policy.policy && self.revision == policy.revision && self.reported.as_ref() == reported
    }

    fn again_at(&self) -> Instant {
        self.at + SPACING.get(self.times - 1).copied().unwrap_or(WIDEST)
    }
}

impl Deliveries {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let (policies, actions) = (Counter::default(), Counter::default());
        registry.register(
            "policies_delivered",
            "Policy changes handed to agents",
            policies.clone(),
        );
        registry.register("actions_delivered", "Actions handed to agents", actions.clone());
        Self {
            recent: Mutex::default(),
            policies,
            actions,
        }
    }

    /// Counts actions that were handed to an agent.
    pub(crate) fn delivered_actions(&self, count: usize) {
        self.actions.inc_by(count as u64);
    }

    /// When the policy may be given again, if it was given a moment ago and the agent still reports the same.
    pub(crate) fn again_at(
        &self,
        agent: &AgentId,
        policy: &RenderedPolicy,
        reported: Option<&(PolicyId, i64)>,
        now: Instant,
    ) -> Option<Instant> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let last = recent.get(agent)?;
        let again = last.again_at();
        // An agent that reports nothing states that it has no policy.
        let is_repeat = reported.is_some() && last.is_of(policy, reported);
        (is_repeat && now < again).then_some(again)
    }

    /// The agent begins anew: what its predecessor of the same id was given does not count.
    pub(crate) fn forget(&self, agent: &AgentId) {
        self.recent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(agent);
    }

    /// Records that the policy was handed to the agent.
    pub(crate) fn delivered(
        &self,
        agent: &AgentId,
        policy: &RenderedPolicy,
        reported: Option<(PolicyId, i64)>,
        now: Instant,
    ) {
        self.policies.inc();
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() >= MOST {
            recent.retain(|_, delivery| now < delivery.at + WIDEST);
        }
        let before = recent
            .get(agent)
            .filter(|last| last.is_of(policy, reported.as_ref()))
            .map_or(0, |last| last.times);
        if recent.len() < MOST || recent.contains_key(agent) {
            let delivery = Delivery {
                policy: policy.policy.clone(),
                revision: policy.revision,
                reported,
                at: now,
                times: before + 1,
            };
            recent.insert(agent.clone(), delivery);
        }
    }
}

/// Between the first deliveries of one revision to one agent that reports the same each time.
const SPACING: [Duration; 3] = [Duration::ZERO, Duration::from_secs(5), Duration::from_secs(15)];
/// Between the later ones.
const WIDEST: Duration = Duration::from_secs(60);
/// Entries kept; about 100 bytes each.
const MOST: usize = 100_000;
