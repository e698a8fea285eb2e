//! Every key there is, collected from the declarations.

use super::{
    declare::{Section, State},
    node::{Kind, Node, join},
    place::{PlaceId, Places},
    problem::Problem,
    setting::{Setting, Shape, Shown},
};

/// One declared key.
#[derive(Clone, Debug)]
pub struct Key {
    /// Dotted; `*` stands for the number of a list item.
    pub path: String,
    /// What it does.
    pub about: String,
    /// The unit of a bare number.
    pub unit: &'static str,
    /// What is allowed.
    pub allowed: String,
    /// What counts when nobody says anything; `None`: unset.
    pub default: Option<Shown>,
    /// Whether it does anything yet.
    pub state: State,
    /// Its shape.
    pub shape: Shape,
    /// Whether it lies in a section that does not exist unless somebody writes it.
    pub is_optional: bool,
}

/// How often a section stands in its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Once, with defaults.
    Always,
    /// Only if written.
    Optional,
    /// Any number of times.
    List,
}

/// One line of the reference.
#[derive(Clone, Debug)]
pub enum Entry {
    /// The keys that follow are in it until it ends.
    Open {
        /// Its dotted path.
        path: String,
        /// What it is for.
        about: String,
        /// How often.
        presence: Presence,
    },
    /// The section that was opened last ends.
    Close,
    /// A key.
    Key(Key),
}

/// Every key there is.
#[derive(Debug)]
pub struct Schema {
    entries: Vec<Entry>,
    path: String,
    optional: usize,
}

impl Schema {
    /// The keys of `S`.
    pub fn of<S: Section>() -> Self {
        let mut schema = Self {
            entries: Vec::new(),
            path: String::new(),
            optional: 0,
        };
        S::describe(&mut schema);
        schema
    }

    /// Called by `section!`.
    pub fn key<T: Setting>(
        &mut self,
        name: &str,
        about: &str,
        state: State,
        unit: Option<&'static str>,
        default: &T,
    ) {
        self.entries.push(Entry::Key(Key {
            path: join(&self.path, name),
            about: trimmed(about),
            unit: unit.unwrap_or_else(T::unit),
            allowed: T::allowed(),
            default: default.shown(),
            state,
            shape: T::SHAPE,
            is_optional: self.optional > 0,
        }));
    }

    /// Called by `section!`.
    pub fn section(&mut self, name: &str, about: &str, presence: Presence, describe: fn(&mut Self)) {
        let parent = self.path.clone();
        self.path = join(&parent, name);
        self.entries.push(Entry::Open {
            path: self.path.clone(),
            about: trimmed(about),
            presence,
        });
        self.optional += usize::from(presence != Presence::Always);
        if presence == Presence::List {
            self.path.push_str(".*");
        }
        describe(self);
        self.optional -= usize::from(presence != Presence::Always);
        self.entries.push(Entry::Close);
        self.path = parent;
    }

    /// All of it, in the order of the declarations.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// All keys.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Key(key) => Some(key),
            Entry::Open { .. } | Entry::Close => None,
        })
    }

    /// The key of a concrete path.
    pub fn find(&self, path: &str) -> Option<&Key> {
        self.keys().find(|key| fits(&key.path, path))
    }

    /// Whether names below `path` belong to the operator.
    pub fn is_free(&self, path: &str) -> bool {
        self.find(path).is_some_and(|key| key.shape == Shape::Map)
    }

    fn section_at(&self, path: &str) -> Option<Presence> {
        self.entries.iter().find_map(|entry| match entry {
            Entry::Open {
                path: pattern,
                presence,
                ..
            } if fits(pattern, path) => Some(*presence),
            // An item of a list of sections is a section itself.
            Entry::Open {
                path: pattern,
                presence: Presence::List,
                ..
            } if fits(&format!("{pattern}.*"), path) => Some(Presence::Always),
            _ => None,
        })
    }

    /// The lowest layer: what counts when nobody says anything.
    pub fn defaults(&self) -> Vec<(String, Node)> {
        self.keys()
            .filter(|key| !key.is_optional)
            .filter_map(|key| {
                Some((
                    key.path.clone(),
                    to_node(key.default.as_ref()?, PlaceId::BUILT_IN),
                ))
            })
            .collect()
    }

    /// Reports what nobody declared and what has the wrong shape, and takes it away.
    pub fn check(&self, layer: &mut Node, path: &str, places: &Places, problems: &mut Vec<Problem>) {
        match &mut layer.kind {
            Kind::Map(entries) => entries.retain_mut(|(name, node)| {
                let full = join(path, name);
                if self.find(&full).is_some() {
                    return true;
                }
                let Some(presence) = self.section_at(&full) else {
                    problems.push(self.unknown(path, &full, places.get(node.place)));
                    return false;
                };
                self.has_shape(presence, &full, node, places, problems) && {
                    self.check(node, &full, places, problems);
                    true
                }
            }),
            Kind::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.check(item, &join(path, &index.to_string()), places, problems);
                }
            }
            Kind::Null | Kind::Text(_) => {}
        }
    }

    fn has_shape(
        &self,
        presence: Presence,
        path: &str,
        node: &Node,
        places: &Places,
        problems: &mut Vec<Problem>,
    ) -> bool {
        let fits = match &node.kind {
            Kind::Map(_) | Kind::Null => true,
            Kind::List(_) => presence == Presence::List,
            // `output: ${OTHER.SECTION}` is decided after the substitution.
            Kind::Text(text) => text.contains("${"),
        };
        if !fits {
            let allowed = if presence == Presence::List {
                "a list of sections"
            } else {
                "a section with keys"
            };
            problems.push(Problem::Value {
                place: places.get(node.place),
                key: path.to_owned(),
                allowed: allowed.to_owned(),
                found: node.kind.name().to_owned(),
            });
        }
        fits
    }

    fn unknown(&self, parent: &str, path: &str, place: super::place::Place) -> Problem {
        if parent == "output" {
            // http-api 3.1
            let name = path.rsplit('.').next().unwrap_or(path);
            return Problem::Refused {
                place,
                key: "output".to_owned(),
                sentence: format!("can only contain elasticsearch key, found {name}"),
            };
        }
        Problem::UnknownKey {
            place,
            key: path.to_owned(),
            nearest: self.nearest(path),
        }
    }

    /// The known key or section that was most likely meant; `None` rather than a wild guess.
    fn nearest(&self, path: &str) -> Option<String> {
        let (parent, name) = split(path);
        let known = || {
            self.entries.iter().filter_map(|entry| match entry {
                Entry::Key(key) => Some(key.path.as_str()),
                Entry::Open { path, .. } => Some(path.as_str()),
                Entry::Close => None,
            })
        };
        let length = name.chars().count();
        // A slip of the pen, where the key stands.
        let here = known()
            .filter(|known| fits(split(known).0, parent))
            .map(|known| (strsim::damerau_levenshtein(split(known).1, name), known))
            .filter(|(distance, _)| *distance <= (length / 3).max(1))
            .min_by_key(|(distance, _)| *distance);
        if let Some((_, known)) = here {
            return Some(known.replace('*', "0"));
        }
        // The right name at the wrong depth (`server.port` at the top). Two such places are no hint.
        let mut elsewhere = known()
            .filter(|known| is_above_or_below(split(known).0, parent))
            .filter(|known| strsim::damerau_levenshtein(split(known).1, name) <= length / 4);
        match (elsewhere.next(), elsewhere.next()) {
            (Some(known), None) => Some(known.replace('*', "0")),
            _ => None,
        }
    }
}

/// Parent and last name of a dotted path.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('.').unwrap_or(("", path))
}

/// Whether one of two sections lies in the other.
fn is_above_or_below(pattern: &str, path: &str) -> bool {
    let mut pairs = parts(pattern).zip(parts(path));
    pairs.all(|(pattern, part)| part_fits(pattern, part))
}

fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('.').filter(|part| !part.is_empty())
}

fn part_fits(pattern: &str, part: &str) -> bool {
    pattern == part || (pattern == "*" && part.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether a concrete path is an instance of a declared one.
fn fits(pattern: &str, path: &str) -> bool {
    let (mut patterns, mut parts) = (pattern.split('.'), path.split('.'));
    loop {
        match (patterns.next(), parts.next()) {
            (None, None) => return true,
            (Some(pattern), Some(part)) if part_fits(pattern, part) => {}
            _ => return false,
        }
    }
}

/// A rendered value as a layer holds it.
pub fn to_node(shown: &Shown, place: PlaceId) -> Node {
    let kind = match shown {
        Shown::Bare(text) | Shown::Text(text) => Kind::Text(text.clone()),
        Shown::List(items) => Kind::List(items.iter().map(|item| to_node(item, place)).collect()),
        Shown::Map(entries) => Kind::Map(
            entries
                .iter()
                .map(|(name, value)| (name.clone(), to_node(value, place)))
                .collect(),
        ),
    };
    Node::new(place, kind)
}

/// Doc comments begin with a blank; lines stay lines.
fn trimmed(doc: &str) -> String {
    doc.lines()
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect::<Vec<_>>()
        .join("\n")
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Schema};

    #[test]
    fn a_hint_is_a_near_key_or_none() {
        let schema = Schema::of::<Config>();
        for (unknown, hint) in [
            // A slip, in the section itself.
            ("http.prot", Some("http.port")),
            ("inputs.0.server.ssl.keys", Some("inputs.0.server.ssl.key")),
            ("output.elasticsearch.host", Some("output.elasticsearch.hosts")),
            (
                "inputs.0.server.timeouts.raed",
                Some("inputs.0.server.timeouts.read"),
            ),
            // The right name at another depth.
            ("server", Some("inputs.0.server")),
            ("sevrer", Some("inputs.0.server")),
            ("inputs.0.timeouts", Some("inputs.0.server.timeouts")),
            ("inputs.0.server.logging.level", None),
            ("inputs.0.server.bootstrap", Some("bootstrap")),
            // Nothing near, or too much of it.
            ("unknwn", None),
            ("zzz", None),
            ("inputs.0.server.unknwn", None),
            ("output.elasticsearch.username", None),
            ("output.elasticsearch.password", None),
            ("port", None),
            ("ssl", None),
        ] {
            assert_eq!(schema.nearest(unknown).as_deref(), hint, "{unknown}");
        }
    }
}
