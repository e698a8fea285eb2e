//! Check-in records that wait to be written, one an agent. Pure: takes records, gives batches, never writes.
//!
//! A batch under way stays in here until it is known to be written; if it is not, it lies under what came since.

use std::collections::{HashMap, hash_map::Entry};

use store::{AgentId, CheckinRecord, CollectorReport, RawJson};

#[derive(Debug, Default)]
pub(super) struct Records {
    waiting: Layer,
    /// The batch that the store has in hand.
    writing: Layer,
}

/// Records by agent, with their size in memory.
#[derive(Debug, Default)]
struct Layer {
    by_agent: HashMap<AgentId, CheckinRecord>,
    bytes: usize,
}

impl Records {
    /// Adds to the next batch.
    pub(super) fn add(&mut self, record: CheckinRecord) {
        self.waiting.add(record);
    }

    /// Memory of all records, with the batch under way.
    pub(super) const fn bytes(&self) -> usize {
        self.waiting.bytes + self.writing.bytes
    }

    /// The next batch; none while one is under way, or if there is nothing to write.
    pub(super) fn begin_batch(&mut self) -> Option<Vec<CheckinRecord>> {
        if self.is_writing() || self.waiting.by_agent.is_empty() {
            return None;
        }
        self.writing = std::mem::take(&mut self.waiting);
        Some(self.writing.by_agent.values().cloned().collect())
    }

    pub(super) fn is_writing(&self) -> bool {
        !self.writing.by_agent.is_empty()
    }

    /// The batch under way is in the store.
    pub(super) fn written(&mut self) {
        self.writing = Layer::default();
    }

    /// The batch under way was not written, as far as is known: it is written again.
    pub(super) fn put_back(&mut self) {
        let newer = std::mem::replace(&mut self.waiting, std::mem::take(&mut self.writing));
        for record in newer.by_agent.into_values() {
            self.waiting.add(record);
        }
    }

    /// What is not yet in the store about the agent.
    pub(super) fn of(&self, agent: &AgentId) -> Option<CheckinRecord> {
        let mut record = self.writing.by_agent.get(agent).cloned();
        if let Some(newer) = self.waiting.by_agent.get(agent).cloned() {
            match &mut record {
                Some(older) => merge(older, newer),
                None => record = Some(newer),
            }
        }
        record
    }

    /// Agents of the next batch.
    pub(super) fn len(&self) -> usize {
        self.waiting.by_agent.len()
    }
}

impl Layer {
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
}

/// Lays the newer record over the earlier one (data.md 7.3: nothing of the earlier is forgotten).
fn merge(record: &mut CheckinRecord, newer: CheckinRecord) {
    record.at = record.at.max(newer.at);
    record.status = newer.status.or(record.status.take());
    record.message = newer.message.or(record.message.take());
    record.version = newer.version.or(record.version.take());
    record.local_metadata = newer.local_metadata.or(record.local_metadata.take());
    record.components = newer.components.or(record.components.take());
    record.unhealthy_reason = newer.unhealthy_reason.or(record.unhealthy_reason.take());
    for position in newer.positions {
        if !record.positions.contains(&position) {
            record.positions.push(position);
        }
    }
    record.rollbacks = newer.rollbacks.or(record.rollbacks.take());
    record.clears_audit |= newer.clears_audit;
    match (&mut record.collector, newer.collector) {
        (Some(report), Some(newer)) => merge_report(report, *newer),
        (none, newer) => *none = newer.or(none.take()),
    }
}

fn merge_report(report: &mut CollectorReport, newer: CollectorReport) {
    report.sequence_num = newer.sequence_num.or(report.sequence_num);
    report.identifying_attributes = newer
        .identifying_attributes
        .or(report.identifying_attributes.take());
    report.non_identifying_attributes = newer
        .non_identifying_attributes
        .or(report.non_identifying_attributes.take());
    report.capabilities = newer.capabilities.or(report.capabilities.take());
    report.health = newer.health.or(report.health.take());
    report.effective_config = newer.effective_config.or(report.effective_config.take());
    report.remote_config_status = newer.remote_config_status.or(report.remote_config_status.take());
}

/// Memory of a record, roughly.
pub(super) fn size(record: &CheckinRecord) -> usize {
    let text = |json: &Option<RawJson>| json.as_ref().map_or(0, |json| json.as_str().len());
    let message = record.message.as_ref().map_or(0, String::len);
    let positions: usize = record
        .positions
        .iter()
        .map(|place| 64 + place.as_str().len())
        .sum();
    let collector = record.collector.as_ref().map_or(0, |report| {
        1024 + text(&report.identifying_attributes)
            + text(&report.non_identifying_attributes)
            + text(&report.health)
            + text(&report.effective_config)
            + text(&report.remote_config_status)
    });
    512 + positions
        + collector
        + message
        + text(&record.local_metadata)
        + text(&record.components)
        + text(&record.rollbacks)
}

#[cfg(test)]
mod tests {
    use store::Timestamp;

    use super::*;

    fn record(agent: &str, at: i64) -> CheckinRecord {
        super::super::seen(agent.into(), Timestamp::from_millis(at))
    }

    #[test]
    fn later_records_add_to_earlier_ones() {
        let mut records = Records::default();
        let mut first = record("a", 1);
        first.version = Some("9.0.1".into());
        first.positions = vec!["seven".into()];
        first.clears_audit = true;
        records.add(first);
        let mut second = record("a", 2);
        second.status = Some("online".into());
        second.positions = vec!["five".into(), "seven".into()];
        records.add(second);
        let batch = records.begin_batch().unwrap();
        let [merged] = batch.as_slice() else {
            panic!("one record per agent: {batch:?}")
        };
        assert_eq!(merged.at, Timestamp::from_millis(2));
        assert_eq!(merged.version.as_deref(), Some("9.0.1"));
        assert_eq!(merged.status.as_deref(), Some("online"));
        let positions = ["seven".into(), "five".into()];
        assert_eq!(merged.positions, positions, "the store takes the furthest");
        assert!(merged.clears_audit);
    }

    #[test]
    fn a_failed_batch_lies_under_what_came_since() {
        let mut records = Records::default();
        let mut older = record("a", 1);
        older.status = Some("error".into());
        older.message = Some("kept".into());
        records.add(older);
        records.add(record("b", 1));
        assert_eq!(records.begin_batch().unwrap().len(), 2);
        let mut newer = record("a", 2);
        newer.status = Some("online".into());
        records.add(newer);
        assert!(records.begin_batch().is_none(), "one batch at a time");
        let pending = records.of(&"a".into()).unwrap();
        records.put_back();
        let mut batch = records.begin_batch().unwrap();
        batch.sort_by(|x, y| x.agent.cmp(&y.agent));
        assert_eq!(batch.len(), 2);
        assert_eq!(batch[0], pending);
        assert_eq!(batch[0].status.as_deref(), Some("online"));
        assert_eq!(batch[0].message.as_deref(), Some("kept"));
        records.written();
        assert!(records.of(&"a".into()).is_none() && records.of(&"b".into()).is_none());
    }

    #[test]
    fn a_batch_under_way_counts_until_it_is_written() {
        let mut records = Records::default();
        records.add(record("a", 1));
        records.begin_batch();
        records.add(record("b", 1));
        assert_eq!(records.bytes(), 2 * size(&record("a", 1)));
        records.written();
        assert_eq!(records.bytes(), size(&record("b", 1)));
    }
}
