//! `policy from-standalone`: the YAML of a standalone agent as a policy file, with its variables told at the top.
//!
//! In: the file that Kibana offers for standalone agents, or one of an agent's disk. Out: text. Talks to no server.

use std::path::Path;

use notation::{terminal::harmless, yaml};
use serde_json::{Map, Value};

use super::file::{comparable, write};
use crate::fault::Fault;

/// Members that only one agent's file has, or that the server makes.
const DROPPED: [&str; 6] = [
    "id",
    "revision",
    "signed",
    "secret_references",
    "namespaces",
    "policy",
];

/// The text of the policy file.
pub(super) fn convert(path: &Path, name: &str, id: Option<&str>) -> Result<String, Fault> {
    let shown = path.display();
    let bytes = std::fs::read(path).map_err(|error| Fault::file(path, error))?;
    let json = yaml::read(&bytes)
        .and_then(|tree| tree.to_json())
        .map_err(|error| Fault::Usage(format!("{shown}: {error}")))?;
    let mut body: Map<String, Value> = serde_json::from_str(&json).map_err(|_| {
        Fault::Usage(format!(
            "{shown} is not an agent's YAML: expected `outputs:`, `inputs:` …"
        ))
    })?;
    for member in DROPPED {
        body.remove(member);
    }
    let mut found = Vec::new();
    for (member, value) in &body {
        variables(value, member, &mut found);
    }
    let mut text = String::new();
    for (variable, place) in &found {
        let line = format!("# ${{{variable}}} in {place}: {}\n", source(variable));
        // A comment ends with its line, whatever the variable is called.
        text.push_str(&harmless(line.trim_end()));
        text.push('\n');
    }
    let mut settings = Map::new();
    settings.insert("name".into(), name.into());
    settings.insert("namespace".into(), "default".into());
    settings.insert("overrides".into(), body.into());
    text.push_str(&write(id, &comparable(&settings)));
    Ok(text)
}

/// Every `${…}`, each alternative by itself, with the place of its first use.
fn variables(value: &Value, place: &str, found: &mut Vec<(String, String)>) {
    match value {
        Value::String(text) => {
            let references = text.split("${").skip(1).filter_map(|rest| rest.split_once('}'));
            for (inside, _) in references {
                // `${host.name|'none'}`: the first that is there, or a constant.
                let names = inside.split('|').map(str::trim);
                for name in names.filter(|name| !name.is_empty() && !name.starts_with(['\'', '"'])) {
                    if !found.iter().any(|(known, _)| known == name) {
                        found.push((name.to_owned(), place.to_owned()));
                    }
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                variables(item, &format!("{place}[{index}]"), found);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                variables(member, &format!("{place}.{name}"), found);
            }
        }
        _ => {}
    }
}

/// Where an agent of a fleet takes the variable from.
fn source(variable: &str) -> &'static str {
    match variable.split_once('.').map(|(provider, _)| provider) {
        Some("env") => "the environment of the agent",
        Some("host" | "agent" | "path") => "the agent itself",
        Some("local" | "local_dynamic") => "providers.local of the policy",
        Some("docker") => "a container, one input for each (provider docker)",
        Some("kubernetes" | "kubernetes_leaderelection") => {
            "a pod or node, one input for each (provider kubernetes)"
        }
        Some("kubernetes_secrets") => "a secret of the agent's cluster",
        Some("filesource") => "a file on the agent's machine (providers.filesource)",
        _ if variable.starts_with("env:") => "the environment of the collector",
        Some(_) => "a provider that this server does not know: see that agents have it",
        None => {
            "a standalone agent's environment, which an agent of a fleet does not read: write the value, \
             ${env.NAME} or a secret ($co.elastic.secret{ID}) instead"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standalone_agents_yaml_becomes_a_policy_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("elastic-agent.yml");
        std::fs::write(
            &path,
            "id: 5c\nrevision: 3\noutputs:\n  default:\n    type: elasticsearch\n    hosts: ['https://es:9200']\n    \
             username: '${ES_USERNAME}'\n    password: '${ES_PASSWORD}'\ninputs:\n  - id: logs\n    type: logfile\n    \
             name: \"${kubernetes.pod.name|host.name|'none'} ${env.REGION}\"\n    again: '${env.REGION}'\nsigned: {data: x}\n",
        )
        .unwrap();
        insta::assert_snapshot!(convert(&path, "From Kibana", Some("fk")).unwrap(), @r#"
        # ${ES_USERNAME} in outputs.default.username: a standalone agent's environment, which an agent of a fleet does not read: write the value, ${env.NAME} or a secret ($co.elastic.secret{ID}) instead
        # ${ES_PASSWORD} in outputs.default.password: a standalone agent's environment, which an agent of a fleet does not read: write the value, ${env.NAME} or a secret ($co.elastic.secret{ID}) instead
        # ${kubernetes.pod.name} in inputs[0].name: a pod or node, one input for each (provider kubernetes)
        # ${host.name} in inputs[0].name: the agent itself
        # ${env.REGION} in inputs[0].name: the environment of the agent
        policy:
          name: From Kibana
          id: fk
          namespace: default
        outputs:
          default:
            type: elasticsearch
            hosts:
              - "https://es:9200"
            username: "${ES_USERNAME}"
            password: "${ES_PASSWORD}"
        inputs:
          - id: logs
            type: logfile
            name: "${kubernetes.pod.name|host.name|'none'} ${env.REGION}"
            again: "${env.REGION}"
        "#);
        std::fs::write(&path, "- a\n").unwrap();
        assert_eq!(convert(&path, "x", None).unwrap_err().exit_code(), 2);
    }
}
