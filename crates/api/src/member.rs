//! The members that a request's body may have, declared once for each body.
//!
//! The lenient reader (`json`) looks them up and, in debug builds, insists that each is read as the kind it is declared
//! as; the API's description is written from the same declarations. So the two cannot differ. Reads nothing itself.

use schemars::{Schema, json_schema};
use serde_json::{Map, Value};

/// One member of an object.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: &'static str,
    kind: Kind,
    is_required: bool,
    words: &'static [&'static str],
    pattern: Option<&'static str>,
    example: Option<&'static str>,
}

/// What a member's value is. `null` counts as absent in all of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A string.
    Text,
    /// A boolean.
    Boolean,
    /// A whole number of 64 bits.
    Integer,
    /// A list of strings.
    Texts,
    /// Any value.
    Any,
    /// Any object, kept as it is written.
    AnyObject,
    /// A list of any objects, kept as it is written.
    AnyObjects,
    /// An object with these members.
    Object(&'static [Member]),
    /// A list of objects with these members.
    Items(&'static [Member]),
}

impl Member {
    pub(crate) const fn text(name: &'static str) -> Self {
        Self::new(name, Kind::Text)
    }

    pub(crate) const fn boolean(name: &'static str) -> Self {
        Self::new(name, Kind::Boolean)
    }

    pub(crate) const fn integer(name: &'static str) -> Self {
        Self::new(name, Kind::Integer)
    }

    pub(crate) const fn texts(name: &'static str) -> Self {
        Self::new(name, Kind::Texts)
    }

    pub(crate) const fn any(name: &'static str) -> Self {
        Self::new(name, Kind::Any)
    }

    pub(crate) const fn any_object(name: &'static str) -> Self {
        Self::new(name, Kind::AnyObject)
    }

    pub(crate) const fn any_objects(name: &'static str) -> Self {
        Self::new(name, Kind::AnyObjects)
    }

    pub(crate) const fn object(name: &'static str, members: &'static [Self]) -> Self {
        Self::new(name, Kind::Object(members))
    }

    pub(crate) const fn items(name: &'static str, members: &'static [Self]) -> Self {
        Self::new(name, Kind::Items(members))
    }

    const fn new(name: &'static str, kind: Kind) -> Self {
        Self {
            name,
            kind,
            is_required: false,
            words: &[],
            pattern: None,
            example: None,
        }
    }

    /// A request without it is refused.
    pub(crate) const fn required(mut self) -> Self {
        self.is_required = true;
        self
    }

    /// Other texts are refused.
    pub(crate) const fn one_of(mut self, words: &'static [&'static str]) -> Self {
        self.words = words;
        self
    }

    /// Other texts are refused.
    pub(crate) const fn matching(mut self, pattern: &'static str) -> Self {
        self.pattern = Some(pattern);
        self
    }

    /// A text that is accepted, where few are.
    pub(crate) const fn like(mut self, example: &'static str) -> Self {
        self.example = Some(example);
        self
    }

    /// Whether a reader that expects this kind may read it. Raw text may be taken of any.
    pub(crate) fn reads_as(&self, kind: &str) -> bool {
        match self.kind {
            Kind::Text => kind == "a string",
            Kind::Boolean => kind == "a boolean",
            Kind::Integer => kind == "a whole number",
            Kind::Texts => kind == "an array of strings",
            Kind::Object(_) => kind == "an object",
            Kind::Items(_) => kind == "an array",
            Kind::Any | Kind::AnyObject | Kind::AnyObjects => false,
        }
    }

    fn schema(&self) -> Schema {
        let mut schema = match self.kind {
            Kind::Text => json_schema!({ "type": ["string", "null"] }),
            Kind::Boolean => json_schema!({ "type": ["boolean", "null"] }),
            Kind::Integer => json_schema!({
                "type": ["integer", "null"], "format": "int64", "minimum": i64::MIN, "maximum": i64::MAX
            }),
            Kind::Texts => {
                json_schema!({ "type": ["array", "null"], "items": { "type": ["string", "null"] } })
            }
            Kind::Any => json_schema!(true),
            Kind::AnyObject => json_schema!({ "type": ["object", "null"] }),
            Kind::AnyObjects => json_schema!({ "type": ["array", "null"], "items": { "type": "object" } }),
            Kind::Object(members) => object_schema(members),
            Kind::Items(members) => {
                json_schema!({ "type": ["array", "null"], "items": object_schema(members) })
            }
        };
        if self.is_required
            && let Some(kinds) = schema.get_mut("type")
            && let Some(kind) = kinds.get(0).cloned()
        {
            *kinds = kind;
            // Empty text counts as none.
            if self.kind == Kind::Text {
                schema.insert("minLength".to_owned(), 1.into());
            }
        }
        if !self.words.is_empty() {
            schema.insert("enum".to_owned(), self.words.into());
        }
        if let Some(pattern) = self.pattern {
            schema.insert("pattern".to_owned(), pattern.into());
        }
        if let Some(example) = self.example {
            schema.insert("examples".to_owned(), Value::from(vec![example]));
        }
        schema
    }
}

/// The schema of an object with these members; others are skipped.
pub(crate) fn object_schema(members: &[Member]) -> Schema {
    let properties: Map<String, Value> = members
        .iter()
        .map(|member| (member.name.to_owned(), member.schema().to_value()))
        .collect();
    let required: Vec<Value> = members
        .iter()
        .filter(|member| member.is_required)
        .map(|member| member.name.into())
        .collect();
    let kinds = if required.is_empty() {
        Value::from(vec!["object", "null"])
    } else {
        "object".into()
    };
    let mut schema = json_schema!({ "type": kinds, "properties": properties });
    if !required.is_empty() {
        schema.insert("required".to_owned(), required.into());
    }
    schema
}
