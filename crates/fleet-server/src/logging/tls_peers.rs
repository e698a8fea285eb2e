//! Warnings of the TLS library about peers: one line for each cause and hour, and a counter.
//!
//! Anybody can make rustls warn, before any authentication, as often as they connect and with text of their own. Its
//! records go in, whether to log them comes out. The number of causes is fixed by rustls' code; a peer cannot raise it.

use std::{
    collections::HashMap,
    fmt::Write as _,
    sync::{LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};

use log::{Level, Record};
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder},
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use strum::IntoStaticStr;

/// The log is global to the process, and so is this.
static PEERS: LazyLock<TlsPeers> = LazyLock::new(TlsPeers::default);

/// Shows the counter in `registry`, whose prefix ends in `tls`.
pub(crate) fn register(registry: &mut Registry) {
    // A counter that appears with its first event has no increase to alert on.
    for cause in [Cause::SniAddress, Cause::SniName, Cause::Other] {
        drop(PEERS.counted.get_or_create(&Labels { cause }));
    }
    registry.register(
        "peer_warnings",
        "Warnings of the TLS library about peers, logged once an hour for each cause",
        PEERS.counted.clone(),
    );
}

/// Whether a record goes into the log. Everything but warnings of rustls does.
pub(super) fn admits(record: &Record<'_>) -> bool {
    let is_of_rustls = record.target().split("::").next() == Some("rustls");
    !is_of_rustls || record.level() != Level::Warn || PEERS.admits(record, Instant::now())
}

#[derive(Default)]
struct TlsPeers {
    counted: Family<Labels, Counter>,
    /// When each place in rustls' code was last logged.
    told: Mutex<HashMap<Place, Instant>>,
}

type Place = (Option<&'static str>, Option<u32>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    cause: Cause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
enum Cause {
    /// An IP address as server name.
    SniAddress,
    /// A server name that is not valid, or two of them.
    SniName,
    Other,
}

impl EncodeLabelValue for Cause {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        encoder.write_str(self.into())
    }
}

impl TlsPeers {
    fn admits(&self, record: &Record<'_>, now: Instant) -> bool {
        let text = record.args().to_string();
        let cause = if text.starts_with("Illegal SNI extension: ignoring IP address") {
            Cause::SniAddress
        } else if text.starts_with("Illegal SNI") {
            Cause::SniName
        } else {
            Cause::Other
        };
        self.counted.get_or_create(&Labels { cause }).inc();
        let place = (record.module_path_static(), record.line());
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = told
            .get(&place)
            .is_none_or(|at| now.saturating_duration_since(*at) >= HOUR);
        if is_due {
            told.insert(place, now);
        }
        is_due
    }
}

const HOUR: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once_an_hour_and_counted_each_time() {
        let peers = TlsPeers::default();
        let begin = Instant::now();
        let says = |text: &str, line, now| {
            let mut record = Record::builder();
            record
                .target("rustls::msgs")
                .level(Level::Warn)
                .module_path_static(Some("rustls::msgs"))
                .line(Some(line));
            peers.admits(&record.args(format_args!("{text}")).build(), now)
        };
        assert!(says("Illegal SNI hostname received \"a b\"", 1, begin));
        assert!(
            !says("Illegal SNI hostname received \"c d\"", 1, begin + HOUR / 2),
            "the peer's words are no cause"
        );
        assert!(says("something new", 2, begin + HOUR / 2));
        assert!(says("Illegal SNI hostname received \"e f\"", 1, begin + HOUR));
        let count = |cause| peers.counted.get_or_create(&Labels { cause }).get();
        assert_eq!((count(Cause::SniName), count(Cause::Other)), (3, 1));
    }
}
