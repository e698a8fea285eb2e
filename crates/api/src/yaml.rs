//! Reads a YAML document as JSON text, for policies that operators keep as YAML.
//!
//! YAML 1.2 core schema, with anchors, aliases and merge keys. Bounded: an alias costs what it stands for, so a
//! small text can not unfold into a large one; nesting is limited. Whole numbers of any size keep their digits.

use std::{collections::HashMap, fmt::Write as _, rc::Rc};

use fleet::RawJson;
use yaml_rust2::{
    Event,
    parser::{Parser, Tag},
    scanner::{Marker, TScalarStyle},
};

/// Values in the document after all aliases are unfolded.
const MAX_NODES: usize = 200_000;
/// Bytes of the JSON text.
const MAX_BYTES: usize = 16 << 20;
/// Levels of nesting.
const MAX_DEPTH: usize = 64;

/// Why a text is no usable YAML.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum YamlError {
    /// The scanner's word.
    #[error("{0}")]
    Syntax(String),
    /// What was found can not be used.
    #[error("line {line}: {reason}")]
    Unusable {
        /// Where, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
}

/// The first document of `text` as JSON.
///
/// # Errors
/// See [`YamlError`].
pub fn to_json(text: &str) -> Result<RawJson, YamlError> {
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        anchors: HashMap::new(),
        line: 1,
    };
    let root = loop {
        match reader.next()? {
            Event::StreamStart | Event::DocumentStart | Event::Nothing => {}
            Event::StreamEnd | Event::DocumentEnd => return Err(reader.unusable("the document is empty")),
            event => break reader.node(event, 0)?,
        }
    };
    let mut json = String::new();
    root.write(&mut json);
    RawJson::parse(json).map_err(|error| YamlError::Syntax(error.to_string()))
}

/// A value; shared by all its aliases.
struct Node {
    shape: Shape,
    /// Values it unfolds into, itself included.
    nodes: usize,
    /// Bytes of JSON it unfolds into.
    bytes: usize,
    /// Levels below it, itself included.
    depth: usize,
}

enum Shape {
    /// JSON text.
    Scalar(String),
    List(Vec<Rc<Node>>),
    Map(Vec<(String, Rc<Node>)>),
}

impl Node {
    fn write(&self, out: &mut String) {
        match &self.shape {
            Shape::Scalar(json) => out.push_str(json),
            Shape::List(items) => {
                out.push('[');
                for (place, item) in items.iter().enumerate() {
                    if place > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Shape::Map(members) => {
                out.push('{');
                for (place, (name, value)) in members.iter().enumerate() {
                    if place > 0 {
                        out.push(',');
                    }
                    out.push_str(&quoted(name));
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

struct Reader<'a> {
    parser: Parser<std::str::Chars<'a>>,
    anchors: HashMap<usize, Rc<Node>>,
    line: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Result<Event, YamlError> {
        let (event, mark): (Event, Marker) = self
            .parser
            .next_token()
            .map_err(|error| YamlError::Syntax(error.to_string()))?;
        self.line = mark.line().max(1);
        Ok(event)
    }

    fn unusable(&self, reason: impl Into<String>) -> YamlError {
        YamlError::Unusable {
            line: self.line,
            reason: reason.into(),
        }
    }

    /// Recursion ends at `MAX_DEPTH`.
    fn node(&mut self, event: Event, level: usize) -> Result<Rc<Node>, YamlError> {
        if level >= MAX_DEPTH {
            return Err(self.unusable(format!("nested deeper than {MAX_DEPTH} levels")));
        }
        match event {
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor).cloned();
                node.ok_or_else(|| self.unusable("an alias stands inside the value that it names"))
            }
            Event::Scalar(text, style, anchor, tag) => {
                let json = self.scalar(&text, style, tag.as_ref())?;
                self.keep(anchor, Shape::Scalar(json))
            }
            Event::SequenceStart(anchor, _) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        Event::SequenceEnd => break,
                        event => items.push(self.node(event, level + 1)?),
                    }
                    self.check_count(items.len())?;
                }
                self.keep(anchor, Shape::List(items))
            }
            Event::MappingStart(anchor, _) => {
                let members = self.members(level)?;
                self.keep(anchor, Shape::Map(members))
            }
            _ => Err(self.unusable("a value is missing")),
        }
    }

    fn members(&mut self, level: usize) -> Result<Vec<(String, Rc<Node>)>, YamlError> {
        let mut members: Vec<(String, Rc<Node>)> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut merged: Vec<(String, Rc<Node>)> = Vec::new();
        loop {
            let (name, style) = match self.next()? {
                Event::MappingEnd => break,
                Event::Scalar(text, style, _, _) => (text, style),
                _ => return Err(self.unusable("a key must be plain text")),
            };
            let event = self.next()?;
            let value = self.node(event, level + 1)?;
            if name == "<<" && style == TScalarStyle::Plain {
                self.merge(&value, &mut merged)?;
            } else if places.insert(name.clone(), members.len()).is_some() {
                return Err(self.unusable(format!("key {name} stands twice")));
            } else {
                members.push((name, value));
            }
            self.check_count(members.len() + merged.len())?;
        }
        // What stands in the mapping itself wins over what is merged; earlier merges win over later ones.
        for (name, value) in merged {
            if !places.contains_key(&name) {
                places.insert(name.clone(), members.len());
                members.push((name, value));
            }
        }
        Ok(members)
    }

    fn merge(&self, value: &Node, merged: &mut Vec<(String, Rc<Node>)>) -> Result<(), YamlError> {
        match &value.shape {
            Shape::Map(members) => merged.extend(members.iter().cloned()),
            Shape::List(items) => {
                for item in items {
                    match &item.shape {
                        Shape::Map(members) => merged.extend(members.iter().cloned()),
                        _ => return Err(self.unusable("<< takes mappings only")),
                    }
                    self.check_count(merged.len())?;
                }
            }
            Shape::Scalar(_) => return Err(self.unusable("<< takes mappings only")),
        }
        Ok(())
    }

    fn check_count(&self, count: usize) -> Result<(), YamlError> {
        if count > MAX_NODES {
            Err(self.unusable(format!("more than {MAX_NODES} values")))
        } else {
            Ok(())
        }
    }

    /// Weighs a finished value and remembers it under its anchor.
    fn keep(&mut self, anchor: usize, shape: Shape) -> Result<Rc<Node>, YamlError> {
        let (mut nodes, mut bytes, mut depth) = (1usize, 2usize, 1usize);
        let mut add = |node: &Node, name: usize| {
            nodes = nodes.saturating_add(node.nodes);
            bytes = bytes.saturating_add(node.bytes).saturating_add(name + 2);
            depth = depth.max(node.depth + 1);
        };
        match &shape {
            Shape::Scalar(json) => bytes = json.len(),
            Shape::List(items) => items.iter().for_each(|item| add(item, 0)),
            Shape::Map(members) => members
                .iter()
                .for_each(|(name, value)| add(value, name.len() + 2)),
        }
        self.check_count(nodes)?;
        if bytes > MAX_BYTES {
            return Err(self.unusable(format!("unfolds into more than {MAX_BYTES} bytes")));
        }
        if depth > MAX_DEPTH {
            return Err(self.unusable(format!("nested deeper than {MAX_DEPTH} levels")));
        }
        let node = Rc::new(Node {
            shape,
            nodes,
            bytes,
            depth,
        });
        if anchor > 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        Ok(node)
    }

    fn scalar(&self, text: &str, style: TScalarStyle, tag: Option<&Tag>) -> Result<String, YamlError> {
        let core = tag.filter(|tag| tag.handle.contains("yaml.org,2002") || tag.handle == "!!");
        match (tag, core.map(|tag| tag.suffix.as_str())) {
            (Some(_), Some("str")) => return Ok(quoted(text)),
            (None, _) | (Some(_), Some("int" | "float" | "bool" | "null")) => {}
            (Some(tag), _) => {
                return Err(self.unusable(format!("tag {}{} is not known", tag.handle, tag.suffix)));
            }
        }
        if style != TScalarStyle::Plain && tag.is_none() {
            return Ok(quoted(text));
        }
        plain(text).ok_or_else(|| self.unusable(format!("{text} has no counterpart in JSON")))
    }
}

/// The core schema of YAML 1.2; `None`: infinity or no number.
fn plain(text: &str) -> Option<String> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Some("null".to_owned()),
        "true" | "True" | "TRUE" => return Some("true".to_owned()),
        "false" | "False" | "FALSE" => return Some("false".to_owned()),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" | "-.inf" | "-.Inf" | "-.INF" | ".nan"
        | ".NaN" | ".NAN" => return None,
        _ => {}
    }
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(number) = text
            .strip_prefix(prefix)
            .and_then(|digits| u64::from_str_radix(digits, radix).ok())
        {
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
    let (mantissa, exponent) = match digits.find(['e', 'E']) {
        Some(place) => (digits.get(..place)?, Some(digits.get(place + 1..)?)),
        None => (digits, None),
    };
    let (whole, fraction) = mantissa
        .split_once('.')
        .map_or((mantissa, None), |(w, f)| (w, Some(f)));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let has_digits = !whole.is_empty() || fraction.is_some_and(|fraction| !fraction.is_empty());
    if !has_digits || !is_digits(whole) || !fraction.is_none_or(is_digits) {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    let mut out = format!("{sign}{}", if whole.is_empty() { "0" } else { whole });
    if let Some(fraction) = fraction.filter(|fraction| !fraction.is_empty()) {
        let _ = write!(out, ".{fraction}");
    }
    if let Some(exponent) = exponent {
        let unsigned = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        if unsigned.is_empty() || unsigned.len() > 3 || !is_digits(unsigned) {
            return None;
        }
        let _ = write!(out, "e{exponent}");
    }
    Some(out)
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(text: &str) -> String {
        to_json(text).unwrap().as_str().to_owned()
    }

    #[test]
    fn a_policy_reads_as_its_json() {
        let text = "id: p1\nrevision: 3\noutputs:\n  default:\n    type: elasticsearch\n    hosts: ['https://e:9200']\n\
                    inputs:\n- id: a\n  enabled: true\n  period: 10s\n  empty:\n  text: |\n    two\n    lines\n";
        assert_eq!(
            json(text),
            r#"{"id":"p1","revision":3,"outputs":{"default":{"type":"elasticsearch","hosts":["https://e:9200"]}},"inputs":[{"id":"a","enabled":true,"period":"10s","empty":null,"text":"two\nlines\n"}]}"#
        );
    }

    #[test]
    fn scalars_follow_the_core_schema() {
        for (yaml, expected) in [
            ("12345678901234567890123", "12345678901234567890123"),
            ("-5", "-5"),
            ("+5", "5"),
            ("007", "7"),
            ("1.50", "1.50"),
            (".5", "0.5"),
            ("1e3", "1e3"),
            ("0x1F", "31"),
            ("yes", "\"yes\""),
            ("'5'", "\"5\""),
            ("!!str 5", "\"5\""),
            ("9.6.0", "\"9.6.0\""),
            ("1.", "1"),
            ("~", "null"),
            ("-", "[null]"),
            ("e5", "\"e5\""),
        ] {
            assert_eq!(json(yaml), expected, "{yaml}");
        }
    }

    #[test]
    fn anchors_aliases_and_merge_keys() {
        let text = "base: &b {a: 1, b: 2}\none: *b\ntwo:\n  <<: *b\n  b: 3\nthree:\n  <<: [{c: 4}, *b]\n";
        assert_eq!(
            json(text),
            r#"{"base":{"a":1,"b":2},"one":{"a":1,"b":2},"two":{"b":3,"a":1},"three":{"c":4,"a":1,"b":2}}"#
        );
    }

    #[test]
    fn an_alias_bomb_is_refused_before_it_unfolds() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let _ = writeln!(
                text,
                "a{level}: &a{level} [{}]",
                vec![format!("*a{}", level - 1); 10].join(",")
            );
        }
        let error = to_json(&text).unwrap_err().to_string();
        assert!(error.contains("more than 200000 values"), "{error}");
    }

    #[test]
    fn long_texts_can_not_be_multiplied_either() {
        let mut text = format!("a: &a {}\nb:\n", "x".repeat(200_000));
        for _ in 0..100 {
            text.push_str("- *a\n");
        }
        assert!(to_json(&text).unwrap_err().to_string().contains("bytes"));
    }

    #[test]
    fn what_json_can_not_hold_is_refused_with_its_line() {
        for (text, part) in [
            ("a: .inf", "no counterpart"),
            ("a: 1\na: 2", "line 2: key a stands twice"),
            ("? [x]\n: 1", "a key must be plain text"),
            ("", "empty"),
            ("a: !secret x", "is not known"),
            ("<<: 5", "<< takes mappings only"),
            ("a: &x [*x]", "an alias stands inside"),
            ("a: [", "line"),
        ] {
            let error = to_json(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(to_json(&"[".repeat(5000)).is_err());
        assert!(to_json(&"- ".repeat(500)).is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[-:a-c0-9.&*\\[\\]{}?!|> \\n'\"<,~#e]{0,60}") {
            let _ = to_json(&text);
        }

        /// JSON is YAML: it comes back as the same value.
        #[test]
        fn json_passes_through(name in "[a-z]{1,8}", number in any::<i64>(), text in "[ -~]{0,20}", flag in any::<bool>()) {
            let value = serde_json::json!({ name: [number, text, flag, null, { "x": {} }] });
            let back: serde_json::Value = to_json(&value.to_string()).unwrap().read().unwrap();
            prop_assert_eq!(back, value);
        }
    }
}
