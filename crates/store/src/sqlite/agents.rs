//! Agent records out of their two tables: `agent` (wide, seldom changed) and `presence` (small, hot).

use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};

use super::{columns::List, fault::Outcome};
use crate::{Agent, AgentId, AuditMark, EnrollmentId, KeyId, RawJson};

/// The agent with this id.
pub(super) fn by_id(connection: &Connection, id: &AgentId) -> Outcome<Option<Agent>> {
    one(connection, concat!(select!(), " WHERE a.id = ?1"), id)
}

/// The agent with this access key.
pub(super) fn by_key(connection: &Connection, key: &KeyId) -> Outcome<Option<Agent>> {
    one(connection, concat!(select!(), " WHERE a.access_key = ?1"), key)
}

/// The agent with this enrollment id.
pub(super) fn by_enrollment_id(connection: &Connection, id: &EnrollmentId) -> Outcome<Option<Agent>> {
    one(connection, concat!(select!(), " WHERE a.enrollment_id = ?1"), id)
}

fn one(connection: &Connection, sql: &str, key: &dyn ToSql) -> Outcome<Option<Agent>> {
    Ok(connection
        .prepare_cached(sql)?
        .query_row([key], agent)
        .optional()?)
}

/// Every column in the order in which [`agent`] reads them.
macro_rules! select {
    () => {
        "SELECT a.id, p.is_active, a.kind, p.policy, a.policy_base, a.reported_policy, p.policy_revision,
            a.namespaces, a.access_key, p.version, a.tags, a.local_metadata, a.components, p.unhealthy_reason,
            a.enrollment_id, a.replace_token, p.enrolled_at, p.updated_at, p.last_checkin,
            p.last_checkin_status, p.last_checkin_message, p.action_position, a.upgrade_details,
            p.upgrade_started_at, p.upgraded_at, a.upgrade_attempts, a.rollbacks, p.unenrollment_started_at,
            a.unenrolled_at, a.unenrolled_reason, p.audit_reason, a.audit_time
         FROM agent AS a JOIN presence AS p ON p.agent = a.id"
    };
}
use select;

fn agent(row: &Row<'_>) -> rusqlite::Result<Agent> {
    let audit = match (row.get(30)?, row.get(31)?) {
        (Some(reason), Some(time)) => Some(AuditMark { reason, time }),
        _ => None,
    };
    Ok(Agent {
        id: row.get(0)?,
        is_active: row.get(1)?,
        kind: row.get(2)?,
        policy: row.get(3)?,
        policy_base: row.get(4)?,
        reported_policy: row.get(5)?,
        policy_revision: row.get(6)?,
        namespaces: row.get::<_, List<_>>(7)?.0,
        access_key: row.get(8)?,
        version: row.get(9)?,
        tags: row.get::<_, List<_>>(10)?.0,
        local_metadata: row.get(11)?,
        components: row.get(12)?,
        unhealthy_reason: row.get::<_, List<_>>(13)?.0,
        enrollment_id: row.get(14)?,
        replace_token: row.get(15)?,
        enrolled_at: row.get(16)?,
        updated_at: row.get(17)?,
        last_checkin: row.get(18)?,
        last_checkin_status: row.get(19)?,
        last_checkin_message: row.get(20)?,
        action_position: row.get(21)?,
        upgrade_details: row.get(22)?,
        upgrade_started_at: row.get(23)?,
        upgraded_at: row.get(24)?,
        upgrade_attempts: row.get(25)?,
        rollbacks: row.get(26)?,
        unenrollment_started_at: row.get(27)?,
        unenrolled_at: row.get(28)?,
        unenrolled_reason: row.get(29)?,
        audit,
    })
}

/// Whether the agent exists and is active.
pub(super) fn activity(connection: &Connection, id: &AgentId) -> Outcome<Option<bool>> {
    Ok(connection
        .prepare_cached("SELECT is_active FROM presence WHERE agent = ?1")?
        .query_row(params![id], |row| row.get(0))
        .optional()?)
}

/// The host name that operators search by: `host.hostname`, else `host.name`.
pub(super) fn host_name(local_metadata: Option<&RawJson>) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Metadata {
        host: Option<Host>,
    }
    #[derive(serde::Deserialize)]
    struct Host {
        hostname: Option<String>,
        name: Option<String>,
    }
    // Metadata of another shape has no host name; that is not an error of the agent.
    let host = local_metadata?.read::<Metadata>().ok()?.host?;
    host.hostname.or(host.name)
}
