//! Actions as operators post them: checked like an agent would read them, then appended (data-model 7.3).

use std::{collections::HashSet, time::Duration};

use store::{
    Action, ActionDocId, ActionId, ActionProgress, ActionResult, AgentId, AgentMark, NewAction, Page,
    PageRequest, RawJson, StoreError, Timestamp,
};

use crate::{Fleet, FleetError, delivery};

/// An action to be posted.
#[derive(Clone, Debug, Default)]
pub struct ActionDraft {
    /// Type, one of http-api 2.3.7.
    pub kind: String,
    /// Payload by type.
    pub data: Option<RawJson>,
    /// INPUT_ACTION only.
    pub input_type: Option<String>,
    /// When it ends; absent: in 30 days.
    pub expiration: Option<Timestamp>,
    /// Earliest execution.
    pub start_time: Option<Timestamp>,
    /// Spread of the start over the targets, seconds.
    pub rollout_duration_seconds: Option<u32>,
    /// Seconds that the agent may take.
    pub timeout: Option<i64>,
    /// `{data, signature}`.
    pub signed: Option<RawJson>,
    /// Author.
    pub user_id: Option<String>,
    /// W3C trace context, passed on to the agent.
    pub traceparent: Option<String>,
}

/// Posts the action to the agents.
///
/// # Errors
/// [`FleetError::InvalidAction`], [`FleetError::UnknownAgent`], or the store's fault.
pub async fn post(
    fleet: &Fleet,
    targets: Vec<AgentId>,
    draft: ActionDraft,
    now: Timestamp,
) -> Result<Action, FleetError> {
    let mark = match draft.kind.as_str() {
        "UNENROLL" => Some(AgentMark::UnenrollmentStarted),
        "UPGRADE" => Some(AgentMark::UpgradeStarted),
        _ => None,
    };
    append(fleet, targets, draft, mark, now).await
}

pub(crate) async fn append(
    fleet: &Fleet,
    targets: Vec<AgentId>,
    draft: ActionDraft,
    mark: Option<AgentMark>,
    now: Timestamp,
) -> Result<Action, FleetError> {
    check(&draft, now)?;
    let targets = unique(targets)?;
    let mut namespaces = Vec::new();
    for id in &targets {
        match fleet.store.agent(id).await? {
            Some(agent) if agent.is_active => namespaces.extend(agent.namespaces),
            Some(_) => return Err(FleetError::AgentInactive { agent: id.clone() }),
            None => return Err(FleetError::UnknownAgent { agent: id.clone() }),
        }
    }
    namespaces.sort_unstable();
    namespaces.dedup();
    let new = NewAction {
        doc: ActionDocId::from(uuid::Uuid::new_v4().to_string()),
        action: ActionId::from(uuid::Uuid::new_v4().to_string()),
        is_deliverable: true,
        agents: targets,
        mark,
        input_type: draft.input_type,
        data: draft.data,
        at: now,
        expiration: Some(draft.expiration.unwrap_or_else(|| now.plus(DEFAULT_LIFE))),
        start_time: draft.start_time,
        rollout_duration_seconds: draft.rollout_duration_seconds,
        timeout: draft.timeout,
        user_id: draft.user_id,
        namespaces,
        signed: draft.signed,
        traceparent: draft.traceparent,
        kind: draft.kind,
    };
    let count = new.agents.len();
    let written = fleet.store.append_actions(vec![new]).await?;
    let action = written.into_iter().next().ok_or_else(|| StoreError::Corrupt {
        detail: "an appended action was not answered".to_owned(),
    })?;
    log::info!(
        "event.action" = "action-post", "fleet.action.id":% = action.action,
        "fleet.action.type" = action.kind.as_str(), "agents" = count; "action posted"
    );
    Ok(action)
}

/// Each target once, in the order given.
fn unique(targets: Vec<AgentId>) -> Result<Vec<AgentId>, FleetError> {
    let mut seen = HashSet::new();
    let targets: Vec<_> = targets.into_iter().filter(|id| seen.insert(id.clone())).collect();
    if targets.is_empty() {
        return Err(FleetError::InvalidAction {
            reason: "it has no target".into(),
        });
    }
    Ok(targets)
}

/// Refuses what agents would refuse, so that one bad action never blocks an agent's list (agent-client 3.3).
fn check(draft: &ActionDraft, now: Timestamp) -> Result<(), FleetError> {
    let invalid = |reason: String| Err(FleetError::InvalidAction { reason });
    if draft.expiration.is_some_and(|at| at <= now) {
        return invalid("expiration has passed".into());
    }
    if !delivery::DELIVERABLE.contains(&draft.kind.as_str()) {
        return invalid(format!(
            "type \"{}\" is none of {}",
            draft.kind,
            delivery::DELIVERABLE.join(", ")
        ));
    }
    if draft.timeout.is_some_and(|timeout| timeout < 0) {
        return invalid("timeout must not be negative".into());
    }
    if let Err(reason) = delivery::check_data(&draft.kind, draft.data.as_ref()) {
        return invalid(reason);
    }
    if let Err(reason) = delivery::check_signed(draft.signed.as_ref()) {
        return invalid(reason);
    }
    let text = |key: &str| {
        let data: serde_json::Value = draft.data.as_ref()?.read().ok()?;
        Some(data.get(key)?.as_str()?.to_owned())
    };
    match draft.kind.as_str() {
        // `trace` and `warn` are errors to the agent, without an ack (agent-client 4.2).
        "SETTINGS" => match text("log_level") {
            Some(level) if !LOG_LEVELS.contains(&level.to_ascii_lowercase().as_str()) => {
                invalid(format!("log_level {level} is none of {}", LOG_LEVELS.join(", ")))
            }
            _ => Ok(()),
        },
        "UPGRADE" if text("version").is_none_or(|version| version.is_empty()) => {
            invalid("data.version is missing".into())
        }
        // Agents do not run it then (agent-client 4.5).
        "INPUT_ACTION" if draft.timeout.is_some_and(|timeout| timeout > 3600) => {
            invalid("timeout must be at most 3600 seconds".into())
        }
        "INPUT_ACTION" if draft.input_type.as_deref().is_none_or(str::is_empty) => {
            invalid("input_type is missing".into())
        }
        "CANCEL" if text("target_id").is_none_or(|id| id.is_empty()) => {
            invalid("data.target_id is missing".into())
        }
        "MIGRATE"
            if ["target_uri", "enrollment_token"]
                .iter()
                .any(|key| text(key).is_none_or(|t| t.is_empty())) =>
        {
            invalid("data.target_uri and data.enrollment_token are required".into())
        }
        _ => Ok(()),
    }
}

/// Agents' answers, oldest first.
///
/// # Errors
/// [`FleetError::UnknownAction`], or the store's fault.
pub async fn results(
    fleet: &Fleet,
    id: &ActionId,
    page: PageRequest,
) -> Result<Page<ActionResult>, FleetError> {
    known(fleet, id).await?;
    Ok(fleet.store.results(id, page).await?)
}

/// Targets and answers counted.
///
/// # Errors
/// [`FleetError::UnknownAction`], or the store's fault.
pub async fn progress(fleet: &Fleet, id: &ActionId) -> Result<ActionProgress, FleetError> {
    known(fleet, id).await?;
    Ok(fleet.store.action_progress(id).await?)
}

async fn known(fleet: &Fleet, id: &ActionId) -> Result<(), FleetError> {
    match fleet.store.action(id).await? {
        Some(_) => Ok(()),
        None => Err(FleetError::UnknownAction { action: id.clone() }),
    }
}

const LOG_LEVELS: [&str; 5] = ["debug", "info", "warning", "error", "critical"];
const DEFAULT_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(kind: &str, data: &str) -> bool {
        let draft = ActionDraft {
            kind: kind.to_owned(),
            data: (!data.is_empty()).then(|| RawJson::parse(data.to_owned()).unwrap()),
            ..ActionDraft::default()
        };
        check(&draft, Timestamp::from_millis(0)).is_err()
    }

    #[test]
    fn what_agents_reject_is_refused_at_once() {
        for (kind, data) in [
            ("SETTINGS", r#"{"log_level":"trace"}"#),
            ("SETTINGS", r#"{"log_level":"warn"}"#),
            ("UPGRADE", r#"{"version":""}"#),
            ("UPGRADE", ""),
            ("INPUT_ACTION", "{}"),
            ("CANCEL", "{}"),
            ("MIGRATE", r#"{"target_uri":"u"}"#),
            ("UPDATE_TAGS", "{}"),
            ("POLICY_CHANGE", "{}"),
            ("", "{}"),
        ] {
            assert!(refused(kind, data), "{kind} {data}");
        }
        assert!(!refused("SETTINGS", r#"{"log_level":"Debug"}"#));
        assert!(!refused("UNENROLL", ""));
        assert!(!refused("REQUEST_DIAGNOSTICS", ""));
    }
}
