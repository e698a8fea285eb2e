//! Actions as an agent gets them, by type (agents.md 6.2 and 6.3). Pure.
//!
//! One wrong type makes an agent drop its whole list, so data is read into types here, and what does not fit
//! is refused instead of sent.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{Action, ActionDocId, ActionId, FromObject, PendingAction, RawJson, Timestamp};

use super::ActionKind;
use crate::secret_references::{self, Values};

/// What one check-in delivers of an agent's due actions.
pub(crate) struct Delivery {
    /// Confirms all up to the last one that was looked at.
    pub(crate) ack_token: ActionDocId,
    pub(crate) actions: Vec<DeliveredAction>,
    pub(crate) refused: Vec<Refused>,
}

/// An action that no agent could read.
pub(crate) struct Refused {
    pub(crate) action: ActionId,
    pub(crate) namespaces: Vec<String>,
    pub(crate) reason: String,
}

impl Delivery {
    /// Makes one list of what is due, oldest first; `None` if nothing is.
    pub(crate) fn of(due: Vec<PendingAction>, secrets: &Values) -> Option<Self> {
        let (mut last, mut actions, mut refused) = (None, Vec::with_capacity(due.len()), Vec::new());
        for pending in due {
            let (doc, action) = (pending.action.doc.clone(), pending.action.action.clone());
            let namespaces = pending.action.namespaces.clone();
            match DeliveredAction::new(pending, secrets) {
                Ok(delivered) if is_second(&delivered, &actions) => break,
                Ok(delivered) => actions.push(delivered),
                Err(reason) => refused.push(Refused {
                    action,
                    namespaces,
                    reason,
                }),
            }
            last = Some(doc);
        }
        Some(Self {
            ack_token: last?,
            actions,
            refused,
        })
    }
}

/// Whether an agent would drop the action in silence, as the list holds one of its type: it waits for the next
/// check-in.
fn is_second(action: &DeliveredAction, before: &[DeliveredAction]) -> bool {
    let comes_once = match action.kind {
        ActionKind::Upgrade => true,
        ActionKind::Cancel
        | ActionKind::InputAction
        | ActionKind::PolicyReassign
        | ActionKind::RequestDiagnostics
        | ActionKind::Settings
        | ActionKind::Unenroll
        | ActionKind::Migrate
        | ActionKind::PrivilegeLevelChange => false,
    };
    comes_once && before.iter().any(|earlier| earlier.kind == action.kind)
}

/// An action as one agent gets it.
#[derive(Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub struct DeliveredAction {
    /// Its id, which the agent acknowledges.
    pub id: ActionId,
    pub kind: ActionKind,
    pub created_at: Timestamp,
    pub expiration: Option<Timestamp>,
    /// Earliest execution, of this agent.
    pub start_time: Option<Timestamp>,
    /// Input that executes it; empty if none does.
    pub input_type: String,
    /// Seconds that the agent may take.
    pub timeout: Option<i64>,
    pub traceparent: Option<String>,
    /// Its data as agents read them; `None`: `null`.
    pub data: Option<RawJson>,
    /// `{data, signature}`.
    pub signed: Option<RawJson>,
}

impl DeliveredAction {
    /// The action for one agent.
    ///
    /// # Errors
    /// What in it no agent could read.
    fn new(pending: PendingAction, secrets: &Values) -> Result<Self, String> {
        let PendingAction {
            action,
            index,
            targets,
        } = pending;
        let kind = ActionKind::named(&action.kind)
            .ok_or_else(|| format!("type {} is not sent to agents", action.kind))?;
        let data = data(kind, action.data.as_ref())?
            .map(|data| with_secrets(data, secrets))
            .transpose()?;
        let signed = signed(action.signed.as_ref())?;
        Ok(Self {
            created_at: action.at,
            expiration: action.expiration,
            start_time: start_time(&action, index, targets),
            timeout: action.timeout.filter(|timeout| *timeout != 0),
            id: action.action,
            kind,
            input_type: action.input_type.unwrap_or_default(),
            traceparent: action.traceparent,
            data,
            signed,
        })
    }
}

/// The start spread over the targets: `start + duration × index / targets` (C8).
fn start_time(action: &Action, index: u32, targets: u32) -> Option<Timestamp> {
    let rollout = action.rollout_duration_seconds;
    action
        .start_time
        .map(|start| spread(start, rollout, index, targets))
}

pub(super) fn spread(start: Timestamp, rollout_seconds: Option<u32>, index: u32, targets: u32) -> Timestamp {
    let rollout = Duration::from_secs(u64::from(rollout_seconds.unwrap_or(0)));
    start.plus(rollout * index / targets.max(1))
}

/// An action's signature member as agents read it.
pub(super) fn signed(stored: Option<&RawJson>) -> Result<Option<RawJson>, String> {
    #[derive(Serialize, Deserialize)]
    struct Signed {
        data: String,
        signature: String,
    }
    let stored = stored.filter(|signed| signed.as_str() != "null");
    let signed = stored.map(|signed| {
        signed
            .read::<FromObject<Signed>>()
            .and_then(|signed| RawJson::from_value(&signed))
    });
    signed.transpose().map_err(|error| format!("signed: {error}"))
}

/// The data as agents read them: unknown members are dropped.
pub(super) fn data(kind: ActionKind, stored: Option<&RawJson>) -> Result<Option<RawJson>, String> {
    let given = stored.filter(|data| data.as_str() != "null");
    let stored = || given.ok_or_else(|| "data is missing".to_owned());
    match kind {
        ActionKind::Unenroll => return Ok(None),
        ActionKind::RequestDiagnostics => return given.map(typed::<Diagnostics>).transpose(),
        ActionKind::InputAction => stored().and_then(|stored| {
            read::<serde_json::Map<String, Value>>(stored)?;
            Ok(stored.clone())
        }),
        ActionKind::Cancel => typed::<Cancel>(stored()?),
        ActionKind::PolicyReassign => typed::<PolicyReassign>(stored()?),
        ActionKind::Settings => typed::<SettingsData>(stored()?),
        ActionKind::Upgrade => {
            let FromObject::<Upgrade>(mut upgrade) = read(stored()?)?;
            upgrade.source_uri = upgrade.source_uri.or(upgrade.kibanas_source_uri.take());
            json(&upgrade)
        }
        ActionKind::Migrate => typed::<Migrate>(stored()?),
        ActionKind::PrivilegeLevelChange => {
            let FromObject::<PrivilegeLevel>(mut change) = read(stored()?)?;
            change.userinfo.clone_from(&change.user_info);
            json(&change)
        }
    }
    .map(Some)
}

/// The data with the values of the secrets that they refer to (C15).
fn with_secrets(data: RawJson, secrets: &Values) -> Result<RawJson, String> {
    if !secret_references::may_refer(data.as_str()) {
        return Ok(data);
    }
    let mut value: Value = read(&data)?;
    secret_references::resolve_value(&mut value, secrets)
        .map_err(|id| format!("the value of secret {id} is not to be had"))?;
    json(&value)
}

fn typed<'a, T: Deserialize<'a> + Serialize>(stored: &'a RawJson) -> Result<RawJson, String> {
    json(&read::<FromObject<T>>(stored)?)
}

fn read<'a, T: Deserialize<'a>>(data: &'a RawJson) -> Result<T, String> {
    data.read().map_err(|error| format!("data: {error}"))
}

fn json<T: Serialize>(data: &T) -> Result<RawJson, String> {
    RawJson::from_value(data).map_err(|error| error.to_string())
}

#[derive(Serialize, Deserialize)]
struct Cancel {
    #[serde(default)]
    target_id: String,
}

#[derive(Serialize, Deserialize)]
struct PolicyReassign {
    #[serde(default)]
    policy_id: String,
}

#[derive(Serialize, Deserialize)]
struct SettingsData {
    #[serde(skip_serializing_if = "Option::is_none")]
    log_level: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Upgrade {
    #[serde(default)]
    version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_uri: Option<String>,
    // Kibana writes `sourceURI` (agents.md 6.3), some tools write both.
    #[serde(default, rename = "sourceURI", skip_serializing)]
    kibanas_source_uri: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rollback: Option<bool>,
}

#[derive(Serialize, Deserialize)]
struct Diagnostics {
    #[serde(skip_serializing_if = "Option::is_none")]
    additional_metrics: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exclude_events_log: Option<bool>,
}

#[derive(Serialize, Deserialize)]
struct Migrate {
    #[serde(default)]
    enrollment_token: String,
    #[serde(default)]
    target_uri: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    settings: Option<Value>,
}

#[derive(Serialize, Deserialize)]
struct PrivilegeLevel {
    #[serde(default)]
    unprivileged: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_info: Option<FromObject<UserInfo>>,
    // Agents read `userinfo`, other readers `user_info`: both (agents.md 6.3).
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    userinfo: Option<FromObject<UserInfo>>,
}

#[derive(Clone, Serialize, Deserialize)]
struct UserInfo {
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    groupname: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn delivered(kind: ActionKind, data: Option<&str>) -> Result<Value, String> {
        let raw = data.map(|data| RawJson::parse(data.to_owned()).unwrap());
        super::data(kind, raw.as_ref()).map(|data| serde_json::to_value(data).unwrap())
    }

    #[test]
    fn chk_26_c12_unknown_members_are_dropped_and_the_source_is_mapped() {
        let data = delivered(
            ActionKind::Upgrade,
            Some(r#"{"version":"9.6.1","sourceURI":"u","extra":1}"#),
        )
        .unwrap();
        assert_eq!(data, json!({"version": "9.6.1", "source_uri": "u"}));
    }

    #[test]
    fn chk_27_28_c13_c14_null_data() {
        assert_eq!(
            delivered(ActionKind::Unenroll, Some(r#"{"x":1}"#)).unwrap(),
            Value::Null
        );
        assert_eq!(
            delivered(ActionKind::RequestDiagnostics, None).unwrap(),
            Value::Null
        );
        assert_eq!(
            delivered(
                ActionKind::RequestDiagnostics,
                Some(r#"{"additional_metrics":["CPU"]}"#)
            )
            .unwrap(),
            json!({"additional_metrics": ["CPU"]})
        );
    }

    #[test]
    fn what_an_agent_could_not_read_is_refused() {
        for (kind, data) in [
            (ActionKind::Settings, Some(r#"{"log_level":5}"#)),
            (ActionKind::Settings, None),
            (ActionKind::Upgrade, Some("[]")),
            (ActionKind::InputAction, Some(r#""text""#)),
        ] {
            assert!(delivered(kind, data).is_err(), "{kind:?}");
        }
    }

    #[test]
    fn settings_null_arrives_as_an_absent_key_and_users_twice() {
        assert_eq!(
            delivered(ActionKind::Settings, Some(r#"{"log_level":null}"#)).unwrap(),
            json!({})
        );
        let data = delivered(
            ActionKind::PrivilegeLevelChange,
            Some(r#"{"unprivileged":true,"user_info":{"username":"u"}}"#),
        );
        assert_eq!(
            data.unwrap(),
            json!({"unprivileged": true, "user_info": {"username": "u"}, "userinfo": {"username": "u"}})
        );
    }

    #[test]
    fn input_action_data_is_verbatim() {
        let raw = RawJson::parse(r#"{"z":1.0,"a":12345678901234567890}"#.to_owned()).unwrap();
        assert_eq!(
            super::data(ActionKind::InputAction, Some(&raw)).unwrap(),
            Some(raw)
        );
    }

    fn due(number: i64, kind: &str, data: &str) -> PendingAction {
        let action = Action {
            doc: format!("doc {number}").as_str().into(),
            action: format!("action {number}").as_str().into(),
            kind: kind.to_owned(),
            input_type: None,
            data: Some(RawJson::parse(data.to_owned()).unwrap()),
            at: Timestamp::from_millis(0),
            expiration: None,
            start_time: None,
            rollout_duration_seconds: None,
            timeout: None,
            user_id: None,
            namespaces: vec!["space".to_owned()],
            signed: None,
            traceparent: None,
        };
        PendingAction {
            action,
            index: 0,
            targets: 1,
        }
    }

    #[test]
    fn ac_36_a_second_upgrade_waits_and_what_is_unreadable_is_refused_by_name() {
        let (settings, upgrade) = (r#"{"log_level":"info"}"#, r#"{"version":"9.6.1"}"#);
        let list = Delivery::of(
            vec![
                due(1, "SETTINGS", settings),
                due(2, "UPDATE_TAGS", "{}"),
                due(3, "UPGRADE", upgrade),
                due(4, "SETTINGS", "[]"),
                due(5, "UPGRADE", upgrade),
                due(6, "SETTINGS", settings),
            ],
            &Values::new(),
        )
        .unwrap();
        let ids: Vec<_> = list.actions.iter().map(|action| action.id.as_str()).collect();
        assert_eq!(ids, ["action 1", "action 3"]);
        assert_eq!(list.ack_token.as_str(), "doc 4", "the fifth comes again");
        let refused: Vec<_> = list
            .refused
            .iter()
            .map(|refused| (refused.action.as_str(), refused.namespaces.len()))
            .collect();
        assert_eq!(refused, [("action 2", 1), ("action 4", 1)]);
        assert!(list.refused[0].reason.contains("UPDATE_TAGS"));
        assert!(Delivery::of(Vec::new(), &Values::new()).is_none());
    }
}
