//! YAML 1.2 to a tree in which each value knows its line, such a tree to JSON text, and JSON values to YAML ([`write`]).
//!
//! Anchors, aliases and merge keys are resolved. The nodes behind an alias are counted before they are copied, and depth
//! is limited, so a small text never becomes a large tree. Numbers keep their digits.

mod write;

use std::{collections::HashMap, ops::Sub};

use granit_parser::{Event, Options, Parser, ScalarStyle, StrInput, Tag};

pub use write::write;

/// Most values in a document, copies made by aliases included.
const MAX_NODES: usize = 200_000;
/// Most bytes of text in a document, copies included.
const MAX_BYTES: usize = 16 << 20;
/// Most levels of nesting.
const MAX_DEPTH: usize = 64;

/// A value and its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// From 1. For a member of a mapping, the line of its key.
    pub line: usize,
    /// The value at this place.
    pub value: Value,
}

/// What a [`Node`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing: ``, `~` or `null`.
    Null,
    /// An unquoted scalar: text, a number or a boolean, as its reader decides.
    Plain(String),
    /// A quoted or block scalar, which is always text.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in the order written.
    Map(Vec<(String, Node)>),
}

/// Why a text is not usable YAML.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the texts and the fields' names say it")]
pub enum Error {
    #[error("line {line}: {reason}")]
    Unusable {
        /// From 1.
        line: usize,
        /// The rule that it breaks.
        reason: String,
    },
    #[error("line {line}: duplicate key {key}, first in line {first}")]
    Twice {
        /// Line of the second.
        line: usize,
        /// Path of the key, joined by dots.
        key: String,
        /// Line of the first.
        first: usize,
    },
}

fn unusable(line: usize, reason: impl Into<String>) -> Error {
    let reason = reason.into();
    Error::Unusable { line, reason }
}

/// Reads the one document of `bytes`; an empty one is [`Value::Null`]. A byte order mark at the start is skipped.
///
/// # Errors
/// Not UTF-8, not YAML, a control character, a key that stands twice, a second document, or a bound is passed.
pub fn read(bytes: &[u8]) -> Result<Node, Error> {
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(unusable(1, "this is UTF-16: save it as UTF-8"));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        unusable(line, "not UTF-8 text")
    })?;
    let mut options = Options::default();
    options.emit_comments = false;
    let mut reader = Reader {
        parser: Parser::with_options(StrInput::new(text), options),
        anchors: HashMap::new(),
        spent: Weight::default(),
        path: Vec::new(),
        line: 1,
    };
    let mut root = None;
    loop {
        match reader.next()? {
            Event::StreamEnd => break,
            Event::DocumentStart(..) if root.is_some() => {
                return Err(unusable(
                    reader.line,
                    "a second document starts here; only one is read",
                ));
            }
            Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
            event => root = Some(reader.node(event, 0)?),
        }
    }
    Ok(root.unwrap_or(Node {
        line: 1,
        value: Value::Null,
    }))
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, Anchored>,
    spent: Weight,
    /// Path of the open collections: names and item numbers.
    path: Vec<String>,
    line: usize,
}

/// The value behind an alias.
struct Anchored {
    node: Node,
    weight: Weight,
    depth: usize,
}

#[derive(Clone, Copy, Default)]
struct Weight {
    nodes: usize,
    bytes: usize,
}

impl Sub for Weight {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self {
            nodes: self.nodes - other.nodes,
            bytes: self.bytes - other.bytes,
        }
    }
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Event<'a>, Error> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => {
                self.line = span.start.line().max(1);
                Ok(event)
            }
            Some(Err(error)) => Err(unusable(error.marker().line().max(1), error.info())),
            None => Ok(Event::StreamEnd),
        }
    }

    fn spend(&mut self, weight: Weight) -> Result<(), Error> {
        self.spent.nodes += weight.nodes;
        self.spent.bytes += weight.bytes;
        if self.spent.nodes > MAX_NODES {
            return Err(unusable(self.line, format!("more than {MAX_NODES} values")));
        }
        if self.spent.bytes > MAX_BYTES {
            return Err(unusable(
                self.line,
                format!("more than {MAX_BYTES} bytes of text"),
            ));
        }
        Ok(())
    }

    /// Recursion ends at `MAX_DEPTH`.
    fn node(&mut self, event: Event<'a>, level: usize) -> Result<Node, Error> {
        let (line, before) = (self.line, self.spent);
        if level >= MAX_DEPTH {
            return Err(too_deep(line));
        }
        let mut weight = Weight { nodes: 1, bytes: 0 };
        let (anchor, value) = match event {
            Event::Alias(anchor) => {
                let Some(anchored) = self.anchors.get(&anchor) else {
                    return Err(unusable(line, "an alias is inside the value that it refers to"));
                };
                if level + anchored.depth > MAX_DEPTH {
                    return Err(too_deep(line));
                }
                let weight = anchored.weight;
                self.spend(weight)?;
                let value = self
                    .anchors
                    .get(&anchor)
                    .map(|anchored| anchored.node.value.clone());
                (0, value.unwrap_or(Value::Null))
            }
            Event::Scalar(text, style, anchor, tag) => {
                weight.bytes = text.len();
                self.spend(weight)?;
                (anchor, scalar(line, &text, style, tag.as_deref())?)
            }
            Event::SequenceStart(_, anchor, _) => {
                self.spend(weight)?;
                (anchor, self.list(level)?)
            }
            Event::MappingStart(_, anchor, _) => {
                self.spend(weight)?;
                (anchor, self.map(level)?)
            }
            _ => return Err(unusable(line, "a value is missing")),
        };
        let node = Node { line, value };
        if anchor > 0 {
            let weight = self.spent - before;
            self.spend(weight)?;
            let anchored = Anchored {
                node: node.clone(),
                weight,
                depth: node.depth(),
            };
            self.anchors.insert(anchor, anchored);
        }
        Ok(node)
    }

    fn list(&mut self, level: usize) -> Result<Value, Error> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                Event::SequenceEnd => return Ok(Value::List(items)),
                event => {
                    self.path.push(items.len().to_string());
                    items.push(self.node(event, level + 1)?);
                    self.path.pop();
                }
            }
        }
    }

    fn map(&mut self, level: usize) -> Result<Value, Error> {
        let mut members: Vec<(String, Node)> = Vec::new();
        let mut lines: HashMap<String, usize> = HashMap::new();
        let mut merged = Vec::new();
        loop {
            let (name, style) = match self.next()? {
                Event::MappingEnd => break,
                Event::Scalar(text, style, _, _) => (text.into_owned(), style),
                Event::Alias(anchor) => {
                    match self.anchors.get(&anchor).map(|anchored| &anchored.node.value) {
                        Some(Value::Plain(text) | Value::Text(text)) => {
                            (text.clone(), ScalarStyle::DoubleQuoted)
                        }
                        _ => return Err(not_a_key(self.line)),
                    }
                }
                _ => return Err(not_a_key(self.line)),
            };
            let line = self.line;
            self.path.push(name);
            let event = self.next()?;
            let mut node = self.node(event, level + 1)?;
            let name = self.path.pop().unwrap_or_default();
            let bytes = name.len();
            self.spend(Weight { nodes: 0, bytes })?;
            if name == "<<" && style == ScalarStyle::Plain {
                merge(line, node, &mut merged)?;
            } else if let Some(first) = lines.insert(name.clone(), line) {
                self.path.push(name);
                let key = self.path.join(".");
                return Err(Error::Twice { line, key, first });
            } else {
                node.line = line;
                members.push((name, node));
            }
        }
        // The mapping's own keys win over merged ones; earlier merges win over later ones.
        for (name, node) in merged {
            if !lines.contains_key(&name) {
                lines.insert(name.clone(), node.line);
                members.push((name, node));
            }
        }
        Ok(Value::Map(members))
    }
}

fn too_deep(line: usize) -> Error {
    unusable(line, format!("nested deeper than {MAX_DEPTH} levels"))
}

fn not_a_key(line: usize) -> Error {
    unusable(line, "a key is a single word, not a list or a mapping")
}

fn merge(line: usize, from: Node, into: &mut Vec<(String, Node)>) -> Result<(), Error> {
    match from.value {
        Value::Map(members) => into.extend(members),
        Value::List(items) => {
            for item in items {
                match item.value {
                    Value::Map(members) => into.extend(members),
                    _ => return Err(unusable(line, "<< accepts only mappings")),
                }
            }
        }
        _ => return Err(unusable(line, "<< accepts only mappings")),
    }
    Ok(())
}

fn scalar(line: usize, text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, Error> {
    let is_text = match tag.map(|tag| (tag.handle(), tag.suffix())) {
        None => style != ScalarStyle::Plain,
        Some(("tag:yaml.org,2002:", "str")) | Some(("", "!")) => true,
        Some(("tag:yaml.org,2002:", "int" | "float" | "bool" | "null")) => false,
        Some((handle, suffix)) => {
            return Err(unusable(line, format!("the tag {handle}{suffix} is not known")));
        }
    };
    Ok(match text {
        _ if is_text => Value::Text(text.to_owned()),
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        _ => Value::Plain(text.to_owned()),
    })
}

impl Node {
    fn depth(&self) -> usize {
        let inside = match &self.value {
            Value::List(items) => items.iter().map(Self::depth).max(),
            Value::Map(members) => members.iter().map(|(_, node)| node.depth()).max(),
            _ => None,
        };
        1 + inside.unwrap_or(0)
    }

    /// The tree as JSON text; plain values by the core schema of YAML 1.2.
    ///
    /// # Errors
    /// The tree holds infinity or NaN, which JSON lacks.
    pub fn to_json(&self) -> Result<String, Error> {
        let mut json = String::new();
        self.write_json(&mut json)?;
        Ok(json)
    }

    fn write_json(&self, out: &mut String) -> Result<(), Error> {
        match &self.value {
            Value::Null => out.push_str("null"),
            Value::Text(text) => out.push_str(&quoted(text)),
            Value::Plain(text) => {
                let json = plain(text)
                    .ok_or_else(|| unusable(self.line, format!("{text} cannot be written in JSON")))?;
                out.push_str(&json);
            }
            Value::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    out.push(if index == 0 { '[' } else { ',' });
                    item.write_json(out)?;
                }
                out.push_str(if items.is_empty() { "[]" } else { "]" });
            }
            Value::Map(members) => {
                for (index, (name, node)) in members.iter().enumerate() {
                    out.push(if index == 0 { '{' } else { ',' });
                    out.push_str(&quoted(name));
                    out.push(':');
                    node.write_json(out)?;
                }
                out.push_str(if members.is_empty() { "{}" } else { "}" });
            }
        }
        Ok(())
    }
}

/// Text in double quotes, valid in JSON and YAML.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A plain scalar as JSON, by the core schema; `None`: infinity or NaN.
fn plain(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    if matches!(lower.trim_start_matches(['-', '+']), ".inf" | ".nan") {
        return None;
    }
    if matches!(text, "true" | "True" | "TRUE" | "false" | "False" | "FALSE") {
        return Some(lower);
    }
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        let digits = text.strip_prefix(prefix);
        if let Some(number) = digits.and_then(|digits| u128::from_str_radix(digits, radix).ok()) {
            return Some(number.to_string());
        }
    }
    Some(number(text).unwrap_or_else(|| quoted(text)))
}

/// A decimal number as JSON writes it, digit for digit.
fn number(text: &str) -> Option<String> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => ("-", text.get(1..)?),
        b'+' => ("", text.get(1..)?),
        _ => ("", text),
    };
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (digits, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let significant = whole.trim_start_matches('0');
    let mut out = format!("{sign}{}", if significant.is_empty() { "0" } else { significant });
    if !fraction.is_empty() {
        out.push('.');
        out.push_str(fraction);
    }
    if let Some(exponent) = exponent {
        let unsigned = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        if unsigned.is_empty() || !is_digits(unsigned) {
            return None;
        }
        out.push('e');
        out.push_str(exponent);
    }
    Some(out)
}

#[cfg(test)]
mod tests;
