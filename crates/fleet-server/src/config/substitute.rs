//! `${name}`, `${name:default}`, `${name:+alternative}`, `${name:?error}`, nested; `$$` and `$}` are literal
//! (http-api 3.1). A name is looked up in the configuration first, then in the environment.
//!
//! Work and depth are bounded, so that values that refer to each other end in an error and not in a loop.

use std::{cell::Cell, iter::Peekable, str::Chars};

use config::{Value, ValueKind};

use super::{
    flag::value_node,
    layers::to_value,
    node::join,
    place::{PlaceId, Places},
    problem::Problem,
    schema::Schema,
};

const MAX_DEPTH: usize = 16;
const MAX_LOOKUPS: usize = 20_000;
const MAX_LENGTH: usize = 1 << 20;

/// A piece of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// As it stands.
    Text(String),
    /// `${…}`.
    Reference {
        /// The name, itself a text.
        name: Vec<Self>,
        /// What stands after the colon.
        otherwise: Otherwise,
    },
}

/// What a reference says for the case that its name is (not) set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Otherwise {
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
pub fn parse(text: &str) -> Result<Vec<Piece>, &'static str> {
    let mut parser = Parser {
        rest: text.chars().peekable(),
        depth: 0,
    };
    parser.pieces(&[])
}

/// `text` so that substitution gives it back unchanged.
pub fn escape(text: &str) -> String {
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

/// Why a reference stands for nothing.
enum Failure {
    Unresolved(String),
    Demanded(String),
    Reason(&'static str),
}

/// Everything a reference can see.
pub struct Substitution<'a> {
    /// The merged tree, as it was written.
    pub root: &'a Value,
    /// The environment.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// Says which keys are lists.
    pub schema: &'a Schema,
}

/// What is being resolved right now, and how much was done.
struct Work<'w> {
    active: Vec<String>,
    lookups: &'w Cell<usize>,
    places: &'w mut Places,
}

impl Substitution<'_> {
    /// The tree with every reference replaced; what can not be is reported and left out.
    pub fn run(&self, places: &mut Places, problems: &mut Vec<Problem>) -> Value {
        let lookups = Cell::new(0);
        self.walk(self.root, "", &lookups, places, problems)
    }

    fn walk(
        &self,
        value: &Value,
        path: &str,
        lookups: &Cell<usize>,
        places: &mut Places,
        problems: &mut Vec<Problem>,
    ) -> Value {
        let origin = value.origin().map(ToOwned::to_owned);
        let kind = match &value.kind {
            ValueKind::Table(table) => ValueKind::Table(
                table
                    .iter()
                    .map(|(name, inner)| {
                        (
                            name.clone(),
                            self.walk(inner, &join(path, name), lookups, places, problems),
                        )
                    })
                    .collect(),
            ),
            ValueKind::Array(items) => ValueKind::Array(
                items
                    .iter()
                    .enumerate()
                    .map(|(index, inner)| {
                        self.walk(inner, &join(path, &index.to_string()), lookups, places, problems)
                    })
                    .collect(),
            ),
            ValueKind::String(_) => {
                let id = PlaceId::from_origin(value.origin());
                let mut work = Work {
                    active: vec![path.to_owned()],
                    lookups,
                    places,
                };
                match self.scalar(value, path, &mut work) {
                    Ok(resolved) => return resolved,
                    Err(failure) => {
                        problems.push(problem(failure, path, id, places));
                        ValueKind::Nil
                    }
                }
            }
            other => other.clone(),
        };
        Value::new(origin.as_ref(), kind)
    }

    fn scalar(&self, value: &Value, path: &str, work: &mut Work<'_>) -> Result<Value, Failure> {
        let ValueKind::String(text) = &value.kind else {
            return Ok(value.clone());
        };
        let id = PlaceId::from_origin(value.origin());
        if id == PlaceId::BUILT_IN || !text.contains('$') {
            return Ok(value.clone());
        }
        let pieces = parse(text).map_err(Failure::Reason)?;
        let resolved = match pieces.as_slice() {
            // A value that is one reference takes what stands there, whatever its shape.
            [Piece::Reference { name, otherwise }] => self.reference(name, otherwise, path, id, work)?,
            pieces => Value::new(None, self.text(pieces, work)?),
        };
        Ok(relocated(resolved, &id.to_origin()))
    }

    fn text(&self, pieces: &[Piece], work: &mut Work<'_>) -> Result<String, Failure> {
        let mut text = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Reference { name, otherwise } => {
                    match self.reference(name, otherwise, "", PlaceId::BUILT_IN, work)?.kind {
                        ValueKind::String(inner) => text.push_str(&inner),
                        ValueKind::Nil => {}
                        _ => return Err(Failure::Reason("a section or list can not stand inside a text")),
                    }
                }
            }
            if text.len() > MAX_LENGTH {
                return Err(Failure::Reason("the substituted text is longer than 1 MiB"));
            }
        }
        Ok(text)
    }

    fn reference(
        &self,
        name: &[Piece],
        otherwise: &Otherwise,
        path: &str,
        place: PlaceId,
        work: &mut Work<'_>,
    ) -> Result<Value, Failure> {
        work.lookups.set(work.lookups.get() + 1);
        if work.lookups.get() > MAX_LOOKUPS {
            return Err(Failure::Reason("too many references"));
        }
        let name = self.text(name, work)?;
        let found = self.lookup(&name, path, place, work)?;
        let is_set = found.as_ref().is_some_and(|(_, is_built_in)| !is_built_in);
        match otherwise {
            Otherwise::Alternative(pieces) if is_set => self.given(pieces, path, place, work),
            Otherwise::Alternative(_) => Ok(Value::new(None, String::new())),
            Otherwise::Default(pieces) if !is_set => self.given(pieces, path, place, work),
            Otherwise::Error(pieces) if found.is_none() => Err(Failure::Demanded(self.text(pieces, work)?)),
            _ => found.map(|(value, _)| value).ok_or(Failure::Unresolved(name)),
        }
    }

    /// The text after the colon; like a variable's value it may be a list.
    fn given(
        &self,
        pieces: &[Piece],
        path: &str,
        place: PlaceId,
        work: &mut Work<'_>,
    ) -> Result<Value, Failure> {
        let text = self.text(pieces, work)?;
        self.value_of(&text, path, place, work)
    }

    fn value_of(
        &self,
        text: &str,
        path: &str,
        place: PlaceId,
        work: &mut Work<'_>,
    ) -> Result<Value, Failure> {
        let shape = self.schema.find(path).map(|key| key.shape);
        if shape.is_none() {
            return Ok(Value::new(None, text.to_owned()));
        }
        value_node(text, shape, false, place, work.places)
            .map(|node| to_value(&node))
            .map_err(|_| Failure::Reason("the substituted text is no valid list or quoted text"))
    }

    /// The value of a name, and whether it is only a built-in default.
    fn lookup(
        &self,
        name: &str,
        path: &str,
        place: PlaceId,
        work: &mut Work<'_>,
    ) -> Result<Option<(Value, bool)>, Failure> {
        let in_tree = find(self.root, name).filter(|value| value.kind != ValueKind::Nil);
        let is_built_in = |value: &Value| {
            value.origin() == Some(PlaceId::BUILT_IN.to_origin().as_str())
                && !matches!(value.kind, ValueKind::Table(_))
        };
        if let Some(value) = in_tree.filter(|value| !is_built_in(value)) {
            if work.active.iter().any(|active| active == name) || work.active.len() > MAX_DEPTH {
                return Err(Failure::Reason("the value refers to itself"));
            }
            work.active.push(name.to_owned());
            let resolved = self.resolve(value, name, work);
            work.active.pop();
            return resolved.map(|value| Some((value, false)));
        }
        // An empty variable counts as unset.
        if let Some(text) = (self.environment)(name).filter(|text| !text.is_empty()) {
            return self
                .value_of(&text, path, place, work)
                .map(|value| Some((value, false)));
        }
        Ok(in_tree.map(|value| (value.clone(), true)))
    }

    /// A value of the tree with its own references replaced.
    fn resolve(&self, value: &Value, path: &str, work: &mut Work<'_>) -> Result<Value, Failure> {
        work.lookups.set(work.lookups.get() + 1);
        if work.lookups.get() > MAX_LOOKUPS {
            return Err(Failure::Reason("too many references"));
        }
        let kind = match &value.kind {
            ValueKind::Table(table) => {
                let mut resolved = config::Map::new();
                for (name, inner) in table {
                    resolved.insert(name.clone(), self.resolve(inner, &join(path, name), work)?);
                }
                ValueKind::Table(resolved)
            }
            ValueKind::Array(items) => ValueKind::Array(
                items
                    .iter()
                    .map(|item| self.resolve(item, path, work))
                    .collect::<Result<_, _>>()?,
            ),
            _ => return self.scalar(value, path, work),
        };
        Ok(Value::new(value.origin().map(ToOwned::to_owned).as_ref(), kind))
    }
}

fn problem(failure: Failure, path: &str, id: PlaceId, places: &Places) -> Problem {
    let (place, key) = (places.get(id), path.to_owned());
    match failure {
        Failure::Unresolved(name) => Problem::Unresolved { place, key, name },
        Failure::Demanded(text) => Problem::Demanded { place, key, text },
        Failure::Reason(reason) => Problem::Substitution { place, key, reason },
    }
}

/// What was substituted stands where the reference stands.
fn relocated(value: Value, origin: &String) -> Value {
    let kind = match value.kind {
        ValueKind::Table(table) => ValueKind::Table(
            table
                .into_iter()
                .map(|(name, inner)| (name, relocated(inner, origin)))
                .collect(),
        ),
        ValueKind::Array(items) => {
            ValueKind::Array(items.into_iter().map(|item| relocated(item, origin)).collect())
        }
        other => other,
    };
    Value::new(Some(origin), kind)
}

fn find<'v>(root: &'v Value, path: &str) -> Option<&'v Value> {
    super::node::split(path)
        .into_iter()
        .try_fold(root, |value, name| match &value.kind {
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
    fn the_grammar_of_the_contract() {
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
