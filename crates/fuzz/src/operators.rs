//! What operators send: policies as JSON and as YAML, and the words of a list's query.

use notation::yaml;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};

use crate::{
    faces::check,
    house::{House, house},
};

/// Any bytes as the settings of a policy.
pub(crate) fn policy_json(input: &[u8]) {
    house(|house| put(house, "application/json", input));
}

/// Any bytes as a full policy.
pub(crate) fn policy_yaml(input: &[u8]) {
    if let Ok(json) = yaml::read(input).and_then(|node| node.to_json()) {
        serde_json::from_str::<&serde_json::value::RawValue>(&json).expect("the JSON of a YAML is JSON");
        // JSON is YAML, and says the same.
        let again = yaml::read(json.as_bytes()).and_then(|node| node.to_json());
        assert_eq!(again.as_ref(), Ok(&json));
    }
    house(|house| put(house, "application/yaml", input));
}

fn put(house: &House, kind: &str, input: &[u8]) {
    let answer = house.operator("PUT", "/api/fleet/agent_policies/P", kind, house.fill(input));
    check(&answer, &[200, 400, 413]);
    if answer.status == 200 {
        // What was accepted can be read, and reaches agents.
        let full = house.operator("GET", "/api/fleet/agent_policies/P/full", kind, "");
        check(&full, &[200]);
        let body = r#"{"status":"online","agent_policy_id":"P","policy_revision_idx":0}"#;
        if let Some(answer) = house.agent("/api/fleet/agents/{agent}/checkin", "{key}", body) {
            check(&answer, &[200]);
        }
    }
}

/// Any text as a `kuery`.
pub(crate) fn kuery(input: &[u8]) {
    let path = format!(
        "/api/fleet/agents?kuery={}",
        percent_encode(input, NON_ALPHANUMERIC)
    );
    let answer = house(|house| house.operator("GET", &path, "application/json", ""));
    check(&answer, &[200, 400]);
}
