//! The document of an agent (data.md 1.1): read into the store's type, and what enrolment writes.
//!
//! In: a source that we, Kibana or another release wrote. Out: an agent; a member of the wrong type is damage of that one
//! document, an absent one has its empty value.

use serde::Deserialize;
use serde_json::json;
use store::{
    Agent, AgentId, AuditMark, Cause, Collector, CollectorReport, EnrollmentId, KeyId, NewAgent, PolicyId,
    Position, RawJson, Result, StoreError, UnhealthyReason,
};

use crate::{
    Failure,
    document::{Members, Moment, or_default, time},
    documents::Found,
};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Source {
    #[serde(deserialize_with = "or_default")]
    active: bool,
    #[serde(rename = "type", deserialize_with = "or_default")]
    kind: String,
    policy_id: Option<PolicyId>,
    policy_base_id: Option<PolicyId>,
    agent_policy_id: Option<PolicyId>,
    policy_revision_idx: Option<i64>,
    #[serde(deserialize_with = "or_default")]
    namespaces: Vec<String>,
    access_api_key_id: Option<KeyId>,
    #[serde(deserialize_with = "or_default")]
    agent: Named,
    #[serde(deserialize_with = "or_default")]
    tags: Vec<String>,
    local_metadata: Option<RawJson>,
    components: Option<RawJson>,
    #[serde(deserialize_with = "or_default")]
    unhealthy_reason: Vec<UnhealthyReason>,
    enrollment_id: Option<EnrollmentId>,
    replace_token: Option<String>,
    enrolled_at: Moment,
    updated_at: Moment,
    last_checkin: Moment,
    last_checkin_status: Option<String>,
    last_checkin_message: Option<String>,
    #[serde(deserialize_with = "or_default")]
    action_seq_no: Vec<i64>,
    upgrade_details: Option<RawJson>,
    upgrade_started_at: Moment,
    upgraded_at: Moment,
    upgrade_attempts: Option<RawJson>,
    #[serde(deserialize_with = "or_default")]
    upgrade: Upgrade,
    unenrollment_started_at: Moment,
    unenrolled_at: Moment,
    unenrolled_reason: Option<String>,
    audit_unenrolled_reason: Option<String>,
    audit_unenrolled_time: Option<String>,
    admitted_policy_id: Option<PolicyId>,
    sequence_num: Option<i64>,
    identifying_attributes: Option<RawJson>,
    non_identifying_attributes: Option<RawJson>,
    capabilities: Option<Vec<String>>,
    health: Option<RawJson>,
    effective_config: Option<RawJson>,
    remote_config_status: Option<RawJson>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Named {
    #[serde(deserialize_with = "or_default")]
    version: String,
    #[serde(rename = "type")]
    service: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Upgrade {
    rollbacks: Option<RawJson>,
}

/// The agent of this document.
pub(crate) fn agent(found: &Found) -> Result<Agent> {
    let source: Source = source(found)?;
    let policy = source.policy_id.unwrap_or_else(|| PolicyId::from(""));
    let base = source
        .policy_base_id
        .or_else(|| policy.base())
        .unwrap_or_else(|| policy.clone());
    let position = source.action_seq_no.first().filter(|place| **place >= 0);
    let audit = source.audit_unenrolled_reason.map(|reason| AuditMark {
        reason,
        time: source.audit_unenrolled_time.unwrap_or_default(),
    });
    let enrolled_at = source
        .enrolled_at
        .0
        .unwrap_or_else(|| store::Timestamp::from_millis(0));
    Ok(Agent {
        id: AgentId::from(found.id.as_str()),
        is_active: source.active,
        kind: source.kind,
        policy,
        policy_base: base,
        reported_policy: source.agent_policy_id,
        policy_revision: source.policy_revision_idx,
        namespaces: source.namespaces,
        access_key: source.access_api_key_id.unwrap_or_else(|| KeyId::from("")),
        version: source.agent.version,
        tags: source.tags,
        local_metadata: source.local_metadata,
        components: source.components,
        unhealthy_reason: source.unhealthy_reason,
        enrollment_id: source.enrollment_id,
        replace_token: source.replace_token,
        enrolled_at,
        updated_at: source.updated_at.0.unwrap_or(enrolled_at),
        last_checkin: source.last_checkin.0,
        last_checkin_status: source.last_checkin_status,
        last_checkin_message: source.last_checkin_message,
        action_position: position.map(|place| Position::from(place.to_string())),
        upgrade_details: source.upgrade_details,
        upgrade_started_at: source.upgrade_started_at.0,
        upgraded_at: source.upgraded_at.0,
        upgrade_attempts: source.upgrade_attempts,
        rollbacks: source.upgrade.rollbacks,
        unenrollment_started_at: source.unenrollment_started_at.0,
        unenrolled_at: source.unenrolled_at.0,
        unenrolled_reason: source.unenrolled_reason,
        audit,
    })
}

/// What only an OpAMP agent has.
pub(crate) fn collector(found: &Found) -> Result<Option<Collector>> {
    let source: Source = source(found)?;
    if source.kind != "OPAMP" {
        return Ok(None);
    }
    let policy = || source.policy_base_id.clone().or_else(|| source.policy_id.clone());
    Ok(Some(Collector {
        admitted_to: source
            .admitted_policy_id
            .clone()
            .or_else(policy)
            .unwrap_or_else(|| PolicyId::from("")),
        service: source.agent.service.unwrap_or_default(),
        report: CollectorReport {
            sequence_num: source.sequence_num,
            identifying_attributes: source.identifying_attributes,
            non_identifying_attributes: source.non_identifying_attributes,
            capabilities: source.capabilities,
            health: source.health,
            effective_config: source.effective_config,
            remote_config_status: source.remote_config_status,
        },
    }))
}

fn source(found: &Found) -> Result<Source> {
    serde_json::from_str(found.source.get()).map_err(|error| StoreError::Corrupt {
        detail: format!("the document of agent {} has another shape", found.id),
        source: Some(Cause::new(error)),
    })
}

/// The document of a new agent.
pub(crate) fn new_agent(
    new: &NewAgent,
    key: &KeyId,
    collector: Option<&Collector>,
) -> std::result::Result<Members, Failure> {
    let mut document = Members::default();
    document.set("active", &true)?;
    document.set("type", &new.kind)?;
    document.set("enrolled_at", &time(new.at))?;
    document.set("updated_at", &time(new.at))?;
    document.set("action_seq_no", &[-1])?;
    document.set_some("policy_revision_idx", new.policy_revision.as_ref())?;
    document.set_some("enrollment_id", new.enrollment_id.as_ref())?;
    document.set_some("replace_token", new.replace_token.as_ref())?;
    identity(&mut document, new, key)?;
    if let Some(collector) = collector {
        document.set("admitted_policy_id", &collector.admitted_to)?;
        document.set_in("agent", "type", &collector.service)?;
        report(&mut document, &collector.report)?;
    }
    Ok(document)
}

/// What an enrolment says of an agent, new or taken over.
pub(crate) fn identity(
    document: &mut Members,
    new: &NewAgent,
    key: &KeyId,
) -> std::result::Result<(), Failure> {
    document.set("policy_id", &new.policy)?;
    document.set("policy_base_id", &new.policy_base)?;
    document.set("namespaces", &new.namespaces)?;
    document.set("access_api_key_id", key)?;
    document.set("agent", &json!({"id": new.id, "version": new.version}))?;
    document.set("tags", &new.tags)?;
    match &new.local_metadata {
        Some(metadata) => document.set("local_metadata", metadata),
        None => {
            document.remove("local_metadata");
            Ok(())
        }
    }
}

/// What an OpAMP agent says of itself.
pub(crate) fn report(document: &mut Members, report: &CollectorReport) -> std::result::Result<(), Failure> {
    let raw = [
        ("identifying_attributes", &report.identifying_attributes),
        ("non_identifying_attributes", &report.non_identifying_attributes),
        ("health", &report.health),
        ("effective_config", &report.effective_config),
        ("remote_config_status", &report.remote_config_status),
    ];
    for (name, value) in raw {
        document.set_some(name, value.as_ref())?;
    }
    document.set_some("sequence_num", report.sequence_num.as_ref())?;
    document.set_some("capabilities", report.capabilities.as_ref())
}
