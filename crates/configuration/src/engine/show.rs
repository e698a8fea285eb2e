//! Values as YAML.

use notation::yaml::quoted;

use super::{
    redaction::without_userinfo,
    section::{Declared, Part, Presence, Section, Visit},
    setting::{Setting, Shown},
    substitute::escape,
};

/// The values of a section, secrets redacted; the password of a URL is one.
pub(crate) fn yaml<S: Section>(section: &S) -> String {
    let mut text = String::new();
    write_map(&shown(&mut section.clone()), 0, &mut text);
    text
}

fn shown<S: Section>(section: &mut S) -> Vec<(String, Shown)> {
    let mut values = Values(Vec::new());
    section.walk(&mut values);
    values.0
}

struct Values(Vec<(String, Shown)>);

impl Visit for Values {
    fn key<T: Setting>(&mut self, declared: &Declared, value: &mut T, _: &dyn Fn(&T) -> Result<(), String>) {
        let entry = value.shown().map(|shown| (declared.name.to_owned(), shown));
        self.0.extend(entry);
    }

    fn part<P: Part>(&mut self, declared: &Declared, part: &mut P) {
        let mut items = part.items().iter_mut().map(|item| Shown::Map(shown(item)));
        let shown = match P::PRESENCE {
            Presence::Always | Presence::Optional => items.next(),
            Presence::One | Presence::List => Some(Shown::List(items.collect())),
        };
        self.0
            .extend(shown.map(|shown| (declared.name.to_owned(), shown)));
    }
}

fn write_map(entries: &[(String, Shown)], depth: usize, text: &mut String) {
    for (name, value) in entries {
        text.push_str(&format!("{}{}:", "  ".repeat(depth), scalar(name)));
        match value {
            Shown::Map(entries) if !entries.is_empty() => {
                text.push('\n');
                write_map(entries, depth + 1, text);
            }
            Shown::List(items) if items.iter().any(|item| matches!(item, Shown::Map(_))) => {
                text.push('\n');
                for item in items {
                    let mut inner = String::new();
                    if let Shown::Map(entries) = item {
                        write_map(entries, depth + 2, &mut inner);
                    }
                    // The first key of an item stands beside its dash.
                    text.push_str(&format!("{}- {}", "  ".repeat(depth + 1), inner.trim_start()));
                }
            }
            other => text.push_str(&format!(" {}\n", flow(other))),
        }
    }
}

/// A value on one line.
pub(crate) fn flow(value: &Shown) -> String {
    match value {
        Shown::Bare(text) => text.clone(),
        // Any text may be a URL: hosts, proxies and labels are texts for the program.
        Shown::Text(text) => scalar(&without_userinfo(text)),
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
    let text = escape(text);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '/' | '-' | '+' | ':');
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '/' | '_'))
        && text.chars().all(plain)
        && !text.ends_with(':')
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "null" | "true" | "false" | "yes" | "no" | "on" | "off"
        );
    if is_plain { text } else { quoted(&text) }
}
