//! The report of an attempt: state, metrics, log line and answer, from one place so that they agree
//! (reload.md 8.1 to 8.3).

use std::time::SystemTime;

use log::Level;

use crate::error::Rejected;
use crate::expiry::Expiry;
use crate::generation::Generation;
use crate::logging::{
    ACTION, ERROR, FILES, FINGERPRINT, NAMES, NOT_AFTER, OLD_FINGERPRINT, OUTCOME, REASON, SERIAL, TRIGGER,
    emit,
};
use crate::moment::rfc3339;
use crate::mounted_file;
use crate::source::Settings;
use crate::state::{
    Attempt, CertificateInfo, Failure, GenerationInfo, ReloadOutcome, ReloadResult, ReloadState, Trigger,
};
use crate::warning::Warning;

/// The state after the first load, which is logged here.
pub(super) fn first(generation: &Generation, settings: &Settings, now: SystemTime) -> ReloadState {
    let info = generation.info();
    let message = serving(info);
    let start = Trigger::Start.into();
    let event = [
        (ACTION, LOAD),
        (OUTCOME, "success"),
        (REASON, start),
        (TRIGGER, start),
    ];
    tell(Level::Info, &message, &event, info, settings);
    log_warnings(generation, None);
    note_mounted_files(generation);
    let attempt = Attempt {
        at: now,
        trigger: Trigger::Start,
        result: ReloadResult::Success,
        reason: None,
        message,
        fingerprint: info.fingerprint().to_owned(),
        times: 1,
    };
    let mut state = ReloadState::new(info.clone(), settings.reload.enabled, attempt);
    state.replaced_outside = mounted_file::replaced_outside(&generation.picture().snapshot);
    judge_health(&mut state, &Expiry::new(&settings.reload.expiry_warning), now);
    state
}

/// A new generation is served.
pub(super) fn swapped(
    next: &Generation,
    old: &Generation,
    trigger: Trigger,
    settings: &Settings,
) -> ReloadOutcome {
    let message = serving(next.info());
    let event = [
        (ACTION, RELOAD),
        (OUTCOME, "success"),
        (REASON, trigger.into()),
        (TRIGGER, trigger.into()),
        (OLD_FINGERPRINT, old.info().fingerprint()),
    ];
    tell(Level::Info, &message, &event, next.info(), settings);
    log_warnings(next, Some(old));
    outcome(ReloadResult::Success, next.info(), message)
}

/// reload.md 3.4: nothing to do.
pub(super) fn unchanged(served: &Generation, trigger: Trigger) -> ReloadOutcome {
    let message = format!("still {}", serving(served.info()));
    let fields = [
        (ACTION, RELOAD),
        (OUTCOME, "unchanged"),
        (REASON, trigger.into()),
        (TRIGGER, trigger.into()),
    ];
    emit(Level::Debug, &message, &fields);
    outcome(ReloadResult::Unchanged, served.info(), message)
}

/// The set was refused. Logged only if `is_news` (reload.md 7.2).
pub(super) fn refused(
    rejected: &Rejected,
    served: &Generation,
    trigger: Trigger,
    settings: &Settings,
    is_news: bool,
) -> ReloadOutcome {
    let info = served.info();
    let message = format!("{rejected}: still {}", serving(info));
    if is_news {
        let event = [
            (ACTION, RELOAD),
            (OUTCOME, "failure"),
            (REASON, rejected.reason().into()),
            (TRIGGER, trigger.into()),
            (ERROR, &rejected.to_string()),
            ("hint", &rejected.hint()),
        ];
        tell(Level::Error, &message, &event, info, settings);
    }
    ReloadOutcome {
        hint: Some(rejected.hint().into_owned()),
        reason: Some(rejected.reason()),
        ..outcome(ReloadResult::Failure, info, message)
    }
}

/// Logs an event with what is served: the default leaf, and every file (reload.md 8.2).
fn tell(level: Level, message: &str, event: &[(&str, &str)], served: &GenerationInfo, settings: &Settings) {
    let leaf = served.pairs.first().map(|pair| &pair.leaf);
    let of_leaf = |fact: fn(&CertificateInfo) -> String| leaf.map(fact).unwrap_or_default();
    let facts = [
        (FINGERPRINT, served.fingerprint().to_owned()),
        (SERIAL, of_leaf(|leaf| leaf.serial.clone())),
        (NOT_AFTER, of_leaf(|leaf| rfc3339(leaf.not_after))),
        (NAMES, of_leaf(|leaf| leaf.names.join(","))),
        (FILES, files(settings)),
    ];
    let facts = facts.iter().map(|(key, value)| (*key, value.as_str()));
    let fields: Vec<_> = event.iter().copied().chain(facts).collect();
    emit(level, message, &fields);
}

/// What the state keeps of an attempt.
pub(super) fn remember(state: &mut ReloadState, outcome: &ReloadOutcome, trigger: Trigger, now: SystemTime) {
    state.remember(Attempt {
        at: now,
        trigger,
        result: outcome.result,
        reason: outcome.reason,
        message: outcome.message.clone(),
        fingerprint: outcome.fingerprint.clone(),
        times: 1,
    });
    match (outcome.result, outcome.reason) {
        (ReloadResult::Failure, Some(reason)) => {
            state.last_failure = Some(now);
            let hint = outcome.hint.clone().unwrap_or_default();
            state.failure = Some(Failure {
                reason,
                message: outcome.message.clone(),
                hint,
            });
        }
        _ => {
            state.last_success = Some(now);
            state.failure = None;
        }
    }
}

/// reload.md 8.3.
pub(super) fn judge_health(state: &mut ReloadState, expiry: &Expiry, now: SystemTime) {
    let stuck = state.stuck_since.map(stuck);
    let failed = state.failure.as_ref().map(|failure| failure.message.clone());
    state.degraded = stuck
        .or(failed)
        .or_else(|| expiry.degraded(&state.generation, now));
    state.healthy = state.degraded.is_none();
}

/// What a file system that does not answer is called, in health and log.
pub(super) fn stuck(since: SystemTime) -> String {
    format!(
        "the files' system has not answered since {}: is it there?",
        rfc3339(since)
    )
}

/// Told once an hour at most: see the actor.
pub(super) fn stuck_files(since: SystemTime, settings: &Settings) {
    emit(
        Level::Error,
        &stuck(since),
        &[
            (ACTION, RELOAD),
            (OUTCOME, "failure"),
            (REASON, "stuck"),
            ("hint", "see that the file system is mounted and healthy"),
            (FILES, &files(settings)),
        ],
    );
}

/// Every path of the set, for the log.
pub(super) fn files(settings: &Settings) -> String {
    settings
        .paths()
        .map(|path| path.display().to_string())
        .collect::<Vec<_>>()
        .join(",")
}

/// Warnings that the last generation did not have. An expired leaf is an error for whoever operates this, and so is
/// one that is not valid yet where it replaces an expired one (reload.md 5.3: nothing else lets it be taken).
fn log_warnings(generation: &Generation, old: Option<&Generation>) {
    for warning in generation.warnings() {
        if old.is_some_and(|old| old.warnings().contains(warning)) {
            continue;
        }
        let level = match warning {
            Warning::Expired { .. } => Level::Error,
            Warning::NotYetValid { .. } if old.is_some() => Level::Error,
            _ => Level::Warn,
        };
        warned(level, warning);
    }
}

pub(super) fn warned(level: Level, warning: &Warning) {
    let fields = [(ACTION, "tls-warning"), ("hint", warning.hint())];
    emit(level, &warning.to_string(), &fields);
}

/// A file that is a mount itself is served and reloaded as any other, unless somebody replaces it outside.
fn note_mounted_files(generation: &Generation) {
    for path in mounted_file::mounted(&generation.picture().snapshot) {
        let message = format!(
            "{} is mounted as a single file: if it is replaced outside, the new one is not seen here",
            path.display()
        );
        let hint = "mount its directory in its place (Kubernetes: without subPath)";
        emit(Level::Info, &message, &[(ACTION, LOAD), ("hint", hint)]);
    }
}

fn outcome(result: ReloadResult, info: &GenerationInfo, message: String) -> ReloadOutcome {
    ReloadOutcome {
        result,
        fingerprint: info.fingerprint().to_owned(),
        message,
        hint: None,
        reason: None,
    }
}

fn serving(info: &GenerationInfo) -> String {
    let until = info.not_after().map(rfc3339).unwrap_or_default();
    let short: String = info.fingerprint().chars().take(16).collect();
    match info.pairs.len() {
        1 => format!("serving {short} until {until}"),
        pairs => format!(
            "serving {short} and {} more until {until}",
            pairs.saturating_sub(1)
        ),
    }
}

const LOAD: &str = "tls-load";
const RELOAD: &str = "tls-reload";
