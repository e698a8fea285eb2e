//! A sub-command's overlay ← files ← flags, as one tree.
//!
//! Each source is read once into a tree of [`config::Value`], in which dotted keys are nested and every key is
//! declared; the `config` crate merges the trees. Scalars stay text: the type of a key decides what `0600` means.

use std::{collections::HashMap, fs, path::Path};

use config::{Map, Source, Value, ValueKind};
use notation::yaml::{self, Node};

use super::{
    place::Place,
    problem::{Problem, Report},
    schema::{Named, Schema, join},
    section::Presence,
    setting::Shape,
    substitute::escape,
    written::{value, written},
};

/// A sub-command's own defaults: above the built-in ones, below every file and flag.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    name: &'static str,
    values: Vec<(String, Node)>,
}

impl Overlay {
    /// An empty overlay; `name` is shown in error texts.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            values: Vec::new(),
        }
    }

    /// Sets a dotted key. The text is taken literally, without substitution.
    #[must_use]
    pub fn set(mut self, key: &str, text: impl Into<String>) -> Self {
        self.values.push((key.to_owned(), literal(&text.into())));
        self
    }
}

fn literal(text: &str) -> Node {
    let value = yaml::Value::Text(escape(text));
    Node { line: 0, value }
}

/// All layers, lowest first.
pub(crate) struct Layers<'a> {
    schema: &'a Schema,
    report: &'a mut Report,
    sources: usize,
    unknown: usize,
    said: Vec<Said>,
}

/// A value under a declared path.
#[derive(Clone, Debug)]
struct Said(String, ValueKind);

impl Source for Said {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(Map::from_iter([(
            self.0.clone(),
            Value::new(None, self.1.clone()),
        )]))
    }
}

/// What the source that is being read has set so far.
struct Layer {
    start: Place,
    values: HashMap<String, Place>,
    sections: HashMap<String, Place>,
}

impl Layer {
    fn place(&self, line: usize) -> Place {
        self.start.at(line)
    }
}

impl<'a> Layers<'a> {
    pub(crate) fn new(schema: &'a Schema, report: &'a mut Report) -> Self {
        Self {
            schema,
            report,
            sources: 0,
            unknown: 0,
            said: Vec::new(),
        }
    }

    fn next_source(&mut self, name: &str) -> Place {
        self.sources += 1;
        Place::new(self.sources, name, 0)
    }

    pub(crate) fn overlay(&mut self, overlay: &Overlay) {
        let start = self.next_source(overlay.name);
        self.layer(start, overlay.values.clone());
    }

    pub(crate) fn file(&mut self, path: &Path) {
        let start = self.next_source(&path.display().to_string());
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                let (path, reason) = (path.display().to_string(), error.to_string());
                return self.report.add(start, Problem::Unreadable { path, reason });
            }
        };
        match yaml::read(&bytes) {
            Ok(node) => match node.value {
                yaml::Value::Map(entries) => self.layer(start, entries),
                yaml::Value::Null => {}
                other => self
                    .report
                    .add(start.at(node.line), Problem::NotAMap { found: name(&other) }),
            },
            Err(yaml::Error::Unusable { line, reason }) => {
                self.report.add(start.at(line), Problem::Syntax { reason });
            }
            Err(yaml::Error::Twice { line, key, first }) => {
                let first = start.at(first);
                self.report.add(start.at(line), Problem::Duplicate { key, first });
            }
        }
    }

    /// A `-E`.
    pub(crate) fn flag(&mut self, text: &str) {
        let (key, value) = text.split_once('=').unwrap_or((text, "true"));
        let key = key.trim();
        let shown: String = key.chars().take(200).collect();
        let start = self.next_source(&format!("-E {shown}"));
        let Some(path) = dotted(key).filter(|path| !path.contains([' ', '='])) else {
            return self.report.add(start, Problem::BadKey { key: shown });
        };
        // `key=` sets nothing.
        if value.trim().is_empty() {
            return;
        }
        let shape = self.schema.shape(&path);
        match written(value, shape, shape != Some(Shape::Single)) {
            Ok(value) => self.layer(start, vec![(path, Node { line: 0, value })]),
            Err(reason) => self.report.add(start, Problem::Syntax { reason }),
        }
    }

    /// A flag of its own for one key, as `--data-dir`.
    pub(crate) fn named_flag(&mut self, flag: &str, key: &str, text: &str) {
        let start = self.next_source(flag);
        self.layer(start, vec![(key.to_owned(), literal(text))]);
    }

    fn layer(&mut self, start: Place, entries: Vec<(String, Node)>) {
        let mut layer = Layer {
            start,
            values: HashMap::new(),
            sections: HashMap::new(),
        };
        for (name, node) in entries {
            self.put(&mut layer, "", &name, node);
        }
        for (path, place) in layer.values.into_iter().chain(layer.sections) {
            self.report.places.insert(path, place);
        }
    }

    /// Puts `node` below `section`, under a name that may be dotted. As deep as the declarations, not as the name.
    fn put(&mut self, layer: &mut Layer, section: &str, name: &str, node: Node) {
        let place = layer.place(node.line);
        // A name such as `.hidden` or `a..b` is not a path: it is refused under its own name.
        let normal = dotted(name);
        let (first, rest) = match normal.as_deref().and_then(|normal| normal.split_once('.')) {
            Some((first, rest)) => (first, Some(rest)),
            None => (normal.as_deref().unwrap_or(name), None),
        };
        let path = join(section, first);
        let schema = self.schema;
        match schema.get(&path) {
            None => self.unknown(section, path, place),
            Some(Named::Section(_)) if first != "0" && schema.is_one(section) => {
                self.refuse(place, section, "only 1 fleet-server input can be defined");
            }
            Some(Named::Section(presence)) => {
                if let Some(first) = layer.values.get(&path) {
                    return self.twice(place, path, first.clone());
                }
                layer.sections.entry(path.clone()).or_insert(place);
                match rest {
                    Some(rest) => self.put(layer, &path, rest, node),
                    None => self.section(layer, path, *presence, node),
                }
            }
            Some(_) => match rest {
                None if node.value == yaml::Value::Null => {}
                None => self.value(layer, path.clone(), path, value(node).kind, place),
                // An item of a list, or a name in a map that belongs to the operator.
                Some(rest) => {
                    if let Some(first) = layer.values.get(&path) {
                        return self.twice(place, path, first.clone());
                    }
                    layer
                        .sections
                        .entry(path.clone())
                        .or_insert_with(|| place.clone());
                    let item = Map::from_iter([(rest.to_owned(), value(node))]);
                    self.value(layer, join(&path, rest), path, ValueKind::Table(item), place);
                }
            },
        }
    }

    fn section(&mut self, layer: &mut Layer, path: String, presence: Presence, node: Node) {
        let place = layer.place(node.line);
        match (node.value, presence) {
            (yaml::Value::Null, _) => {}
            (yaml::Value::Map(entries), _) => {
                self.said.push(Said(path.clone(), ValueKind::Table(Map::new())));
                for (name, node) in entries {
                    self.put(layer, &path, &name, node);
                }
            }
            (yaml::Value::List(items), Presence::One) if items.is_empty() => {
                self.refuse(place, &path, "a fleet-server input must be defined");
            }
            (yaml::Value::List(items), Presence::One | Presence::List) => {
                // A list replaces one of a lower layer; the single input is merged instead.
                if presence == Presence::List {
                    self.said.push(Said(path.clone(), ValueKind::Nil));
                    self.said.push(Said(path.clone(), ValueKind::Table(Map::new())));
                }
                for (index, item) in items.into_iter().enumerate() {
                    self.put(layer, &path, &index.to_string(), item);
                }
            }
            // `output: ${OTHER.SECTION}` is decided after the substitution.
            (yaml::Value::Plain(text) | yaml::Value::Text(text), _) if text.contains("${") => {
                layer.sections.remove(&path);
                self.value(layer, path.clone(), path, ValueKind::String(text), place);
            }
            (other, _) => {
                let allowed = match presence {
                    Presence::List => "a list of sections",
                    _ => "a section with keys",
                };
                let (allowed, found) = (allowed.to_owned(), name(&other).to_owned());
                self.report.add(
                    place,
                    Problem::Value {
                        key: path,
                        allowed,
                        found,
                    },
                );
            }
        }
    }

    /// Stores `said` at `path`; a second value for `key` in the same source is an error.
    fn value(&mut self, layer: &mut Layer, key: String, path: String, said: ValueKind, place: Place) {
        match layer.values.get(&key).or(layer.sections.get(&key)) {
            Some(first) => self.twice(place, key, first.clone()),
            None => {
                layer.values.insert(key, place);
                self.said.push(Said(path, said));
            }
        }
    }

    fn twice(&mut self, place: Place, key: String, first: Place) {
        self.report.add(place, Problem::Duplicate { key, first });
    }

    fn refuse(&mut self, place: Place, key: &str, sentence: impl Into<String>) {
        let (key, sentence) = (key.to_owned(), sentence.into());
        self.report.add(place, Problem::Refused { key, sentence });
    }

    fn unknown(&mut self, section: &str, key: String, place: Place) {
        if section == "output" {
            let name = key.rsplit('.').next().unwrap_or(&key);
            return self.refuse(
                place,
                section,
                format!("can only contain elasticsearch key, found {name}"),
            );
        }
        self.unknown += 1;
        let nearest = match self.unknown <= MAX_HINTS {
            true => self.schema.nearest(&key),
            false => None,
        };
        self.report.add(place, Problem::UnknownKey { key, nearest });
    }

    /// All layers as one tree.
    ///
    /// # Errors
    /// Errors of `config`; none are known for values under declared paths.
    pub(crate) fn merge(self) -> Result<Value, config::ConfigError> {
        let builder = self
            .said
            .into_iter()
            .fold(config::Config::builder(), |builder, said| {
                builder.add_source(said)
            });
        Ok(Value::new(None, ValueKind::Table(builder.build()?.collect()?)))
    }
}

/// Most hints for misspelt keys: each is compared with every known key, and a file may hold nothing else.
const MAX_HINTS: usize = 100;

/// `a[0].b` as `a.0.b`; `None` for what has an empty part.
fn dotted(name: &str) -> Option<String> {
    let parts: Vec<&str> = name
        .split(['.', '['])
        .map(|part| part.strip_suffix(']').unwrap_or(part))
        .collect();
    parts
        .iter()
        .all(|part| !part.is_empty() && !part.contains(']'))
        .then(|| parts.join("."))
}

/// The name of the value's kind in error texts.
fn name(value: &yaml::Value) -> &'static str {
    match value {
        yaml::Value::Null => "nothing",
        yaml::Value::Plain(_) | yaml::Value::Text(_) => "a single value",
        yaml::Value::List(_) => "a list",
        yaml::Value::Map(_) => "a section",
    }
}
