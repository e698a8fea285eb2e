//! An action as the agent gets it (http-api 2.3.7, agent-client 4).
//!
//! One wrong type makes an agent drop its whole list, so data is read into types here, and what does not fit
//! is refused instead of sent.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{Action, ActionId, PendingAction, RawJson, Timestamp};

/// Types that agents are sent. Everything else is a log of operators' deeds.
pub(crate) const DELIVERABLE: [&str; 9] = [
    "CANCEL",
    "INPUT_ACTION",
    "POLICY_REASSIGN",
    "REQUEST_DIAGNOSTICS",
    "SETTINGS",
    "UNENROLL",
    "UPGRADE",
    "MIGRATE",
    "PRIVILEGE_LEVEL_CHANGE",
];

/// An action as one agent gets it.
#[derive(Debug)]
pub struct DeliveredAction {
    /// Its id, which the agent acknowledges.
    pub id: ActionId,
    /// Its type.
    pub kind: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expiration: Option<Timestamp>,
    /// Earliest execution, of this agent.
    pub start_time: Option<Timestamp>,
    /// Input that executes it; empty if none does.
    pub input_type: String,
    /// Seconds that the agent may take.
    pub timeout: Option<i64>,
    /// W3C trace context.
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
    pub(crate) fn new(pending: PendingAction) -> Result<Self, String> {
        let PendingAction {
            action,
            index,
            targets,
        } = pending;
        let data = data(&action.kind, action.data.as_ref())?;
        let signed = signed(action.signed.as_ref())?;
        Ok(Self {
            created_at: action.at,
            expiration: action.expiration,
            start_time: start_time(&action, index, targets),
            timeout: action.timeout.filter(|timeout| *timeout != 0),
            id: action.action,
            kind: action.kind,
            input_type: action.input_type.unwrap_or_default(),
            traceparent: action.traceparent,
            data,
            signed,
        })
    }
}

/// The start spread over the targets: `start + duration × index / targets` (C8).
fn start_time(action: &Action, index: u32, targets: u32) -> Option<Timestamp> {
    let start = action.start_time?;
    let spread = Duration::from_secs(u64::from(action.rollout_duration_seconds.unwrap_or(0)));
    Some(start.plus(spread * index / targets.max(1)))
}

/// Checks the data of an action of this type.
///
/// # Errors
/// What in it no agent could read.
pub(crate) fn check_data(kind: &str, stored: Option<&RawJson>) -> Result<(), String> {
    data(kind, stored).map(drop)
}

/// Checks an action's signature member.
///
/// # Errors
/// What in it no agent could read.
pub(crate) fn check_signed(stored: Option<&RawJson>) -> Result<(), String> {
    signed(stored).map(drop)
}

fn signed(stored: Option<&RawJson>) -> Result<Option<RawJson>, String> {
    #[derive(Serialize, Deserialize)]
    struct Signed {
        data: String,
        signature: String,
    }
    let stored = stored.filter(|signed| signed.as_str() != "null");
    let signed = stored.map(|signed| {
        signed
            .read::<Signed>()
            .and_then(|signed| RawJson::from_value(&signed))
    });
    signed.transpose().map_err(|error| format!("signed: {error}"))
}

/// The data as agents read them: unknown members are dropped.
fn data(kind: &str, stored: Option<&RawJson>) -> Result<Option<RawJson>, String> {
    let stored = stored.filter(|data| data.as_str() != "null");
    if kind == "UNENROLL" || (kind == "REQUEST_DIAGNOSTICS" && stored.is_none()) {
        return Ok(None);
    }
    let stored = stored.ok_or("data is missing")?;
    let data = match kind {
        "INPUT_ACTION" => {
            read::<serde_json::Map<String, Value>>(stored)?;
            Ok(stored.clone())
        }
        "CANCEL" => typed::<Cancel>(stored),
        "POLICY_REASSIGN" => typed::<PolicyReassign>(stored),
        "SETTINGS" => typed::<SettingsData>(stored),
        "UPGRADE" => {
            let mut upgrade: Upgrade = read(stored)?;
            upgrade.source_uri = upgrade.source_uri.or(upgrade.kibanas_source_uri.take());
            json(&upgrade)
        }
        "REQUEST_DIAGNOSTICS" => typed::<Diagnostics>(stored),
        "MIGRATE" => typed::<Migrate>(stored),
        "PRIVILEGE_LEVEL_CHANGE" => {
            let mut change: PrivilegeLevel = read(stored)?;
            change.userinfo.clone_from(&change.user_info);
            json(&change)
        }
        other => Err(format!("type {other} is not sent to agents")),
    };
    data.map(Some)
}

fn typed<'a, T: Deserialize<'a> + Serialize>(stored: &'a RawJson) -> Result<RawJson, String> {
    json(&read::<T>(stored)?)
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
    // Kibana writes `sourceURI` (data-model §9 row 30), some tools write both.
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
    user_info: Option<UserInfo>,
    // Agents read `userinfo`, the contract says `user_info`: both (agent-client 10).
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    userinfo: Option<UserInfo>,
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

    fn delivered(kind: &str, data: Option<&str>) -> Result<Value, String> {
        let raw = data.map(|data| RawJson::parse(data.to_owned()).unwrap());
        super::data(kind, raw.as_ref()).map(|data| serde_json::to_value(data).unwrap())
    }

    #[test]
    fn chk_26_c12_unknown_members_are_dropped_and_the_source_is_mapped() {
        let data = delivered(
            "UPGRADE",
            Some(r#"{"version":"9.6.1","sourceURI":"u","extra":1}"#),
        )
        .unwrap();
        assert_eq!(data, json!({"version": "9.6.1", "source_uri": "u"}));
    }

    #[test]
    fn chk_27_28_c13_c14_null_data() {
        assert_eq!(delivered("UNENROLL", Some(r#"{"x":1}"#)).unwrap(), Value::Null);
        assert_eq!(delivered("REQUEST_DIAGNOSTICS", None).unwrap(), Value::Null);
        assert_eq!(
            delivered("REQUEST_DIAGNOSTICS", Some(r#"{"additional_metrics":["CPU"]}"#)).unwrap(),
            json!({"additional_metrics": ["CPU"]})
        );
    }

    #[test]
    fn what_an_agent_could_not_read_is_refused() {
        for (kind, data) in [
            ("SETTINGS", Some(r#"{"log_level":5}"#)),
            ("SETTINGS", None),
            ("UPGRADE", Some("[]")),
            ("INPUT_ACTION", Some(r#""text""#)),
            ("UPDATE_TAGS", Some("{}")),
        ] {
            assert!(delivered(kind, data).is_err(), "{kind}");
        }
    }

    #[test]
    fn settings_null_arrives_as_an_absent_key_and_users_twice() {
        assert_eq!(
            delivered("SETTINGS", Some(r#"{"log_level":null}"#)).unwrap(),
            json!({})
        );
        let data = delivered(
            "PRIVILEGE_LEVEL_CHANGE",
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
        assert_eq!(super::data("INPUT_ACTION", Some(&raw)).unwrap(), Some(raw));
    }
}
