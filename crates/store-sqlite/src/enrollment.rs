//! O1: an enrolment with everything that it makes and replaces.

use rusqlite::Connection;
use store::{
    Agent, AgentId, ApiKey, ChangeKind, Conflict, Enrollment, KeyOwner, NewAgent, Replacement, StoreError,
};

use super::{agents, collectors, columns::params, fault::Outcome, keys, tokens, unit::Unit};

/// Stores the agent with `key` and removes or takes over what it replaces.
pub(super) fn enroll(unit: &Unit<'_>, enrollment: &Enrollment, key: &ApiKey) -> Outcome<Agent> {
    let Enrollment {
        agent,
        purpose,
        admitted_by,
        replaces,
        ..
    } = enrollment;
    if let Some(token) = admitted_by
        && !tokens::admits(unit, token, agent.at)?
    {
        return Err(Conflict::TokenRevoked.into());
    }
    match replaces {
        Replacement::TakeOver {
            agent: old,
            access_key,
        } => {
            let is_as_seen = agents::by_id(unit, old)?
                .is_some_and(|stored| stored.is_active && stored.access_key == *access_key);
            if *old != agent.id || !is_as_seen {
                return Err(Conflict::Changed(format!("agent {old}")).into());
            }
            keys::invalidate_of_agent(unit, old.as_str(), agent.at)?;
            keys::insert(unit, key, &KeyOwner::Agent(agent.id.clone()), purpose, agent.at)?;
            take_over(unit, enrollment, key)?;
        }
        Replacement::Remove(old) => {
            let may_go = agents::by_id(unit, old)?
                .is_some_and(|stored| !stored.is_active || stored.last_checkin.is_none());
            if !may_go {
                return Err(Conflict::Changed(format!("agent {old}")).into());
            }
            remove(unit, old, enrollment)?;
            add(unit, enrollment, key)?;
        }
        Replacement::None => add(unit, enrollment, key)?,
    }
    unit.announce(ChangeKind::Agent, agent.id.as_str())?;
    agents::by_id(unit, &agent.id)?
        .ok_or_else(|| StoreError::corrupt(format!("agent {} cannot be read back", agent.id)).into())
}

fn add(unit: &Unit<'_>, enrollment: &Enrollment, key: &ApiKey) -> Outcome<()> {
    let Enrollment { agent, purpose, .. } = enrollment;
    if exists(unit, "SELECT 1 FROM agent WHERE id = ?1", agent.id.as_str())? {
        return Err(Conflict::AgentExists(agent.id.clone()).into());
    }
    if let Some(id) = &agent.enrollment_id
        && exists(unit, "SELECT 1 FROM agent WHERE enrollment_id = ?1", id.as_str())?
    {
        return Err(Conflict::EnrollmentIdTaken(id.clone()).into());
    }
    keys::insert(unit, key, &KeyOwner::Agent(agent.id.clone()), purpose, agent.at)?;
    unit.prepare_cached(
        "INSERT INTO agent (id, kind, policy_base, namespaces, access_key, enrollment_id, host_name, tags,
            replace_token, local_metadata)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute(params![
        agent.id,
        agent.kind,
        agent.policy_base,
        &agent.namespaces,
        key.id,
        agent.enrollment_id,
        agents::host_name(agent.local_metadata.as_ref()),
        &agent.tags,
        agent.replace_token,
        agent.local_metadata,
    ])?;
    unit.prepare_cached(
        "INSERT INTO presence (agent, is_active, policy, policy_revision, enrolled_at, updated_at, version)
         VALUES (?1, 1, ?2, ?3, ?4, ?4, ?5)",
    )?
    .execute(params![
        agent.id,
        agent.policy,
        agent.policy_revision,
        agent.at,
        agent.version
    ])?;
    match &enrollment.collector {
        Some(collector) => collectors::insert(unit, &agent.id, collector),
        None => Ok(()),
    }
}

/// data.md 4.2: the record keeps `enrolled_at`, type, positions, replace token and enrollment id.
fn take_over(unit: &Unit<'_>, enrollment: &Enrollment, key: &ApiKey) -> Outcome<()> {
    let NewAgent {
        id,
        policy,
        policy_base,
        namespaces,
        version,
        tags,
        local_metadata,
        at,
        ..
    } = &enrollment.agent;
    unit.prepare_cached(
        "UPDATE agent SET policy_base = ?2, namespaces = ?3, access_key = ?4, host_name = ?5, tags = ?6,
            local_metadata = ?7, audit_time = NULL, unenrolled_at = NULL, unenrolled_reason = NULL
         WHERE id = ?1",
    )?
    .execute(params![
        id,
        policy_base,
        namespaces,
        key.id,
        agents::host_name(local_metadata.as_ref()),
        tags,
        local_metadata,
    ])?;
    unit.prepare_cached(
        "UPDATE presence SET policy = ?2, policy_revision = 0, version = ?3, updated_at = ?4,
            audit_reason = NULL
         WHERE agent = ?1",
    )?
    .execute(params![id, policy, version, at])?;
    Ok(())
}

/// Removes an agent with its queue; its keys die and its results stay.
fn remove(unit: &Unit<'_>, agent: &AgentId, enrollment: &Enrollment) -> Outcome<()> {
    keys::invalidate_of_agent(unit, agent.as_str(), enrollment.agent.at)?;
    unit.prepare_cached("DELETE FROM agent_queue WHERE agent = ?1")?
        .execute(params![agent])?;
    unit.prepare_cached("DELETE FROM presence WHERE agent = ?1")?
        .execute(params![agent])?;
    collectors::remove(unit, agent)?;
    unit.prepare_cached("DELETE FROM agent WHERE id = ?1")?
        .execute(params![agent])?;
    if *agent != enrollment.agent.id {
        unit.announce(ChangeKind::Agent, agent.as_str())?;
    }
    Ok(())
}

fn exists(connection: &Connection, sql: &str, key: &str) -> Outcome<bool> {
    Ok(connection.prepare_cached(sql)?.exists([key])?)
}
