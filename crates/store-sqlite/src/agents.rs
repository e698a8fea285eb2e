//! Agent records out of their two tables: `agent` (wide, seldom changed) and `presence` (small, hot).

use rusqlite::{Connection, OptionalExtension, Row};
use store::{Agent, AgentId, AuditMark, EnrollmentId, KeyId, RawJson};

use super::{
    columns::{ReadColumn as _, params},
    fault::Outcome,
};

/// The agent with this id.
pub(super) fn by_id(connection: &Connection, id: &AgentId) -> Outcome<Option<Agent>> {
    one(connection, concat!(select!(), " WHERE a.id = ?1"), id.as_str())
}

/// The agent with this access key.
pub(super) fn by_key(connection: &Connection, key: &KeyId) -> Outcome<Option<Agent>> {
    one(
        connection,
        concat!(select!(), " WHERE a.access_key = ?1"),
        key.as_str(),
    )
}

/// The agent with this enrollment id.
pub(super) fn by_enrollment_id(connection: &Connection, id: &EnrollmentId) -> Outcome<Option<Agent>> {
    one(
        connection,
        concat!(select!(), " WHERE a.enrollment_id = ?1"),
        id.as_str(),
    )
}

fn one(connection: &Connection, sql: &str, key: &str) -> Outcome<Option<Agent>> {
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
    let audit = match (row.read(30)?, row.read(31)?) {
        (Some(reason), Some(time)) => Some(AuditMark { reason, time }),
        _ => None,
    };
    Ok(Agent {
        id: row.read(0)?,
        is_active: row.read(1)?,
        kind: row.read(2)?,
        policy: row.read(3)?,
        policy_base: row.read(4)?,
        reported_policy: row.read(5)?,
        policy_revision: row.read(6)?,
        namespaces: row.read(7)?,
        access_key: row.read(8)?,
        version: row.read(9)?,
        tags: row.read(10)?,
        local_metadata: row.read(11)?,
        components: row.read(12)?,
        unhealthy_reason: row.read(13)?,
        enrollment_id: row.read(14)?,
        replace_token: row.read(15)?,
        enrolled_at: row.read(16)?,
        updated_at: row.read(17)?,
        last_checkin: row.read(18)?,
        last_checkin_status: row.read(19)?,
        last_checkin_message: row.read(20)?,
        action_position: row
            .read::<Option<i64>>(21)?
            .map(|sequence| sequence.to_string().into()),
        upgrade_details: row.read(22)?,
        upgrade_started_at: row.read(23)?,
        upgraded_at: row.read(24)?,
        upgrade_attempts: row.read(25)?,
        rollbacks: row.read(26)?,
        unenrollment_started_at: row.read(27)?,
        unenrolled_at: row.read(28)?,
        unenrolled_reason: row.read(29)?,
        audit,
    })
}

/// Whether the agent exists and is active.
pub(super) fn activity(connection: &Connection, id: &AgentId) -> Outcome<Option<bool>> {
    Ok(connection
        .prepare_cached("SELECT is_active FROM presence WHERE agent = ?1")?
        .query_row(params![id], |row| row.read(0))
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
