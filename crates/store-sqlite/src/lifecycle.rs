//! What happens to an agent between enrolment and its end: confirmed revisions, upgrades, reassignment,
//! unenrolment (O5–O8).

use rusqlite::OptionalExtension;
use store::{AgentId, AuditMark, ChangeKind, DetailsChange, PolicyId, Timestamp, UpgradeChange, UpgradeEnd};

use super::{
    agents,
    columns::params,
    fault::{Failure, Outcome},
    keys,
    unit::Unit,
};

/// O5: stored only while the agent is assigned to the policy (M8) and only upwards.
pub(super) fn confirm_policy(
    unit: &Unit<'_>,
    agent: &AgentId,
    policy: &PolicyId,
    revision: i64,
    at: Timestamp,
) -> Outcome<bool> {
    let stored = unit
        .prepare_cached(
            "UPDATE presence SET policy_revision = ?3, updated_at = ?4
             WHERE agent = ?1 AND policy = ?2 AND (policy_revision IS NULL OR policy_revision < ?3)",
        )?
        .execute(params![agent, policy, revision, at])?;
    if stored == 0 {
        must_exist(unit, agent)?;
    }
    Ok(stored > 0)
}

/// O5: the pair as reported; the revision, also downwards, only while assigned (M8).
pub(super) fn report_policy(
    unit: &Unit<'_>,
    agent: &AgentId,
    policy: &PolicyId,
    revision: i64,
    at: Timestamp,
) -> Outcome<()> {
    let stored = unit
        .prepare_cached("UPDATE agent SET reported_policy = ?2 WHERE id = ?1")?
        .execute(params![agent, policy])?;
    if stored == 0 {
        return Err(Failure::missing("agent", agent));
    }
    unit.prepare_cached("UPDATE presence SET policy_revision = ?3 WHERE agent = ?1 AND policy = ?2")?
        .execute(params![agent, policy, revision])?;
    touch(unit, agent, at)
}

pub(super) fn change_upgrade(
    unit: &Unit<'_>,
    agent: &AgentId,
    change: &UpgradeChange,
    at: Timestamp,
) -> Outcome<()> {
    must_exist(unit, agent)?;
    let details = match &change.details {
        DetailsChange::None => None,
        DetailsChange::Cleared => Some(None),
        DetailsChange::Set(details) => Some(Some(details.clone())),
    };
    if let Some(details) = details {
        unit.prepare_cached("UPDATE agent SET upgrade_details = ?2 WHERE id = ?1")?
            .execute(params![agent, details])?;
    }
    if let Some(end) = change.end {
        let upgraded_at = match end {
            UpgradeEnd::Reached => Some(at),
            UpgradeEnd::Missed => None,
        };
        unit.prepare_cached(
            "UPDATE presence SET upgrade_started_at = NULL, upgraded_at = ?2 WHERE agent = ?1",
        )?
        .execute(params![agent, upgraded_at])?;
    }
    if change.ends_attempts {
        unit.prepare_cached("UPDATE agent SET upgrade_attempts = NULL WHERE id = ?1")?
            .execute(params![agent])?;
    }
    touch(unit, agent, at)
}

/// O7. An agent that is inactive already keeps its date and reason.
pub(super) fn unenroll(unit: &Unit<'_>, agent: &AgentId, reason: Option<&str>, at: Timestamp) -> Outcome<()> {
    match agents::activity(unit, agent)? {
        None => return Err(Failure::missing("agent", agent)),
        Some(false) => {}
        Some(true) => {
            unit.prepare_cached("UPDATE presence SET is_active = 0, updated_at = ?2 WHERE agent = ?1")?
                .execute(params![agent, at])?;
            unit.prepare_cached("UPDATE agent SET unenrolled_at = ?2, unenrolled_reason = ?3 WHERE id = ?1")?
                .execute(params![agent, at, reason])?;
            unit.announce(ChangeKind::Agent, agent.as_str())?;
        }
    }
    keys::invalidate_of_agent(unit, agent.as_str(), at)
}

/// data.md 1.1.
pub(super) fn mark_audit(unit: &Unit<'_>, agent: &AgentId, mark: &AuditMark, at: Timestamp) -> Outcome<()> {
    must_exist(unit, agent)?;
    unit.prepare_cached("UPDATE presence SET audit_reason = ?2 WHERE agent = ?1")?
        .execute(params![agent, mark.reason])?;
    unit.prepare_cached("UPDATE agent SET audit_time = ?2 WHERE id = ?1")?
        .execute(params![agent, mark.time])?;
    touch(unit, agent, at)
}

/// O8. Unknown and inactive agents are skipped.
pub(super) fn reassign(
    unit: &Unit<'_>,
    agents: &[AgentId],
    policy: &PolicyId,
    at: Timestamp,
) -> Outcome<u64> {
    let is_known = unit
        .prepare_cached("SELECT 1 FROM policy WHERE id = ?1")?
        .exists(params![policy])?;
    if !is_known {
        return Err(Failure::missing("policy", policy));
    }
    let base = policy.base().unwrap_or_else(|| policy.clone());
    let mut assigned = 0;
    for agent in agents {
        let stored = unit
            .prepare_cached(
                "UPDATE presence SET policy = ?2, policy_revision = NULL, updated_at = ?3
                 WHERE agent = ?1 AND is_active = 1",
            )?
            .execute(params![agent, policy, at])?;
        if stored > 0 {
            unit.prepare_cached("UPDATE agent SET policy_base = ?2 WHERE id = ?1")?
                .execute(params![agent, base])?;
            unit.announce(ChangeKind::Agent, agent.as_str())?;
            assigned += 1;
        }
    }
    Ok(assigned)
}

fn touch(unit: &Unit<'_>, agent: &AgentId, at: Timestamp) -> Outcome<()> {
    unit.prepare_cached("UPDATE presence SET updated_at = ?2 WHERE agent = ?1")?
        .execute(params![agent, at])?;
    Ok(())
}

fn must_exist(unit: &Unit<'_>, agent: &AgentId) -> Outcome<()> {
    unit.prepare_cached("SELECT 1 FROM presence WHERE agent = ?1")?
        .query_row(params![agent], |_| Ok(()))
        .optional()?
        .ok_or_else(|| Failure::missing("agent", agent))
}
