//! What is kept of an agent that speaks OpAMP, beside its record.

#![expect(
    missing_docs,
    reason = "members without a comment are named as in data.md 1.1"
)]

use crate::{PolicyId, RawJson};

/// The OpAMP part of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    /// Policy of the enrollment token that admitted it. Tokens of that policy speak for it, also after a reassignment.
    pub admitted_to: PolicyId,
    /// Its `service.name`.
    pub service: String,
    /// What it said last.
    pub report: CollectorReport,
}

/// What an OpAMP agent says of itself. In a batch of check-ins a field that is `None` leaves the stored value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CollectorReport {
    /// Number of its last message.
    pub sequence_num: Option<i64>,
    pub identifying_attributes: Option<RawJson>,
    pub non_identifying_attributes: Option<RawJson>,
    /// Names of what it can do.
    pub capabilities: Option<Vec<String>>,
    pub health: Option<RawJson>,
    /// The configuration that it runs, without its secrets. Not read with lists of agents.
    pub effective_config: Option<RawJson>,
    /// What became of the configuration that it was offered.
    pub remote_config_status: Option<RawJson>,
}
