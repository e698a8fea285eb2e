//! A policy revision as agents get it: prepared once, then shared by all replies that carry it.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use serde_json::{Map, Value};
use store::{Cause, PolicyId, PolicyRevision, Timestamp};

use crate::{
    FleetError,
    artifacts::Listed,
    opamp::RemoteConfig,
    secret_references::{self, Values},
};

/// A revision that agents can run, with its JSON. Replies share the JSON; nobody copies it for an agent.
#[derive(Debug)]
pub struct RenderedPolicy {
    pub(crate) policy: PolicyId,
    pub(crate) revision: i64,
    at: Timestamp,
    /// `data.policy`. Nothing in it belongs to one agent yet. A value that does (an output's key) becomes a slot: this
    /// then is a list of shared segments, and the reply puts the agent's values between them.
    json: Bytes,
    pub(crate) artifacts: Listed,
    collectors: Option<RemoteConfig>,
}

impl RenderedPolicy {
    /// Renders a stored revision (agents.md 6.5), with the values of the secrets that it refers to.
    ///
    /// # Errors
    /// [`FleetError::UndeliverablePolicy`]: no agent could run it.
    pub(crate) fn render(stored: &PolicyRevision, secrets: &Values) -> Result<Arc<Self>, FleetError> {
        let undeliverable = |source| FleetError::UndeliverablePolicy {
            policy: stored.policy.clone(),
            source,
        };
        let mut policy: Map<String, Value> = stored
            .data
            .read()
            .map_err(|error| undeliverable(Cause::new(error)))?;
        let mut paths = secret_references::resolve_policy(&mut policy, secrets);
        policy.remove("secret_references");
        policy.insert("id".into(), stored.policy.as_str().into());
        policy.insert("revision".into(), stored.revision.into());
        check(&policy).map_err(|reason| undeliverable(Cause::new(reason)))?;
        let artifacts = Listed::of(&policy);
        for (name, output) in policy
            .get_mut("outputs")
            .and_then(Value::as_object_mut)
            .into_iter()
            .flatten()
        {
            if as_agents_know_it(output) {
                let gone = format!("outputs.{name}.service_token");
                paths.retain(|path| *path != gone);
            }
        }
        let collectors = RemoteConfig::of(&policy).map_err(|error| undeliverable(Cause::new(error)))?;
        tell_paths(&mut policy, paths);
        let json = serde_json::to_vec(&policy).map_err(|error| undeliverable(Cause::new(error)))?;
        Ok(Arc::new(Self {
            policy: stored.policy.clone(),
            revision: stored.revision,
            at: stored.at,
            // Kept as long as the revision is the newest, so without the vector's spare capacity.
            json: json.into_boxed_slice().into(),
            artifacts,
            collectors,
        }))
    }

    /// Id of the action that delivers it; acknowledgements name it.
    #[must_use]
    pub fn action_id(&self) -> String {
        format!("policy:{}:{}", self.policy, self.revision)
    }

    /// When the revision was made.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// What it has for agents that speak OpAMP.
    pub(crate) const fn for_collectors(&self) -> Option<&RemoteConfig> {
        self.collectors.as_ref()
    }

    /// The policy as one JSON object. Cloning the bytes shares them.
    #[must_use]
    pub fn json(&self) -> &Bytes {
        &self.json
    }
}

/// Whether agents can run it; else why not.
pub(crate) fn check(policy: &Map<String, Value>) -> Result<(), String> {
    let outputs = policy.get("outputs").and_then(Value::as_object);
    let Some(outputs) = outputs.filter(|outputs| !outputs.is_empty()) else {
        return Err("it has no outputs".into());
    };
    for (name, output) in outputs {
        let Value::Object(output) = output else {
            return Err(format!("output {name} is not an object"));
        };
        match output.get("type").and_then(Value::as_str) {
            Some("elasticsearch" | "logstash" | "kafka" | REMOTE) => {}
            Some(other) => return Err(format!("output {name} has the unknown type {other}")),
            None => return Err(format!("output {name} has no type")),
        }
    }
    Ok(())
}

/// Converts a remote output to the form that agents understand; answers whether it was one.
fn as_agents_know_it(output: &mut Value) -> bool {
    if output["type"] == REMOTE
        && let Value::Object(output) = output
    {
        output.insert("type".into(), "elasticsearch".into());
        output.remove("service_token");
        return true;
    }
    false
}

/// Where the policy holds secrets, so that agents keep them out of their logs and diagnostics.
fn tell_paths(policy: &mut Map<String, Value>, found: Vec<String>) {
    let told = policy.remove("secret_paths");
    let is_told = told.is_some();
    let mut paths: BTreeSet<String> = found.into_iter().collect();
    if let Some(Value::Array(told)) = told {
        paths.extend(told.iter().filter_map(Value::as_str).map(str::to_owned));
    }
    // An entry without a dot crashes the agent (agents.md 6.5).
    paths.retain(|path| path.contains('.') && policy.iter().any(|member| names(path, member.0, member.1)));
    if is_told || !paths.is_empty() {
        policy.insert("secret_paths".into(), paths.into_iter().collect());
    }
}

/// Whether the path begins with this member and names it or something within. Names may have dots themselves.
fn names(path: &str, name: &str, value: &Value) -> bool {
    let Some(rest) = path.strip_prefix(name) else {
        return false;
    };
    let Some(rest) = rest.strip_prefix('.') else {
        return rest.is_empty();
    };
    match value {
        Value::Object(members) => members.iter().any(|(name, value)| names(rest, name, value)),
        Value::Array(items) => {
            let (index, _) = rest.split_once('.').unwrap_or((rest, ""));
            let item = index.parse().ok().and_then(|index: usize| items.get(index));
            item.is_some_and(|item| names(rest, index, item))
        }
        _ => false,
    }
}

const REMOTE: &str = "remote_elasticsearch";

#[cfg(test)]
mod tests {
    use serde_json::json;
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

    fn rendered(data: &str) -> Value {
        let rendered = RenderedPolicy::render(&stored(data), &Values::new()).unwrap();
        assert_eq!(rendered.action_id(), "policy:p:1:3");
        assert_eq!(rendered.at().to_seconds_text(), "2026-01-02T03:04:05Z");
        serde_json::from_slice(rendered.json()).unwrap()
    }

    #[test]
    fn d1_the_policy_carries_its_id_and_revision_and_keeps_numbers() {
        let policy =
            rendered(r#"{"outputs":{"default":{"type":"logstash"}},"inputs":[{"big":9007199254740993}]}"#);
        assert_eq!((&policy["id"], &policy["revision"]), (&json!("p:1"), &json!(3)));
        assert_eq!(
            policy["inputs"][0]["big"], 9_007_199_254_740_993_u64,
            "agents.md 1.6"
        );
    }

    #[test]
    fn d18_remote_outputs_lose_type_and_service_token() {
        let policy = rendered(
            r#"{"outputs":{"r":{"type":"remote_elasticsearch","service_token":"s","hosts":["h"]}},"secret_references":[]}"#,
        );
        assert_eq!(
            policy["outputs"]["r"],
            json!({"type": "elasticsearch", "hosts": ["h"]})
        );
        assert!(policy.get("secret_references").is_none());
    }

    #[test]
    fn d13_other_outputs_arrive_as_they_are() {
        let outputs = json!({
            "l": {"type": "logstash", "hosts": ["h:5044"], "ssl": {"verification_mode": "full"}, "x": [1.0, null]},
            "k": {"type": "kafka", "hosts": ["k:9092"], "topic": "t", "service_token": "kept"},
        });
        let policy = rendered(&json!({ "outputs": outputs }).to_string());
        assert_eq!(policy["outputs"], outputs);
    }

    #[test]
    fn ac_74_paths_that_crash_agents_or_name_nothing_are_left_out() {
        let policy = rendered(
            r#"{"outputs":{"default":{"type":"logstash","y":{"z.a":1}}},"inputs":[{"x":1}],"secret_paths":[
                "inputs.0.x","outputs","",7,"outputs.default.y","outputs.default.y.z.a","outputs.default.y.z",
                "inputs.1.x","inputs.0.x.y","inputs.x","outputs.defaulty"]}"#,
        );
        assert_eq!(
            policy["secret_paths"],
            json!(["inputs.0.x", "outputs.default.y", "outputs.default.y.z.a"])
        );
    }

    #[test]
    fn d16_d17_d18_secrets_are_put_in_and_their_places_told() {
        let data = r#"{
            "outputs": {
                "default": {"type": "elasticsearch", "secrets": {"ssl": {"key": {"id": "1"}}}},
                "r": {"type": "remote_elasticsearch", "secrets": {"service_token": {"id": "1"}}}
            },
            "inputs": [{"secrets": {"x": {"y": {"id": "1"}}}, "text": "a $co.elastic.secret{1} b $co.elastic.secret{2}"}],
            "secret_paths": ["", "inputs", "inputs.9.missing"],
            "secret_references": [{"id": "1"}, {"id": "2"}]
        }"#;
        let values = Values::from([("1".into(), "V1".to_owned().into())]);
        let rendered = RenderedPolicy::render(&stored(data), &values).unwrap();
        let policy: Value = serde_json::from_slice(rendered.json()).unwrap();
        assert_eq!(
            policy["outputs"]["default"],
            json!({"type": "elasticsearch", "ssl": {"key": "V1"}})
        );
        assert_eq!(policy["outputs"]["r"], json!({"type": "elasticsearch"}));
        assert_eq!(
            policy["inputs"],
            json!([{"x": {"y": "V1"}, "text": "a V1 b $co.elastic.secret{2}"}])
        );
        assert_eq!(
            policy["secret_paths"],
            json!(["inputs.0.text", "inputs.0.x.y", "outputs.default.ssl.key"])
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
            ("[]", "expected a map"),
        ] {
            let error = store::chain(&RenderedPolicy::render(&stored(data), &Values::new()).unwrap_err());
            assert!(error.contains(reason) && error.contains("p:1"), "{error}");
        }
    }
}
