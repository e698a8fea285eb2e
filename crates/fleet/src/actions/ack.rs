//! What an acknowledgement changes, by type (agents.md 7.2). Pure.

use serde::Serialize;
use store::{ActionOutcome, RawJson};

use super::ActionKind;

/// One event of an ack request.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the members of agents.md 8.7")]
pub struct AckEvent {
    pub action_id: String,
    /// Id of the agent that sends it; may be empty.
    pub agent_id: String,
    pub timestamp: Option<String>,
    /// Present (even empty): it failed.
    pub error: Option<String>,
    /// UPGRADE only: whether a failed one is tried again.
    pub retries: Option<bool>,
    pub data: Option<RawJson>,
    pub action_input_type: Option<String>,
    pub action_data: Option<RawJson>,
    pub action_response: Option<RawJson>,
    pub started_at: Option<String>,
    pub completed_at: Option<String>,
}

/// What an acknowledgement changes beside the result that is stored for it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing.
    None,
    /// The agent's upgrade has ended without success.
    EndsUpgrade,
    /// The agent is gone: its keys end.
    EndsAgent,
}

impl Effect {
    /// The effect of this event on an action of this type.
    pub(crate) fn of(kind: ActionKind, event: &AckEvent) -> Self {
        let is_error = event.error.is_some();
        match kind {
            ActionKind::Upgrade if is_error && event.retries != Some(true) => Self::EndsUpgrade,
            ActionKind::Unenroll | ActionKind::Migrate if is_error => Self::None,
            ActionKind::Unenroll | ActionKind::Migrate => Self::EndsAgent,
            ActionKind::Cancel
            | ActionKind::InputAction
            | ActionKind::PolicyReassign
            | ActionKind::RequestDiagnostics
            | ActionKind::Settings
            | ActionKind::Upgrade
            | ActionKind::PrivilegeLevelChange => Self::None,
        }
    }
}

/// What the acknowledgement says came of the action. Agents acknowledge an upgrade without an error that has failed
/// (agents.md 7.4), and one with an error that they try again: neither is an end.
pub(crate) fn outcome(kind: Option<ActionKind>, event: &AckEvent) -> ActionOutcome {
    match (kind, event.error.is_some()) {
        (Some(ActionKind::Upgrade), false) => ActionOutcome::Acknowledged,
        (Some(ActionKind::Upgrade), true) if event.retries == Some(true) => ActionOutcome::Acknowledged,
        (_, false) => ActionOutcome::Succeeded,
        (_, true) => ActionOutcome::Failed,
    }
}

/// The details of an answer to an action that had been taken back; the rest of them stays byte for byte.
pub(crate) fn cancelled(details: Option<RawJson>) -> Option<RawJson> {
    const MARK: &str = r#"{"cancelled":true}"#;
    let rest = details
        .as_ref()
        .and_then(|details| details.as_str().strip_prefix('{'));
    let text = match rest {
        Some(rest) if rest != "}" => format!("{},{rest}", MARK.trim_end_matches('}')),
        _ => MARK.to_owned(),
    };
    RawJson::parse(text).ok().or(details)
}

/// Members of the stored result (data.md 1.4).
pub(crate) fn details(kind: ActionKind, event: AckEvent) -> Option<RawJson> {
    #[derive(Serialize)]
    struct Diagnostics {
        data: Option<RawJson>,
    }
    #[derive(Serialize)]
    struct Input {
        action_input_type: Option<String>,
        action_data: Option<RawJson>,
        action_response: Option<RawJson>,
        started_at: Option<String>,
        completed_at: Option<String>,
    }
    match kind {
        ActionKind::RequestDiagnostics => RawJson::from_value(&Diagnostics { data: event.data }).ok(),
        ActionKind::InputAction => RawJson::from_value(&Input {
            action_input_type: event.action_input_type,
            action_data: event.action_data,
            action_response: event.action_response,
            started_at: event.started_at,
            completed_at: event.completed_at,
        })
        .ok(),
        ActionKind::Cancel
        | ActionKind::PolicyReassign
        | ActionKind::Settings
        | ActionKind::Unenroll
        | ActionKind::Upgrade
        | ActionKind::Migrate
        | ActionKind::PrivilegeLevelChange => None,
    }
}
