//! Actions as operators post them: checked like an agent would read them, then appended (agents.md 6.4, data.md 9.3).
//!
//! What differs by type is in the modules below, one for each question: what must be given (`check`), when it runs
//! (`schedule`), how it is delivered (`deliver`), what an acknowledgement changes (`ack`).

pub(crate) mod ack;
mod check;
pub(crate) mod deliver;
mod kind;
mod progress;
mod schedule;

use std::collections::HashSet;

use serde_json::{Value, json};
use store::{
    Action, ActionDocId, ActionId, ActionResult, AgentId, NewAction, Page, PageRequest, RawJson, Recall,
    StoreError, Timestamp,
};

pub use deliver::DeliveredAction;
pub use kind::ActionKind;
pub use progress::{ActionState, Progress};

use self::schedule::Schedule;
use crate::{Fleet, FleetError, audit_log, opamp, secret_references, secrets, upgrades};

/// An action to be posted.
#[derive(Clone, Debug)]
pub struct ActionDraft {
    /// Type.
    pub kind: ActionKind,
    /// Payload by type.
    pub data: Option<RawJson>,
    /// INPUT_ACTION only.
    pub input_type: Option<String>,
    /// When it ends; absent: in 30 days, or some time after its last start.
    pub expiration: Option<Timestamp>,
    /// Earliest execution, of UPGRADE only; absent with a roll-out: now.
    pub start_time: Option<Timestamp>,
    /// Spread of the start over the targets, seconds, of UPGRADE only; 0: none.
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

impl ActionDraft {
    /// A draft of this type that says nothing else.
    #[must_use]
    pub const fn new(kind: ActionKind) -> Self {
        Self {
            kind,
            data: None,
            input_type: None,
            expiration: None,
            start_time: None,
            rollout_duration_seconds: None,
            timeout: None,
            signed: None,
            user_id: None,
            traceparent: None,
        }
    }
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
    let invalid = |reason| FleetError::InvalidAction { reason };
    check::check(&draft).map_err(invalid)?;
    let targets = unique(targets)?;
    let Schedule {
        start_time,
        rollout_duration_seconds,
        expiration,
    } = Schedule::of(&draft, targets.len(), now).map_err(invalid)?;
    let id = ActionId::from(uuid::Uuid::new_v4().to_string());
    let mut recall = recall(fleet, &draft, &id).await?;
    let mut namespaces = Vec::new();
    for id in &targets {
        match fleet.store.agent(id).await? {
            Some(agent) if agent.kind == opamp::KIND => {
                return Err(FleetError::InvalidAction {
                    reason: format!("agent {id} speaks OpAMP and takes no actions"),
                });
            }
            Some(agent) if agent.is_active => {
                // What it says it is at, it has.
                if let Some(recall) = recall
                    .as_mut()
                    .filter(|recall| !upgrades::is_at(&agent, &recall.action))
                {
                    recall.agents.push(id.clone());
                }
                namespaces.extend(agent.namespaces);
            }
            Some(_) => return Err(FleetError::AgentInactive { agent: id.clone() }),
            None => return Err(FleetError::UnknownAgent { agent: id.clone() }),
        }
    }
    namespaces.sort_unstable();
    namespaces.dedup();
    let doc = ActionDocId::from(uuid::Uuid::new_v4().to_string());
    // No secret that it refers to goes before it is there.
    let _in_turn = match &draft.data {
        Some(data) if secret_references::may_refer(data.as_str()) => Some(fleet.policy_changes.lock().await),
        _ => None,
    };
    let (data, secrets) = match draft.data {
        Some(data) => {
            refers_to_secrets(fleet, &data).await?;
            let (data, secrets) = secrets::hide(fleet, draft.kind, data, &doc, now)?;
            (Some(data), secrets)
        }
        None => (None, Vec::new()),
    };
    let new = NewAction {
        doc,
        action: id,
        is_deliverable: true,
        agents: targets,
        mark: draft.kind.mark(),
        input_type: draft.input_type,
        data,
        at: now,
        expiration: Some(expiration),
        start_time,
        rollout_duration_seconds,
        timeout: draft.timeout,
        user_id: draft.user_id,
        namespaces,
        signed: draft.signed,
        traceparent: draft.traceparent,
        kind: draft.kind.as_str().to_owned(),
        secrets,
        recall,
    };
    let count = new.agents.len();
    let (kind, id) = match new.agents.as_slice() {
        [only] => ("agent", only.as_str()),
        _ => ("action", new.action.as_str()),
    };
    let made = json!({ "action_id": new.action, "type": new.kind, "agents": count });
    audit_log::due(fleet, kind, id, Value::Null, made);
    let written = fleet.store.append_actions(vec![new]).await?;
    let action = written
        .into_iter()
        .next()
        .ok_or_else(|| StoreError::corrupt("an appended action was not answered"))?;
    log::info!(
        "event.action" = "action-post", "fleet.action.id":% = action.action,
        "fleet.action.type" = action.kind.as_str(), "agents" = count; "action posted"
    );
    Ok(action)
}

/// What a CANCEL takes back, from nobody yet. An action that is not known cannot be meant.
async fn recall(fleet: &Fleet, draft: &ActionDraft, cancel: &ActionId) -> Result<Option<Recall>, FleetError> {
    let target = check::text(draft, "target_id").filter(|_| draft.kind == ActionKind::Cancel);
    let Some(target) = target.map(ActionId::from) else {
        return Ok(None);
    };
    match fleet.store.action(&target).await? {
        Some(_) => Ok(Some(Recall {
            action: target,
            agents: Vec::new(),
            reason: format!("cancelled by action {cancel} before the agent got it"),
        })),
        None => Err(FleetError::InvalidAction {
            reason: format!("data.target_id: action {target} does not exist"),
        }),
    }
}

/// Whether the secrets exist that the data refer to.
async fn refers_to_secrets(fleet: &Fleet, data: &RawJson) -> Result<(), FleetError> {
    if !secret_references::may_refer(data.as_str()) {
        return Ok(());
    }
    let ids = data.read().map(|data| secret_references::of_value(&data));
    let existing = secrets::must_exist(fleet, ids.unwrap_or_default()).await;
    existing.map_err(|error| match error {
        FleetError::UnknownSecret { .. } => FleetError::InvalidAction {
            reason: format!("data: {error}"),
        },
        other => other,
    })
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

/// How far it has come.
///
/// # Errors
/// [`FleetError::UnknownAction`], or the store's fault.
pub async fn progress(fleet: &Fleet, id: &ActionId) -> Result<Progress, FleetError> {
    let expiration = known(fleet, id).await?.expiration;
    let counts = fleet.store.action_progress(id).await?;
    Ok(Progress { counts, expiration })
}

async fn known(fleet: &Fleet, id: &ActionId) -> Result<Action, FleetError> {
    let action = fleet.store.action(id).await?;
    action.ok_or_else(|| FleetError::UnknownAction { action: id.clone() })
}
