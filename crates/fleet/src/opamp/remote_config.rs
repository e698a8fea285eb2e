//! The OpenTelemetry sections of a policy as one configuration that collectors take over (agents.md 13.4).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

/// A configuration with the hash by which agents know it. Clones share the text.
#[derive(Clone, PartialEq, Eq)]
pub struct RemoteConfig {
    /// YAML in flow style, which JSON is; empty: no configuration.
    pub text: Bytes,
    /// SHA-256 of the text.
    pub hash: [u8; 32],
}

impl std::fmt::Debug for RemoteConfig {
    /// Without the text, which may have secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteConfig")
            .field("bytes", &self.text.len())
            .finish_non_exhaustive()
    }
}

impl RemoteConfig {
    /// Nothing: whoever has one drops it.
    pub(crate) fn none() -> Self {
        Self {
            text: Bytes::new(),
            hash: Sha256::digest([]).into(),
        }
    }

    /// What the policy has for collectors, if it has anything.
    pub(crate) fn of(policy: &Map<String, Value>) -> serde_json::Result<Option<Self>> {
        let mut sections: Map<String, Value> = SECTIONS
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), policy.get(*name)?.clone())))
            .filter(|(_, section)| section.as_object().is_some_and(|section| !section.is_empty()))
            .collect();
        if sections.is_empty() {
            return Ok(None);
        }
        if let Some(Value::Object(exporters)) = sections.get_mut("exporters") {
            for (id, exporter) in exporters {
                give_key(id, exporter, policy);
            }
        }
        let text: Bytes = serde_json::to_vec_pretty(&sections)?.into();
        let hash = Sha256::digest(&text).into();
        Ok(Some(Self { text, hash }))
    }
}

/// An exporter `elasticsearch/NAME` uses the key of output NAME, if that has one and the exporter has none of its own.
fn give_key(id: &str, exporter: &mut Value, policy: &Map<String, Value>) {
    let Some(name) = id.strip_prefix("elasticsearch/") else {
        return;
    };
    let output = policy.get("outputs").and_then(|outputs| outputs.get(name));
    let key = output
        .filter(|output| output["type"] == "elasticsearch" || output["type"] == "remote_elasticsearch")
        .and_then(|output| output["api_key"].as_str())
        .filter(|key| !key.is_empty());
    let Some(key) = key else { return };
    if exporter.is_null() {
        *exporter = Value::Object(Map::new());
    }
    if let Value::Object(exporter) = exporter
        && !exporter.contains_key("api_key")
    {
        exporter.insert("api_key".into(), STANDARD.encode(key).into());
    }
}

const SECTIONS: [&str; 6] = [
    "receivers",
    "processors",
    "connectors",
    "exporters",
    "extensions",
    "service",
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(policy: Value) -> Option<Value> {
        let Value::Object(policy) = policy else {
            panic!("{policy} is no object")
        };
        let config = RemoteConfig::of(&policy).unwrap()?;
        assert_eq!(config.hash, <[u8; 32]>::from(Sha256::digest(&config.text)));
        Some(serde_json::from_slice(&config.text).unwrap())
    }

    #[test]
    fn only_the_sections_for_collectors_are_offered() {
        assert_eq!(of(json!({"inputs": [1], "receivers": {}, "service": null})), None);
        let sections = json!({
            "receivers": {"otlp": {"protocols": {"grpc": null}}},
            "service": {"pipelines": {"logs": {"receivers": ["otlp"]}}},
        });
        let mut policy = sections.clone();
        policy["outputs"] = json!({"default": {"type": "elasticsearch"}});
        assert_eq!(of(policy), Some(sections));
    }

    #[test]
    fn an_exporter_gets_the_key_of_its_output() {
        let policy = json!({
            "outputs": {"a": {"type": "elasticsearch", "api_key": "id:secret"}, "b": {"type": "kafka", "api_key": "x:y"}},
            "exporters": {
                "elasticsearch/a": {"endpoints": ["https://es"]}, "elasticsearch/b": {}, "elasticsearch/c": {},
                "otlp": {}, "elasticsearch/own": {"api_key": "own"},
            },
        });
        let exporters = &of(policy).unwrap()["exporters"];
        let expected = json!({
            "elasticsearch/a": {"endpoints": ["https://es"], "api_key": "aWQ6c2VjcmV0"},
            "elasticsearch/b": {}, "elasticsearch/c": {}, "otlp": {}, "elasticsearch/own": {"api_key": "own"},
        });
        assert_eq!(exporters, &expected);
    }
}
