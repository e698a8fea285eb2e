//! Values as text and as nodes of YAML, turned into those of the merged tree.

use config::{Value, ValueKind};
use notation::yaml::{self, Node};

use super::setting::Shape;

/// A flag's or a variable's value: numbers and words stay text; `[a, b]` and `a,b` are lists where a list is wanted,
/// `{a: b}` is a map where `maps` allows it, quotes are taken away.
pub(crate) fn written(text: &str, shape: Option<Shape>, maps: bool) -> Result<yaml::Value, String> {
    let trimmed = text.trim();
    let wants_list = shape != Some(Shape::Single);
    let is_quoted = ['"', '\'']
        .iter()
        .any(|quote| trimmed.len() >= 2 && trimmed.starts_with(*quote) && trimmed.ends_with(*quote));
    if is_quoted || (wants_list && trimmed.starts_with('[')) || (maps && trimmed.starts_with('{')) {
        return match yaml::read(trimmed.as_bytes()) {
            Ok(node) => Ok(node.value),
            // A flag has no lines.
            Err(yaml::Error::Unusable { reason, .. }) => Err(reason),
            Err(yaml::Error::Twice { key, .. }) => Err(format!("duplicate key {key}")),
        };
    }
    if shape == Some(Shape::List) && trimmed.contains(',') && !trimmed.contains("-----BEGIN") {
        let items = trimmed.split(',').map(|item| Node {
            line: 0,
            value: yaml::Value::Text(item.trim().to_owned()),
        });
        return Ok(yaml::Value::List(items.collect()));
    }
    Ok(yaml::Value::Text(text.to_owned()))
}

/// The node as `config` holds it: every scalar is text.
pub(crate) fn value(node: Node) -> Value {
    let kind = match node.value {
        yaml::Value::Null => ValueKind::Nil,
        yaml::Value::Plain(text) | yaml::Value::Text(text) => ValueKind::String(text),
        yaml::Value::List(items) => ValueKind::Array(items.into_iter().map(value).collect()),
        yaml::Value::Map(entries) => ValueKind::Table(
            entries
                .into_iter()
                .map(|(name, node)| (name, value(node)))
                .collect(),
        ),
    };
    Value::new(None, kind)
}
