//! A policy in a file: a small header (`policy:`), and beside it what its agents get, written as an agent's own YAML.
//!
//! In: bytes of files, or a policy as the API shows it. Out: settings for the API, or the text of a file. What is wrong is
//! told with file and line; nothing here talks to a server.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use notation::yaml::{self, Node, Value as Yaml};
use serde_json::{Map, Value, json};

use crate::{fault::Fault, output::text};

/// A policy that was read from a file.
#[derive(Debug)]
pub(super) struct PolicyFile {
    pub(super) path: PathBuf,
    pub(super) id: Option<String>,
    pub(super) name: String,
    /// Every member that a file decides, `null` where it says nothing.
    pub(super) settings: Map<String, Value>,
    tree: Node,
    header: usize,
}

/// Members of the header that are settings of the same name.
const SETTINGS: [&str; 5] = [
    "name",
    "namespace",
    "description",
    "monitoring_enabled",
    "inactivity_timeout",
];

impl PolicyFile {
    /// Reads the file, or every `*.yml` and `*.yaml` of the directory; all that is wrong is told at once.
    pub(super) fn read_all(paths: &[PathBuf]) -> Result<Vec<Self>, Fault> {
        let mut files = Vec::new();
        for path in paths {
            files.extend(yaml_files(path)?);
        }
        let (mut read, mut wrong) = (Vec::<Self>::new(), Vec::new());
        for path in files {
            match Self::read(&path)? {
                Ok(file) => match read.iter().find(|other| other.is_same_policy(&file)) {
                    Some(other) => wrong.push(format!(
                        "{}: {} is also the policy of {}",
                        file.place(),
                        file.name,
                        other.place()
                    )),
                    None => read.push(file),
                },
                Err(reason) => wrong.push(reason),
            }
        }
        match wrong.is_empty() {
            true => Ok(read),
            false => Err(Fault::Files(wrong)),
        }
    }

    fn is_same_policy(&self, other: &Self) -> bool {
        match (&self.id, &other.id) {
            (Some(one), Some(other)) => one == other,
            _ => self.name == other.name,
        }
    }

    fn read(path: &Path) -> Result<Result<Self, String>, Fault> {
        let bytes = fs::read(path).map_err(|error| Fault::file(path, error))?;
        let shown = path.display();
        Ok(Self::parse(path, &bytes).map_err(|(line, reason)| match line {
            Some(line) => format!("{shown}:{line}: {reason}"),
            None => format!("{shown}: {reason}"),
        }))
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<Self, (Option<usize>, String)> {
        let of_yaml = |error: yaml::Error| match error {
            yaml::Error::Unusable { line, reason } => (Some(line), reason),
            yaml::Error::Twice { line, key, first } => {
                (Some(line), format!("duplicate key {key}, first in line {first}"))
            }
        };
        let tree = yaml::read(bytes).map_err(of_yaml)?;
        let Yaml::Map(members) = &tree.value else {
            return Err((Some(tree.line), EXPECTED.to_owned()));
        };
        let Some((_, header)) = members.iter().find(|(name, _)| name == "policy") else {
            return Err((Some(tree.line), EXPECTED.to_owned()));
        };
        let Yaml::Map(inside) = &header.value else {
            return Err((Some(header.line), EXPECTED.to_owned()));
        };
        for (name, node) in inside {
            if !SETTINGS.contains(&name.as_str()) && name != "id" && name != "full" {
                let known = SETTINGS.join(", ");
                let reason = format!("policy.{name} is not known: use id, {known} or full");
                return Err((Some(node.line), reason));
            }
        }
        if let Some((name, node)) = members
            .iter()
            .find(|(name, _)| name == "id" || name == "revision")
        {
            let reason =
                format!("the server decides {name}: leave it out, and name the policy's id in policy.id");
            return Err((Some(node.line), reason));
        }
        let json = tree.to_json().map_err(of_yaml)?;
        let mut body: Map<String, Value> =
            serde_json::from_str(&json).map_err(|error| (None, error.to_string()))?;
        let header_line = header.line;
        let mut header = match body.remove("policy") {
            Some(Value::Object(header)) => header,
            _ => Map::new(),
        };
        let Some(Value::String(name)) = header.get("name").filter(|name| !text(name).trim().is_empty())
        else {
            return Err((Some(header_line), "policy.name must be text".to_owned()));
        };
        let name = name.clone();
        let id = match header.remove("id") {
            None | Some(Value::Null) => None,
            Some(Value::String(id)) => Some(id),
            Some(_) => return Err((Some(header_line), "policy.id must be text, in quotes".to_owned())),
        };
        let is_full = match header.remove("full") {
            None | Some(Value::Null | Value::Bool(false)) => false,
            Some(Value::Bool(true)) => true,
            Some(_) => return Err((Some(header_line), "policy.full must be true or false".to_owned())),
        };
        header.entry("namespace").or_insert_with(|| "default".into());
        header.insert(
            if is_full { "full_policy" } else { "overrides" }.into(),
            body.into(),
        );
        Ok(Self {
            path: path.to_owned(),
            id,
            name,
            settings: comparable(&header),
            tree,
            header: header_line,
        })
    }

    /// The name that the server keeps of the file.
    pub(super) fn file_name(&self) -> String {
        let name = self.path.file_name().unwrap_or(self.path.as_os_str());
        name.to_string_lossy().into_owned()
    }

    /// File and line of the header.
    pub(super) fn place(&self) -> String {
        format!("{}:{}", self.path.display(), self.header)
    }

    /// What a server says of the file, with the line of the member that it names.
    pub(super) fn told(&self, reason: &str) -> String {
        let reason = reason.trim_start_matches("Bad request: ");
        let places = reason
            .split([' ', ':', ',', '"'])
            .filter_map(|word| line_of(&self.tree, word));
        let line = places
            .max_by_key(|(depth, _)| *depth)
            .map_or(self.header, |(_, line)| line);
        format!("{}:{line}: {reason}", self.path.display())
    }

    /// The file's policy as [`write`] would write it.
    pub(super) fn normal(&self) -> String {
        write(self.id.as_deref(), &self.settings)
    }
}

/// How deep a word like `inputs[0].streams[1].data_stream` leads into the tree, and to which line.
fn line_of(tree: &Node, word: &str) -> Option<(usize, usize)> {
    let (mut node, mut depth) = (tree, 0);
    let steps = word.split(['.', '[']).map(|step| step.trim_end_matches(']'));
    for step in steps.filter(|step| !step.is_empty()) {
        let next = match &node.value {
            Yaml::Map(members) => members
                .iter()
                .find(|(name, _)| name == step)
                .map(|(_, node)| node),
            Yaml::List(items) => step.parse::<usize>().ok().and_then(|place| items.get(place)),
            _ => None,
        };
        let Some(next) = next else { break };
        (node, depth) = (next, depth + 1);
    }
    (depth > 0).then_some((depth, node.line))
}

/// The members that a file decides, each there; what asks for nothing is `null`.
pub(super) fn comparable(settings: &Map<String, Value>) -> Map<String, Value> {
    let mut all = Map::new();
    for name in SETTINGS.iter().chain(&["overrides", "full_policy"]) {
        let value = settings.get(*name).cloned().unwrap_or(Value::Null);
        let is_empty = match &value {
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(members) => members.is_empty(),
            _ => false,
        };
        all.insert((*name).to_owned(), if is_empty { Value::Null } else { value });
    }
    all
}

/// A policy as a file; `settings` as [`comparable`] gives them.
pub(super) fn write(id: Option<&str>, settings: &Map<String, Value>) -> String {
    let mut header = Map::new();
    header.insert("name".into(), settings["name"].clone());
    if let Some(id) = id {
        header.insert("id".into(), id.into());
    }
    for name in &SETTINGS[1..] {
        if !settings[*name].is_null() {
            header.insert((*name).into(), settings[*name].clone());
        }
    }
    let mut file = Map::new();
    let body = match &settings["full_policy"] {
        Value::Object(full) => {
            header.insert("full".into(), true.into());
            let mut full = full.clone();
            full.remove("id");
            full.remove("revision");
            Some(full)
        }
        _ => settings["overrides"].as_object().cloned(),
    };
    file.insert("policy".into(), Value::Object(header));
    file.extend(body.unwrap_or_default());
    yaml::write(&json!(file))
}

fn yaml_files(path: &Path) -> Result<Vec<PathBuf>, Fault> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries: io::Result<Vec<_>> =
        fs::read_dir(path).and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect());
    let mut files = entries.map_err(|error| Fault::file(path, error))?;
    files.retain(|file| file.extension().is_some_and(|end| end == "yml" || end == "yaml"));
    if files.is_empty() {
        let shown = path.display();
        return Err(Fault::Usage(format!(
            "{shown} has no *.yml and no *.yaml: name another directory"
        )));
    }
    files.sort();
    Ok(files)
}

const EXPECTED: &str =
    "expected a policy file: `policy:` with a `name:` below it, beside the agent's own `inputs:` …";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<PolicyFile, (Option<usize>, String)> {
        PolicyFile::parse(Path::new("a.yml"), text.as_bytes())
    }

    #[test]
    fn what_is_written_is_read_back_as_the_same_policy() {
        let text = "policy:\n  name: Web\n  id: web\n  namespace: default\n  description: two\ninputs:\n  - type: logfile\n";
        let file = parse(text).unwrap();
        assert_eq!(file.normal(), text);
        assert_eq!(
            file.settings["overrides"],
            json!({"inputs": [{"type": "logfile"}]})
        );
        let full = parse("policy: {name: F, full: true}\noutputs: {default: {type: x}}\n").unwrap();
        assert!(full.settings["overrides"].is_null() && full.settings["full_policy"].is_object());
        assert_eq!(parse(&full.normal()).unwrap().settings, full.settings);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, line, reason) in [
            ("inputs: []\n", 1, "expected a policy file"),
            ("policy:\n  nmae: x\n", 2, "policy.nmae is not known"),
            ("policy:\n  namespace: x\n", 1, "policy.name must be text"),
            ("policy: {name: x}\nid: y\n", 2, "the server decides id"),
            ("policy: {name: x}\ninputs: [\n", 2, "unclosed"),
            ("policy: {name: x}\na: 1\na: 2\n", 3, "duplicate key a"),
        ] {
            let (found, told) = parse(text).unwrap_err();
            assert!(
                found == Some(line) && told.contains(reason),
                "{text}: {found:?} {told}"
            );
        }
        let file =
            parse("policy: {name: x}\ninputs:\n- type: a\n- type: b\n  data_stream:\n    namespace: A\n")
                .unwrap();
        let told = file.told("agent policy: inputs[1].data_stream.namespace \"A\" has capitals");
        assert!(told.starts_with("a.yml:6: "), "{told}");
        assert!(file.told("name is taken").starts_with("a.yml:1: "));
    }
}
