//! Namespaces of data streams: part of an index name, so Elasticsearch refuses the data of agents that have a bad one.
//! Pure.

use serde_json::{Map, Value};

/// Why Elasticsearch would refuse data in this namespace.
pub(crate) fn check(namespace: &str) -> Result<(), String> {
    let found = if namespace.is_empty() {
        "is empty".to_owned()
    } else if namespace.len() > MOST_BYTES {
        format!("has {} bytes", namespace.len())
    } else if let Some(odd) = namespace.chars().find(|c| is_forbidden(*c)) {
        format!("{namespace:?} has {odd:?}")
    } else if namespace.to_lowercase() != namespace {
        format!("{namespace:?} has capitals")
    } else {
        return Ok(());
    };
    Err(format!("{found}: {RULE}"))
}

/// Checks every namespace that a full policy gives to agents.
pub(crate) fn check_policy(policy: &Map<String, Value>) -> Result<(), String> {
    let value = |at: Option<&Value>| at.cloned().unwrap_or_default();
    member("agent.monitoring", &value(policy.get("agent"))["monitoring"])?;
    for (place, input) in items(policy.get("inputs")) {
        let path = format!("inputs[{place}].data_stream");
        member(&path, &input["data_stream"])?;
        for (stream, of) in items(input.get("streams")) {
            let path = format!("inputs[{place}].streams[{stream}].data_stream");
            member(&path, &of["data_stream"])?;
        }
    }
    Ok(())
}

fn items(list: Option<&Value>) -> impl Iterator<Item = (usize, &Value)> {
    list.and_then(Value::as_array).into_iter().flatten().enumerate()
}

fn member(path: &str, of: &Value) -> Result<(), String> {
    match of.get("namespace") {
        None | Some(Value::Null) => Ok(()),
        // The agent puts the value in, which nobody knows here.
        Some(Value::String(text)) if text.contains("${") => Ok(()),
        Some(Value::String(text)) => check(text).map_err(|reason| format!("{path}.namespace {reason}")),
        Some(_) => Err(format!("{path}.namespace must be text")),
    }
}

fn is_forbidden(c: char) -> bool {
    c.is_whitespace() || c.is_control() || "*\\/?\"<>|,#:-".contains(c)
}

const MOST_BYTES: usize = 100;
const RULE: &str = "use 1 to 100 bytes in lower case, without * \\ / ? \" < > | , # : - and white space";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn case_06_what_elasticsearch_refuses_is_refused_here() {
        for good in ["default", "prod", "a.b_c", "ü", &"x".repeat(100)] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, found) in [
            ("Default", "has capitals"),
            ("a b", "has ' '"),
            ("logs*", "has '*'"),
            ("a:b", "has ':'"),
            ("a-b", "has '-'"),
            ("a\u{7}", "has '\\u{7}'"),
            ("", "is empty"),
            (&"ü".repeat(51), "has 102 bytes"),
        ] {
            let said = check(bad).unwrap_err();
            assert!(said.contains(found) && said.ends_with(RULE), "{bad}: {said}");
        }
    }

    #[test]
    fn case_06_every_place_of_a_policy_that_takes_a_namespace_is_read() {
        let bad = json!({"namespace": "A"});
        for (policy, path) in [
            (
                json!({"agent": {"monitoring": bad}}),
                "agent.monitoring.namespace",
            ),
            (
                json!({"inputs": [{}, {"data_stream": bad}]}),
                "inputs[1].data_stream.namespace",
            ),
            (
                json!({"inputs": [{"streams": [{"data_stream": bad}]}]}),
                "inputs[0].streams[0].data_stream.namespace",
            ),
        ] {
            let said = check_policy(policy.as_object().unwrap()).unwrap_err();
            assert!(said.starts_with(path), "{said}");
        }
        let open = json!({"inputs": [{"data_stream": {"namespace": "${env.NS}"}}, 7], "agent": []});
        assert_eq!(check_policy(open.as_object().unwrap()), Ok(()));
    }
}
