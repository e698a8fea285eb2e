//! What an operator must give, by type: what agents would refuse is refused here, so that one bad action never blocks
//! an agent's list (agents.md 6.4).

use serde_json::{Map, Value};
use store::RawJson;

use super::{ActionDraft, ActionKind, deliver};
use crate::versions;

/// Refuses a draft that agents could not run.
pub(super) fn check(draft: &ActionDraft) -> Result<(), String> {
    if draft.timeout.is_some_and(|timeout| timeout < 0) {
        return Err("timeout must not be negative".into());
    }
    if draft.input_type.is_some() && draft.kind != ActionKind::InputAction {
        return Err("input_type is for INPUT_ACTION only".into());
    }
    let delivered = deliver::data(draft.kind, draft.data.as_ref())?;
    reaches_agents("data", &value(draft.data.as_ref()), &value(delivered.as_ref()))?;
    deliver::signed(draft.signed.as_ref())?;
    match draft.kind {
        ActionKind::Settings => log_level(draft),
        ActionKind::Upgrade => match text(draft, "version").filter(|version| !version.is_empty()) {
            Some(version) => versions::check_upgrade(&version),
            None => Err("data.version is missing".into()),
        },
        ActionKind::InputAction => input_action(draft),
        ActionKind::Cancel => required(draft, &["target_id"], "data.target_id is missing"),
        ActionKind::Migrate => required(
            draft,
            &["target_uri", "enrollment_token"],
            "data.target_uri and data.enrollment_token are required",
        ),
        ActionKind::PolicyReassign
        | ActionKind::RequestDiagnostics
        | ActionKind::Unenroll
        | ActionKind::PrivilegeLevelChange => Ok(()),
    }
}

fn value(data: Option<&RawJson>) -> Value {
    data.and_then(|data| data.read().ok()).unwrap_or_default()
}

/// Whether all that was given is among what agents get: a misspelt member is told instead of dropped.
fn reaches_agents(path: &str, given: &Value, delivered: &Value) -> Result<(), String> {
    let Value::Object(given) = given else {
        return Ok(());
    };
    for (name, value) in given.iter().filter(|(_, value)| !value.is_null()) {
        match delivered.get(name) {
            // It is sent as `source_uri`, as agents call it.
            None if path == "data" && name == "sourceURI" && delivered.get("source_uri").is_some() => {}
            None => {
                return Err(format!(
                    "{path}.{name} is not known: agents of this type of action do not get it"
                ));
            }
            Some(sent) => reaches_agents(&format!("{path}.{name}"), value, sent)?,
        }
    }
    Ok(())
}

/// `trace` and `warn` are errors to the agent, without an ack (agents.md 6.4).
fn log_level(draft: &ActionDraft) -> Result<(), String> {
    match text(draft, "log_level") {
        Some(level) if !LOG_LEVELS.contains(&level.to_ascii_lowercase().as_str()) => {
            Err(format!("log_level {level} is none of {}", LOG_LEVELS.join(", ")))
        }
        _ => Ok(()),
    }
}

fn input_action(draft: &ActionDraft) -> Result<(), String> {
    // Agents do not run it then (agents.md 6.4).
    if draft.timeout.is_some_and(|timeout| timeout > 3600) {
        return Err("timeout must be at most 3600 seconds".into());
    }
    match draft.input_type.as_deref() {
        None | Some("") => Err("input_type is missing".into()),
        Some(_) => Ok(()),
    }
}

/// These members of `data` must have text.
fn required(draft: &ActionDraft, keys: &[&str], or: &str) -> Result<(), String> {
    if keys
        .iter()
        .all(|key| text(draft, key).is_some_and(|text| !text.is_empty()))
    {
        Ok(())
    } else {
        Err(or.to_owned())
    }
}

pub(super) fn text(draft: &ActionDraft, key: &str) -> Option<String> {
    let data: Map<String, Value> = draft.data.as_ref()?.read().ok()?;
    Some(data.get(key)?.as_str()?.to_owned())
}

const LOG_LEVELS: [&str; 5] = ["debug", "info", "warning", "error", "critical"];

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(kind: ActionKind, data: &str) -> bool {
        let draft = ActionDraft {
            data: (!data.is_empty()).then(|| RawJson::parse(data.to_owned()).unwrap()),
            ..ActionDraft::new(kind)
        };
        check(&draft).is_err()
    }

    #[test]
    fn what_agents_reject_is_refused_at_once() {
        for (kind, data) in [
            (ActionKind::Settings, r#"{"log_level":"trace"}"#),
            (ActionKind::Settings, r#"{"log_level":"warn"}"#),
            (ActionKind::Upgrade, r#"{"version":""}"#),
            (ActionKind::Upgrade, ""),
            (ActionKind::InputAction, "{}"),
            (ActionKind::Cancel, "{}"),
            (ActionKind::Migrate, r#"{"target_uri":"u"}"#),
        ] {
            assert!(refused(kind, data), "{kind:?} {data}");
        }
        // What would be dropped on the way is no part of an action.
        for (kind, data) in [
            (ActionKind::Upgrade, r#"{"version":"9.6.0","sourceUrl":"u"}"#),
            (ActionKind::Unenroll, r#"{"force":true}"#),
            (
                ActionKind::PrivilegeLevelChange,
                r#"{"unprivileged":true,"user_info":{"user":"u"}}"#,
            ),
        ] {
            assert!(refused(kind, data), "{kind:?} {data}");
        }
        assert!(!refused(
            ActionKind::Upgrade,
            r#"{"version":"9.6.0","sourceURI":"u","rollback":null}"#
        ));
        assert!(!refused(ActionKind::Settings, r#"{"log_level":"Debug"}"#));
        assert!(!refused(ActionKind::Unenroll, ""));
        assert!(!refused(ActionKind::RequestDiagnostics, ""));
    }
}
