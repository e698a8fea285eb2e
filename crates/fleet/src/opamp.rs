//! Agents that speak OpAMP: what they say is recorded like a check-in, and the answer may carry a configuration
//! (agents.md 13).
//!
//! In: a decoded message and the admission of its token. Out: what is answered. An agent enrols by its first message.
//! Knows no protobuf, no HTTP and no connection; it waits for nothing.

mod redact;
mod remote_config;
mod watch;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use store::{
    Agent, AgentId, AuditMark, CheckinRecord, Collector, CollectorReport, Conflict, KeyPurpose, NewAgent,
    PolicyId, RawJson, Replacement, StoreError, Timestamp,
};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    Fleet, FleetError, checkin::LEAST_PATIENCE, enrollment::Admission, ids,
    off_the_loop::off_the_loop_if_large, randomness::random, rendered_policy::RenderedPolicy,
};

pub use remote_config::RemoteConfig;
pub use watch::{Event, Place, Watch};

/// What an agent says.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its instance uid, which is its id.
    pub uid: Uuid,
    /// Number of the message.
    pub sequence_num: u64,
    /// Names of what it can do.
    pub capabilities: Vec<String>,
    /// It takes configurations from here.
    pub accepts_remote_config: bool,
    /// It asks for another uid.
    pub wants_new_uid: bool,
    /// It goes away.
    pub leaves: bool,
    /// What it is, if it says so.
    pub description: Option<Description>,
    /// How it is, if it says so.
    pub health: Option<Health>,
    /// The configuration that it runs, with its secrets, if it says so.
    pub effective_config: Option<RawJson>,
    /// What became of the configuration that it was offered, if it says so.
    pub remote_config_status: Option<RemoteConfigStatus>,
}

/// Attributes by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Description {
    /// What tells it from others.
    pub identifying: Map<String, Value>,
    /// The rest.
    pub non_identifying: Map<String, Value>,
}

/// How an agent is.
#[derive(Clone, Debug)]
pub struct Health {
    /// Whether it works.
    pub is_healthy: bool,
    /// In its own words.
    pub status: String,
    /// Its last error.
    pub last_error: String,
    /// All of it, with its components.
    pub details: Value,
}

/// What became of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteConfigStatus {
    /// How far it came.
    pub status: RemoteConfigState,
    /// Hash of the configuration in hexadecimal.
    #[serde(default)]
    pub hash: String,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error_message: String,
}

/// How far a configuration came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "named as in OpAMP")]
pub enum RemoteConfigState {
    Unset,
    Applied,
    Applying,
    Failed,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The uid that the agent must use from now on, if it asked for one.
    pub new_uid: Option<Uuid>,
    /// The agent goes away: nothing more is said.
    pub is_farewell: bool,
    /// The server says what it can do.
    pub introduces_server: bool,
    /// A configuration that the agent does not have.
    pub remote_config: Option<RemoteConfig>,
    /// Where it stands now; none if it goes away.
    pub place: Option<Place>,
}

/// Why a message is not taken. Nothing of it is stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the texts and the fields' names say it")]
pub enum OpampError {
    #[error("agent_disconnect set on new enrollment message")]
    UnknownLeaves,
    #[error("instance_uid belongs to an agent of another kind")]
    OtherKind,
    #[error("the agent is unenrolled")]
    Inactive,
    #[error("the enrollment token is of another policy than the agent")]
    OtherPolicy,
    /// The domain's fault, or a race that the agent wins by saying it again.
    #[error(transparent)]
    Fleet(#[from] FleetError),
}

impl From<StoreError> for OpampError {
    fn from(error: StoreError) -> Self {
        Self::Fleet(error.into())
    }
}

/// Who sent a message.
#[derive(Debug)]
pub struct Caller(Standing);

#[derive(Debug)]
enum Standing {
    /// It enrols, in the place of the agent that had its uid until now.
    New {
        before: Option<Box<Agent>>,
    },
    Known(Box<(Agent, Collector)>),
}

impl Caller {
    /// Whether the answer enrols it.
    #[must_use]
    pub fn enrols(&self) -> bool {
        matches!(self.0, Standing::New { .. })
    }
}

/// Finds the agent that sent the message, and whether the token speaks for it.
pub async fn recognise(
    fleet: &Fleet,
    admission: &Admission,
    message: &Message,
) -> Result<Caller, OpampError> {
    let id = agent_id(message.uid);
    let agent = fleet.store.agent(&id).await?;
    let may_enrol = agent.is_none() || message.wants_new_uid;
    if may_enrol && message.leaves {
        return Err(OpampError::UnknownLeaves);
    }
    let Some(agent) = agent else {
        return Ok(Caller(Standing::New { before: None }));
    };
    let owned = owned(fleet, admission, &agent).await;
    if may_enrol {
        // Somebody else with the same uid is none of this agent's business.
        let before = match owned {
            Ok(_) => Some(Box::new(agent)),
            Err(OpampError::Fleet(error)) => return Err(error.into()),
            Err(_) => None,
        };
        return Ok(Caller(Standing::New { before }));
    }
    let collector = owned?;
    Ok(Caller(Standing::Known(Box::new((agent, collector)))))
}

/// The OpAMP part of the agent, if the token speaks for it.
async fn owned(fleet: &Fleet, admission: &Admission, agent: &Agent) -> Result<Collector, OpampError> {
    if agent.kind != KIND {
        return Err(OpampError::OtherKind);
    }
    if !agent.is_active {
        return Err(OpampError::Inactive);
    }
    let collector = fleet.store.collector(&agent.id).await?;
    let collector =
        collector.ok_or_else(|| StoreError::corrupt(format!("agent {} has no OpAMP record", agent.id)))?;
    // After a reassignment the tokens of its old policy still speak for it: it has no other.
    if collector.admitted_to != *admission.policy() && agent.policy != *admission.policy() {
        return Err(OpampError::OtherPolicy);
    }
    Ok(collector)
}

/// Records what the message says; enrols the agent if it is new.
///
/// # Errors
/// [`OpampError`]. An agent that was enrolled before the fault stays so, and goes on with its next message.
pub async fn answer(
    fleet: &Arc<Fleet>,
    admission: &Admission,
    caller: Caller,
    mut message: Message,
    now: Timestamp,
) -> Result<Reply, OpampError> {
    let config = message.effective_config.take();
    let (agent, report, stored, new_uid) = match caller.0 {
        Standing::Known(known) => {
            let (agent, collector) = *known;
            let report = report(fleet, &agent.id, &message, config).await?;
            (agent, report, Some(collector.report), None)
        }
        Standing::New { before } => {
            let new_uid = if message.wants_new_uid {
                Some(uuid_v7(now)?)
            } else {
                None
            };
            let id = agent_id(new_uid.unwrap_or(message.uid));
            let report = report(fleet, &id, &message, config).await?;
            let agent = enroll(fleet, admission, id, &message, &report, now).await?;
            if let Some(before) = before {
                succeeded(fleet, &before, now).await;
            }
            (agent, report, None, new_uid)
        }
    };
    let introduces_server = stored.is_none() || is_unheard(fleet, &agent).await?;
    let applied = message
        .remote_config_status
        .clone()
        .or_else(|| stored?.remote_config_status?.read().ok());
    record(fleet, &agent, &message, report, now).await?;
    if message.leaves {
        return Ok(Reply {
            new_uid: None,
            is_farewell: true,
            introduces_server: false,
            remote_config: None,
            place: None,
        });
    }
    let policy = newest_policy(fleet, &agent.policy).await;
    let has_one = applied.as_ref().is_some_and(|status| !status.hash.is_empty());
    let offered = policy.as_ref().and_then(|policy| offered(policy, has_one));
    let has = |config: &RemoteConfig| {
        applied
            .as_ref()
            .is_some_and(|status| status.hash == hex(&config.hash))
    };
    let remote_config = offered
        .clone()
        .filter(|config| message.accepts_remote_config && !has(config));
    let is_applied = applied
        .as_ref()
        .is_some_and(|status| status.status == RemoteConfigState::Applied)
        && offered.as_ref().is_some_and(has);
    let confirmed = match &policy {
        Some(policy) if is_applied => policy.revision,
        // Nothing that it could confirm.
        _ if !message.accepts_remote_config || offered.is_none() => FIRST_REVISION,
        _ => 0,
    };
    if confirmed > agent.policy_revision.unwrap_or(0) {
        fleet
            .store
            .confirm_policy(&agent.id, &agent.policy, confirmed, now)
            .await?;
        fleet.actors.health_monitor.recount();
    }
    let place = Place {
        uid: new_uid.unwrap_or(message.uid),
        agent: agent.id,
        policy: agent.policy,
        revision: policy.as_ref().map_or(0, |policy| policy.revision),
        hash: offered.map(|config| config.hash),
        accepts_remote_config: message.accepts_remote_config,
    };
    Ok(Reply {
        new_uid,
        is_farewell: false,
        introduces_server,
        remote_config,
        place: Some(place),
    })
}

async fn enroll(
    fleet: &Fleet,
    admission: &Admission,
    id: AgentId,
    message: &Message,
    report: &CollectorReport,
    now: Timestamp,
) -> Result<Agent, OpampError> {
    let facts = Facts::of(message.description.as_ref());
    let agent = NewAgent {
        id: id.clone(),
        kind: KIND.to_owned(),
        policy_base: ids::policy_base(admission.policy()),
        policy: admission.policy().clone(),
        policy_revision: Some(FIRST_REVISION),
        namespaces: admission.namespaces().to_vec(),
        version: facts.version.clone(),
        local_metadata: RawJson::from_value(&facts.metadata(&id)).ok(),
        tags: facts.tags,
        enrollment_id: None,
        replace_token: None,
        at: now,
    };
    let enrollment = store::Enrollment {
        // Every agent has an access key; nobody ever learns this one.
        purpose: KeyPurpose {
            name: id.to_string(),
            metadata: RawJson::from_value(
                &json!({"agent_id": id, "managed": true, "managed_by": "fleet-server", "type": "access"}),
            )
            .ok(),
        },
        agent,
        admitted_by: admission.token_key().cloned(),
        replaces: Replacement::None,
        collector: Some(Box::new(Collector {
            admitted_to: admission.policy().clone(),
            service: facts.service,
            report: report.clone(),
        })),
    };
    let enrolled = fleet
        .store
        .enroll(enrollment)
        .await
        .map_err(|error| match error {
            StoreError::Conflict(Conflict::TokenRevoked) => FleetError::KeyRevoked,
            // Its other message was quicker.
            StoreError::Conflict(Conflict::AgentExists(_)) => FleetError::DuplicateEnrollment,
            other => FleetError::Store(other),
        })?;
    let agent = enrolled.agent;
    log::info!(
        "event.action" = "enroll", "fleet.agent.id":% = agent.id, "fleet.policy.id":% = agent.policy;
        "agent enrolled by OpAMP"
    );
    Ok(agent)
}

/// The agent goes on under another uid. That it enrolled is what counts: a fault here is logged only.
async fn succeeded(fleet: &Fleet, before: &Agent, now: Timestamp) {
    let reason = before.audit.as_ref().map(|mark| mark.reason.as_str());
    if matches!(reason, Some("orphaned" | REENROLLED)) {
        return;
    }
    let mark = AuditMark {
        reason: REENROLLED.to_owned(),
        time: now.to_seconds_text(),
    };
    if let Err(error) = fleet.store.mark_audit(&before.id, mark, now).await {
        log::warn!(
            "fleet.agent.id":% = before.id, "error.message":% = error;
            "agent goes on under another uid, and its old record does not say so"
        );
    }
}

/// Whether the agent was not heard of since it enrolled or went away.
async fn is_unheard(fleet: &Fleet, agent: &Agent) -> Result<bool, OpampError> {
    let is_heard = |status: Option<&str>| matches!(status, Some("online" | "error" | "degraded"));
    if is_heard(agent.last_checkin_status.as_deref()) {
        return Ok(false);
    }
    // Its last message may not be in the store yet.
    let pending = fleet
        .actors
        .checkin_writer
        .pending(vec![agent.id.clone()])
        .await?;
    Ok(!pending.iter().any(|record| is_heard(record.status.as_deref())))
}

async fn record(
    fleet: &Fleet,
    agent: &Agent,
    message: &Message,
    report: CollectorReport,
    now: Timestamp,
) -> Result<(), OpampError> {
    let facts = message
        .description
        .as_ref()
        .map(|described| Facts::of(Some(described)));
    let (status, said) = state(message);
    let record = CheckinRecord {
        agent: agent.id.clone(),
        at: now,
        status: Some(status.to_owned()),
        message: said,
        version: facts
            .as_ref()
            .map(|facts| facts.version.clone())
            .filter(|version| agent.version != *version),
        local_metadata: facts
            .and_then(|facts| RawJson::from_value(&facts.metadata(&agent.id)).ok())
            .filter(|metadata| agent.local_metadata.as_ref() != Some(metadata)),
        components: None,
        unhealthy_reason: None,
        positions: Vec::new(),
        rollbacks: None,
        clears_audit: agent.audit.is_some() || agent.unenrolled_at.is_some(),
        collector: Some(Box::new(report)),
    };
    fleet
        .actors
        .checkin_writer
        .record(record, Instant::now() + LEAST_PATIENCE)
        .await?;
    Ok(())
}

/// Status and message of the check-in that a message is.
fn state(message: &Message) -> (&'static str, Option<String>) {
    if message.leaves {
        return ("disconnected", None);
    }
    let Some(health) = &message.health else {
        return ("online", None);
    };
    let status = match health {
        health if !health.is_healthy => "error",
        health if health.status == "StatusRecoverableError" => "degraded",
        _ => "online",
    };
    let said = match health.last_error.as_str() {
        "" => &health.status,
        error => error,
    };
    (status, Some(said.chars().take(MESSAGE).collect()))
}

/// What is stored of the message, without secrets.
async fn report(
    fleet: &Fleet,
    agent: &AgentId,
    message: &Message,
    config: Option<RawJson>,
) -> Result<CollectorReport, FleetError> {
    let effective_config = match config {
        Some(config) if config.as_str().len() > CONFIG => {
            fleet.bounds.is_over(agent, "effective_config", CONFIG);
            None
        }
        Some(config) => off_the_loop_if_large(config.as_str().len(), move || redacted(&config)).await?,
        None => None,
    };
    let raw = |value: &Map<String, Value>| RawJson::from_value(value).ok();
    let description = message.description.as_ref();
    Ok(CollectorReport {
        sequence_num: Some(i64::try_from(message.sequence_num).unwrap_or(i64::MAX)),
        identifying_attributes: description.and_then(|described| raw(&described.identifying)),
        non_identifying_attributes: description.and_then(|described| {
            let mut rest = described.non_identifying.clone();
            rest.shift_remove(TAGS);
            raw(&rest)
        }),
        capabilities: Some(message.capabilities.clone()),
        health: message
            .health
            .as_ref()
            .and_then(|health| RawJson::from_value(&health.details).ok()),
        effective_config,
        remote_config_status: message
            .remote_config_status
            .as_ref()
            .and_then(|status| RawJson::from_value(status).ok()),
    })
}

fn redacted(config: &RawJson) -> Option<RawJson> {
    let mut config: Value = config.read().ok()?;
    redact::redact(&mut config);
    RawJson::from_value(&config).ok()
}

/// The policy as it is offered. One that cannot be rendered concerns the operator, not the agent.
async fn newest_policy(fleet: &Fleet, policy: &PolicyId) -> Option<Arc<RenderedPolicy>> {
    match fleet.actors.policy_monitor.latest(policy).await {
        Ok(policy) => policy,
        Err(error) => {
            log::warn!(
                "fleet.policy.id":% = policy, "error.message":% = error;
                "no configuration is offered to an agent that speaks OpAMP"
            );
            None
        }
    }
}

/// What a policy offers to an agent: the end of what it has, if the policy has nothing any more.
fn offered(policy: &RenderedPolicy, has_one: bool) -> Option<RemoteConfig> {
    match policy.for_collectors() {
        Some(config) => Some(config.clone()),
        None => has_one.then(RemoteConfig::none),
    }
}

/// What operators look for, out of a description.
#[derive(Default)]
struct Facts {
    service: String,
    version: String,
    host: String,
    platform: String,
    /// The service, then the tags that the agent names, each once.
    tags: Vec<String>,
}

impl Facts {
    fn of(description: Option<&Description>) -> Self {
        let Some(description) = description else {
            return Self::default();
        };
        let text = |attributes: &Map<String, Value>, name| {
            attributes
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let service = text(&description.identifying, "service.name");
        let named = text(&description.non_identifying, TAGS);
        let mut tags: Vec<String> = Vec::new();
        for tag in std::iter::once(service.as_str()).chain(named.split(',')) {
            let tag = tag.trim();
            if !tag.is_empty() && !tags.iter().any(|known| known == tag) && tags.len() < MOST_TAGS {
                tags.push(tag.to_owned());
            }
        }
        Self {
            version: text(&description.identifying, "service.version"),
            host: text(&description.non_identifying, "host.name"),
            platform: text(&description.non_identifying, "os.type"),
            service,
            tags,
        }
    }

    fn metadata(&self, id: &AgentId) -> Value {
        json!({
            "elastic": {"agent": {"id": id, "version": self.version, "name": self.service}},
            "host": {"hostname": self.host, "name": self.host},
            "os": {"platform": self.platform},
        })
    }
}

fn agent_id(uid: Uuid) -> AgentId {
    AgentId::from(uid.to_string())
}

fn uuid_v7(now: Timestamp) -> Result<Uuid, FleetError> {
    let mut bytes = [0; 10];
    random(&mut bytes)?;
    let millis = u64::try_from(now.millis()).unwrap_or(0);
    Ok(uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid())
}

/// In lower case.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The type of an agent that speaks OpAMP.
pub(crate) const KIND: &str = "OPAMP";
/// What an agent that takes no configuration from here counts as having.
const FIRST_REVISION: i64 = 1;
const REENROLLED: &str = "reenrolled";
const TAGS: &str = "tags";
const MOST_TAGS: usize = 100;
/// Most characters of a message.
const MESSAGE: usize = 4096;
/// Most bytes of an effective configuration.
const CONFIG: usize = 1024 * 1024;
