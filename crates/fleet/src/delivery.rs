//! An action as the agent gets it (http-api 2.3.7, agent-client 4).
//!
//! One wrong type makes an agent drop its whole list, so data is read into types here, and what does not fit
//! is refused instead of sent.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{Action, AgentId, PendingAction, RawJson, Timestamp};

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

/// One element of `actions`.
#[derive(Serialize)]
pub(crate) struct Delivered {
    agent_id: AgentId,
    created_at: String,
    data: Data,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration: Option<String>,
    id: String,
    input_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    signed: Option<Signed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Data {
    Verbatim(RawJson),
    Typed(Value),
}

#[derive(Debug, Serialize, Deserialize)]
struct Signed {
    data: String,
    signature: String,
}

impl Delivered {
    /// The action for this agent.
    ///
    /// # Errors
    /// What in it no agent could read.
    pub(crate) fn new(agent: &AgentId, pending: PendingAction) -> Result<Self, String> {
        let PendingAction {
            action,
            index,
            targets,
        } = pending;
        let data = data(&action.kind, action.data.as_ref())?;
        let signed = signed(action.signed.as_ref())?;
        Ok(Self {
            agent_id: agent.clone(),
            created_at: action.at.to_seconds_text(),
            expiration: action.expiration.map(Timestamp::to_seconds_text),
            id: action.action.to_string(),
            signed,
            start_time: start_time(&action, index, targets).map(Timestamp::to_seconds_text),
            timeout: action.timeout.filter(|timeout| *timeout != 0),
            traceparent: action.traceparent,
            input_type: action.input_type.unwrap_or_default(),
            kind: action.kind,
            data,
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

fn signed(stored: Option<&RawJson>) -> Result<Option<Signed>, String> {
    let stored = stored.filter(|signed| signed.as_str() != "null");
    stored
        .map(|signed| signed.read().map_err(|error| format!("signed: {error}")))
        .transpose()
}

fn data(kind: &str, stored: Option<&RawJson>) -> Result<Data, String> {
    let stored = stored.filter(|data| data.as_str() != "null");
    if kind == "UNENROLL" || (kind == "REQUEST_DIAGNOSTICS" && stored.is_none()) {
        return Ok(Data::Typed(Value::Null));
    }
    let stored = stored.ok_or("data is missing")?;
    let typed = match kind {
        "INPUT_ACTION" => {
            read::<serde_json::Map<String, Value>>(stored)?;
            return Ok(Data::Verbatim(stored.clone()));
        }
        "CANCEL" => json(&read::<Cancel>(stored)?),
        "POLICY_REASSIGN" => json(&read::<PolicyReassign>(stored)?),
        "SETTINGS" => json(&read::<SettingsData>(stored)?),
        "UPGRADE" => {
            let mut upgrade = read::<Upgrade>(stored)?;
            upgrade.source_uri = upgrade.source_uri.or(upgrade.kibanas_source_uri.take());
            json(&upgrade)
        }
        "REQUEST_DIAGNOSTICS" => json(&read::<Diagnostics>(stored)?),
        "MIGRATE" => json(&read::<Migrate>(stored)?),
        "PRIVILEGE_LEVEL_CHANGE" => {
            let change = read::<PrivilegeLevel>(stored)?;
            let mut data = json(&change)?;
            // Agents read `userinfo`, the contract says `user_info`: both (agent-client 10).
            if let (Some(data), Some(user)) = (data.as_object_mut(), &change.user_info) {
                data.insert("userinfo".into(), json!(user));
            }
            Ok(data)
        }
        other => Err(format!("type {other} is not sent to agents")),
    }?;
    Ok(Data::Typed(typed))
}

fn read<'a, T: Deserialize<'a>>(data: &'a RawJson) -> Result<T, String> {
    data.read().map_err(|error| format!("data: {error}"))
}

fn json<T: Serialize>(data: &T) -> Result<Value, String> {
    serde_json::to_value(data).map_err(|error| error.to_string())
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
}

#[derive(Serialize, Deserialize)]
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
        let text = serde_json::to_string(&super::data("INPUT_ACTION", Some(&raw)).unwrap()).unwrap();
        assert_eq!(text, raw.as_str());
    }
}
