//! What lists of agents are asked for, and what they answer.

#![expect(
    missing_docs,
    reason = "members without a comment are named for what they are"
)]

use crate::{Agent, AgentStatus, Collector, PolicyId};

/// An agent with its status at the time of the query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusReport {
    pub agent: Agent,
    pub status: AgentStatus,
    /// What only an OpAMP agent has.
    pub collector: Option<Box<Collector>>,
}

/// A query for agents: filters and order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentQuery {
    /// Only agents assigned to one of these policies; empty: all.
    pub policies: Vec<PolicyId>,
    /// Only agents with one of these statuses; empty: all but unenrolled and inactive ones, unless `shows_inactive`.
    pub statuses: Vec<AgentStatus>,
    /// Whether to include unenrolled and inactive agents.
    pub shows_inactive: bool,
    /// Only agents with all of these tags.
    pub tags: Vec<String>,
    /// Only agents whose id or host name starts with this text (ASCII case ignored).
    pub search: Option<String>,
    /// Sort key; ties are broken by id, so that pages are stable.
    pub sort: AgentSort,
    pub order: SortOrder,
}

/// What a list of agents is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AgentSort {
    #[default]
    EnrolledAt,
    /// Last check-in; agents without one come last when descending.
    LastCheckin,
    Id,
    /// Assigned policy, with its version suffix if it has one.
    Policy,
    /// Version (as text).
    Version,
}

/// Direction of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortOrder {
    /// Smallest first.
    Ascending,
    /// Largest first.
    #[default]
    Descending,
}
