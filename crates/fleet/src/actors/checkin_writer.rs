//! `CheckinWriter` owns the check-in records that the store does not have yet: merged per agent, one batch each 10
//! seconds, at the stop, and when somebody reads agents; never on a check-in's path (data.md 7.3, O4). Waiting agents
//! get their last check-in renewed here too, so that a poll needs no timer of its own.
//!
//! In: records, questions what is pending. Out: batches to the store, faults to the `HealthMonitor`; never reads the
//! store. Records have a mailbox of their own, of 16,384, which the actor empties once a second, before it answers, writes or
//! stops: waking its thread for each made a check-in an eighth to a quarter dearer. Who finds it full wakes the actor
//! and waits: a refusal costs an agent a minute or two. Records of more than [`MOST`] bytes in all answer `Busy`.
//! A batch that fails is kept and written with the next one unless newer records say otherwise.
//! A restart finds the mailbox as it was and takes over the whole map, with a batch that was under way: of what was
//! acknowledged, only a record at which merging panics is lost.

mod records;
mod unsettled;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use actix::{
    Actor, ActorContext as _, ActorFutureExt as _, AsyncContext as _, Context, Handler, Message,
    MessageResult, ResponseFuture, WrapFuture as _,
};
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use store::{AgentId, CheckinRecord, Store, StoreError, Timestamp};
use supervise::{Exit, Stop};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout_at,
};

use super::{Handle, Parts, health_monitor::FaultReporter};
use crate::{FleetError, waiters::Waiters};
use records::Records;
use unsettled::Unsettled;

/// The handle of the actor.
pub(crate) struct Checkins {
    pub(super) actor: Handle<CheckinWriter>,
    mailbox: mpsc::Sender<CheckinRecord>,
    bytes: Arc<Bytes>,
    taken: Counter,
    published: Mutex<Option<tokio::time::Instant>>,
    unsettled: Arc<Unsettled>,
}

/// Memory of the records in the mailbox, and of those in the map.
#[derive(Debug, Default)]
struct Bytes {
    mailbox: AtomicUsize,
    map: AtomicUsize,
}

impl Checkins {
    /// Adds a record to the next batch.
    ///
    /// # Errors
    /// [`FleetError::Busy`]: the store has not taken a batch for long, or the mailbox was full until the deadline.
    /// [`FleetError::ShuttingDown`]: the actor has ended.
    pub(crate) async fn record(
        &self,
        record: CheckinRecord,
        deadline: tokio::time::Instant,
    ) -> Result<(), FleetError> {
        if self.bytes.mailbox.load(Relaxed) + self.bytes.map.load(Relaxed) >= MOST {
            return Err(busy());
        }
        let room = match self.mailbox.try_reserve() {
            Ok(room) => room,
            Err(mpsc::error::TrySendError::Closed(())) => return Err(FleetError::ShuttingDown),
            Err(mpsc::error::TrySendError::Full(())) => {
                // If this message does not get through, the mailbox is emptied at the next second.
                self.actor.tell(Empty);
                let room = timeout_at(deadline, self.mailbox.reserve()).await;
                room.map_err(|_| busy())?.map_err(|_| FleetError::ShuttingDown)?
            }
        };
        self.bytes.mailbox.fetch_add(records::size(&record), Relaxed);
        room.send(record);
        self.taken.inc();
        Ok(())
    }

    /// Whether what was read of the agent in the store may be older than a change on its way there.
    pub(crate) fn is_unsettled(&self, agent: &AgentId) -> bool {
        self.unsettled.contains(agent)
    }

    /// A change of the agent is about to be handed over.
    pub(crate) fn unsettles(&self, agent: &AgentId) {
        self.unsettled.mark(agent);
    }

    /// The records of these agents that are not in the store yet.
    pub(crate) async fn pending(&self, agents: Vec<AgentId>) -> Result<Vec<CheckinRecord>, FleetError> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        self.actor.ask(Pending(agents), deadline).await
    }

    /// Has pending records written, so that the next reader of the store sees them. At most once a second, however many
    /// ask; records that cannot be written soon stay pending.
    pub(crate) async fn publish(&self) {
        let now = tokio::time::Instant::now();
        let is_due = {
            let mut last = self.published.lock().unwrap_or_else(PoisonError::into_inner);
            let is_due = last.is_none_or(|last| now >= last + LEAST_PAUSE);
            if is_due {
                *last = Some(now);
            }
            is_due
        };
        if is_due {
            self.flush().await;
        }
    }

    /// Has what is pending now written, however recently others asked; it waits no longer than a reader would.
    pub(crate) async fn flush(&self) {
        let deadline = tokio::time::Instant::now() + LEAST_PAUSE;
        if let Err(error) = self.actor.ask(Publish, deadline).await {
            log::debug!("pending check-ins not written for a reader: {error}");
        }
    }

    /// Ends the actor; what is pending is written before.
    pub(crate) async fn stop(&self) {
        self.actor.stop().await;
    }
}

/// The mailbox of the records is full.
#[derive(Message)]
#[rtype(result = "()")]
struct Empty;

/// Asks for the records of these agents that are not in the store yet.
#[derive(Message)]
#[rtype(result = "Vec<CheckinRecord>")]
struct Pending(Vec<AgentId>);

/// Asks for pending records to be written; answered when they are, or could not be.
#[derive(Message)]
#[rtype(result = "()")]
struct Publish;

/// Owns the records that are not in the store yet.
pub(crate) struct CheckinWriter {
    exit: Exit,
    store: Arc<dyn Store>,
    waiters: Arc<Waiters>,
    renew_every: Duration,
    flush_every: Duration,
    /// Outlives the actor; nobody else locks it.
    mailbox: Arc<Mutex<mpsc::Receiver<CheckinRecord>>>,
    bytes: Arc<Bytes>,
    records: Records,
    unsettled: Arc<Unsettled>,
    /// Where the records go if the actor panics, and where the next one finds them.
    left: Arc<Mutex<Records>>,
    /// Wait for the batch that begins next, and for the one under way.
    asked: Vec<oneshot::Sender<()>>,
    served: Vec<oneshot::Sender<()>>,
    is_stopping: bool,
    faults: FaultReporter,
    metrics: Metrics,
}

#[derive(Clone, Debug)]
struct Metrics {
    pending: Gauge,
    flush_duration: Histogram,
}

pub(super) fn start(parts: &mut Parts<'_>) -> Checkins {
    let taken = Counter::default();
    parts
        .registry
        .register("checkins", "Check-ins taken", taken.clone());
    let metrics = Metrics::register(parts.registry);
    let (store, waiters) = (Arc::clone(&parts.store), Arc::clone(&parts.waiters));
    let (renew_every, flush_every) = (parts.settings.checkin_timestamp, parts.settings.checkin_flush);
    let (health, left) = (parts.health.clone(), Arc::<Mutex<Records>>::default());
    let (mailbox, receiver) = mpsc::channel(MAILBOX);
    let receiver = Arc::new(Mutex::new(receiver));
    let bytes = Arc::<Bytes>::default();
    let shared_bytes = Arc::clone(&bytes);
    let unsettled = Arc::new(Unsettled::new(Instant::now()));
    let marks = Arc::clone(&unsettled);
    let actor = Handle::start(NAME, &parts.restarts, move |exit| {
        let mut records = std::mem::take(&mut *locked(&left));
        records.put_back();
        CheckinWriter {
            exit,
            store: Arc::clone(&store),
            waiters: Arc::clone(&waiters),
            renew_every,
            flush_every,
            mailbox: Arc::clone(&receiver),
            bytes: Arc::clone(&shared_bytes),
            records,
            unsettled: Arc::clone(&marks),
            left: Arc::clone(&left),
            asked: Vec::new(),
            served: Vec::new(),
            is_stopping: false,
            faults: FaultReporter::new(NAME, health.clone()),
            metrics: metrics.clone(),
        }
    });
    Checkins {
        actor,
        mailbox,
        bytes,
        taken,
        published: Mutex::default(),
        unsettled,
    }
}

/// Polls whose last record is older are recorded anew, if that is looked at `every` flush. Half a flush early, so that a
/// `period` of 30 s means 30 s and not 40.
pub(crate) fn due_before(period: Duration, every: Duration, now: Timestamp) -> Timestamp {
    now.minus(period.saturating_sub(every / 2))
}

impl Metrics {
    fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            pending: Gauge::default(),
            flush_duration: Histogram::new([0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0]),
        };
        registry.register(
            "checkins_pending",
            "Check-in records not yet written to the store",
            metrics.pending.clone(),
        );
        registry.register_with_unit(
            "checkin_flush_duration",
            "Time to write one batch of check-in records",
            Unit::Seconds,
            metrics.flush_duration.clone(),
        );
        metrics
    }
}

impl Actor for CheckinWriter {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(EMPTY_EVERY, |this, _| this.empty_mailbox());
        ctx.run_interval(self.flush_every, |this, ctx| {
            this.renew_waiting(Timestamp::now());
            this.write(ctx);
        });
    }
}

impl Drop for CheckinWriter {
    fn drop(&mut self) {
        *locked(&self.left) = std::mem::take(&mut self.records);
    }
}

impl Handler<Empty> for CheckinWriter {
    type Result = ();

    fn handle(&mut self, _: Empty, _: &mut Self::Context) {
        self.empty_mailbox();
    }
}

impl Handler<Pending> for CheckinWriter {
    type Result = MessageResult<Pending>;

    fn handle(&mut self, Pending(agents): Pending, _: &mut Self::Context) -> Self::Result {
        self.empty_mailbox();
        MessageResult(agents.iter().filter_map(|agent| self.records.of(agent)).collect())
    }
}

impl Handler<Publish> for CheckinWriter {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Publish, ctx: &mut Self::Context) -> Self::Result {
        let (written, is_written) = oneshot::channel();
        self.asked.push(written);
        self.write(ctx);
        Box::pin(async move { drop(is_written.await) })
    }
}

impl Handler<Stop> for CheckinWriter {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        self.is_stopping = true;
        // Later records are refused, those in it are written.
        locked(&self.mailbox).close();
        self.write(ctx);
    }
}

impl CheckinWriter {
    /// Takes at most one mailbox of records, so that senders that fill it meanwhile cannot keep the actor here.
    fn empty_mailbox(&mut self) {
        let mailbox = Arc::clone(&self.mailbox);
        let mut mailbox = locked(&mailbox);
        for _ in 0..MAILBOX {
            let Ok(record) = mailbox.try_recv() else { break };
            self.bytes.mailbox.fetch_sub(records::size(&record), Relaxed);
            self.records.add(record);
        }
        self.show();
    }

    fn renew_waiting(&mut self, now: Timestamp) {
        if self.records.bytes() >= MOST {
            log::warn!("last check-in of waiting agents not renewed: {}", busy());
            return;
        }
        let before = due_before(self.renew_every, self.flush_every, now);
        for agent in self.waiters.due_for_record(before, now) {
            self.records.add(seen(agent, now));
        }
    }

    /// Writes what is pending, if no batch is under way. With nothing left to write, a stop is done.
    fn write(&mut self, ctx: &mut Context<Self>) {
        self.empty_mailbox();
        if let Some(batch) = self.records.begin_batch() {
            self.show();
            self.served = std::mem::take(&mut self.asked);
            let (store, began) = (Arc::clone(&self.store), Instant::now());
            let writing = async move { store.record_checkins(batch).await };
            ctx.spawn(
                writing
                    .into_actor(self)
                    .map(move |outcome, this, ctx| this.settle(outcome, began.elapsed(), ctx)),
            );
        } else if !self.records.is_writing() {
            self.asked.clear();
            if self.is_stopping {
                self.end(ctx);
            }
        }
    }

    fn settle(&mut self, outcome: Result<(), StoreError>, took: Duration, ctx: &mut Context<Self>) {
        self.served.clear();
        match outcome {
            Ok(()) => {
                self.records.written();
                self.unsettled.written(Instant::now());
                self.show();
                self.metrics.flush_duration.observe(took.as_secs_f64());
                self.faults.well();
                if self.is_stopping || !self.asked.is_empty() {
                    self.write(ctx);
                }
            }
            Err(error) => {
                self.records.put_back();
                self.asked.clear();
                self.show();
                let kept = self.records.len();
                if self.is_stopping {
                    log::error!("error.message":% = store::chain(&error); "{kept} check-ins are lost, the agents repeat them");
                    self.end(ctx);
                } else {
                    log::error!("error.message":% = store::chain(&error); "{kept} check-ins not written yet, kept for the next try");
                    self.faults
                        .fault(format!("check-ins are not written: {}", store::chain(&error)));
                }
            }
        }
    }

    fn end(&mut self, ctx: &mut Context<Self>) {
        self.exit.meant();
        ctx.stop();
    }

    fn show(&self) {
        self.bytes.map.store(self.records.bytes(), Relaxed);
        self.metrics
            .pending
            .set(i64::try_from(self.records.len()).unwrap_or(i64::MAX));
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const fn busy() -> FleetError {
    FleetError::Busy {
        what: NAME,
        retry_after: BUSY,
    }
}

/// A record that only renews the agent's last check-in.
pub(super) fn seen(agent: AgentId, at: Timestamp) -> CheckinRecord {
    CheckinRecord {
        agent,
        at,
        status: None,
        message: None,
        version: None,
        local_metadata: None,
        components: None,
        unhealthy_reason: None,
        positions: Vec::new(),
        rollbacks: None,
        clears_audit: false,
        collector: None,
    }
}

const NAME: &str = "checkin_writer";
const MAILBOX: usize = 16_384;
const EMPTY_EVERY: Duration = Duration::from_secs(1);
/// Most bytes of waiting records: minutes without a store.
const MOST: usize = 256 * 1024 * 1024;
/// Least time between two writes for readers.
const LEAST_PAUSE: Duration = Duration::from_secs(1);
/// Limit for an answer from memory.
const PATIENCE: Duration = Duration::from_secs(10);
/// `Retry-After` for agents when the bound is reached.
const BUSY: Duration = Duration::from_secs(10);
