//! `CheckinWriter` owns the writing of check-in records: merged per agent, one batch each 10 seconds and at the
//! stop, never on the request path (data-model 3.6, store O4).
//!
//! Records lie in a shared map, bounded by [`MOST`] bytes; beyond that a check-in is told to come again.
//! Mailbox: 16, only ticks and the stop. A failed batch is kept and written with the next one unless newer
//! records say otherwise. A restart rebuilds nothing: the map outlives the actor.
//! Waiting agents get their last check-in renewed here too, so that a poll needs no timer of its own.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use actix::{
    Actor, ActorFutureExt as _, AsyncContext as _, Context, Handler, ResponseActFuture, WrapFuture as _,
};
use prometheus_client::metrics::{gauge::Gauge, histogram::Histogram};
use store::{AgentId, CheckinRecord, Store, Timestamp};
use supervise::{Exit, Stop};

use crate::{FleetError, waiters::Waiters};

/// Records that wait for the next batch.
#[derive(Debug, Default)]
pub(crate) struct PendingCheckins {
    records: Mutex<Records>,
    length: Gauge,
    /// One batch at a time: the last one at the stop waits for the one before it.
    flushing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Records {
    by_agent: HashMap<AgentId, CheckinRecord>,
    bytes: usize,
}

impl Records {
    fn add(&mut self, record: CheckinRecord) {
        match self.by_agent.entry(record.agent.clone()) {
            Entry::Occupied(mut earlier) => {
                self.bytes -= size(earlier.get());
                merge(earlier.get_mut(), record);
                self.bytes += size(earlier.get());
            }
            Entry::Vacant(free) => {
                self.bytes += size(&record);
                free.insert(record);
            }
        }
    }

    /// Lays a record under the one that came since.
    fn add_under(&mut self, mut older: CheckinRecord) {
        if let Some(newer) = self.by_agent.remove(&older.agent) {
            self.bytes -= size(&newer);
            merge(&mut older, newer);
        }
        self.add(older);
    }
}

/// Memory of a record, roughly.
fn size(record: &CheckinRecord) -> usize {
    let text = |json: &Option<store::RawJson>| json.as_ref().map_or(0, |json| json.as_str().len());
    let message = record.message.as_ref().map_or(0, String::len);
    512 + message + text(&record.local_metadata) + text(&record.components) + text(&record.rollbacks)
}

impl PendingCheckins {
    pub(crate) fn new(length: Gauge) -> Arc<Self> {
        Arc::new(Self {
            length,
            ..Self::default()
        })
    }

    /// Adds a record to the next batch.
    ///
    /// # Errors
    /// [`FleetError::Busy`]: the store has not taken a batch for long.
    pub(crate) fn record(&self, record: CheckinRecord) -> Result<(), FleetError> {
        let mut records = self.lock();
        if records.bytes >= MOST {
            return Err(FleetError::Busy {
                what: "the check-in writer",
                retry_after: BUSY,
            });
        }
        records.add(record);
        self.show(&records);
        Ok(())
    }

    fn take(&self) -> Vec<CheckinRecord> {
        let mut records = self.lock();
        records.bytes = 0;
        let batch = std::mem::take(&mut records.by_agent).into_values().collect();
        self.show(&records);
        batch
    }

    /// Puts back what could not be written, under whatever came since.
    fn put_back(&self, batch: Vec<CheckinRecord>) {
        let mut records = self.lock();
        for older in batch {
            records.add_under(older);
        }
        self.show(&records);
    }

    fn show(&self, records: &Records) {
        self.length
            .set(i64::try_from(records.by_agent.len()).unwrap_or(i64::MAX));
    }

    fn lock(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lays the newer record over the earlier one (§6 row 10: nothing of the earlier is forgotten).
fn merge(record: &mut CheckinRecord, newer: CheckinRecord) {
    record.at = record.at.max(newer.at);
    record.status = newer.status.or(record.status.take());
    record.message = newer.message.or(record.message.take());
    record.version = newer.version.or(record.version.take());
    record.local_metadata = newer.local_metadata.or(record.local_metadata.take());
    record.components = newer.components.or(record.components.take());
    record.unhealthy_reason = newer.unhealthy_reason.or(record.unhealthy_reason.take());
    record.position = record.position.max(newer.position);
    record.rollbacks = newer.rollbacks.or(record.rollbacks.take());
    record.clears_audit |= newer.clears_audit;
}

/// The actor.
pub(crate) struct CheckinWriter {
    pub(crate) exit: Exit,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) pending: Arc<PendingCheckins>,
    pub(crate) waiters: Arc<Waiters>,
    pub(crate) renew_every: Duration,
    pub(crate) flush_every: Duration,
    pub(crate) flush_duration: Histogram,
}

impl Actor for CheckinWriter {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(self.flush_every, |this, ctx| {
            this.renew_waiting(Timestamp::now());
            ctx.spawn(
                flush(
                    Arc::clone(&this.store),
                    Arc::clone(&this.pending),
                    this.flush_duration.clone(),
                )
                .into_actor(this),
            );
        });
    }
}

impl CheckinWriter {
    fn renew_waiting(&self, now: Timestamp) {
        // Half a flush early, so that a period of 30 s means 30 s and not 40.
        let before = now.minus(self.renew_every.saturating_sub(self.flush_every / 2));
        for agent in self.waiters.due_for_record(before, now) {
            let record = CheckinRecord {
                agent,
                at: now,
                status: None,
                message: None,
                version: None,
                local_metadata: None,
                components: None,
                unhealthy_reason: None,
                position: None,
                rollbacks: None,
                clears_audit: false,
            };
            if let Err(error) = self.pending.record(record) {
                log::warn!("last check-in of waiting agents not renewed: {error}");
                return;
            }
        }
    }
}

impl Handler<Stop> for CheckinWriter {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, _: Stop, _: &mut Self::Context) -> Self::Result {
        let last = flush(
            Arc::clone(&self.store),
            Arc::clone(&self.pending),
            self.flush_duration.clone(),
        );
        Box::pin(last.into_actor(self).map(|(), this, ctx| {
            this.exit.meant();
            actix::ActorContext::stop(ctx);
        }))
    }
}

async fn flush(store: Arc<dyn Store>, pending: Arc<PendingCheckins>, duration: Histogram) {
    let _turn = pending.flushing.lock().await;
    let mut batch = Batch {
        records: pending.take(),
        pending: &pending,
    };
    if batch.records.is_empty() {
        return;
    }
    let started = std::time::Instant::now();
    match store.record_checkins(batch.records.clone()).await {
        Ok(()) => {
            batch.records.clear();
            duration.observe(started.elapsed().as_secs_f64());
        }
        Err(error) => {
            let kept = batch.records.len();
            log::error!("error.message":% = error; "{kept} check-ins not written yet, kept for the next try");
        }
    }
}

/// A batch under way: whatever is left of it when it is dropped goes back, also by a panic.
struct Batch<'a> {
    records: Vec<CheckinRecord>,
    pending: &'a PendingCheckins,
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.pending.put_back(std::mem::take(&mut self.records));
    }
}

/// For agents, when records wait in masses.
const BUSY: Duration = Duration::from_secs(10);
/// Bytes of records that may wait: minutes of a store that takes none.
const MOST: usize = 256 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn record(agent: &str, at: i64) -> CheckinRecord {
        CheckinRecord {
            agent: agent.into(),
            at: Timestamp::from_millis(at),
            status: None,
            message: None,
            version: None,
            local_metadata: None,
            components: None,
            unhealthy_reason: None,
            position: None,
            rollbacks: None,
            clears_audit: false,
        }
    }

    #[test]
    fn row_10_later_records_add_to_earlier_ones() {
        let pending = PendingCheckins::new(Gauge::default());
        let mut first = record("a", 1);
        first.version = Some("9.0.1".into());
        first.position = Some(7);
        first.clears_audit = true;
        pending.record(first).unwrap();
        let mut second = record("a", 2);
        second.status = Some("online".into());
        second.position = Some(5);
        pending.record(second).unwrap();
        let batch = pending.take();
        let [merged] = batch.as_slice() else {
            panic!("one record per agent: {batch:?}")
        };
        assert_eq!(merged.at, Timestamp::from_millis(2));
        assert_eq!(merged.version.as_deref(), Some("9.0.1"));
        assert_eq!(merged.status.as_deref(), Some("online"));
        assert_eq!(merged.position, Some(7));
        assert!(merged.clears_audit);
    }

    #[test]
    fn a_failed_batch_lies_under_what_came_since() {
        let pending = PendingCheckins::new(Gauge::default());
        let mut older = record("a", 1);
        older.status = Some("error".into());
        older.message = Some("kept".into());
        let mut newer = record("a", 2);
        newer.status = Some("online".into());
        pending.record(newer).unwrap();
        pending.put_back(vec![older, record("b", 1)]);
        let mut batch = pending.take();
        batch.sort_by(|x, y| x.agent.cmp(&y.agent));
        assert_eq!(batch.len(), 2);
        assert_eq!(batch[0].status.as_deref(), Some("online"));
        assert_eq!(batch[0].message.as_deref(), Some("kept"));
    }
}
