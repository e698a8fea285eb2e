//! O4: check-ins in batches. Most touch one small row; what seldom changes is written only when it is there.

use store::{CheckinRecord, StoreError};

use super::{actions, agents, collectors, columns::params, fault::Outcome, unit::Unit};

/// Stores a batch. The newest time wins for each agent; a position only grows.
pub(super) fn record(unit: &Unit<'_>, mut batch: Vec<CheckinRecord>) -> Outcome<()> {
    let mut newest = unit.prepare_cached(
        "UPDATE presence SET last_checkin = ?2, updated_at = max(updated_at, ?2),
            last_checkin_status = coalesce(?3, last_checkin_status),
            last_checkin_message = coalesce(?4, last_checkin_message),
            action_position = coalesce(max(action_position, ?5), action_position, ?5)
         WHERE agent = ?1 AND (last_checkin IS NULL OR last_checkin <= ?2)",
    )?;
    // Neighbours in the table one after the other; records of one agent keep their order.
    batch.sort_by(|one, next| one.agent.cmp(&next.agent));
    for record in &batch {
        let furthest = furthest(record)?;
        let stored = newest.execute(params![
            record.agent,
            record.at,
            record.status,
            record.message,
            furthest
        ])?;
        if stored > 0 {
            large_fields(unit, record)?;
        } else if furthest.is_some() {
            late_position(unit, record, furthest)?;
        }
    }
    Ok(())
}

/// The furthest position that the record confirms.
fn furthest(record: &CheckinRecord) -> Result<Option<i64>, StoreError> {
    let mut furthest = None;
    for position in &record.positions {
        furthest = furthest.max(Some(actions::sequence(position)?));
    }
    Ok(furthest)
}

fn large_fields(unit: &Unit<'_>, record: &CheckinRecord) -> Outcome<()> {
    if record.version.is_some() || record.unhealthy_reason.is_some() {
        unit.prepare_cached(
            "UPDATE presence SET version = coalesce(?2, version), unhealthy_reason = coalesce(?3, unhealthy_reason)
             WHERE agent = ?1",
        )?
        .execute(params![record.agent, record.version, record.unhealthy_reason.as_ref()])?;
    }
    if let Some(metadata) = &record.local_metadata {
        unit.prepare_cached("UPDATE agent SET local_metadata = ?2, host_name = ?3 WHERE id = ?1")?
            .execute(params![record.agent, metadata, agents::host_name(Some(metadata))])?;
    }
    if record.components.is_some() || record.rollbacks.is_some() {
        unit.prepare_cached(
            "UPDATE agent SET components = coalesce(?2, components), rollbacks = coalesce(?3, rollbacks)
             WHERE id = ?1",
        )?
        .execute(params![record.agent, record.components, record.rollbacks])?;
    }
    if let Some(report) = &record.collector {
        collectors::update(unit, &record.agent, report)?;
    }
    if record.clears_audit && agents::activity(unit, &record.agent)? == Some(true) {
        // Not for an agent that was unenrolled while the record waited: that date is not a leftover.
        unit.prepare_cached("UPDATE presence SET audit_reason = NULL WHERE agent = ?1")?
            .execute(params![record.agent])?;
        unit.prepare_cached("UPDATE agent SET audit_time = NULL, unenrolled_at = NULL WHERE id = ?1")?
            .execute(params![record.agent])?;
    }
    Ok(())
}

/// A record that came too late for the rest may still confirm a position (M5).
fn late_position(unit: &Unit<'_>, record: &CheckinRecord, furthest: Option<i64>) -> Outcome<()> {
    unit.prepare_cached(
        "UPDATE presence SET action_position = ?2
         WHERE agent = ?1 AND (action_position IS NULL OR action_position < ?2)",
    )?
    .execute(params![record.agent, furthest])?;
    Ok(())
}
