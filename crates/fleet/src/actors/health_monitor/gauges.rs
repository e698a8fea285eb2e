//! The gauges that are counted from the store: agents by state, and those whose policy is not yet rolled out.

use std::collections::HashSet;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};
use store::{AgentQuery, AgentStatus, PageRequest, PageStart, PolicyId, Store, Timestamp};

#[derive(Debug)]
pub(super) struct Gauges {
    agents: Family<StatusLabel, Gauge>,
    rollout_pending: Family<PolicyLabel, Gauge>,
    /// Policies that have a gauge.
    shown: HashSet<PolicyId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabel {
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PolicyLabel {
    policy: String,
}

impl Gauges {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let gauges = Self {
            agents: Family::default(),
            rollout_pending: Family::default(),
            shown: HashSet::new(),
        };
        registry.register("agents", "Agents by computed state", gauges.agents.clone());
        registry.register(
            "policy_rollout_pending",
            "Active agents that have not confirmed the newest revision of their policy",
            gauges.rollout_pending.clone(),
        );
        gauges
    }

    /// The same gauges, for somebody who does not know which policies they show.
    pub(super) fn anew(&self) -> Self {
        self.rollout_pending.clear();
        Self {
            agents: self.agents.clone(),
            rollout_pending: self.rollout_pending.clone(),
            shown: HashSet::new(),
        }
    }

    pub(super) async fn count(&mut self, store: &dyn Store) -> store::Result<()> {
        self.count_agents(store).await?;
        let mut present = HashSet::new();
        let mut next = Some(PageRequest::first(PAGE));
        while let Some(request) = next {
            let page = store.policies(request).await?;
            for summary in &page.items {
                let policy = summary.latest.policy.clone();
                let gauge = self.rollout_pending.get_or_create(&label(&policy));
                gauge.set(i64::try_from(summary.pending).unwrap_or(i64::MAX));
                present.insert(policy);
            }
            next = page.next.map(|position| PageRequest {
                from: PageStart::After(position),
                limit: PAGE,
            });
        }
        for gone in self.shown.difference(&present) {
            self.rollout_pending.remove(&label(gone));
        }
        self.shown = present;
        Ok(())
    }

    async fn count_agents(&self, store: &dyn Store) -> store::Result<()> {
        let all = AgentQuery {
            shows_inactive: true,
            ..AgentQuery::default()
        };
        let counts = store.count_by_status(&all, Timestamp::now()).await?;
        for status in AgentStatus::ALL {
            let count = counts.get(status).copied().unwrap_or(0);
            let gauge = self.agents.get_or_create(&StatusLabel {
                status: status.as_str(),
            });
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        Ok(())
    }
}

fn label(policy: &PolicyId) -> PolicyLabel {
    PolicyLabel {
        policy: policy.to_string(),
    }
}

const PAGE: u32 = 500;
