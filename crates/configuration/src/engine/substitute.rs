//! `${name}`, `${name:default}`, `${name:+alternative}`, `${name:?error}`, nested; `$$` and `$}` are literal.
//! A name is looked up in the configuration first, then in the environment.
//!
//! Work and depth are bounded, so that values that refer to each other end in an error and not in a loop.

use std::{convert::Infallible, iter::Peekable, str::Chars};

use config::{Value, ValueKind};
use notation::yaml::Node;

use super::{
    problem::{Notice, Problem, Report},
    schema::{Named, Schema, join},
    written::{value, written},
};

const MAX_DEPTH: usize = 16;
const MAX_LOOKUPS: usize = 20_000;
const MAX_LENGTH: usize = 1 << 20;

/// A piece of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// `${…}`.
    Reference {
        /// The name, itself a text.
        name: Vec<Self>,
        /// The part after the colon.
        otherwise: Otherwise,
    },
}

/// What a reference yields if its name is set or unset.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Otherwise {
    /// `${name}`
    Nothing,
    /// `${name:default}`
    Default(Vec<Piece>),
    /// `${name:+alternative}`
    Alternative(Vec<Piece>),
    /// `${name:?error}`
    Error(Vec<Piece>),
}

/// Splits a text into pieces.
fn parse(text: &str) -> Result<Vec<Piece>, &'static str> {
    let mut parser = Parser {
        rest: text.chars().peekable(),
        depth: 0,
    };
    parser.pieces(&[])
}

/// Escapes `text` so that substitution gives it back unchanged.
pub(crate) fn escape(text: &str) -> String {
    text.replace('$', "$$")
}

struct Parser<'a> {
    rest: Peekable<Chars<'a>>,
    depth: usize,
}

impl Parser<'_> {
    fn pieces(&mut self, stop: &[char]) -> Result<Vec<Piece>, &'static str> {
        let (mut pieces, mut text) = (Vec::new(), String::new());
        while let Some(next) = self.rest.peek().copied() {
            if stop.contains(&next) {
                break;
            }
            self.rest.next();
            match (next, self.rest.peek().copied()) {
                ('$', Some('{')) => {
                    self.rest.next();
                    if !text.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut text)));
                    }
                    pieces.push(self.reference()?);
                }
                ('$', Some(literal @ ('$' | '}'))) => {
                    self.rest.next();
                    text.push(literal);
                }
                (other, _) => text.push(other),
            }
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        Ok(pieces)
    }

    fn reference(&mut self) -> Result<Piece, &'static str> {
        const OPEN: &str = "a `${` has no closing `}`; a literal `${` is `$${`";
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("references are nested too deeply");
        }
        let name = self.pieces(&[':', '}'])?;
        if name.is_empty() {
            return Err("`${}` has no name");
        }
        let otherwise = match self.rest.next() {
            Some('}') => Otherwise::Nothing,
            Some(_) => {
                let kind = self.rest.next_if(|next| matches!(next, '+' | '?'));
                let pieces = self.pieces(&['}'])?;
                self.rest.next().ok_or(OPEN)?;
                match kind {
                    Some('+') => Otherwise::Alternative(pieces),
                    Some(_) => Otherwise::Error(pieces),
                    None => Otherwise::Default(pieces),
                }
            }
            None => return Err(OPEN),
        };
        self.depth -= 1;
        Ok(Piece::Reference { name, otherwise })
    }
}

/// The name of the first reference whose default begins with a dash.
fn dashed_default(pieces: &[Piece]) -> Option<String> {
    pieces.iter().find_map(|piece| match piece {
        Piece::Text(_) => None,
        Piece::Reference { name, otherwise } => match (name.as_slice(), otherwise) {
            ([Piece::Text(name)], Otherwise::Default(pieces))
                if matches!(pieces.first(), Some(Piece::Text(text)) if text.starts_with('-')) =>
            {
                Some(name.clone())
            }
            (_, Otherwise::Default(inner) | Otherwise::Alternative(inner) | Otherwise::Error(inner)) => {
                dashed_default(inner)
            }
            (_, Otherwise::Nothing) => None,
        },
    })
}

/// Why a reference cannot be resolved.
enum Failure {
    Unresolved(String),
    Reason(String),
}

fn because<T>(reason: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Reason(reason.into()))
}

/// What a reference can refer to.
pub(crate) struct Substitution<'a> {
    /// The merged tree, as it was written.
    pub(crate) root: &'a Value,
    pub(crate) environment: &'a dyn Fn(&str) -> Option<String>,
    pub(crate) schema: &'a Schema,
    /// Number of lookups so far, which is bounded.
    pub(crate) lookups: usize,
    /// Variables that the text that is being read took from the environment.
    pub(crate) variables: Vec<String>,
}

impl Substitution<'_> {
    /// The tree with every reference replaced; unresolved ones are reported and left out.
    pub(crate) fn run(&mut self, report: &mut Report) -> Value {
        let replaced = each_text(self.root, "", &mut |text, path| {
            if text.contains(":-")
                && let Some(name) = parse(text).ok().as_deref().and_then(dashed_default)
            {
                let key = path.to_owned();
                report.notices.push(Notice::DashedDefault { key, name });
            }
            let failure = match self.text_at(text, path, &mut vec![path.to_owned()]) {
                Ok(value) => {
                    let variables = std::mem::take(&mut self.variables);
                    if !variables.is_empty() {
                        report.variables.insert(path.to_owned(), variables);
                    }
                    return Ok::<_, Infallible>(value);
                }
                Err(failure) => failure,
            };
            let key = path.to_owned();
            match failure {
                Failure::Unresolved(name) => {
                    report.add(report.places.of(path), Problem::Unresolved { key, name });
                }
                Failure::Reason(reason) => report.refuse(path, reason),
            }
            Ok(Value::new(None, ValueKind::Nil))
        });
        match replaced {
            Ok(value) => value,
            Err(never) => match never {},
        }
    }

    /// Resolves a text of the tree. A text that is only a reference may become a list or a section.
    fn text_at(&mut self, text: &str, path: &str, active: &mut Vec<String>) -> Result<Value, Failure> {
        if !text.contains('$') {
            return Ok(Value::new(None, text));
        }
        match parse(text).or_else(because)?.as_slice() {
            [Piece::Reference { name, otherwise }] => self.reference(name, otherwise, path, active),
            pieces => Ok(Value::new(None, self.text(pieces, active)?)),
        }
    }

    fn text(&mut self, pieces: &[Piece], active: &mut Vec<String>) -> Result<String, Failure> {
        let mut text = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Reference { name, otherwise } => {
                    match self.reference(name, otherwise, "", active)?.kind {
                        ValueKind::String(inner) => text.push_str(&inner),
                        ValueKind::Nil => {}
                        _ => return because("a section or list cannot be part of a text"),
                    }
                }
            }
            if text.len() > MAX_LENGTH {
                return because("the substituted text is longer than 1 MiB");
            }
        }
        Ok(text)
    }

    fn reference(
        &mut self,
        name: &[Piece],
        otherwise: &Otherwise,
        path: &str,
        active: &mut Vec<String>,
    ) -> Result<Value, Failure> {
        let name = self.text(name, active)?;
        let found = self.lookup(&name, path, active)?;
        match (otherwise, found) {
            (Otherwise::Alternative(_), None) => Ok(Value::new(None, "")),
            (Otherwise::Alternative(pieces), Some(_)) | (Otherwise::Default(pieces), None) => {
                let text = self.text(pieces, active)?;
                self.read(&text, path)
            }
            (_, Some(value)) => Ok(value),
            // The built-in default is the last resort.
            (Otherwise::Nothing | Otherwise::Error(_), None) => match (self.schema.get(&name), otherwise) {
                (
                    Some(Named::Key {
                        default: Some(text), ..
                    }),
                    _,
                ) => self.read(text, path),
                (_, Otherwise::Error(pieces)) => Err(Failure::Reason(self.text(pieces, active)?)),
                _ => Err(Failure::Unresolved(name)),
            },
        }
    }

    /// Text from outside the tree; like a flag's value it may be a list.
    fn read(&self, text: &str, path: &str) -> Result<Value, Failure> {
        let Some(shape) = self.schema.shape(path) else {
            return Ok(Value::new(None, text));
        };
        match written(text, Some(shape), false) {
            Ok(found) => Ok(value(Node {
                line: 0,
                value: found,
            })),
            Err(reason) => because(format!("the substituted text cannot be read: {reason}")),
        }
    }

    /// The value of a name: from the configuration, else from the environment, where empty counts as unset.
    fn lookup(&mut self, name: &str, path: &str, active: &mut Vec<String>) -> Result<Option<Value>, Failure> {
        self.lookups += 1;
        if self.lookups > MAX_LOOKUPS {
            return because("too many references");
        }
        let Some(value) = find(self.root, name).filter(|value| value.kind != ValueKind::Nil) else {
            let text = (self.environment)(name).filter(|text| !text.is_empty());
            if text.is_some() {
                self.variables.push(name.to_owned());
            }
            return text.map(|text| self.read(&text, path)).transpose();
        };
        if active.iter().any(|active| active == name) || active.len() > MAX_DEPTH {
            return because("the value refers to itself");
        }
        active.push(name.to_owned());
        let resolved = each_text(value, name, &mut |text, path| {
            self.lookups += 1;
            self.text_at(text, path, active)
        });
        active.pop();
        resolved.map(Some)
    }
}

/// The value with every text in it replaced; `path` is its own path.
fn each_text<E>(
    value: &Value,
    path: &str,
    replace: &mut dyn FnMut(&str, &str) -> Result<Value, E>,
) -> Result<Value, E> {
    let kind = match &value.kind {
        ValueKind::String(text) => return replace(text, path),
        ValueKind::Table(table) => {
            let entries = table.iter().map(|(name, inner)| {
                let inner = each_text(inner, &join(path, name), replace)?;
                Ok((name.clone(), inner))
            });
            ValueKind::Table(entries.collect::<Result<_, E>>()?)
        }
        ValueKind::Array(items) => {
            let items = items.iter().enumerate();
            let items = items.map(|(index, item)| each_text(item, &join(path, &index.to_string()), replace));
            ValueKind::Array(items.collect::<Result<_, E>>()?)
        }
        other => other.clone(),
    };
    Ok(Value::new(None, kind))
}

/// The value at a dotted path.
pub(crate) fn find<'v>(root: &'v Value, path: &str) -> Option<&'v Value> {
    let path = path.replace('[', ".").replace(']', "");
    path.split('.').try_fold(root, |value, name| match &value.kind {
        ValueKind::Table(table) => table.get(name),
        ValueKind::Array(items) => items.get(name.parse::<usize>().ok()?),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_grammar() {
        let text = |text: &str| Piece::Text(text.to_owned());
        let reference = |name: &str, otherwise| Piece::Reference {
            name: vec![text(name)],
            otherwise,
        };
        assert_eq!(parse("a$b$$c$}"), Ok(vec![text("a$b$c}")]));
        assert_eq!(parse("${x}"), Ok(vec![reference("x", Otherwise::Nothing)]));
        assert_eq!(
            parse("a${x:${y:+$}}}b"),
            Ok(vec![
                text("a"),
                reference(
                    "x",
                    Otherwise::Default(vec![reference("y", Otherwise::Alternative(vec![text("}")]))])
                ),
                text("b"),
            ])
        );
        assert_eq!(
            parse("${x:?no x}"),
            Ok(vec![reference("x", Otherwise::Error(vec![text("no x")]))])
        );
        assert!(parse("${x").is_err() && parse("${}").is_err() && parse("${x:y").is_err());
        assert!(parse(&"${".repeat(100_000)).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[${}:+?a-b]{0,40}|\\PC{0,20}") {
            let _ = parse(&text);
        }

        #[test]
        fn an_escaped_text_is_itself(text in "[${}:+?a-b]{1,40}|\\PC{1,20}") {
            prop_assert_eq!(parse(&escape(&text)), Ok(vec![Piece::Text(text)]));
        }
    }
}
