//! A record as a line for people: time, level, text, and what comes with it.
//!
//! Much of it was sent by clients, and a terminal obeys what it is shown: control characters and those that change the
//! order of the text are escaped, so that one record is one line and looks like what it is.

use std::io::{self, Write};

use fleet::Timestamp;
use log::Record;
use notation::terminal::harmless;
use serde_json::{Map, Value as Json};

use super::ecs::{level, members};

/// One line and a line feed.
pub(super) fn write(out: &mut dyn Write, record: &Record<'_>) -> io::Result<()> {
    let mut with = Map::new();
    members(record, &mut with);
    let (time, text) = (Timestamp::now().to_millis_text(), record.args().to_string());
    let mut line = format!("{time} {:5} {}", level(record), harmless(&text));
    for (key, value) in &with {
        let written = match value {
            // Nothing that was sent looks like another key.
            Json::String(text) if text.is_empty() || text.contains([' ', '=', '"']) => {
                format!(" {key}=\"{}\"", harmless(&text.replace('"', "\\\"")))
            }
            Json::String(text) => format!(" {key}={}", harmless(text)),
            other => format!(" {key}={other}"),
        };
        line.push_str(&written);
    }
    line.push('\n');
    out.write_all(line.as_bytes())
}

#[cfg(test)]
mod tests {
    use log::kv::Value;
    use notation::terminal::is_harmful;

    use super::*;

    fn line(text: &str, pairs: &[(&str, Value<'_>)]) -> String {
        let mut line = Vec::new();
        let args = format_args!("{text}").to_string();
        write(
            &mut line,
            &Record::builder()
                .args(format_args!("{args}"))
                .level(log::Level::Warn)
                .key_values(&pairs)
                .build(),
        )
        .unwrap();
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn what_a_client_sends_cannot_move_the_cursor_or_begin_a_line() {
        let sent = "a\u{1b}[2J\u{9b}31m\r\nb\u{0}\t\u{7f}\u{202e}c\u{2028}";
        let line = line(sent, &[("fleet.agent.id", Value::from(sent))]);
        assert_eq!(line.matches('\n').count(), 1, "{line:?}");
        let (_, shown) = line.trim_end_matches('\n').split_once(" warn  ").unwrap();
        let escaped = r"a\u{1b}[2J\u{9b}31m\r\nb\u{0}\t\u{7f}\u{202e}c\u{2028}";
        assert_eq!(shown, format!("{escaped} fleet.agent.id={escaped}"));
        assert!(!line.trim_end_matches('\n').contains(is_harmful));
    }

    #[test]
    fn a_value_is_not_taken_for_another_key() {
        let pairs = &[
            ("user_agent.original", Value::from("x log.level=error \"q\"")),
            ("error.message", Value::from("")),
            ("http.response.status_code", Value::from(200)),
            ("url.path", Value::from("/ä/ü")),
        ];
        let line = line("text", pairs);
        let (_, shown) = line.split_once(" warn  ").unwrap();
        assert_eq!(
            shown,
            "text user_agent.original=\"x log.level=error \\\"q\\\"\" error.message=\"\" http.response.status_code=200 url.path=/ä/ü\n"
        );
    }
}
