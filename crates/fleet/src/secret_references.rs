//! Where policies and actions refer to secrets, and their values in place of the references (agents.md 6.6). Pure.
//!
//! Two forms: `$co.elastic.secret{ID}` in any text, and `secrets: {a: {b: {id: ID}}}` in an object, whose `a.b` then gets
//! the value.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value};
use store::{Secret, SecretId};

/// Values by the ids of their secrets.
pub(crate) type Values = HashMap<SecretId, Secret>;

/// Begins a reference in a text; `}` ends it.
const MARK: &str = "$co.elastic.secret{";

/// Whether a JSON text could refer to a secret: most do not, and are not read for it.
pub(crate) fn may_refer(json: &str) -> bool {
    json.contains(MARK) || json.contains("\"secrets\"") || json.contains("\"secret_references\"")
}

/// The ids that a policy refers to.
pub(crate) fn of_policy(policy: &Map<String, Value>) -> BTreeSet<SecretId> {
    let mut found = BTreeSet::new();
    let listed = policy.get("secret_references").and_then(Value::as_array);
    found.extend(
        listed
            .into_iter()
            .flatten()
            .filter_map(|reference| reference.get("id")?.as_str().map(SecretId::from)),
    );
    let has_list = !found.is_empty();
    for (name, value) in policy {
        inline_ids(value, &mut found);
        // Inputs may have a member of this name that means something else.
        if let Value::Object(section) = value {
            for part in parts(name, section) {
                path_ids(part, &mut found);
            }
        } else if name == "inputs" && has_list {
            deep_path_ids(value, &mut found);
        }
    }
    found
}

/// Completes the policy's own list: without it, its inputs would not be looked at.
pub(crate) fn list(policy: &mut Map<String, Value>) {
    let found = of_policy(policy);
    if found.is_empty() {
        return;
    }
    let listed = found.iter().map(|id| serde_json::json!({"id": id})).collect();
    policy.insert("secret_references".to_owned(), Value::Array(listed));
}

/// The ids that a text in a value refers to.
pub(crate) fn of_value(value: &Value) -> BTreeSet<SecretId> {
    let mut found = BTreeSet::new();
    inline_ids(value, &mut found);
    found
}

/// Puts the values in place of the references in a policy; answers the paths of what got one. An unknown reference in a
/// text stays, and what is behind it in that text too; one in a path becomes an empty text.
pub(crate) fn resolve_policy(policy: &mut Map<String, Value>, values: &Values) -> Vec<String> {
    let mut paths = Vec::new();
    let lists = policy
        .get("secret_references")
        .and_then(Value::as_array)
        .is_some_and(|listed| !listed.is_empty());
    if lists && let Some(inputs) = policy.get_mut("inputs") {
        resolve(inputs, "inputs", true, values, &mut paths);
    }
    for name in SECTIONS {
        let Some(section) = policy.get_mut(name) else {
            continue;
        };
        if name == "fleet" {
            resolve(section, "fleet", false, values, &mut paths);
        } else if name == "agent" {
            if let Some(download) = section.get_mut("download") {
                resolve(download, "agent.download", false, values, &mut paths);
            }
        } else if let Value::Object(parts) = section {
            for (part, value) in parts {
                resolve(value, &format!("{name}.{part}"), false, values, &mut paths);
            }
        }
    }
    paths
}

/// Puts the values in place of the references in texts.
///
/// # Errors
/// The first id that has no value.
pub(crate) fn resolve_value(value: &mut Value, values: &Values) -> Result<(), SecretId> {
    match value {
        Value::String(text) => {
            if let Some(unknown) = inline(text)
                .map(SecretId::from)
                .find(|id| !values.contains_key(id))
            {
                return Err(unknown);
            }
            if let Some(replaced) = replaced(text, values) {
                *text = replaced;
            }
            Ok(())
        }
        Value::Array(items) => items.iter_mut().try_for_each(|item| resolve_value(item, values)),
        Value::Object(members) => members
            .values_mut()
            .try_for_each(|member| resolve_value(member, values)),
        _ => Ok(()),
    }
}

/// A reference, to be stored in place of a value.
pub(crate) fn reference(id: &SecretId) -> String {
    format!("{MARK}{id}}}")
}

/// Sections beside the inputs.
const SECTIONS: [&str; 8] = [
    "outputs",
    "agent",
    "fleet",
    "receivers",
    "exporters",
    "processors",
    "extensions",
    "connectors",
];

/// The objects of a section whose `secrets` are references.
fn parts<'a>(name: &str, section: &'a Map<String, Value>) -> Vec<&'a Map<String, Value>> {
    match name {
        "fleet" => vec![section],
        "agent" => section
            .get("download")
            .and_then(Value::as_object)
            .into_iter()
            .collect(),
        name if SECTIONS.contains(&name) => section.values().filter_map(Value::as_object).collect(),
        _ => Vec::new(),
    }
}

/// The ids in a text, in their order.
fn inline(text: &str) -> impl Iterator<Item = &str> {
    text.split(MARK)
        .skip(1)
        .filter_map(|behind| behind.split_once('}').map(|(id, _)| id))
}

fn inline_ids(value: &Value, found: &mut BTreeSet<SecretId>) {
    match value {
        Value::String(text) => found.extend(inline(text).map(SecretId::from)),
        Value::Array(items) => items.iter().for_each(|item| inline_ids(item, found)),
        Value::Object(members) => members.values().for_each(|member| inline_ids(member, found)),
        _ => {}
    }
}

fn path_ids(object: &Map<String, Value>, found: &mut BTreeSet<SecretId>) {
    if let Some(Value::Object(secrets)) = object.get("secrets") {
        for (_, id) in leaves(secrets) {
            found.insert(id);
        }
    }
}

fn deep_path_ids(value: &Value, found: &mut BTreeSet<SecretId>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| deep_path_ids(item, found)),
        Value::Object(members) => {
            path_ids(members, found);
            members.values().for_each(|member| deep_path_ids(member, found));
        }
        _ => {}
    }
}

/// The references below `secrets`, each with its path.
fn leaves(secrets: &Map<String, Value>) -> Vec<(Vec<String>, SecretId)> {
    let mut found = Vec::new();
    for (name, value) in secrets {
        let Value::Object(members) = value else { continue };
        if let Some(Value::String(id)) = members.get("id") {
            found.push((vec![name.clone()], SecretId::from(id.as_str())));
        } else {
            for (path, id) in leaves(members) {
                found.push((std::iter::once(name.clone()).chain(path).collect(), id));
            }
        }
    }
    found
}

/// The references in an object's texts, then those of its own, so that no value is read for references; `is_deep`: those
/// of all objects below too.
fn resolve(value: &mut Value, path: &str, is_deep: bool, values: &Values, paths: &mut Vec<String>) {
    resolve_texts(value, path, is_deep, values, paths);
    if let Value::Object(members) = value {
        put_paths(members, path, values, paths);
    }
}

fn resolve_texts(value: &mut Value, path: &str, is_deep: bool, values: &Values, paths: &mut Vec<String>) {
    match value {
        Value::String(text) => {
            if let Some(replaced) = replaced(text, values) {
                *text = replaced;
                paths.push(path.to_owned());
            }
        }
        Value::Array(items) => {
            for (place, item) in items.iter_mut().enumerate() {
                below(item, &format!("{path}.{place}"), is_deep, values, paths);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                below(member, &format!("{path}.{name}"), is_deep, values, paths);
            }
        }
        _ => {}
    }
}

fn below(value: &mut Value, path: &str, is_deep: bool, values: &Values, paths: &mut Vec<String>) {
    if is_deep {
        resolve(value, path, true, values, paths);
    } else {
        resolve_texts(value, path, false, values, paths);
    }
}

/// Moves the references of an object to where their values belong.
fn put_paths(members: &mut Map<String, Value>, path: &str, values: &Values, paths: &mut Vec<String>) {
    let Some(Value::Object(secrets)) = members.get("secrets") else {
        return;
    };
    for (names, id) in leaves(secrets) {
        let value = values.get(&id).map_or("", Secret::reveal);
        put(members, &names, value);
        paths.push(format!("{path}.{}", names.join(".")));
    }
    members.remove("secrets");
}

fn put(members: &mut Map<String, Value>, names: &[String], value: &str) {
    let Some((name, rest)) = names.split_first() else {
        return;
    };
    if rest.is_empty() {
        members.insert(name.clone(), value.into());
        return;
    }
    let below = members
        .entry(name.clone())
        .or_insert_with(|| Value::Object(Map::new()));
    if !below.is_object() {
        *below = Value::Object(Map::new());
    }
    if let Value::Object(below) = below {
        put(below, rest, value);
    }
}

/// The text with values, if it has a reference that is known.
fn replaced(text: &str, values: &Values) -> Option<String> {
    let mut parts = text.split(MARK);
    let mut done = parts.next()?.to_owned();
    let mut is_replaced = false;
    while let Some(part) = parts.next() {
        let value = part
            .split_once('}')
            .and_then(|(id, behind)| Some((values.get(&SecretId::from(id))?, behind)));
        if let Some((value, behind)) = value {
            done.push_str(value.reveal());
            done.push_str(behind);
            is_replaced = true;
        } else {
            for part in std::iter::once(part).chain(parts.by_ref()) {
                done.push_str(MARK);
                done.push_str(part);
            }
        }
    }
    is_replaced.then_some(done)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn values(known: &[(&str, &str)]) -> Values {
        let secret = |(id, value): &(&str, &str)| (SecretId::from(*id), Secret::from((*value).to_owned()));
        known.iter().map(secret).collect()
    }

    fn resolved(policy: Value, known: &[(&str, &str)]) -> (Value, Vec<String>) {
        let Value::Object(mut policy) = policy else {
            panic!("a policy is an object")
        };
        let paths = resolve_policy(&mut policy, &values(known));
        (Value::Object(policy), paths)
    }

    #[test]
    fn d16_references_in_a_text_are_replaced_up_to_the_first_unknown_one() {
        let known = values(&[("1", "V1"), ("3", "V3")]);
        for (text, expected) in [
            (
                "a $co.elastic.secret{1} b $co.elastic.secret{2}",
                Some("a V1 b $co.elastic.secret{2}"),
            ),
            ("$co.elastic.secret{1}$co.elastic.secret{3}", Some("V1V3")),
            (
                "$co.elastic.secret{1}-$co.elastic.secret{2}-$co.elastic.secret{3}",
                Some("V1-$co.elastic.secret{2}-$co.elastic.secret{3}"),
            ),
            ("$co.elastic.secret{2} $co.elastic.secret{1}", None),
            ("$co.elastic.secret{1", None),
            ("$co.elastic.secret{}", None),
            ("plain", None),
        ] {
            assert_eq!(replaced(text, &known).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn d17_paths_become_members_and_are_told() {
        let (policy, paths) = resolved(
            json!({
                "secret_references": [{"id": "1"}],
                "inputs": [{
                    "secrets": {"x": {"y": {"id": "1"}}, "z": {"id": "unknown"}}, "x": {"kept": true},
                    "streams": [{"id": "s"}, {"password": "p-$co.elastic.secret{1}"}, {"secrets": {"key": {"id": "1"}}}],
                }],
                "outputs": {"o": {"secrets": {"ssl": {"key": {"id": "1"}}}, "deep": {"secrets": {"no": {"id": "1"}}}}},
                "agent": {"download": {"secrets": {"auth": {"id": "1"}}}},
                "fleet": {"ssl": {"key": "$co.elastic.secret{1}"}},
                "exporters": {"e/1": {"secrets": {"token": {"id": "1"}}}},
                "others": {"secrets": {"no": {"id": "1"}}, "text": "$co.elastic.secret{1}"},
            }),
            &[("1", "V1")],
        );
        assert_eq!(
            policy,
            json!({
                "secret_references": [{"id": "1"}],
                "inputs": [{
                    "x": {"kept": true, "y": "V1"}, "z": "",
                    "streams": [{"id": "s"}, {"password": "p-V1"}, {"key": "V1"}],
                }],
                "outputs": {"o": {"ssl": {"key": "V1"}, "deep": {"secrets": {"no": {"id": "1"}}}}},
                "agent": {"download": {"auth": "V1"}},
                "fleet": {"ssl": {"key": "V1"}},
                "exporters": {"e/1": {"token": "V1"}},
                "others": {"secrets": {"no": {"id": "1"}}, "text": "$co.elastic.secret{1}"},
            })
        );
        let expected: BTreeSet<&str> = [
            "inputs.0.x.y",
            "inputs.0.z",
            "inputs.0.streams.1.password",
            "inputs.0.streams.2.key",
            "outputs.o.ssl.key",
            "agent.download.auth",
            "fleet.ssl.key",
            "exporters.e/1.token",
        ]
        .into();
        assert_eq!(
            paths.iter().map(String::as_str).collect::<BTreeSet<_>>(),
            expected
        );
    }

    #[test]
    fn inputs_of_a_policy_without_references_keep_what_is_called_secrets() {
        let policy = json!({"inputs": [{"secrets": {"x": {"id": "1"}}}]});
        assert_eq!(resolved(policy.clone(), &[("1", "V1")]), (policy, vec![]));
    }

    #[test]
    fn all_references_of_a_policy_are_found() {
        let Value::Object(policy) = json!({
            "secret_references": [{"id": "listed"}],
            "inputs": [{"a": "$co.elastic.secret{text} $co.elastic.secret{two}", "secrets": {"x": {"id": "path"}}}],
            "outputs": {"o": {"secrets": {"y": {"id": "output"}}}},
        }) else {
            panic!("a policy is an object")
        };
        let found: Vec<_> = of_policy(&policy).into_iter().map(|id| id.to_string()).collect();
        assert_eq!(found, ["listed", "output", "path", "text", "two"]);
    }

    proptest! {
        /// Values are put in as they are: nothing in them is read again.
        #[test]
        fn any_text_is_read(text in r"(\$co\.elastic\.secret\{|\}|1|2|[a-z ]){0,12}", value in ".{0,20}") {
            let known = values(&[("1", &value)]);
            let _ = replaced(&text, &known);
            let mut json = Value::String(text.clone());
            // A reference within a reference is an unknown one.
            let is_plain = text.split(MARK).skip(1).all(|behind| behind.contains('}'));
            if resolve_value(&mut json, &known).is_ok() && is_plain {
                let expected = text.replace("$co.elastic.secret{1}", &value);
                prop_assert_eq!(json, Value::String(expected));
            }
        }
    }
}
