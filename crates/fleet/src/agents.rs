//! Agents as operators look at them and end them (data.md 9.2).

use store::{AgentId, AgentQuery, Page, PageRequest, StatusCounts, StatusReport, StoreError, Timestamp};

use crate::{
    Fleet, FleetError,
    actions::{self, ActionDraft, ActionKind},
};

/// One page of agents with their state.
///
/// # Errors
/// The store's fault.
pub async fn list(
    fleet: &Fleet,
    query: &AgentQuery,
    page: PageRequest,
    now: Timestamp,
) -> Result<Page<StatusReport>, FleetError> {
    fleet.actors.checkin_writer.publish().await;
    Ok(fleet.store.agents(query, page, now).await?)
}

/// How many agents have each state.
///
/// # Errors
/// The store's fault.
pub async fn counts(fleet: &Fleet, query: &AgentQuery, now: Timestamp) -> Result<StatusCounts, FleetError> {
    fleet.actors.checkin_writer.publish().await;
    Ok(fleet.store.count_by_status(query, now).await?)
}

/// The agent with its state.
///
/// # Errors
/// [`FleetError::UnknownAgent`], or the store's fault.
pub async fn get(fleet: &Fleet, id: &AgentId, now: Timestamp) -> Result<StatusReport, FleetError> {
    fleet.actors.checkin_writer.publish().await;
    fleet
        .store
        .agent_status(id, now)
        .await?
        .ok_or_else(|| FleetError::UnknownAgent { agent: id.clone() })
}

/// Asks the agent to unenrol: an UNENROLL action; it stays active until it acknowledges.
///
/// # Errors
/// [`FleetError::UnknownAgent`], or the store's fault.
pub async fn unenroll(fleet: &Fleet, id: &AgentId, now: Timestamp) -> Result<(), FleetError> {
    let draft = ActionDraft::new(ActionKind::Unenroll);
    actions::post(fleet, vec![id.clone()], draft, now).await.map(drop)
}

/// Ends the agent at once: its keys are dead and its open poll is answered.
///
/// # Errors
/// [`FleetError::UnknownAgent`], or the store's fault.
pub async fn force_unenroll(fleet: &Fleet, id: &AgentId, now: Timestamp) -> Result<(), FleetError> {
    fleet
        .store
        .unenroll(id, Some("manual"), now)
        .await
        .map_err(|error| match error {
            StoreError::NotFound { .. } => FleetError::UnknownAgent { agent: id.clone() },
            other => FleetError::Store(other),
        })?;
    log::info!("event.action" = "force-unenroll", "fleet.agent.id":% = id; "agent unenrolled by force");
    Ok(())
}
