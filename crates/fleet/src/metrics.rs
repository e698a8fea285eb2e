//! What the domain counts. The parent passes a registry with the prefix `fleet_server`.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct StatusLabel {
    pub(crate) status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct PolicyLabel {
    pub(crate) policy: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ActorLabel {
    pub(crate) actor: &'static str,
}

#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) agents: Family<StatusLabel, Gauge>,
    pub(crate) waiting: Gauge,
    pub(crate) checkins: Counter,
    pub(crate) checkins_pending: Gauge,
    pub(crate) flush_duration: Histogram,
    pub(crate) policies_delivered: Counter,
    pub(crate) actions_delivered: Counter,
    pub(crate) rollout_pending: Family<PolicyLabel, Gauge>,
    pub(crate) restarts: Family<ActorLabel, Counter>,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let bounds = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];
        let metrics = Self {
            agents: Family::default(),
            waiting: Gauge::default(),
            checkins: Counter::default(),
            checkins_pending: Gauge::default(),
            flush_duration: Histogram::new(bounds),
            policies_delivered: Counter::default(),
            actions_delivered: Counter::default(),
            rollout_pending: Family::default(),
            restarts: Family::default(),
        };
        registry.register("agents", "Agents by computed state", metrics.agents.clone());
        registry.register(
            "checkins_waiting",
            "Check-ins that wait for a change",
            metrics.waiting.clone(),
        );
        registry.register("checkins", "Check-ins taken", metrics.checkins.clone());
        registry.register(
            "checkins_pending",
            "Check-in records not yet written to the store",
            metrics.checkins_pending.clone(),
        );
        registry.register_with_unit(
            "checkin_flush_duration",
            "Time to write one batch of check-in records",
            Unit::Seconds,
            metrics.flush_duration.clone(),
        );
        registry.register(
            "policies_delivered",
            "Policy changes handed to agents",
            metrics.policies_delivered.clone(),
        );
        registry.register(
            "actions_delivered",
            "Actions handed to agents",
            metrics.actions_delivered.clone(),
        );
        registry.register(
            "policy_rollout_pending",
            "Active agents that have not confirmed the newest revision of their policy",
            metrics.rollout_pending.clone(),
        );
        registry.register(
            "actor_restarts",
            "Actors started again after a panic",
            metrics.restarts.clone(),
        );
        metrics
    }

    pub(crate) fn restarts_of(&self, actor: &'static str) -> Counter {
        self.restarts.get_or_create(&ActorLabel { actor }).clone()
    }
}
