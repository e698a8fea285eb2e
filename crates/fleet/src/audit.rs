//! What is said of an agent that runs no longer: it was uninstalled, orphaned, moved (agents.md 7.7). Its keys stay good.

use store::{Agent, AuditMark, Timestamp};

use crate::{Fleet, FleetError};

/// What agents and the programs that they installed may say.
pub const REASONS: [&str; 4] = ["uninstall", ORPHANED, "key_revoked", "migrated"];
const ORPHANED: &str = "orphaned";

/// Whether the agent's mark may be changed.
///
/// # Errors
/// [`FleetError::Orphaned`], or the store's fault.
pub async fn admit(fleet: &Fleet, agent: &Agent) -> Result<(), FleetError> {
    if agent.audit.is_none() {
        return Ok(());
    }
    // A check-in since the last mark removes it, and is perhaps not written yet: what comes now comes after that.
    fleet.actors.checkin_writer.flush().await;
    match fleet.store.agent(&agent.id).await?.and_then(|agent| agent.audit) {
        Some(mark) if mark.reason == ORPHANED => Err(FleetError::Orphaned {
            agent: agent.id.clone(),
        }),
        _ => Ok(()),
    }
}

/// Stores why the agent runs no longer, since `time` as it was sent, else since `now`.
///
/// # Errors
/// [`FleetError::InvalidAudit`]: nothing is stored. Or the store's fault.
pub async fn mark(
    fleet: &Fleet,
    agent: &Agent,
    reason: Option<String>,
    time: Option<String>,
    now: Timestamp,
) -> Result<(), FleetError> {
    let reason = reason.filter(|reason| REASONS.contains(&reason.as_str()));
    let reason = reason.ok_or(FleetError::InvalidAudit { what: "reason" })?;
    let time = match time {
        Some(time) if Timestamp::parse(&time).is_some() => time,
        Some(_) => return Err(FleetError::InvalidAudit { what: "timestamp" }),
        None => now.to_seconds_text(),
    };
    log::info!(
        "event.action" = "audit-unenroll", "fleet.agent.id":% = agent.id, "event.reason" = reason.as_str();
        "agent runs no longer"
    );
    let mark = AuditMark { reason, time };
    Ok(fleet.store.mark_audit(&agent.id, mark, now).await?)
}
