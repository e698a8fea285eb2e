//! Connections that the system does not hand out: one line a minute for each cause, with how many there were, and a counter.
//!
//! The server library logs each failed `accept`, twice a second for each listener while descriptors are short: nobody's
//! request, yet anybody who opens connections can bring it about. Its records go in, what to log instead comes out.

use std::{
    fmt::Write as _,
    sync::{LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};

use log::Record;
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder},
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use strum::IntoStaticStr;

/// The log is global to the process, and so is this.
static ACCEPTS: LazyLock<AcceptErrors> = LazyLock::new(AcceptErrors::default);

/// Shows the counter in `registry`.
pub(crate) fn register(registry: &mut Registry) {
    // A counter that appears with its first event has no increase to alert on.
    for cause in Cause::ALL {
        drop(ACCEPTS.counted.get_or_create(&Labels { cause }));
    }
    registry.register(
        "connections_accept_errors",
        "Failed attempts to take a connection, logged once a minute for each cause",
        ACCEPTS.counted.clone(),
    );
}

/// What becomes of a record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// It is about something else.
    Other,
    /// It is counted only.
    Counted,
    /// This is logged in its place.
    Told(String),
}

/// Judges a record of the log.
pub(super) fn judge(record: &Record<'_>) -> Judged {
    if record.target() != "actix_server::accept" {
        return Judged::Other;
    }
    let text = record.args().to_string();
    match text.strip_prefix("Error accepting connection: ") {
        Some(reason) => ACCEPTS.judge(reason, Instant::now()),
        None => Judged::Other,
    }
}

#[derive(Default)]
struct AcceptErrors {
    counted: Family<Labels, Counter>,
    /// By cause.
    told: Mutex<[Option<Told>; 2]>,
}

#[derive(Clone, Copy)]
struct Told {
    at: Instant,
    since: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    cause: Cause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
enum Cause {
    /// The process, or the system, has no file descriptor left (EMFILE, ENFILE).
    Descriptors,
    Other,
}

impl Cause {
    const ALL: [Self; 2] = [Self::Descriptors, Self::Other];

    fn of(reason: &str) -> Self {
        match reason.ends_with("(os error 24)") || reason.ends_with("(os error 23)") {
            true => Self::Descriptors,
            false => Self::Other,
        }
    }
}

impl EncodeLabelValue for Cause {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        encoder.write_str(self.into())
    }
}

impl AcceptErrors {
    fn judge(&self, reason: &str, now: Instant) -> Judged {
        let cause = Cause::of(reason);
        self.counted.get_or_create(&Labels { cause }).inc();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let [descriptors, other] = &mut *told;
        let told = match cause {
            Cause::Descriptors => descriptors,
            Cause::Other => other,
        };
        if let Some(told) = told
            && now.saturating_duration_since(told.at) < MINUTE
        {
            told.since += 1;
            return Judged::Counted;
        }
        let since = told
            .replace(Told { at: now, since: 0 })
            .map_or(0, |told| told.since);
        let mut line = format!("a connection cannot be taken: {reason}");
        if since > 0 {
            // Writing to a string does not fail.
            let _ = write!(line, "; {since} more times since the line before");
        }
        if cause == Cause::Descriptors {
            line.push_str("; raise the limit of open files (LimitNOFILE, ulimit -n)");
        }
        Judged::Told(line)
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once_a_minute_with_its_number_and_counted_each_time() {
        let accepts = AcceptErrors::default();
        let begin = Instant::now();
        let after = |seconds| begin + Duration::from_secs(seconds);
        let full = "Too many open files (os error 24)";
        let first = "a connection cannot be taken: Too many open files (os error 24); raise the limit of open files \
                     (LimitNOFILE, ulimit -n)";
        assert_eq!(accepts.judge(full, begin), Judged::Told(first.to_owned()));
        for second in 1..60 {
            assert_eq!(accepts.judge(full, after(second)), Judged::Counted);
        }
        let no_memory = accepts.judge("Cannot allocate memory (os error 12)", after(59));
        assert_eq!(
            no_memory,
            Judged::Told("a connection cannot be taken: Cannot allocate memory (os error 12)".to_owned())
        );
        let next = accepts.judge("Too many open files in system (os error 23)", after(60));
        assert!(
            matches!(&next, Judged::Told(line) if line.contains("59 more times since the line before")),
            "{next:?}"
        );
        let count = |cause| accepts.counted.get_or_create(&Labels { cause }).get();
        assert_eq!((count(Cause::Descriptors), count(Cause::Other)), (61, 1));
    }

    #[test]
    fn other_records_go_their_way() {
        for (target, text) in [
            ("actix_server::accept", "Can not register server socket"),
            ("listener", "Error accepting connection: "),
        ] {
            let args = format_args!("{text}");
            let record = Record::builder().target(target).args(args).build();
            assert_eq!(judge(&record), Judged::Other);
        }
    }
}
