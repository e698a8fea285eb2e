//! Every log record of the process, with its fields; each test looks for its own paths in it.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Mutex, Once, PoisonError};

use log::kv::{Error, Key, Value, VisitSource};
use log::{Level, LevelFilter, Log, Metadata, Record};

#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) level: Level,
    pub(crate) message: String,
    pub(crate) fields: Vec<(String, String)>,
}

impl Line {
    pub(crate) fn field(&self, key: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        let mut text = self.message.clone();
        for (key, value) in &self.fields {
            write!(text, " {key}={value}").expect("a String takes all");
        }
        text
    }
}

/// Keeps records from now on.
pub(crate) fn keep() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&KEEPER).expect("no other logger");
        log::set_max_level(LevelFilter::Debug);
    });
}

/// The records that mention `needle`.
pub(crate) fn about(needle: &str) -> Vec<Line> {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    lines
        .iter()
        .filter(|line| line.text().contains(needle))
        .cloned()
        .collect()
}

struct Keeper;
static KEEPER: Keeper = Keeper;
static LINES: Mutex<VecDeque<Line>> = Mutex::new(VecDeque::new());
/// More would look like a leak to the case that measures memory.
const KEPT: usize = 1000;

impl Log for Keeper {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("tls_reload")
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        struct Fields(Vec<(String, String)>);
        impl<'kvs> VisitSource<'kvs> for Fields {
            fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
                self.0.push((key.to_string(), value.to_string()));
                Ok(())
            }
        }
        let mut fields = Fields(Vec::new());
        record.key_values().visit(&mut fields).expect("fields");
        let line = Line {
            level: record.level(),
            message: record.args().to_string(),
            fields: fields.0,
        };
        let mut lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == KEPT {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    fn flush(&self) {}
}
