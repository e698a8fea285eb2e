//! YAML to [`Node`]s with their lines.
//!
//! The parser's events are pulled one by one, so that depth costs no stack, and both depth and size are
//! bounded (aliases can make a small file huge).

use std::collections::HashMap;

use yaml_rust2::{
    Event,
    parser::Parser,
    scanner::{Marker, TScalarStyle},
};

use super::{
    node::{Kind, Node, join},
    place::{Place, PlaceId, Places},
    problem::Problem,
};

const MAX_DEPTH: usize = 64;
const MAX_NODES: usize = 100_000;

/// Reads one YAML document. `place` says what a line (from 1) is called.
pub fn parse(
    text: &str,
    place: &dyn Fn(usize) -> Place,
    places: &mut Places,
    problems: &mut Vec<Problem>,
) -> Option<Node> {
    let mut builder = Builder {
        place,
        places,
        problems,
        stack: Vec::new(),
        anchors: HashMap::new(),
        nodes: 0,
        root: None,
    };
    let mut parser = Parser::new_from_str(text);
    loop {
        let (event, mark) = match parser.next_token() {
            Ok(next) => next,
            Err(error) => {
                builder.syntax(error.marker().line(), error.info());
                return None;
            }
        };
        match event {
            Event::StreamEnd => break,
            Event::DocumentStart if builder.root.is_some() => {
                builder.syntax(
                    mark.line(),
                    "a second document starts here; a configuration is one document",
                );
                return None;
            }
            event => builder.take(event, mark)?,
        }
    }
    let empty = || Node::new(PlaceId::BUILT_IN, Kind::Null);
    Some(builder.root.unwrap_or_else(empty))
}

struct Builder<'a> {
    place: &'a dyn Fn(usize) -> Place,
    places: &'a mut Places,
    problems: &'a mut Vec<Problem>,
    stack: Vec<Open>,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    root: Option<Node>,
}

/// A collection that is not closed yet.
struct Open {
    place: PlaceId,
    anchor: usize,
    first_node: usize,
    items: Items,
}

enum Items {
    List(Vec<Node>),
    Map {
        entries: Vec<(String, Node)>,
        key: Option<(String, PlaceId)>,
    },
}

impl Builder<'_> {
    fn syntax(&mut self, line: usize, reason: &str) {
        let place = (self.place)(line);
        self.problems.push(Problem::Syntax {
            place,
            reason: reason.to_owned(),
        });
    }

    /// `None` ends the reading; the reason is in `problems`.
    fn take(&mut self, event: Event, mark: Marker) -> Option<()> {
        let line = mark.line();
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let null = style == TScalarStyle::Plain
                    && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL");
                let kind = if null {
                    Kind::Null
                } else {
                    Kind::Text(text.clone())
                };
                self.close(kind, Some(text), anchor, line, 1)
            }
            Event::SequenceStart(anchor, _) => self.open(anchor, line, Items::List(Vec::new())),
            Event::MappingStart(anchor, _) => self.open(
                anchor,
                line,
                Items::Map {
                    entries: Vec::new(),
                    key: None,
                },
            ),
            Event::SequenceEnd | Event::MappingEnd => {
                let open = self.stack.pop()?;
                let kind = match open.items {
                    Items::List(items) => Kind::List(items),
                    Items::Map { entries, .. } => Kind::Map(entries),
                };
                let size = self.nodes - open.first_node;
                self.finish(Node::new(open.place, kind), open.anchor, size)
            }
            Event::Alias(anchor) => {
                let Some((node, size)) = self.anchors.get(&anchor).cloned() else {
                    self.syntax(line, "an alias of a value that is not complete");
                    return None;
                };
                let text = match &node.kind {
                    Kind::Text(text) => Some(text.clone()),
                    _ => None,
                };
                self.close(node.kind, text, 0, line, size)
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart
            | Event::DocumentEnd => Some(()),
        }
    }

    fn open(&mut self, anchor: usize, line: usize, items: Items) -> Option<()> {
        if self.stack.len() >= MAX_DEPTH {
            self.syntax(line, "nested too deeply");
            return None;
        }
        if matches!(
            self.stack.last(),
            Some(Open {
                items: Items::Map { key: None, .. },
                ..
            })
        ) {
            self.syntax(line, "a key is a single word, not a list or a map");
            return None;
        }
        let place = self.value_place(line);
        self.stack.push(Open {
            place,
            anchor,
            first_node: self.nodes,
            items,
        });
        self.nodes += 1;
        Some(())
    }

    /// A value stands where its key stands, so that messages name the line people look for.
    fn value_place(&mut self, line: usize) -> PlaceId {
        match self.stack.last() {
            Some(Open {
                items:
                    Items::Map {
                        key: Some((_, place)),
                        ..
                    },
                ..
            }) => *place,
            _ => self.places.add((self.place)(line)),
        }
    }

    /// A scalar or alias: a key if the map waits for one, else a value.
    fn close(
        &mut self,
        kind: Kind,
        text: Option<String>,
        anchor: usize,
        line: usize,
        size: usize,
    ) -> Option<()> {
        let place = self.places.add((self.place)(line));
        if let Some(Open {
            items: Items::Map {
                key: key @ None,
                entries,
            },
            ..
        }) = self.stack.last_mut()
        {
            let Some(text) = text else {
                self.syntax(line, "a key is a single word, not a list or a map");
                return None;
            };
            if let Some((_, first)) = entries.iter().find(|(name, _)| *name == text) {
                let first = self.places.get(first.place);
                let key = join(&self.path(), &text);
                self.problems.push(Problem::Duplicate {
                    place: (self.place)(line),
                    key,
                    first,
                });
                return None;
            }
            *key = Some((text, place));
            return Some(());
        }
        self.nodes += size;
        let place = self.value_place(line);
        self.finish(Node::new(place, kind), anchor, size)
    }

    fn finish(&mut self, node: Node, anchor: usize, size: usize) -> Option<()> {
        if self.nodes > MAX_NODES {
            self.problems.push(Problem::Syntax {
                place: self.places.get(node.place),
                reason: format!("more than {MAX_NODES} values"),
            });
            return None;
        }
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), size));
        }
        match self.stack.last_mut().map(|open| &mut open.items) {
            None => self.root = Some(node),
            Some(Items::List(items)) => items.push(node),
            Some(Items::Map { entries, key }) => {
                if let Some((name, _)) = key.take() {
                    entries.push((name, node));
                }
            }
        }
        Some(())
    }

    /// The dotted key of the map that is open.
    fn path(&self) -> String {
        let mut path = String::new();
        for open in self.stack.iter() {
            let name = match &open.items {
                Items::Map {
                    key: Some((name, _)), ..
                } => name.clone(),
                Items::Map { key: None, .. } => continue,
                Items::List(items) => items.len().to_string(),
            };
            path = join(&path, &name);
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Node, String> {
        let (mut places, mut problems) = (Places::default(), Vec::new());
        let place = |line| Place::File {
            path: "f.yml".into(),
            line,
        };
        parse(text, &place, &mut places, &mut problems)
            .ok_or_else(|| problems.first().map(ToString::to_string).unwrap_or_default())
    }

    #[test]
    fn a_duplicate_key_names_both_lines() {
        let error = read("a:\n  b: 1\n  c: 2\n  b: 3\n").unwrap_err();
        assert_eq!(error, "f.yml:4: a.b is set twice, first at f.yml:2");
    }

    #[test]
    fn what_is_not_a_plain_document_is_refused_with_its_line() {
        assert!(read("a: 1\n---\nb: 2\n").unwrap_err().starts_with("f.yml:2: "));
        assert!(read("a: [1\nb: 2\n").unwrap_err().starts_with("f.yml:"));
        assert!(
            read("? [1, 2]\n: 3\n")
                .unwrap_err()
                .contains("a key is a single word")
        );
        let block: String = (0..200)
            .map(|depth| format!("{}a:\n", " ".repeat(depth)))
            .collect();
        assert!(read(&block).unwrap_err().contains("nested too deeply"));
        // Brackets without end meet the parser's own limit first.
        assert!(
            read(&"[".repeat(100_000))
                .unwrap_err()
                .contains("recursion limit")
        );
    }

    #[test]
    fn aliases_can_not_fill_the_memory() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let items = vec![format!("*a{}", level - 1); 10].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{items}]\n"));
        }
        assert!(read(&text).unwrap_err().contains("more than 100000 values"));
    }

    #[test]
    fn scalars_stay_what_was_written() {
        let node = read("a: 0600\nb: 1.10\nc: ~\nd: \"null\"\n").unwrap();
        let Kind::Map(entries) = node.kind else {
            panic!("{node:?}")
        };
        let kinds: Vec<Kind> = entries.into_iter().map(|(_, node)| node.kind).collect();
        let text = |text: &str| Kind::Text(text.to_owned());
        assert_eq!(kinds, [text("0600"), text("1.10"), Kind::Null, text("null")]);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[\\[\\]{}:,&*a-c \\n\"'#|>?!-]{0,60}") {
            let _ = read(&text).map_err(|error| assert!(!error.is_empty()));
        }
    }
}
