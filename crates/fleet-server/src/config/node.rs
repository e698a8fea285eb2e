//! One layer as it was written, each value with its place, before anything is typed.
//!
//! Scalars stay text: the declared type of a key decides what `0600` or `30` means, so that no value changes
//! on the way (`1.10` is a version, not 1.1).

use super::{
    place::{PlaceId, Places},
    problem::Problem,
};

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where it stands.
    pub place: PlaceId,
    /// What it is.
    pub kind: Kind,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Nothing said: the layer below counts.
    Null,
    /// Text, number, boolean: not decided here.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// Keys with values, in the order written.
    Map(Vec<(String, Node)>),
}

impl Kind {
    /// As error texts call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Text(_) => "a single value",
            Self::List(_) => "a list",
            Self::Map(_) => "a section",
        }
    }
}

impl Node {
    /// A node.
    pub fn new(place: PlaceId, kind: Kind) -> Self {
        Self { place, kind }
    }

    /// `value` under the dotted `path`.
    pub fn under(path: &str, value: Self) -> Self {
        let place = value.place;
        split(path).into_iter().rev().fold(value, |inner, name| {
            Self::new(place, Kind::Map(vec![(name.to_owned(), inner)]))
        })
    }

    /// Turns dotted keys into nesting, at every depth, and refuses what is said twice.
    ///
    /// Below a path that `is_free` the names belong to the operator (header names) and stay as they are.
    pub fn expand(
        self,
        path: &str,
        is_free: &dyn Fn(&str) -> bool,
        places: &Places,
        problems: &mut Vec<Problem>,
    ) -> Self {
        match self.kind {
            Kind::Map(entries) if !is_free(path) => {
                let mut whole = Vec::new();
                for (name, node) in entries {
                    let parts = split(&name);
                    let full = join(path, &parts.join("."));
                    let node = node.expand(&full, is_free, places, problems);
                    insert(&mut whole, path, &parts, node, places, problems);
                }
                Self::new(self.place, Kind::Map(whole))
            }
            Kind::List(items) => {
                let items = items
                    .into_iter()
                    .enumerate()
                    .map(|(index, item)| {
                        item.expand(&join(path, &index.to_string()), is_free, places, problems)
                    })
                    .collect();
                Self::new(self.place, Kind::List(items))
            }
            kind => Self::new(self.place, kind),
        }
    }
}

/// The names of a dotted key; `a[0].b` and `a.0.b` are the same.
pub fn split(path: &str) -> Vec<&str> {
    let parts: Vec<&str> = path
        .split(['.', '['])
        .map(|part| part.strip_suffix(']').unwrap_or(part))
        .collect();
    // A name such as `.hidden` or `a..b` is no path: leave it whole, so that it is refused under its own name.
    if parts.iter().any(|part| part.is_empty()) {
        vec![path]
    } else {
        parts
    }
}

/// `name` below `path`.
pub fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

fn insert(
    into: &mut Vec<(String, Node)>,
    path: &str,
    parts: &[&str],
    node: Node,
    places: &Places,
    problems: &mut Vec<Problem>,
) {
    let Some((first, rest)) = parts.split_first() else {
        return;
    };
    let place = node.place;
    let full = join(path, first);
    let existing = into
        .iter_mut()
        .find(|(name, _)| name == first)
        .map(|(_, existing)| existing);
    match (existing, rest.is_empty()) {
        (None, true) => into.push(((*first).to_owned(), node)),
        (None, false) => {
            let mut inner = Vec::new();
            insert(&mut inner, &full, rest, node, places, problems);
            into.push(((*first).to_owned(), Node::new(place, Kind::Map(inner))));
        }
        (Some(existing), _) => {
            let first_place = existing.place;
            match (&mut existing.kind, rest.is_empty(), node) {
                (Kind::Map(inner), false, node) => insert(inner, &full, rest, node, places, problems),
                (
                    Kind::Map(inner),
                    true,
                    Node {
                        kind: Kind::Map(entries),
                        ..
                    },
                ) => {
                    for (name, node) in entries {
                        insert(inner, &full, &[name.as_str()], node, places, problems);
                    }
                }
                (kind @ Kind::Null, _, node) => {
                    let mut inner = Vec::new();
                    if rest.is_empty() {
                        *kind = node.kind;
                    } else {
                        insert(&mut inner, &full, rest, node, places, problems);
                        *kind = Kind::Map(inner);
                    }
                }
                (_, true, Node { kind: Kind::Null, .. }) => {}
                (_, _, node) => problems.push(Problem::Duplicate {
                    place: places.get(node.place),
                    key: join(&full, &rest.join(".")).trim_end_matches('.').to_owned(),
                    first: places.get(first_place),
                }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(value: &str) -> Node {
        Node::new(PlaceId::BUILT_IN, Kind::Text(value.to_owned()))
    }

    fn expand(entries: Vec<(String, Node)>) -> (Node, Vec<Problem>) {
        let mut problems = Vec::new();
        let node = Node::new(PlaceId::BUILT_IN, Kind::Map(entries)).expand(
            "",
            &|path| path == "free",
            &Places::default(),
            &mut problems,
        );
        (node, problems)
    }

    #[test]
    fn dotted_and_nested_keys_meet() {
        let nested = Node::new(PlaceId::BUILT_IN, Kind::Map(vec![("b".into(), text("1"))]));
        let (node, problems) = expand(vec![("a".into(), nested), ("a.c".into(), text("2"))]);
        assert!(problems.is_empty());
        let inner = Kind::Map(vec![("b".into(), text("1")), ("c".into(), text("2"))]);
        assert_eq!(
            node.kind,
            Kind::Map(vec![("a".into(), Node::new(PlaceId::BUILT_IN, inner))])
        );
    }

    #[test]
    fn the_same_key_dotted_and_nested_is_a_duplicate() {
        let nested = Node::new(PlaceId::BUILT_IN, Kind::Map(vec![("b".into(), text("1"))]));
        let (_, problems) = expand(vec![("a".into(), nested), ("a.b".into(), text("2"))]);
        assert!(matches!(&problems[..], [Problem::Duplicate { key, .. }] if key == "a.b"));
    }

    #[test]
    fn free_names_keep_their_dots() {
        let free = Node::new(PlaceId::BUILT_IN, Kind::Map(vec![("x.y".into(), text("1"))]));
        let (node, _) = expand(vec![("free".into(), free.clone())]);
        assert_eq!(node.kind, Kind::Map(vec![("free".into(), free)]));
    }

    proptest! {
        #[test]
        fn a_dotted_key_equals_its_nesting(parts in prop::collection::vec("[a-z0-9_]{1,8}", 1..6)) {
            let (dotted, problems) = expand(vec![(parts.join("."), text("v"))]);
            prop_assert!(problems.is_empty());
            prop_assert_eq!(dotted, Node::under(&parts.join("."), text("v")));
        }

        #[test]
        fn brackets_are_dots(index in 0_usize..100) {
            let (bracket, dot) = (format!("a[{index}].b"), format!("a.{index}.b"));
            prop_assert_eq!(split(&bracket), split(&dot));
        }

        #[test]
        fn any_name_is_split_without_loss(name in ".{0,20}") {
            let parts = split(&name);
            prop_assert!(!parts.is_empty());
            prop_assert!(parts.len() == 1 || parts.iter().all(|part| !part.is_empty()));
        }
    }
}
