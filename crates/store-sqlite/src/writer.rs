//! The one thread that writes. It takes what is queued, runs each piece of work in a savepoint of its own, so
//! that a refused one does not undo its neighbours, and answers all of them after one commit. The first of a
//! group has nobody to undo and needs no savepoint; a bulk is always first, because SQLite keeps the pages that
//! a savepoint changes in a list which every further statement walks (10,000 check-ins: 11 s).
//!
//! The queue is bounded; a full one refuses with `Unavailable` at once. A failed commit answers everyone of
//! the group with `Unavailable`, also the refused ones: what they were refused for may have been undone with
//! the rest. While the disk takes no writes the thread probes it once a second.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    time::{Duration, Instant},
};

use rusqlite::Connection;
use store::{AuditDraft, Result, StoreError, StoreMetrics};
use tokio::sync::{oneshot, watch};

use super::{
    audit,
    condition::Condition,
    fault::{Failure, Outcome, closed, describe, panicked, unavailable},
    feed::{self, Heads},
    recent::{self, Changed, Recent},
    unit::Unit,
};

/// Where work is handed to the writer.
#[derive(Debug)]
pub(super) struct Queue {
    sender: Arc<Sender>,
    metrics: StoreMetrics,
    /// Goes with the work that it is due with, in one unit.
    audit: Option<Arc<AuditDraft>>,
}

/// `None` once nothing more is accepted.
type Sender = Mutex<Option<SyncSender<Box<dyn Job>>>>;

/// The receiving half, for [`Writer`].
pub(super) struct Jobs(Receiver<Box<dyn Job>>);

impl Queue {
    pub(super) fn new(capacity: usize, metrics: StoreMetrics) -> (Self, Jobs) {
        let (sender, receiver) = sync_channel(capacity.max(1));
        (
            Self {
                sender: Arc::new(Mutex::new(Some(sender))),
                metrics,
                audit: None,
            },
            Jobs(receiver),
        )
    }

    /// The same queue for the work of one request.
    pub(super) fn audited(&self, draft: Arc<AuditDraft>) -> Self {
        Self {
            sender: Arc::clone(&self.sender),
            metrics: self.metrics.clone(),
            audit: Some(draft),
        }
    }

    /// Runs `work` on the writer; answers after the commit that makes it durable. If the caller goes away the
    /// work is done nevertheless.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        size: Size,
        work: impl FnOnce(&Unit<'_>) -> Outcome<T> + Send + 'static,
    ) -> Result<T> {
        let Some((draft, entry)) = self.audit.as_ref().and_then(|draft| Some((draft, draft.due()?))) else {
            return self.run_alone(size, work).await;
        };
        let with_entry = move |unit: &Unit<'_>| {
            let done = work(unit)?;
            audit::append(unit, &entry)?;
            Ok(done)
        };
        let done = self.run_alone(size, with_entry).await?;
        draft.written();
        Ok(done)
    }

    async fn run_alone<T: Send + 'static>(
        &self,
        size: Size,
        work: impl FnOnce(&Unit<'_>) -> Outcome<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.push(Box::new(Work {
            size,
            work: Some(work),
            outcome: None,
            reply,
        }))?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    fn push(&self, job: Box<dyn Job>) -> Result<()> {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = sender.as_ref().ok_or_else(closed)?;
        self.metrics.queue_length.inc();
        sender.try_send(job).map_err(|error| {
            self.metrics.queue_length.dec();
            match error {
                TrySendError::Full(_) => unavailable("too many writes are waiting"),
                TrySendError::Disconnected(_) => closed(),
            }
        })
    }

    /// Accepts nothing more. What was accepted is still done.
    pub(super) fn close(&self) {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// The writer's state, on its own thread.
pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) jobs: Jobs,
    pub(super) condition: Arc<Condition>,
    pub(super) committed: watch::Sender<Heads>,
    pub(super) metrics: StoreMetrics,
    pub(super) kept_changes: i64,
    /// A bulk that was taken from the queue too late to be first in its group.
    pub(super) held: Option<Box<dyn Job>>,
    pub(super) changed: Changed,
    pub(super) recent: Recent,
}

impl Writer {
    /// Works until the queue is closed and empty, then gives the connection back.
    pub(super) fn run(mut self) -> Connection {
        loop {
            match self.next() {
                Next::Job(first) => self.commit_group(first),
                Next::Nothing => self.probe(),
                Next::Closed => return self.connection,
            }
        }
    }

    fn next(&mut self) -> Next {
        if let Some(job) = self.held.take() {
            return Next::Job(job);
        }
        // A fleet that went quiet leaves nothing behind.
        while self.condition.is_writable() && self.recent.sweep() {
            match self.jobs.0.recv_timeout(recent::KEPT_FOR) {
                Ok(job) => return self.taken(job),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Next::Closed,
            }
        }
        if self.condition.is_writable() {
            return self.jobs.0.recv().map_or(Next::Closed, |job| self.taken(job));
        }
        match self.jobs.0.recv_timeout(PROBE_INTERVAL) {
            Ok(job) => self.taken(job),
            Err(RecvTimeoutError::Timeout) => Next::Nothing,
            Err(RecvTimeoutError::Disconnected) => Next::Closed,
        }
    }

    fn taken(&self, job: Box<dyn Job>) -> Next {
        self.metrics.queue_length.dec();
        Next::Job(job)
    }

    fn commit_group(&mut self, first: Box<dyn Job>) {
        let started = Instant::now();
        let mut group = Group {
            jobs: Vec::new(),
            heads: Heads::default(),
            has_written: false,
        };
        let committed = self
            .fill(&mut group, first, started)
            .and_then(|()| Ok(self.execute("COMMIT")?));
        let refusal = committed.err().map(|failure| {
            self.undo();
            StoreError::from(failure)
        });
        // Also what was undone: whether a failed commit reached the disk is not known.
        self.recent.changed(&mut self.changed.take());
        match &refusal {
            None => {
                self.metrics.committed(started.elapsed());
                if group.has_written {
                    self.condition.recovered();
                }
                if group.heads.newest() > 0 {
                    self.committed.send_modify(|heads| heads.advance(group.heads));
                }
            }
            Some(error) => self.condition.failed(error),
        }
        for job in group.jobs {
            job.answer(refusal.as_ref());
        }
    }

    /// Begins, runs what is queued up to the bounds, trims the feed. An error means that the group is lost.
    fn fill(&mut self, group: &mut Group, first: Box<dyn Job>, started: Instant) -> Outcome<()> {
        group.jobs.push(first);
        self.execute("BEGIN IMMEDIATE")?;
        let mut announced = 0;
        let mut is_empty = true;
        loop {
            if let Some(job) = group.jobs.last_mut() {
                let unit = Unit::new(&self.connection);
                let before = self.connection.total_changes();
                if self.run_one(&unit, job.as_mut(), is_empty)? {
                    is_empty = false;
                    group.has_written |= self.connection.total_changes() > before;
                }
                group.heads.advance(unit.heads());
                announced += unit.announced();
            }
            if group.jobs.len() >= GROUP_JOBS || started.elapsed() >= GROUP_TIME {
                break;
            }
            match self.jobs.0.try_recv() {
                Ok(job) => {
                    self.metrics.queue_length.dec();
                    if job.size() == Size::Bulk {
                        self.held = Some(job);
                        break;
                    }
                    group.jobs.push(job);
                }
                Err(_) => break,
            }
        }
        match group.heads.newest() {
            0 => Ok(()),
            last => Ok(feed::trim(&self.connection, last - self.kept_changes, announced)?),
        }
    }

    /// Runs one piece of work in a transaction that is empty or holds others' work; answers whether it is part
    /// of the transaction now.
    fn run_one(&self, unit: &Unit<'_>, job: &mut dyn Job, is_empty: bool) -> Outcome<bool> {
        if !is_empty {
            self.execute("SAVEPOINT job")?;
        }
        match job.run(unit) {
            Verdict::Done if is_empty => return Ok(true),
            Verdict::Done => {
                self.execute("RELEASE job")?;
                return Ok(true);
            }
            Verdict::Refused => {}
            // A damaged page concerns this piece of work; its neighbours go on if the transaction still stands.
            Verdict::Damaged(error) if !self.connection.is_autocommit() => {
                self.condition.damaged(&error);
            }
            // SQLite may have undone the whole transaction; going on would commit half a group.
            Verdict::Damaged(error) | Verdict::Fault(error) => return Err(error.into()),
        }
        unit.forget();
        if is_empty {
            self.execute("ROLLBACK")?;
            self.execute("BEGIN IMMEDIATE")?;
        } else {
            self.execute("ROLLBACK TO job")?;
            self.execute("RELEASE job")?;
        }
        Ok(false)
    }

    /// Ends a failed transaction, if SQLite has not already.
    fn undo(&self) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            log::error!("error.message":% = error; "the store could not undo a failed commit: {error}");
        }
    }

    /// Finds out whether the disk takes writes again.
    fn probe(&mut self) {
        let written = self
            .connection
            .execute("UPDATE probe SET attempts = attempts + 1", [])
            .map(|_| self.condition.recovered());
        if let Err(error) = written {
            self.condition.failed(&describe(error));
        }
    }

    fn execute(&self, sql: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute([]).map(|_| ())
    }
}

struct Group {
    jobs: Vec<Box<dyn Job>>,
    heads: Heads,
    /// Whether a commit of it shows that the disk takes writes.
    has_written: bool,
}

enum Next {
    Job(Box<dyn Job>),
    Nothing,
    Closed,
}

/// What became of one piece of work inside its group.
pub(super) enum Verdict {
    /// Done, if the commit succeeds.
    Done,
    /// Refused by a rule; its savepoint is undone.
    Refused,
    /// It met stored data that cannot be read.
    Damaged(StoreError),
    /// The engine failed; the group is lost.
    Fault(StoreError),
}

/// How much a piece of work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    Small,
    /// Many rows: it begins a group of its own.
    Bulk,
}

impl Size {
    pub(super) fn of(rows: usize) -> Self {
        if rows > BULK_ROWS { Self::Bulk } else { Self::Small }
    }
}

/// A queued piece of work with its caller.
pub(super) trait Job: Send {
    fn size(&self) -> Size;
    /// Does it and keeps the outcome.
    fn run(&mut self, unit: &Unit<'_>) -> Verdict;
    /// Tells the caller; `lost`: the group was not committed.
    fn answer(self: Box<Self>, lost: Option<&StoreError>);
}

struct Work<T, W> {
    size: Size,
    work: Option<W>,
    outcome: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T: Send, W: FnOnce(&Unit<'_>) -> Outcome<T> + Send> Job for Work<T, W> {
    fn size(&self) -> Size {
        self.size
    }

    fn run(&mut self, unit: &Unit<'_>) -> Verdict {
        let Some(work) = self.work.take() else {
            return Verdict::Refused;
        };
        let (outcome, verdict) = match catch_unwind(AssertUnwindSafe(|| work(unit))) {
            Ok(Ok(value)) => (Ok(value), Verdict::Done),
            Ok(Err(Failure::Store(error))) => (Err(error), Verdict::Refused),
            Ok(Err(Failure::Sqlite(error))) => match describe(error) {
                // The value was refused, the engine is well.
                invalid @ StoreError::Invalid { .. } => (Err(invalid), Verdict::Refused),
                corrupt @ StoreError::Corrupt { .. } => (Err(corrupt.clone()), Verdict::Damaged(corrupt)),
                other => (Err(other.clone()), Verdict::Fault(other)),
            },
            Err(_) => (Err(panicked()), Verdict::Refused),
        };
        self.outcome = Some(outcome);
        verdict
    }

    fn answer(self: Box<Self>, lost: Option<&StoreError>) {
        let outcome = match (lost, self.outcome) {
            (Some(error), _) => Err(error.clone()),
            (None, Some(outcome)) => outcome,
            (None, None) => Err(closed()),
        };
        // A caller that went away no longer wants to know.
        drop(self.reply.send(outcome));
    }
}

/// Pieces of work in one commit at most.
const GROUP_JOBS: usize = 512;
/// More rows are a bulk.
const BULK_ROWS: usize = 64;
/// After this a group is committed even if more is waiting.
const GROUP_TIME: Duration = Duration::from_millis(20);
/// How often a disk that took no writes is tried again.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
