//! Agents as operators look at them and end them (data.md 9.2).

use serde_json::{Value, json};
use store::{
    AgentId, AgentQuery, AgentSort, Page, PageRequest, PageStart, PolicyId, StatusCounts, StatusReport,
    StoreError, Timestamp,
};

use crate::{
    Fleet, FleetError,
    actions::{self, ActionDraft, ActionKind},
    audit_log, opamp,
};

/// One page of agents with their state.
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

/// Moves the agents to another policy; polls of theirs that wait are answered with it. Answers how many were moved.
///
/// # Errors
/// [`FleetError::UnknownPolicy`], [`FleetError::UnknownAgent`] and [`FleetError::AgentInactive`] (none is moved then),
/// or the store's fault.
pub async fn reassign(
    fleet: &Fleet,
    agents: Vec<AgentId>,
    policy: &PolicyId,
    now: Timestamp,
) -> Result<u64, FleetError> {
    let mut before = Vec::new();
    for id in &agents {
        match fleet.store.agent(id).await? {
            Some(agent) if agent.is_active => before.push(agent.policy),
            Some(_) => return Err(FleetError::AgentInactive { agent: id.clone() }),
            None => return Err(FleetError::UnknownAgent { agent: id.clone() }),
        }
    }
    let was = match before.as_slice() {
        [only] => json!({ "policy_id": only }),
        _ => Value::Null,
    };
    due(fleet, &agents, was, &json!({ "policy_id": policy }));
    moved(fleet, &agents, policy, now).await
}

/// The next write changes these agents.
fn due(fleet: &Fleet, agents: &[AgentId], before: Value, after: &Value) {
    match agents {
        [agent] => audit_log::due(fleet, "agent", agent.as_str(), before, after.clone()),
        _ => {
            let mut after = after.clone();
            after["agents"] = agents.len().into();
            after["ids"] = json!(agents.iter().take(NAMED).collect::<Vec<_>>());
            audit_log::due(fleet, "agents", "", before, after);
        }
    }
}

/// Agents that an entry of the audit log names; of more it has the number.
const NAMED: usize = 100;

/// Moves all active agents of the query, those that the store knows to be active when their turn comes.
///
/// # Errors
/// [`FleetError::UnknownPolicy`], or the store's fault; agents that were moved before it stay moved.
pub async fn reassign_all(
    fleet: &Fleet,
    query: AgentQuery,
    policy: &PolicyId,
    now: Timestamp,
) -> Result<u64, FleetError> {
    // All are found before the first is moved: a move may take an agent out of the query, or into it.
    let found = matching(fleet, query, now).await?;
    let mut count = moved(fleet, &[], policy, now).await?;
    let ids: Vec<_> = found.iter().map(|agent| agent.id.clone()).collect();
    due(fleet, &ids, Value::Null, &json!({ "policy_id": policy }));
    for agents in found.chunks(BATCH) {
        let agents: Vec<_> = agents.iter().map(|agent| agent.id.clone()).collect();
        count += moved(fleet, &agents, policy, now).await?;
    }
    Ok(count)
}

/// The active agents of the query that take actions.
///
/// # Errors
/// The store's fault.
pub async fn who_take_actions(
    fleet: &Fleet,
    query: AgentQuery,
    now: Timestamp,
) -> Result<Vec<AgentId>, FleetError> {
    let found = matching(fleet, query, now).await?;
    let able = found
        .into_iter()
        .filter(|agent| agent.is_active && agent.kind != opamp::KIND);
    Ok(able.map(|agent| agent.id).collect())
}

/// All agents of the query.
async fn matching(fleet: &Fleet, query: AgentQuery, now: Timestamp) -> Result<Vec<Found>, FleetError> {
    let query = AgentQuery {
        sort: AgentSort::Id,
        ..query
    };
    let mut found = Vec::new();
    let mut next = Some(PageRequest::first(BATCH as u32));
    while let Some(page) = next {
        let agents = fleet.store.agents(&query, page, now).await?;
        found.extend(agents.items.into_iter().map(|report| Found {
            id: report.agent.id,
            is_active: report.agent.is_active,
            kind: report.agent.kind,
        }));
        next = agents.next.map(|position| PageRequest {
            from: PageStart::After(position),
            limit: BATCH as u32,
        });
    }
    Ok(found)
}

/// What is kept of an agent that was found.
struct Found {
    id: AgentId,
    is_active: bool,
    kind: String,
}

async fn moved(
    fleet: &Fleet,
    agents: &[AgentId],
    policy: &PolicyId,
    now: Timestamp,
) -> Result<u64, FleetError> {
    let moved = fleet.store.reassign(agents, policy, now).await;
    let count = moved.map_err(|error| match error {
        StoreError::NotFound { .. } => FleetError::UnknownPolicy {
            policy: policy.clone(),
        },
        other => FleetError::Store(other),
    })?;
    if count > 0 {
        log::info!(
            "event.action" = "reassign", "fleet.policy.id":% = policy, "agents" = count;
            "agents assigned to another policy"
        );
    }
    Ok(count)
}

/// Agents that are read or moved at once.
const BATCH: usize = 1000;

/// Asks the agent to unenrol: an UNENROLL action; it stays active until it acknowledges. One that speaks OpAMP, which
/// knows no actions, is unenrolled at once.
///
/// # Errors
/// [`FleetError::UnknownAgent`], or the store's fault.
pub async fn unenroll(fleet: &Fleet, id: &AgentId, now: Timestamp) -> Result<(), FleetError> {
    let agent = fleet.store.agent(id).await?;
    if agent.is_some_and(|agent| agent.kind == opamp::KIND) {
        return force_unenroll(fleet, id, now).await;
    }
    let draft = ActionDraft::new(ActionKind::Unenroll);
    actions::post(fleet, vec![id.clone()], draft, now).await.map(drop)
}

/// Ends the agent at once: its keys are dead and its open poll is answered.
///
/// # Errors
/// [`FleetError::UnknownAgent`], or the store's fault.
pub async fn force_unenroll(fleet: &Fleet, id: &AgentId, now: Timestamp) -> Result<(), FleetError> {
    audit_log::due(
        fleet,
        "agent",
        id.as_str(),
        Value::Null,
        json!({ "active": false }),
    );
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
