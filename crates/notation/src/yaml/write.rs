//! JSON values as YAML for people: blocks, plain words where they are safe, text of several lines as it is.

use serde_json::{Map, Value};

use crate::terminal::is_harmful;

/// The value as a YAML document that [`read`](super::read) reads back as the same JSON. Control characters are escaped.
#[must_use]
pub fn write(value: &Value) -> String {
    let mut out = String::new();
    block(value, 0, &mut out);
    out
}

/// The value from the start of a line on, or behind the `- ` of a list.
fn block(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(members) if !members.is_empty() => map(members, indent, out),
        Value::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                pad(if index == 0 { 0 } else { indent }, out);
                out.push_str("- ");
                block(item, indent + 2, out);
            }
        }
        other => {
            scalar(other, indent, out);
            out.push('\n');
        }
    }
}

fn map(members: &Map<String, Value>, indent: usize, out: &mut String) {
    for (index, (name, value)) in members.iter().enumerate() {
        pad(if index == 0 { 0 } else { indent }, out);
        out.push_str(&word(name));
        out.push(':');
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                out.push('\n');
                pad(indent + 2, out);
                map(inner, indent + 2, out);
            }
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                pad(indent + 2, out);
                block(value, indent + 2, out);
            }
            other => {
                out.push(' ');
                scalar(other, indent + 2, out);
                out.push('\n');
            }
        }
    }
}

fn scalar(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::String(text) if is_block(text) => {
            let body = text.strip_suffix('\n');
            out.push_str(if body.is_some() { "|" } else { "|-" });
            for line in body.unwrap_or(text).split('\n') {
                out.push('\n');
                if !line.is_empty() {
                    pad(indent.max(2), out);
                    out.push_str(line);
                }
            }
        }
        Value::String(text) => out.push_str(&word(text)),
        other => out.push_str(&other.to_string()),
    }
}

fn pad(columns: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', columns));
}

/// Whether text of several lines can stand as it is.
fn is_block(text: &str) -> bool {
    let body = text.strip_suffix('\n').unwrap_or(text);
    body.contains('\n')
        && !body.ends_with('\n')
        && !body.starts_with([' ', '\n'])
        && body
            .split('\n')
            .all(|line| !line.contains(is_harmful) && !line.ends_with(' '))
}

/// Text on one line, in quotes unless every reader of YAML takes it for the same text without.
fn word(text: &str) -> String {
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || "_/$".contains(c));
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./$()+@ ".contains(c);
    let meant_otherwise = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
        .iter()
        .any(|taken| text.eq_ignore_ascii_case(taken));
    if begins && text.chars().all(is_plain) && !text.ends_with(' ') && !meant_otherwise {
        return text.to_owned();
    }
    let quoted = super::quoted(text);
    if !quoted.contains(is_harmful) {
        return quoted;
    }
    // JSON escapes those below the space only.
    let mut escaped = String::with_capacity(quoted.len() + 16);
    for found in quoted.chars() {
        match is_harmful(found) {
            true => escaped.push_str(&format!("\\u{:04x}", u32::from(found))),
            false => escaped.push(found),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read_back(text: &str) -> Value {
        serde_json::from_str(&super::super::read(text.as_bytes()).unwrap().to_json().unwrap()).unwrap()
    }

    #[test]
    fn it_reads_as_people_write_it() {
        let value = json!({
            "inputs": [{"type": "logfile", "streams": [{"paths": ["/var/log/*.log"]}, {}]}, "x", [1, [2]]],
            "empty": {}, "none": null, "yes": "no", "version": "1.10", "number": 12,
            "script": "a: b\n  c\n\nd\n", "tail": "x\ny", "odd": " x\u{9b}\u{202e}", "var": "${HOME}",
        });
        let text = write(&value);
        assert_eq!(
            text,
            "inputs:\n  - type: logfile\n    streams:\n      - paths:\n          - \"/var/log/*.log\"\n      - {}\n  \
             - x\n  - - 1\n    - - 2\nempty: {}\nnone: null\n\"yes\": \"no\"\nversion: \"1.10\"\nnumber: 12\n\
             script: |\n  a: b\n    c\n\n  d\ntail: |-\n  x\n  y\nodd: \" x\\u009b\\u202e\"\nvar: \"${HOME}\"\n"
        );
        assert_eq!(read_back(&text), value);
    }

    #[test]
    fn numbers_keep_their_digits() {
        let value: Value =
            serde_json::from_str("[9223372036854775808, 1e400, 0.10000000000000000000]").unwrap();
        assert_eq!(
            write(&value),
            "- 9223372036854775808\n- 1e+400\n- 0.10000000000000000000\n"
        );
        assert_eq!(read_back(&write(&value)), value);
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let text = prop_oneof![
            "\\PC{0,12}",
            "[ a\n\t:#|>'\"{}&*!%@`,-]{0,10}",
            "[\u{7f}-\u{a0}]{1,3}"
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            text.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::btree_map(text.clone(), inner, 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_and_harmless(value in any_value()) {
            let text = write(&value);
            prop_assert!(!text.replace('\n', "").contains(is_harmful), "{text:?}");
            prop_assert_eq!(read_back(&text), value, "{}", text);
        }
    }
}
