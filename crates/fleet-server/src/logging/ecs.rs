//! A record as a line of ECS JSON (agents.md 9.2).

use std::io::{self, Write};

use fleet::Timestamp;
use log::{
    Record,
    kv::{self, Key, Value, VisitSource, VisitValue},
};
use serde_json::{Map, Value as Json, json};

/// One JSON object and a line feed.
pub(super) fn write_json(out: &mut dyn Write, record: &Record<'_>) -> io::Result<()> {
    let mut line = Map::new();
    line.insert("@timestamp".into(), Timestamp::now().to_millis_text().into());
    line.insert("log.level".into(), level(record).into());
    line.insert("message".into(), record.args().to_string().into());
    line.insert("ecs.version".into(), "8.11.0".into());
    line.insert("service.name".into(), "fleet-server".into());
    line.insert("service.type".into(), "fleet-server".into());
    line.insert("log.logger".into(), record.target().into());
    members(record, &mut line);
    let mut text = serde_json::to_vec(&line).map_err(io::Error::other)?;
    text.push(b'\n');
    out.write_all(&text)
}

pub(super) fn level(record: &Record<'_>) -> &'static str {
    match record.level() {
        log::Level::Error => "error",
        log::Level::Warn => "warn",
        log::Level::Info => "info",
        log::Level::Debug => "debug",
        log::Level::Trace => "trace",
    }
}

/// The key-values of a record; one never takes the place of what `line` has.
pub(super) fn members(record: &Record<'_>, line: &mut Map<String, Json>) {
    struct Members<'a>(&'a mut Map<String, Json>);
    impl<'kvs> VisitSource<'kvs> for Members<'_> {
        fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
            // A key-value never overwrites a member that every line has.
            let value = typed(&value);
            // An unknown value is left out: a null would have another type than the value.
            if !value.is_null() && !self.0.contains_key(key.as_str()) {
                self.0.insert(key.as_str().to_owned(), value);
            }
            Ok(())
        }
    }
    // Visiting fails only if `visit_pair` does.
    let _ = record.key_values().visit(&mut Members(line));
}

/// Numbers and booleans keep their type; an absent value is null.
fn typed(value: &Value<'_>) -> Json {
    struct Typed(Json);
    impl VisitValue<'_> for Typed {
        fn visit_any(&mut self, value: Value<'_>) -> Result<(), kv::Error> {
            self.0 = value.to_string().into();
            Ok(())
        }
        fn visit_null(&mut self) -> Result<(), kv::Error> {
            self.0 = Json::Null;
            Ok(())
        }
        fn visit_u64(&mut self, value: u64) -> Result<(), kv::Error> {
            self.0 = value.into();
            Ok(())
        }
        fn visit_i64(&mut self, value: i64) -> Result<(), kv::Error> {
            self.0 = value.into();
            Ok(())
        }
        fn visit_f64(&mut self, value: f64) -> Result<(), kv::Error> {
            self.0 = json!(value);
            Ok(())
        }
        fn visit_bool(&mut self, value: bool) -> Result<(), kv::Error> {
            self.0 = value.into();
            Ok(())
        }
    }
    let mut typed = Typed(Json::Null);
    match value.visit(&mut typed) {
        Ok(()) => typed.0,
        // A value of another type is written as text.
        Err(_) => value.to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use log::kv::ToValue as _;

    use super::*;

    #[test]
    fn a_line_is_one_object_with_typed_members() {
        let nothing: Option<u64> = None;
        let pairs: &[(&str, Value<'_>)] = &[
            ("fleet.revision_idx", Value::from(3_i64)),
            ("fleet.agent.id", Value::from("a\"1")),
            ("message", Value::from("no")),
            ("http.request.body.bytes", nothing.to_value()),
            ("tls.established", Value::from(true)),
            ("share", Value::from(0.5)),
        ];
        let mut line = Vec::new();
        let args = format_args!("two\nlines");
        let record = Record::builder()
            .args(args)
            .level(log::Level::Warn)
            .key_values(&pairs)
            .build();
        write_json(&mut line, &record).unwrap();
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        let line: Json = serde_json::from_slice(&line).unwrap();
        assert_eq!(line["log.level"], "warn");
        assert_eq!(line["message"], "two\nlines");
        assert_eq!(line["fleet.revision_idx"], 3);
        assert_eq!(line["fleet.agent.id"], "a\"1");
        assert_eq!(line["service.name"], "fleet-server");
        assert_eq!(
            (&line["tls.established"], &line["share"]),
            (&json!(true), &json!(0.5))
        );
        assert!(line.get("http.request.body.bytes").is_none(), "{line}");
    }
}
