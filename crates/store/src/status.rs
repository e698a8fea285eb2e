//! The status of an agent (data.md 6.1): the one definition, with the clock as an argument.
//!
//! In: an agent, its policy's inactivity timeout, the time. Out: the status. An engine may compute it its own way, for a
//! million agents at once; the conformance suite holds every engine against this.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use strum::{Display, IntoStaticStr, VariantArray};

use crate::{Agent, PolicyId, Timestamp};

/// Computed status of an agent: the first that applies (data.md 6.1).
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    Display,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum AgentStatus {
    /// `active: false`.
    Unenrolled,
    /// No check-in for the policy's `inactivity_timeout`.
    Inactive,
    /// The audit endpoint reported it as uninstalled.
    Uninstalled,
    /// The audit endpoint reported it as orphaned.
    Orphaned,
    /// No check-in (else enrolment) for 5 minutes.
    Offline,
    /// No confirmed revision yet, or an upgrade runs.
    Updating,
    /// No check-in yet.
    Enrolling,
    /// An operator asked it to unenrol.
    Unenrolling,
    /// The last check-in reported `error`.
    Error,
    /// The last check-in reported `degraded`.
    Degraded,
    /// None of the others applies.
    Online,
}

impl AgentStatus {
    /// All statuses, in the order of evaluation.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// The status of the agent at `now`; `inactivity_timeout` is that of its policy, see
    /// [`inactivity_timeout`].
    #[must_use]
    pub fn of(agent: &Agent, inactivity_timeout: Option<Duration>, now: Timestamp) -> Self {
        let audit = agent.audit.as_ref().map(|mark| mark.reason.as_str());
        let is_older = |heard: Timestamp, than| heard < now.minus(than);
        let is_inactive = inactivity_timeout
            .zip(agent.last_checkin)
            .is_some_and(|(timeout, heard)| is_older(heard, timeout));
        let is_upgrading = agent.upgrade_started_at.is_some() && agent.upgraded_at.is_none();
        if !agent.is_active {
            Self::Unenrolled
        } else if is_inactive {
            Self::Inactive
        } else if audit == Some("uninstall") {
            Self::Uninstalled
        } else if audit == Some("orphaned") {
            Self::Orphaned
        } else if is_older(agent.last_checkin.unwrap_or(agent.enrolled_at), OFFLINE_AFTER) {
            Self::Offline
        } else if agent.policy_revision.unwrap_or(0) == 0 || is_upgrading {
            Self::Updating
        } else if agent.last_checkin.is_none() {
            Self::Enrolling
        } else if agent.unenrollment_started_at.is_some() {
            Self::Unenrolling
        } else {
            match agent.last_checkin_status.as_deref() {
                Some("error") => Self::Error,
                Some("degraded") => Self::Degraded,
                _ => Self::Online,
            }
        }
    }

    /// Its name in the admin API and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The number of agents with each status; a status without agents is absent.
pub type StatusCounts = std::collections::BTreeMap<AgentStatus, u64>;

/// The inactivity timeout that counts for agents of the policy: its newest revision's, else that of its base
/// (`base#suffix`), if they have one. `of` returns the timeout of one policy.
pub fn inactivity_timeout(policy: &PolicyId, of: impl Fn(&PolicyId) -> Option<Duration>) -> Option<Duration> {
    of(policy).or_else(|| policy.base().and_then(|base| of(&base)))
}

/// An agent without a check-in for longer is offline.
pub const OFFLINE_AFTER: Duration = Duration::from_secs(5 * 60);
