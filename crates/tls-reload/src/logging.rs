//! Log records with ECS keys (reload.md 8.2), and the memory that keeps one cause from being logged at every poll
//! (reload.md 7.2).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use log::kv::Value;
use log::{Level, Record};

pub(crate) const ACTION: &str = "event.action";
pub(crate) const OUTCOME: &str = "event.outcome";
pub(crate) const REASON: &str = "event.reason";
pub(crate) const ERROR: &str = "error.message";
pub(crate) const FINGERPRINT: &str = "tls.server.hash.sha256";
pub(crate) const OLD_FINGERPRINT: &str = "tls.server.hash.sha256.previous";
pub(crate) const SERIAL: &str = "tls.server.x509.serial_number";
pub(crate) const NOT_AFTER: &str = "tls.server.x509.not_after";
pub(crate) const NAMES: &str = "tls.server.x509.alternative_names";
pub(crate) const TRIGGER: &str = "fleet.tls.reload.trigger";
pub(crate) const FILES: &str = "file.path";

/// Writes one record. Values are shown as they are: callers pass public facts only.
pub(crate) fn emit(level: Level, message: &str, fields: &[(&str, &str)]) {
    if level > log::max_level() {
        return;
    }
    let fields: Vec<(&str, Value<'_>)> = fields
        .iter()
        .map(|(key, value)| (*key, Value::from(*value)))
        .collect();
    log::logger().log(
        &Record::builder()
            .level(level)
            .target(env!("CARGO_CRATE_NAME"))
            .module_path(Some(env!("CARGO_CRATE_NAME")))
            .key_values(&fields.as_slice())
            .args(format_args!("{message}"))
            .build(),
    );
}

/// Which causes were logged, and when (reload.md 7.2).
#[derive(Default)]
pub(crate) struct Repeats {
    logged: HashMap<String, Instant>,
}

impl Repeats {
    /// Whether `cause` is due for the log: new, or an hour old.
    pub(crate) fn is_due(&mut self, cause: &str, now: Instant) -> bool {
        if let Some(at) = self.logged.get(cause)
            && now.saturating_duration_since(*at) < REPEAT
        {
            return false;
        }
        if self.logged.len() >= REMEMBERED {
            self.logged
                .retain(|_, at| now.saturating_duration_since(*at) < REPEAT);
            if self.logged.len() >= REMEMBERED {
                self.logged.clear();
            }
        }
        self.logged.insert(cause.to_owned(), now);
        true
    }

    /// The last attempt succeeded: the next failure is logged again.
    pub(crate) fn forget(&mut self) {
        self.logged.clear();
    }
}

const REPEAT: Duration = Duration::from_secs(3600);
/// A bound for causes that never repeat.
const REMEMBERED: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r30_one_cause_is_logged_hourly() {
        let start = Instant::now();
        let mut repeats = Repeats::default();
        assert!(repeats.is_due("a", start));
        assert!(!repeats.is_due("a", start + Duration::from_secs(3599)));
        assert!(
            repeats.is_due("b", start + Duration::from_secs(1)),
            "another cause is news"
        );
        assert!(repeats.is_due("a", start + Duration::from_secs(3600)));
        repeats.forget();
        assert!(repeats.is_due("b", start + Duration::from_secs(2)));
        for cause in 0..1000 {
            assert!(repeats.is_due(&cause.to_string(), start));
        }
        assert!(repeats.logged.len() <= REMEMBERED);
    }
}
