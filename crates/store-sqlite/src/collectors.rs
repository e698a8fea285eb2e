//! The rows that only agents which speak OpAMP have.

use rusqlite::{Connection, OptionalExtension, Row};
use store::{Agent, AgentId, Collector, CollectorReport};

use super::{
    columns::{ReadColumn as _, params},
    fault::Outcome,
    unit::Unit,
};

/// How much of a row is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All but the effective configuration, which may be a megabyte.
    Overview,
    Whole,
}

/// What belongs to this agent, if it is one that speaks OpAMP: others cost no look-up.
pub(super) fn of(connection: &Connection, agent: &Agent, part: Part) -> Outcome<Option<Box<Collector>>> {
    if agent.kind != KIND {
        return Ok(None);
    }
    Ok(by_agent(connection, &agent.id, part)?.map(Box::new))
}

pub(super) fn by_agent(connection: &Connection, id: &AgentId, part: Part) -> Outcome<Option<Collector>> {
    let sql = match part {
        Part::Overview => concat!(select!(), ", NULL FROM collector WHERE agent = ?1"),
        Part::Whole => concat!(select!(), ", effective_config FROM collector WHERE agent = ?1"),
    };
    Ok(connection
        .prepare_cached(sql)?
        .query_row(params![id], collector)
        .optional()?)
}

/// All columns but the last that [`collector`] reads.
macro_rules! select {
    () => {
        "SELECT admitted_to, service, sequence_num, identifying_attributes, non_identifying_attributes,
            capabilities, health, remote_config_status"
    };
}
use select;

fn collector(row: &Row<'_>) -> rusqlite::Result<Collector> {
    Ok(Collector {
        admitted_to: row.read(0)?,
        service: row.read(1)?,
        report: CollectorReport {
            sequence_num: row.read(2)?,
            identifying_attributes: row.read(3)?,
            non_identifying_attributes: row.read(4)?,
            capabilities: row.read(5)?,
            health: row.read(6)?,
            remote_config_status: row.read(7)?,
            effective_config: row.read(8)?,
        },
    })
}

pub(super) fn insert(unit: &Unit<'_>, agent: &AgentId, collector: &Collector) -> Outcome<()> {
    let report = &collector.report;
    unit.prepare_cached(
        "INSERT INTO collector (agent, admitted_to, service, sequence_num, identifying_attributes,
            non_identifying_attributes, capabilities, health, remote_config_status, effective_config)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute(params![
        agent,
        collector.admitted_to,
        collector.service,
        report.sequence_num,
        report.identifying_attributes,
        report.non_identifying_attributes,
        report.capabilities.as_ref(),
        report.health,
        report.remote_config_status,
        report.effective_config,
    ])?;
    Ok(())
}

/// Lays a report over the stored one. Agents repeat all of it in every message, so what is large is written only when it
/// differs.
pub(super) fn update(unit: &Unit<'_>, agent: &AgentId, report: &CollectorReport) -> Outcome<()> {
    unit.prepare_cached(
        "UPDATE collector SET sequence_num = coalesce(?2, sequence_num),
            capabilities = coalesce(?3, capabilities), health = coalesce(?4, health),
            remote_config_status = coalesce(?5, remote_config_status)
         WHERE agent = ?1",
    )?
    .execute(params![
        agent,
        report.sequence_num,
        report.capabilities.as_ref(),
        report.health,
        report.remote_config_status
    ])?;
    for (statement, value) in [
        (
            "UPDATE collector SET identifying_attributes = ?2
             WHERE agent = ?1 AND identifying_attributes IS NOT ?2",
            &report.identifying_attributes,
        ),
        (
            "UPDATE collector SET non_identifying_attributes = ?2
             WHERE agent = ?1 AND non_identifying_attributes IS NOT ?2",
            &report.non_identifying_attributes,
        ),
        (
            "UPDATE collector SET effective_config = ?2 WHERE agent = ?1 AND effective_config IS NOT ?2",
            &report.effective_config,
        ),
    ] {
        if let Some(value) = value {
            unit.prepare_cached(statement)?.execute(params![agent, value])?;
        }
    }
    Ok(())
}

pub(super) fn remove(unit: &Unit<'_>, agent: &AgentId) -> Outcome<()> {
    unit.prepare_cached("DELETE FROM collector WHERE agent = ?1")?
        .execute(params![agent])?;
    Ok(())
}

const KIND: &str = "OPAMP";
