//! The actor. It owns the watch, the debounce, the retries and the timers of one TLS set.
//!
//! Mailbox: 16 messages. Events are one content-free message for a whole burst and are tried, never waited
//! for: when the mailbox is full, the next event or the safety poll brings the news. Requests wait for room.
//! A restart starts from the served generation and looks at the disk first. It forgets what was logged and how
//! often a read failed: a failure that still stands is told and counted once more.
//!
//! What comes next is decided by `course.rs`. Nothing here blocks: files are touched by the jobs of `job.rs`, one
//! at a time, and what they find comes back as state.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use actix::prelude::*;
use log::Level;
use supervise::{Exit, Stop};
use tokio::sync::oneshot;

use super::course::Course;
use super::job::{self, Arm, Looked, Read};
use super::report;
use super::shared::Shared;
use crate::error::{LoadError, Rejected};
use crate::expiry::Expiry;
use crate::generation::{Generation, Reloaded};
use crate::logging::{ACTION, OUTCOME, REASON, Repeats, emit};
use crate::quiet::{Quiet, backoff};
use crate::read::Picture;
use crate::signals::Signals;
use crate::state::{ReloadOutcome, ReloadResult, Trigger, WatchMode};
use crate::warning::Warning;
use crate::watch::{Armed, Watches};
use crate::watch_failure::WatchFailure;

/// Something moved in a watched directory, or the watcher failed: see the signals.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Woken;

/// Read at once, and answer.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct ReloadNow {
    pub(super) trigger: Trigger,
    pub(super) answer: oneshot::Sender<ReloadOutcome>,
}

/// Makes the actor panic, for a test of its restart.
#[cfg(test)]
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Panic;

#[cfg(test)]
impl Handler<Panic> for CertReloader {
    type Result = ();

    fn handle(&mut self, _: Panic, _: &mut Self::Context) {
        panic!("as the test wants");
    }
}

/// The actor of one TLS set; see the file's header.
pub(super) struct CertReloader {
    shared: Arc<Shared>,
    exit: Exit,
    watches: Arc<Mutex<Watches>>,
    signals: Arc<Signals>,
    course: Course<Picture>,
    last_failure: Option<(String, Option<[u8; 32]>)>,
    watch_failures: u32,
    waiting: Vec<oneshot::Sender<ReloadOutcome>>,
    repeats: Repeats,
    expiry: Expiry,
    /// For what the course wants next, and when that is.
    course_timer: Option<(Instant, SpawnHandle)>,
    /// Runs while a job does.
    stuck_timer: Option<SpawnHandle>,
    watch_timer: Option<SpawnHandle>,
    expiry_timer: Option<SpawnHandle>,
}

impl CertReloader {
    pub(super) fn new(shared: Arc<Shared>, exit: Exit) -> Self {
        let reload = &shared.settings.reload;
        Self {
            exit,
            watches: Arc::new(Mutex::new(Watches::new(shared.watcher.clone()))),
            // Replaced in `started`, when there is an address to wake.
            signals: Signals::new(|| false),
            course: Course::new(
                Quiet::new(reload.debounce, reload.ceiling()),
                shared.served.resolver.current().picture().clone(),
            ),
            last_failure: None,
            watch_failures: 0,
            waiting: Vec::new(),
            repeats: Repeats::default(),
            expiry: Expiry::new(&reload.expiry_warning),
            course_timer: None,
            stuck_timer: None,
            watch_timer: None,
            expiry_timer: None,
            shared,
        }
    }
}

impl Actor for CertReloader {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        self.check_expiry(ctx);
        if !self.shared.settings.reload.enabled || self.shared.paths().next().is_none() {
            return;
        }
        self.renew_signals(ctx);
        self.look(ctx, Arm::Differing);
        let interval = self.shared.settings.reload.reload_interval;
        if !interval.is_zero() {
            ctx.run_interval(interval, Self::poll);
        }
    }

    /// Also runs when a panic unwinds, so it does not say that the end was meant: the handler of `Stop` does.
    fn stopped(&mut self, _: &mut Self::Context) {
        match self.watches.try_lock() {
            Ok(mut watches) => watches.close(),
            Err(TryLockError::Poisoned(watches)) => watches.into_inner().close(),
            // A job holds it: it ends with the job, which owns the last reference then.
            Err(TryLockError::WouldBlock) => {}
        }
    }
}

impl Handler<Woken> for CertReloader {
    type Result = ();

    fn handle(&mut self, _: Woken, ctx: &mut Self::Context) {
        if let Some(failure) = self.signals.take_failure() {
            self.watch_failed(ctx, failure);
        }
        if let Some((first, _)) = self.signals.burst() {
            self.course.woken(first);
            self.follow(ctx);
        }
    }
}

impl Handler<ReloadNow> for CertReloader {
    type Result = ();

    fn handle(&mut self, asked: ReloadNow, ctx: &mut Self::Context) {
        self.waiting.push(asked.answer);
        self.read(ctx, asked.trigger);
    }
}

impl Handler<Stop> for CertReloader {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        self.exit.meant();
        ctx.stop();
    }
}

impl CertReloader {
    /// A new watcher gets new signals, so that the end of the old one is not taken for its own.
    fn renew_signals(&mut self, ctx: &mut Context<Self>) {
        let address = ctx.address().downgrade();
        self.signals = Signals::new(move || {
            address
                .upgrade()
                .is_some_and(|actor| actor.try_send(Woken).is_ok())
        });
    }

    /// Comes back when the course wants it.
    fn follow(&mut self, ctx: &mut Context<Self>) {
        let due = self.course.due();
        if self.course_timer.as_ref().map(|(at, _)| *at) == due {
            return;
        }
        if let Some((_, old)) = self.course_timer.take() {
            ctx.cancel_future(old);
        }
        self.course_timer = due.map(|at| {
            let wait = at.saturating_duration_since(Instant::now());
            (at, ctx.run_later(wait, Self::tick))
        });
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        self.course_timer = None;
        let now = Instant::now();
        let mut last = None;
        if self.course.is_settling(now) {
            last = self.signals.burst().map(|(_, last)| last);
            self.signals.rest();
        }
        if let Some(trigger) = self.course.tick(now, last) {
            self.read(ctx, trigger);
        }
        self.follow(ctx);
    }

    /// The safety poll (reload.md 2.4).
    fn poll(&mut self, ctx: &mut Context<Self>) {
        self.check_expiry(ctx);
        if let Some(failure) = self.signals.take_failure() {
            self.watch_failed(ctx, failure);
        }
        if self.course.polls() {
            self.look(ctx, Arm::Differing);
        }
    }

    fn look(&mut self, ctx: &mut Context<Self>, arm: Arm) {
        if !self.course.begin_look() {
            return;
        }
        self.watch_job(ctx);
        // While a failed watcher rests, only its own timer makes a new one (reload.md 2.7).
        let arm = if self.watch_timer.is_some() {
            Arm::Nothing
        } else {
            arm
        };
        let (shared, watches, signals) = (self.shared.clone(), self.watches.clone(), self.signals.clone());
        let seen = self.course.seen().cloned();
        let job = actix_rt::task::spawn_blocking(move || job::look(&shared, &watches, &signals, seen, arm));
        let done = job
            .into_actor(self)
            .map(move |done, this, ctx| this.looked(ctx, arm, done.ok()));
        ctx.spawn(done);
    }

    fn looked(&mut self, ctx: &mut Context<Self>, arm: Arm, looked: Option<Looked>) {
        self.job_ended(ctx);
        let found = looked.map(|looked| {
            self.replaced_outside(looked.replaced);
            (looked.armed, looked.found)
        });
        if found.is_none() {
            self.watch_failed(ctx, WatchFailure::Died);
        }
        let found = found.map(|(armed, found)| {
            if arm != Arm::Nothing {
                self.armed(ctx, armed);
            }
            found
        });
        self.course.looked(Instant::now(), arm, found);
        self.read_next(ctx);
        self.follow(ctx);
    }

    /// Told when it is first seen, and then hourly; the load has told what it saw itself.
    fn replaced_outside(&mut self, replaced: Vec<PathBuf>) {
        let served = self.shared.served.resolver.current();
        for path in &replaced {
            let file = path.display().to_string();
            let warning = Warning::ReplacedOutside { file };
            let is_known = served.warnings().contains(&warning);
            if !is_known && self.repeats.is_due(&warning.to_string(), Instant::now()) {
                report::warned(Level::Warn, &warning);
            }
        }
        self.shared
            .served
            .update(|state| state.replaced_outside = replaced);
    }

    fn armed(&mut self, ctx: &mut Context<Self>, armed: Armed) {
        if let Some(failure) = armed.failure {
            self.watch_failed(ctx, failure);
            return;
        }
        self.signals.go_live();
        if let Some(failure) = self.signals.take_failure() {
            self.watch_failed(ctx, failure);
            // After an overflow the watcher goes on; any other failure has taken it.
            if failure != WatchFailure::Overflow {
                return;
            }
        }
        if self.watch_failures > 0 {
            self.watch_failures = 0;
            emit(
                Level::Info,
                "file-system events work again",
                &[(ACTION, WATCH), (OUTCOME, "success")],
            );
        }
        let mode = if armed.directories.is_empty() {
            WatchMode::Poll
        } else {
            WatchMode::Events
        };
        self.shared.served.update(|state| {
            state.watch_mode = mode;
            state.watch_problem = None;
            state.watched_directories = armed.directories;
        });
    }

    /// reload.md 2.6, 2.7: the poll goes on alone, and the watcher is built anew after a while.
    fn watch_failed(&mut self, ctx: &mut Context<Self>, failure: WatchFailure) {
        self.shared.metrics.watch_failed(failure);
        let cause = format!("watch {failure}");
        if self.repeats.is_due(&cause, Instant::now()) {
            let message = format!("{}: changes are found by the safety poll", failure.explain());
            emit(
                Level::Warn,
                &message,
                &[(ACTION, WATCH), (OUTCOME, "failure"), (REASON, failure.into())],
            );
        }
        if failure == WatchFailure::Overflow || self.watch_timer.is_some() {
            return; // events go on, or a new watcher is on its way
        }
        self.watch_failures = self.watch_failures.saturating_add(1);
        self.renew_signals(ctx);
        let wait = backoff(self.watch_failures);
        self.watch_timer = Some(ctx.run_later(wait, Self::rebuild_watcher));
        self.shared.served.update(|state| {
            state.watch_mode = WatchMode::Poll;
            state.watch_problem = Some(failure.explain().to_owned());
            state.watched_directories.clear();
            state.watcher_restarts = state.watcher_restarts.saturating_add(1);
        });
    }

    fn rebuild_watcher(&mut self, ctx: &mut Context<Self>) {
        if self.course.is_busy() {
            self.watch_timer = Some(ctx.run_later(SHORTLY, Self::rebuild_watcher));
            return;
        }
        self.watch_timer = None;
        self.watches.lock().unwrap_or_else(PoisonError::into_inner).stop();
        self.look(ctx, Arm::All);
    }
}

impl CertReloader {
    /// Reads now, or as soon as the running job has ended.
    fn read(&mut self, ctx: &mut Context<Self>, trigger: Trigger) {
        if !self.course.begin_read(trigger) {
            return self.follow(ctx);
        }
        self.watch_job(ctx);
        self.signals.rest();
        self.follow(ctx);
        let waiting = std::mem::take(&mut self.waiting);
        let shared = self.shared.clone();
        let job = actix_rt::task::spawn_blocking(move || job::read(&shared));
        let done = job.into_actor(self).map(move |done, this, ctx| {
            let read = done.unwrap_or_else(|panic| Read {
                outcome: Reloaded::Refused(panicked(panic), None),
                took: Duration::ZERO,
            });
            this.finished(ctx, trigger, read, waiting);
        });
        ctx.spawn(done);
    }

    fn read_next(&mut self, ctx: &mut Context<Self>) {
        if let Some(trigger) = self.course.read_next() {
            self.read(ctx, trigger);
        }
    }

    fn finished(
        &mut self,
        ctx: &mut Context<Self>,
        trigger: Trigger,
        read: Read,
        waiting: Vec<oneshot::Sender<ReloadOutcome>>,
    ) {
        self.job_ended(ctx);
        let outcome = match read.outcome {
            Reloaded::New(generation) => self.serve(*generation, trigger, read.took),
            Reloaded::Same(picture) => self.keep(picture, trigger),
            Reloaded::Refused(rejected, picture) => {
                self.refuse(&rejected, picture, trigger, !waiting.is_empty())
            }
        };
        let now = self.shared.clock.now();
        self.shared.served.update(|state| {
            report::remember(state, &outcome, trigger, now);
            report::judge_health(state, &self.expiry, now);
            if outcome.result != ReloadResult::Failure {
                state.pending_retry = None;
            }
        });
        self.check_expiry(ctx);
        for waiting in waiting {
            // A caller that went away needs no answer.
            let _heard = waiting.send(outcome.clone());
        }
        self.read_next(ctx);
        self.follow(ctx);
        // reload.md 2.3: links may lead elsewhere now, and what happened since the read is seen.
        self.look(ctx, Arm::All);
    }

    fn serve(&mut self, generation: Generation, trigger: Trigger, took: Duration) -> ReloadOutcome {
        let old = self.shared.served.resolver.current();
        let next = Arc::new(generation);
        self.shared.served.resolver.swap(next.clone());
        self.shared.metrics.taken(trigger, ReloadResult::Success);
        let since = self.calm_down(next.picture().clone());
        self.shared
            .metrics
            .swapped(took, since.map(|since| since.elapsed()));
        self.shared
            .served
            .update(|state| state.generation = next.info().clone());
        report::swapped(&next, &old, trigger, &self.shared.settings)
    }

    fn keep(&mut self, picture: Picture, trigger: Trigger) -> ReloadOutcome {
        self.shared.metrics.taken(trigger, ReloadResult::Unchanged);
        self.calm_down(picture);
        report::unchanged(&self.shared.served.resolver.current(), trigger)
    }

    fn refuse(
        &mut self,
        rejected: &Rejected,
        picture: Option<Picture>,
        trigger: Trigger,
        is_asked: bool,
    ) -> ReloadOutcome {
        let served = self.shared.served.resolver.current();
        let failure = (
            rejected.to_string(),
            picture.as_ref().map(|picture| picture.digest),
        );
        // One bad state of the disk is one failure, however often it is retried; a person who asks again counts.
        let is_same = self.last_failure.as_ref() == Some(&failure);
        if !is_same || is_asked {
            self.shared.metrics.refused(rejected.reason());
        }
        // reload.md 7.2: one line for one cause and one state of the disk.
        let cause = format!("{} {:?} {}", failure.0, failure.1, served.info().fingerprint());
        self.last_failure = Some(failure);
        let wait = self.course.refused(Instant::now(), picture, is_same, trigger);
        let due = self.shared.clock.now().checked_add(wait);
        self.shared.served.update(|state| state.pending_retry = due);
        let is_news = self.repeats.is_due(&cause, Instant::now());
        report::refused(rejected, &served, trigger, &self.shared.settings, is_news)
    }

    /// Returns the first sign of the change that is served now.
    fn calm_down(&mut self, picture: Picture) -> Option<Instant> {
        self.last_failure = None;
        self.repeats.forget();
        self.course.taken(picture)
    }

    /// A job begins: if it does not end, somebody must know, poll or no poll.
    fn watch_job(&mut self, ctx: &mut Context<Self>) {
        let began = self.shared.clock.now();
        let timer = ctx.run_later(self.shared.stuck_after, move |this, _| {
            // The line first: whoever sees the state finds it in the log.
            if this.repeats.is_due(STUCK, Instant::now()) {
                report::stuck_files(began, &this.shared.settings);
            }
            let now = this.shared.clock.now();
            this.shared.served.update(|state| {
                state.stuck_since = Some(began);
                report::judge_health(state, &this.expiry, now);
            });
        });
        self.stuck_timer = Some(timer);
    }

    fn job_ended(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.stuck_timer.take() {
            ctx.cancel_future(timer);
        }
        if self.shared.served.state().stuck_since.is_some() {
            let now = self.shared.clock.now();
            self.shared.served.update(|state| {
                state.stuck_since = None;
                report::judge_health(state, &self.expiry, now);
            });
        }
    }

    /// Announces thresholds that are crossed, and comes again at the next one.
    fn check_expiry(&mut self, ctx: &mut Context<Self>) {
        let now = self.shared.clock.now();
        let served = self.shared.served.resolver.current();
        let info = served.info();
        for crossing in self.expiry.crossed(info, now) {
            self.shared.metrics.expiry_crossed();
            // reload.md 8.2: one event, one line. A leaf that had ended when it was loaded was told then.
            let is_told = |warning: &Warning| matches!(warning, Warning::Expired { file, .. } if *file == crossing.file);
            if crossing.threshold.is_zero() && served.warnings().iter().any(is_told) {
                continue;
            }
            let level = if crossing.threshold.is_zero() {
                Level::Error
            } else {
                Level::Warn
            };
            let hint = "renew the certificate; the new one is served without a restart";
            emit(
                level,
                &crossing.message,
                &[(ACTION, "tls-expiry"), ("hint", hint)],
            );
        }
        self.shared
            .served
            .update(|state| report::judge_health(state, &self.expiry, now));
        let next = self
            .expiry
            .next(info, now)
            .map_or(EXPIRY_CHECK, |next| next.min(EXPIRY_CHECK));
        if let Some(old) = self.expiry_timer.replace(ctx.run_later(next, Self::check_expiry)) {
            ctx.cancel_future(old);
        }
    }
}

fn panicked(panic: tokio::task::JoinError) -> Rejected {
    let reason = match panic.try_into_panic() {
        Ok(payload) => payload
            .downcast_ref::<&str>()
            .map(|words| (*words).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "panic".to_owned()),
        Err(_) => "the system is shutting down".to_owned(),
    };
    LoadError::Panicked { reason }.into()
}

const MAILBOX: usize = 16;
const WATCH: &str = "tls-watch";
const STUCK: &str = "stuck";
const SHORTLY: Duration = Duration::from_millis(50);
/// A clock that was set is noticed at least this often.
const EXPIRY_CHECK: Duration = Duration::from_secs(3600);
