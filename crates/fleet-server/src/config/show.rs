//! Values as YAML.

use super::{Config, declare::Section as _, secret::without_userinfo, setting::Shown};

/// The effective configuration, secrets redacted; the password of a URL is one.
pub fn effective(config: &Config) -> String {
    let mut text = String::new();
    if let Shown::Map(entries) = masked(listed(Shown::Map(config.shown()))) {
        map(&entries, 0, &mut text);
    }
    text
}

/// The one input is a section named `0` inside and a list outside.
fn listed(shown: Shown) -> Shown {
    match shown {
        Shown::Map(entries) => match <[(String, Shown); 1]>::try_from(entries) {
            Ok([(name, inner)]) if name == "0" => Shown::List(vec![listed(inner)]),
            Ok([(name, inner)]) => Shown::Map(vec![(name, listed(inner))]),
            Err(entries) => Shown::Map(
                entries
                    .into_iter()
                    .map(|(name, inner)| (name, listed(inner)))
                    .collect(),
            ),
        },
        other => other,
    }
}

/// Any text may be a URL: hosts, proxies and labels are texts for the program.
fn masked(shown: Shown) -> Shown {
    match shown {
        Shown::Bare(text) => Shown::Bare(text),
        Shown::Text(text) => Shown::Text(without_userinfo(&text)),
        Shown::List(items) => Shown::List(items.into_iter().map(masked).collect()),
        Shown::Map(entries) => Shown::Map(
            entries
                .into_iter()
                .map(|(name, inner)| (name, masked(inner)))
                .collect(),
        ),
    }
}

fn map(entries: &[(String, Shown)], depth: usize, text: &mut String) {
    for (name, value) in entries {
        text.push_str(&"  ".repeat(depth));
        text.push_str(&scalar(name));
        text.push(':');
        value_after_colon(value, depth, text);
    }
}

fn value_after_colon(value: &Shown, depth: usize, text: &mut String) {
    match value {
        Shown::Map(entries) if !entries.is_empty() => {
            text.push('\n');
            map(entries, depth + 1, text);
        }
        Shown::List(items) if items.iter().any(|item| matches!(item, Shown::Map(_))) => {
            text.push('\n');
            for item in items {
                let mut inner = String::new();
                match item {
                    Shown::Map(entries) => map(entries, depth + 2, &mut inner),
                    other => inner = format!("{}{}\n", "  ".repeat(depth + 2), flow(other)),
                }
                // The first key of an item stands beside its dash.
                let indent = "  ".repeat(depth + 1);
                text.push_str(&format!("{indent}- {}", inner.trim_start()));
            }
        }
        other => {
            text.push(' ');
            text.push_str(&flow(other));
            text.push('\n');
        }
    }
}

/// A value on one line.
pub fn flow(value: &Shown) -> String {
    match value {
        Shown::Bare(text) => text.clone(),
        Shown::Text(text) => scalar(text),
        Shown::List(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Shown::Map(entries) => {
            let entries = entries
                .iter()
                .map(|(name, value)| format!("{}: {}", scalar(name), flow(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
    }
}

/// Text as YAML: bare where nothing in it means something, else in double quotes. `$` is doubled, since the
/// configuration substitutes.
fn scalar(text: &str) -> String {
    let text = super::substitute::escape(text);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '/' | '-' | '+' | ':');
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '/' | '_'))
        && text.chars().all(plain)
        && !text.ends_with(':')
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "null" | "true" | "false" | "yes" | "no" | "on" | "off"
        )
        && !text.contains(": ");
    if is_plain {
        return text;
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => quoted.push_str(&format!("\\U{:08x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
