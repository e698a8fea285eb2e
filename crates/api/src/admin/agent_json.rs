//! An agent as operators see it.

use fleet::{Collector, RawJson, StatusReport, Timestamp, UnhealthyReason};
use schemars::JsonSchema;
use serde::Serialize;

/// The members of data.md 9.2; absent ones are left out.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Agent")]
pub(super) struct AgentItem {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    active: bool,
    status: &'static str,
    policy_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy_revision: Option<i64>,
    #[schemars(with = "String")]
    enrolled_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    last_checkin: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_checkin_status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_checkin_message: Option<String>,
    tags: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    local_metadata: Option<RawJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    components: Option<RawJson>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    unhealthy_reason: Vec<UnhealthyReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_api_key_id: Option<String>,
    agent: Inner,
    namespaces: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    upgrade_details: Option<RawJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    upgrade_started_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    upgraded_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    unenrollment_started_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    unenrolled_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audit_unenrolled_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audit_unenrolled_time: Option<String>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    opamp: Option<Opamp>,
}

/// What only an agent that speaks OpAMP has (agents.md 13.5).
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Collector")]
struct Opamp {
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence_num: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    identifying_attributes: Option<RawJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    non_identifying_attributes: Option<RawJson>,
    capabilities: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    health: Option<RawJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    effective_config: Option<RawJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    remote_config_status: Option<RawJson>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AgentProgram")]
struct Inner {
    id: String,
    version: String,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
}

impl From<StatusReport> for AgentItem {
    fn from(report: StatusReport) -> Self {
        let StatusReport {
            agent,
            status,
            collector,
        } = report;
        // Nobody has the key of an agent that speaks OpAMP.
        let access_key = collector.is_none().then(|| agent.access_key.to_string());
        let (service, opamp) = collector
            .map(|collector| (collector.service.clone(), Opamp::from(*collector)))
            .unzip();
        let (audit_reason, audit_time) = agent.audit.map(|mark| (mark.reason, mark.time)).unzip();
        Self {
            agent: Inner {
                id: agent.id.to_string(),
                version: agent.version,
                kind: service,
            },
            id: agent.id.to_string(),
            kind: agent.kind,
            active: agent.is_active,
            status: status.as_str(),
            policy_id: agent.policy.to_string(),
            policy_revision: agent.policy_revision,
            enrolled_at: agent.enrolled_at,
            last_checkin: agent.last_checkin,
            last_checkin_status: agent.last_checkin_status,
            last_checkin_message: agent.last_checkin_message,
            tags: agent.tags,
            local_metadata: agent.local_metadata,
            components: agent.components,
            unhealthy_reason: agent.unhealthy_reason,
            access_api_key_id: access_key,
            namespaces: agent.namespaces,
            upgrade_details: agent.upgrade_details,
            upgrade_started_at: agent.upgrade_started_at,
            upgraded_at: agent.upgraded_at,
            unenrollment_started_at: agent.unenrollment_started_at,
            unenrolled_at: agent.unenrolled_at,
            audit_unenrolled_reason: audit_reason,
            audit_unenrolled_time: audit_time,
            opamp,
        }
    }
}

impl From<Collector> for Opamp {
    fn from(Collector { report, .. }: Collector) -> Self {
        Self {
            sequence_num: report.sequence_num,
            identifying_attributes: report.identifying_attributes,
            non_identifying_attributes: report.non_identifying_attributes,
            capabilities: report.capabilities.unwrap_or_default(),
            health: report.health,
            effective_config: report.effective_config,
            remote_config_status: report.remote_config_status,
        }
    }
}
