//! A policy revision as agents get it: rendered once, shared by all, with a slot for the agent's id.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value, json};
use store::{AgentId, PolicyId, PolicyRevision, Timestamp};

use crate::FleetError;

/// The body of a POLICY_CHANGE answer, but for the agent's id.
#[derive(Debug)]
pub(crate) struct RenderedPolicy {
    pub(crate) policy: PolicyId,
    pub(crate) revision: i64,
    /// Tells a policy from its namesake that was deleted.
    pub(crate) created_at: Timestamp,
    /// The body around the agent's id.
    before: String,
    after: String,
}

impl RenderedPolicy {
    /// Renders a stored revision (http-api 2.3.8, data-model 4.2, 4.3).
    ///
    /// # Errors
    /// [`FleetError::UndeliverablePolicy`]: no agent could run it.
    pub(crate) fn render(stored: &PolicyRevision) -> Result<Arc<Self>, FleetError> {
        let undeliverable = |reason: String| FleetError::UndeliverablePolicy {
            policy: stored.policy.clone(),
            reason,
        };
        let mut policy: Map<String, Value> = stored
            .data
            .read()
            .map_err(|error| undeliverable(format!("it is no object ({error})")))?;
        policy.remove("secret_references");
        if let Some(Value::Array(paths)) = policy.get_mut("secret_paths") {
            // An entry without a dot crashes the agent (agent-client 5.1).
            paths.retain(|path| path.as_str().is_some_and(|path| path.contains('.')));
        }
        policy.insert("id".into(), stored.policy.as_str().into());
        policy.insert("revision".into(), stored.revision.into());
        outputs(&mut policy).map_err(undeliverable)?;
        let action = json!({
            "id": format!("policy:{}:{}", stored.policy, stored.revision),
            "type": "POLICY_CHANGE",
            "created_at": stored.at.to_seconds_text(),
            "input_type": "",
            "data": {"policy": policy},
        });
        let action = to_json(&action).map_err(undeliverable)?;
        // The action's own members follow the agent's id.
        let members = action.strip_prefix('{').unwrap_or(&action);
        Ok(Arc::new(Self {
            policy: stored.policy.clone(),
            revision: stored.revision,
            created_at: stored.created_at,
            before: r#"{"action":"checkin","ack_token":"","actions":[{"agent_id":"#.to_owned(),
            after: format!(",{members}]}}"),
        }))
    }

    /// The whole answer for one agent.
    pub(crate) fn body(&self, agent: &AgentId) -> Result<Vec<u8>, FleetError> {
        let id = to_json(agent).map_err(|reason| FleetError::UndeliverablePolicy {
            policy: self.policy.clone(),
            reason,
        })?;
        Ok([&self.before, id.as_str(), &self.after].concat().into_bytes())
    }
}

fn to_json<T: Serialize>(value: &T) -> Result<String, String> {
    serde_json::to_string(value).map_err(|error| error.to_string())
}

/// Checks the outputs and gives remote ones the form that agents know.
fn outputs(policy: &mut Map<String, Value>) -> Result<(), String> {
    let Some(Value::Object(outputs)) = policy.get_mut("outputs") else {
        return Err("it has no outputs".into());
    };
    if outputs.is_empty() {
        return Err("it has no outputs".into());
    }
    for (name, output) in outputs {
        let Value::Object(output) = output else {
            return Err(format!("output {name} is no object"));
        };
        match output.get("type").and_then(Value::as_str) {
            Some("elasticsearch" | "logstash" | "kafka") => {}
            Some("remote_elasticsearch") => {
                output.insert("type".into(), "elasticsearch".into());
                output.remove("service_token");
            }
            Some(other) => return Err(format!("output {name} has the unknown type {other}")),
            None => return Err(format!("output {name} has no type")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use store::RawJson;

    use super::*;

    fn stored(data: &str) -> PolicyRevision {
        PolicyRevision {
            policy: "p:1".into(),
            revision: 3,
            data: RawJson::parse(data.to_owned()).unwrap(),
            settings: RawJson::parse("{}".into()).unwrap(),
            namespaces: vec![],
            inactivity_timeout: None,
            at: Timestamp::parse("2026-01-02T03:04:05Z").unwrap(),
            created_at: Timestamp::from_millis(0),
        }
    }

    fn action(data: &str) -> Value {
        let body = RenderedPolicy::render(&stored(data))
            .unwrap()
            .body(&"a\"1".into())
            .unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["action"], "checkin");
        assert_eq!(body["ack_token"], "");
        assert_eq!(body["actions"].as_array().unwrap().len(), 1);
        body["actions"][0].clone()
    }

    #[test]
    fn d1_one_action_with_id_time_and_the_agents_id() {
        let action =
            action(r#"{"outputs":{"default":{"type":"logstash"}},"inputs":[{"big":9007199254740993}]}"#);
        assert_eq!(action["agent_id"], "a\"1");
        assert_eq!(action["id"], "policy:p:1:3");
        assert_eq!(action["created_at"], "2026-01-02T03:04:05Z");
        assert_eq!(action["input_type"], "");
        assert_eq!(action["data"]["policy"]["revision"], 3);
        assert_eq!(
            action["data"]["policy"]["inputs"][0]["big"], 9_007_199_254_740_993_u64,
            "§6 row 27"
        );
    }

    #[test]
    fn d18_remote_outputs_lose_type_and_service_token() {
        let action = action(
            r#"{"outputs":{"r":{"type":"remote_elasticsearch","service_token":"s","hosts":["h"]}},"secret_references":[]}"#,
        );
        let policy = &action["data"]["policy"];
        assert_eq!(
            policy["outputs"]["r"],
            json!({"type": "elasticsearch", "hosts": ["h"]})
        );
        assert!(policy.get("secret_references").is_none());
    }

    #[test]
    fn d15_a_policy_that_no_agent_can_run_is_named() {
        for (data, reason) in [
            ("{}", "no outputs"),
            (r#"{"outputs":{}}"#, "no outputs"),
            (r#"{"outputs":{"x":{"type":"carrier_pigeon"}}}"#, "carrier_pigeon"),
            (r#"{"outputs":{"x":{}}}"#, "no type"),
            ("[]", "no object"),
        ] {
            let error = RenderedPolicy::render(&stored(data)).unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains("p:1"), "{error}");
        }
    }
}
