//! Built-in defaults ← a sub-command's overlay ← files ← flags. The `config` crate does the merging; each value
//! carries its place through it as its origin.

use std::{fs, path::Path};

use config::{Map, Source, Value, ValueKind};

use super::{
    flag,
    node::{Kind, Node},
    place::{Place, PlaceId, Places},
    problem::Problem,
    schema::Schema,
    yaml,
};

/// A sub-command's own defaults: above the built-in ones, below every file and flag.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    name: &'static str,
    values: Vec<(String, Kind)>,
}

impl Overlay {
    /// Nothing yet; `name` stands in error texts.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            values: Vec::new(),
        }
    }

    /// Sets a dotted key. The text is taken as it stands: no substitution.
    #[must_use]
    pub fn set(mut self, key: &str, text: impl Into<String>) -> Self {
        self.values.push((
            key.to_owned(),
            Kind::Text(super::substitute::escape(&text.into())),
        ));
        self
    }

    /// Sets a dotted key that is a list.
    #[must_use]
    pub fn set_list(mut self, key: &str, items: &[String]) -> Self {
        let text = |item: &String| Node::new(PlaceId::BUILT_IN, Kind::Text(super::substitute::escape(item)));
        self.values
            .push((key.to_owned(), Kind::List(items.iter().map(text).collect())));
        self
    }
}

/// All layers, lowest first.
pub struct Layers<'s> {
    schema: &'s Schema,
    /// Every place met.
    pub places: Places,
    /// What is wrong so far.
    pub problems: Vec<Problem>,
    layers: Vec<Node>,
}

impl<'s> Layers<'s> {
    /// Only the built-in defaults.
    pub fn new(schema: &'s Schema) -> Self {
        let mut layers = Self {
            schema,
            places: Places::default(),
            problems: Vec::new(),
            layers: Vec::new(),
        };
        for (path, node) in schema.defaults() {
            layers.layers.push(Node::under(&path, node));
        }
        layers
    }

    /// A sub-command's own defaults.
    pub fn overlay(&mut self, overlay: &Overlay) {
        for (key, kind) in &overlay.values {
            let place = self.places.add(Place::Overlay(overlay.name));
            self.push(Node::under(key, relocated(kind, place)));
        }
    }

    /// A file.
    pub fn file(&mut self, path: &Path) {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                let reason = error.to_string();
                self.problems.push(Problem::Unreadable {
                    path: path.to_owned(),
                    reason,
                });
                return;
            }
        };
        let place = |line| Place::File {
            path: path.to_owned(),
            line,
        };
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        if let Some(root) = yaml::parse(text, &place, &mut self.places, &mut self.problems) {
            match root.kind {
                Kind::Map(_) => self.push(root),
                Kind::Null => {}
                kind => self.problems.push(Problem::NotAMap {
                    place: self.places.get(root.place),
                    found: kind.name(),
                }),
            }
        }
    }

    /// A `-E`.
    pub fn flag(&mut self, text: &str) {
        match flag::layer(text, self.schema, &mut self.places) {
            Ok(Some(layer)) => self.push(layer),
            Ok(None) => {}
            Err(problem) => self.problems.push(problem),
        }
    }

    /// A flag of its own for one key, as `--data-dir`.
    pub fn named_flag(&mut self, flag: &str, key: &str, text: &str) {
        let place = self.places.add(Place::Flag(flag.to_owned()));
        self.push(Node::under(
            key,
            Node::new(place, Kind::Text(super::substitute::escape(text))),
        ));
    }

    fn push(&mut self, layer: Node) {
        let is_free = |path: &str| self.schema.is_free(path);
        let mut layer = layer.expand("", &is_free, &self.places, &mut self.problems);
        self.number_the_input(&mut layer);
        self.schema
            .check(&mut layer, "", &self.places, &mut self.problems);
        self.layers.push(layer);
    }

    /// `inputs` is a list of exactly one (http-api 3.1). Inside it is a section named `0`, so that a later layer
    /// adds to it instead of replacing the list.
    fn number_the_input(&mut self, layer: &mut Node) {
        let Kind::Map(entries) = &mut layer.kind else {
            return;
        };
        let Some((_, inputs)) = entries.iter_mut().find(|(name, _)| name == "inputs") else {
            return;
        };
        let count = match &inputs.kind {
            Kind::List(items) => items.len(),
            Kind::Map(items)
                if items
                    .iter()
                    .all(|(name, _)| name.bytes().all(|byte| byte.is_ascii_digit())) =>
            {
                if items.iter().any(|(name, _)| name != "0") {
                    2
                } else {
                    items.len()
                }
            }
            Kind::Null | Kind::Text(_) | Kind::Map(_) => return,
        };
        if count != 1 {
            let sentence = if count == 0 {
                "a fleet-server input must be defined"
            } else {
                "only 1 fleet-server input can be defined"
            };
            self.problems.push(Problem::Refused {
                place: self.places.get(inputs.place),
                key: "inputs".to_owned(),
                sentence: sentence.to_owned(),
            });
            inputs.kind = Kind::Null;
            return;
        }
        if let Kind::List(items) = &mut inputs.kind
            && let Some(first) = items.pop()
        {
            inputs.kind = Kind::Map(vec![("0".to_owned(), first)]);
        }
    }

    /// All layers as one tree.
    ///
    /// # Errors
    /// What `config` has to say; it has nothing to refuse in trees that were built here.
    pub fn merge(&self) -> Result<Value, config::ConfigError> {
        let mut builder = config::Config::builder();
        for layer in &self.layers {
            builder = builder.add_source(Layer(layer.clone()));
        }
        Ok(Value::new(None, ValueKind::Table(builder.build()?.collect()?)))
    }
}

#[derive(Clone, Debug)]
struct Layer(Node);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        match to_value(&self.0).kind {
            ValueKind::Table(table) => Ok(table),
            _ => Ok(Map::new()),
        }
    }
}

/// As `config` holds it. What says nothing is left out, so that the layer below counts.
pub fn to_value(node: &Node) -> Value {
    let origin = node.place.to_origin();
    let kind = match &node.kind {
        Kind::Null => ValueKind::Nil,
        Kind::Text(text) => ValueKind::String(text.clone()),
        Kind::List(items) => ValueKind::Array(items.iter().map(to_value).collect()),
        Kind::Map(entries) => ValueKind::Table(
            entries
                .iter()
                .filter(|(_, node)| node.kind != Kind::Null)
                .map(|(name, node)| (name.clone(), to_value(node)))
                .collect(),
        ),
    };
    Value::new(Some(&origin), kind)
}

fn relocated(kind: &Kind, place: PlaceId) -> Node {
    let kind = match kind {
        Kind::List(items) => Kind::List(items.iter().map(|item| relocated(&item.kind, place)).collect()),
        Kind::Map(entries) => Kind::Map(
            entries
                .iter()
                .map(|(name, node)| (name.clone(), relocated(&node.kind, place)))
                .collect(),
        ),
        other => other.clone(),
    };
    Node::new(place, kind)
}
