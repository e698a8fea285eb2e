//! What a check-in says of its agent's upgrades: reads what `upgrades` decides on, and stores what it decided.

use store::{ActionId, ActionOutcome, ActionResult, Agent, AgentId, RawJson, Timestamp};

use crate::{
    Fleet, FleetError,
    actions::ActionKind,
    upgrades::{self, Course, Details, Seen},
};

/// What the check-in changes. Most say nothing of an upgrade, and cost nothing here.
pub(super) async fn course(
    fleet: &Fleet,
    agent: &Agent,
    sent: Option<&RawJson>,
    version: &str,
    local_metadata: Option<&RawJson>,
    now: Timestamp,
) -> Result<Course, FleetError> {
    let mut sent = Details::read(sent)?;
    let mut is_foreign = false;
    if let Some(details) = &mut sent {
        let action = ActionId::from(details.action_id());
        if action.as_str().len() > 1024 {
            return Err(FleetError::TooLong {
                what: "upgrade_details.action_id",
                most: 1024,
            });
        }
        is_foreign = fleet.store.action(&action).await?.is_none();
        if !is_foreign {
            details.normalize()?;
        }
    }
    let sent = sent.filter(|_| !is_foreign);
    if !upgrades::concerns(agent, sent.as_ref()) {
        return Ok(Course::default());
    }
    let in_metadata = local_metadata.or(agent.local_metadata.as_ref());
    let in_metadata = in_metadata.and_then(upgrades::version_in);
    let seen = Seen {
        sent,
        is_foreign,
        versions: [Some(version), in_metadata.as_deref()],
        upgrades: fleet
            .store
            .addressed_actions(&agent.id, ActionKind::Upgrade.as_str())
            .await?,
        cancels: fleet
            .store
            .addressed_actions(&agent.id, ActionKind::Cancel.as_str())
            .await?,
        now,
    };
    seen.course(agent)
}

/// Stores it. Actions first: should the record not follow, the next check-in says the same again.
pub(super) async fn apply(
    fleet: &Fleet,
    agent: &AgentId,
    course: Course,
    now: Timestamp,
) -> Result<(), FleetError> {
    for end in course.ends {
        let (id, is_failure) = (end.action.action.clone(), end.outcome != ActionOutcome::Succeeded);
        if is_failure {
            log::warn!(
                "fleet.agent.id":% = agent, "fleet.action.id":% = id;
                "upgrade ended without success: {}", end.reason.as_deref().unwrap_or_default()
            );
        } else {
            log::info!("fleet.agent.id":% = agent, "fleet.action.id":% = id; "agent upgraded");
        }
        let result = ActionResult {
            action: id,
            agent: agent.clone(),
            timestamp: now.to_seconds_text(),
            received_at: now,
            outcome: end.outcome,
            error: end.reason,
            namespaces: end.action.namespaces,
            details: None,
        };
        fleet.store.replace_result(result).await?;
    }
    if let Some(change) = course.change {
        fleet.store.change_upgrade(agent, change, now).await?;
    }
    Ok(())
}
