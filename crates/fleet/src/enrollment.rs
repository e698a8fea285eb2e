//! Enrolment: a token admits, one store transaction makes agent and access key (data.md 4.1 and 4.2).

use serde_json::{Map, Value, json};
pub use store::Enrolled;
use store::{
    Agent, AgentId, Cause, Conflict, EnrollmentId, KeyId, KeyOwner, KeyPurpose, NewAgent, PolicyId, RawJson,
    Replacement, StoreError, Timestamp,
};

use crate::{ApiKey, Fleet, FleetError, Secret, auth, ids, replace_token};

/// A token that admits agents, verified before the body is read.
#[derive(Clone, Debug)]
pub struct Admission {
    policy: PolicyId,
    namespaces: Vec<String>,
    token_key: Option<KeyId>,
}

impl Admission {
    /// The policy that the token enrols into.
    #[must_use]
    pub fn policy(&self) -> &PolicyId {
        &self.policy
    }

    /// Spaces that the agent is of.
    pub(crate) fn namespaces(&self) -> &[String] {
        &self.namespaces
    }

    /// Public half of the token's key; none for a token from the configuration.
    pub(crate) const fn token_key(&self) -> Option<&KeyId> {
        self.token_key.as_ref()
    }
}

/// What an agent sends to enrol (agents.md 4.1).
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the members of agents.md 4.1")]
pub struct EnrollRequest {
    pub kind: String,
    /// Wanted id.
    pub id: Option<String>,
    /// Permits replacing the agent with this id.
    pub replace_token: Option<Secret>,
    /// Idempotency key.
    pub enrollment_id: Option<String>,
    pub local_metadata: Option<RawJson>,
    pub tags: Vec<String>,
}

/// Whether the token admits agents, and into which policy.
///
/// # Errors
/// A bad key; [`FleetError::NotAnEnrollmentToken`] (A4); a revoked token (A5);
/// [`FleetError::UnknownStaticPolicy`] (A16).
pub async fn admit(fleet: &Fleet, key: &ApiKey) -> Result<Admission, FleetError> {
    if let Some(token) = fleet
        .settings
        .static_tokens
        .iter()
        .find(|token| token.key == *key.secret())
    {
        if fleet.store.policy(&token.policy).await?.is_none() {
            return Err(FleetError::UnknownStaticPolicy {
                policy: token.policy.clone(),
            });
        }
        return Ok(Admission {
            policy: token.policy.clone(),
            namespaces: Vec::new(),
            token_key: None,
        });
    }
    let KeyOwner::Token(_) = auth::authenticate(fleet, key).await? else {
        return Err(FleetError::NotAnEnrollmentToken);
    };
    let token = fleet
        .store
        .token_by_key(&key.id)
        .await?
        .ok_or(FleetError::UnknownKey)?;
    if !token.active || token.expires_at.is_some_and(|at| at <= Timestamp::now()) {
        return Err(FleetError::KeyRevoked);
    }
    Ok(Admission {
        policy: token.policy,
        namespaces: token.namespaces,
        token_key: Some(key.id.clone()),
    })
}

/// Makes the agent, or lets it take over its earlier record.
///
/// # Errors
/// A refused request, a refused replacement, a race with another enrolment, or the store's fault. Nothing is
/// stored then, and an agent that was to be replaced keeps its key (data.md 4.1).
pub async fn enroll(
    fleet: &Fleet,
    admission: Admission,
    version: &str,
    request: EnrollRequest,
    now: Timestamp,
) -> Result<Enrolled, FleetError> {
    if !matches!(request.kind.as_str(), "PERMANENT" | "EPHEMERAL" | "TEMPORARY") {
        return Err(FleetError::UnknownEnrollType { kind: request.kind });
    }
    let wanted = request
        .id
        .as_deref()
        .filter(|id| !id.is_empty())
        .map(ids::agent_id)
        .transpose()?;
    let enrollment_id = request
        .enrollment_id
        .as_deref()
        .filter(|id| !id.is_empty())
        .map(ids::enrollment_id)
        .transpose()?;
    let token = request.replace_token.filter(|token| !token.reveal().is_empty());

    let (retried, mut enrollment_id) = retried(fleet, enrollment_id).await?;
    let (replaces, verified) = match (retried, &wanted) {
        (Some(agent), None) => (Replacement::Remove(agent), None),
        (Some(agent), Some(id)) if agent == *id => (Replacement::Remove(agent), None),
        (Some(agent), Some(id)) => match replacement(fleet, &admission.policy, id, token.clone()).await? {
            (Replacement::None, _) => (Replacement::Remove(agent), None),
            // One record is replaced in one unit; the earlier try keeps its idempotency key.
            other => {
                enrollment_id = None;
                other
            }
        },
        (None, Some(id)) => replacement(fleet, &admission.policy, id, token.clone()).await?,
        (None, None) => (Replacement::None, None),
    };
    let id = wanted.unwrap_or_else(|| AgentId::from(uuid::Uuid::new_v4().to_string()));
    let hash = match token.clone() {
        // A record that is taken over keeps its own.
        Some(_) if matches!(replaces, Replacement::TakeOver { .. }) => None,
        Some(token) => {
            Some(replace_token::hash(&fleet.derivations, token, fleet.settings.replace_token).await?)
        }
        None => None,
    };
    let agent = NewAgent {
        id: id.clone(),
        kind: request.kind,
        policy_base: ids::policy_base(&admission.policy),
        policy_revision: None,
        policy: admission.policy,
        namespaces: admission.namespaces,
        version: version.to_owned(),
        tags: sorted(request.tags),
        local_metadata: request
            .local_metadata
            .map(|metadata| with_id(metadata, &id))
            .transpose()?,
        enrollment_id,
        replace_token: hash,
        at: now,
    };
    let purpose = KeyPurpose {
        name: id.to_string(),
        metadata: raw(
            &json!({"agent_id": id, "managed": true, "managed_by": "fleet-server", "type": "access"}),
        ),
    };
    let enrollment = store::Enrollment {
        agent,
        purpose,
        admitted_by: admission.token_key,
        replaces,
        collector: None,
    };
    let enrolled = match in_turn(fleet, enrollment.clone(), verified).await {
        // It was made meanwhile: this one replaces it, if it may.
        Ok(Turn::Refused(Conflict::AgentExists(_))) if token.is_some() => {
            again(fleet, enrollment, token).await?
        }
        // It keeps the key, as if it had been found so.
        Ok(Turn::HasCheckedIn) => {
            let mut enrollment = enrollment;
            enrollment.agent.enrollment_id = None;
            again(fleet, enrollment, token).await?
        }
        outcome => outcome?,
    }
    .enrolled(&id)?;
    let agent = &enrolled.agent;
    log::info!(
        "event.action" = "enroll", "fleet.agent.id":% = agent.id, "fleet.policy.id":% = agent.policy,
        "fleet.apikey.id":% = agent.access_key; "agent enrolled"
    );
    Ok(enrolled)
}

/// The agent of an earlier try with this idempotency key, and the key if it is free for the new one.
///
/// An agent that has checked in keeps the key: the new one goes without (A8, ENR-13).
async fn retried(
    fleet: &Fleet,
    id: Option<EnrollmentId>,
) -> Result<(Option<AgentId>, Option<EnrollmentId>), FleetError> {
    let Some(id) = id else { return Ok((None, None)) };
    match fleet.store.agent_by_enrollment_id(&id).await? {
        None => Ok((None, Some(id))),
        Some(agent) if has_checked_in(fleet, &agent).await? => Ok((None, None)),
        Some(agent) => Ok((Some(agent.id), Some(id))),
    }
}

/// Also if the store does not know it yet.
async fn has_checked_in(fleet: &Fleet, agent: &Agent) -> Result<bool, FleetError> {
    let writer = &fleet.actors.checkin_writer;
    Ok(agent.last_checkin.is_some() || !writer.pending(vec![agent.id.clone()]).await?.is_empty())
}

/// What the enrolment replaces, and the hash of the replace token that permits it.
async fn replacement(
    fleet: &Fleet,
    policy: &PolicyId,
    id: &AgentId,
    token: Option<Secret>,
) -> Result<(Replacement, Option<String>), FleetError> {
    let Some(agent) = fleet.store.agent(id).await? else {
        return Ok((Replacement::None, None));
    };
    if !agent.is_active {
        return Ok((Replacement::Remove(agent.id), None));
    }
    let refused = || FleetError::NotReplaceable { agent: id.clone() };
    let (Some(token), Some(hash)) = (token, agent.replace_token) else {
        return Err(refused());
    };
    if agent.policy != *policy || !replace_token::fits(&fleet.derivations, token, hash.clone()).await? {
        return Err(refused());
    }
    let replaces = Replacement::TakeOver {
        agent: agent.id,
        access_key: agent.access_key,
    };
    Ok((replaces, Some(hash)))
}

/// The outcome of an enrolment's turn.
enum Turn {
    Enrolled(Box<Enrolled>),
    /// The agent that was to be removed has checked in.
    HasCheckedIn,
    Refused(Conflict),
}

impl Turn {
    /// What it means to the agent.
    fn enrolled(self, id: &AgentId) -> Result<Enrolled, FleetError> {
        match self {
            Self::Enrolled(enrolled) => Ok(*enrolled),
            Self::Refused(Conflict::AgentExists(_)) => Err(FleetError::NotReplaceable { agent: id.clone() }),
            Self::HasCheckedIn | Self::Refused(Conflict::EnrollmentIdTaken(_) | Conflict::Changed(_)) => {
                Err(FleetError::DuplicateEnrollment)
            }
            Self::Refused(Conflict::TokenRevoked) => Err(FleetError::KeyRevoked),
            Self::Refused(other) => Err(FleetError::Store(StoreError::Conflict(other))),
        }
    }
}

/// Stores the enrolment. Those that take over the same agent take turns, each from the one before; an agent's first
/// check-in takes one too, so that an agent that has checked in is never removed.
async fn in_turn(
    fleet: &Fleet,
    mut enrollment: store::Enrollment,
    verified: Option<String>,
) -> Result<Turn, FleetError> {
    let _turn = match &mut enrollment.replaces {
        Replacement::None => None,
        Replacement::TakeOver { agent, access_key } => {
            let turn = fleet.replacements.of(agent).await;
            // Another one may have been quicker. What permitted this one still must.
            if let Some(now) = fleet.store.agent(agent).await?
                && now.is_active
                && now.policy == enrollment.agent.policy
                && now.replace_token == verified
            {
                *access_key = now.access_key;
            }
            Some(turn)
        }
        Replacement::Remove(agent) => {
            let turn = fleet.replacements.of(agent).await;
            if let Some(now) = fleet.store.agent(agent).await?
                && now.is_active
                && has_checked_in(fleet, &now).await?
            {
                return Ok(Turn::HasCheckedIn);
            }
            Some(turn)
        }
    };
    match fleet.store.enroll(enrollment).await {
        Ok(enrolled) => {
            fleet.deliveries.forget(&enrolled.agent.id);
            Ok(Turn::Enrolled(Box::new(enrolled)))
        }
        Err(StoreError::Conflict(conflict)) => Ok(Turn::Refused(conflict)),
        Err(error) => Err(FleetError::Store(error)),
    }
}

/// The same with what it replaces looked up anew, since that has changed.
async fn again(
    fleet: &Fleet,
    mut enrollment: store::Enrollment,
    token: Option<Secret>,
) -> Result<Turn, FleetError> {
    let agent = &enrollment.agent;
    let (replaces, verified) = replacement(fleet, &agent.policy, &agent.id, token).await?;
    enrollment.replaces = replaces;
    in_turn(fleet, enrollment, verified).await
}

fn sorted(mut tags: Vec<String>) -> Vec<String> {
    tags.sort_unstable();
    tags.dedup();
    tags
}

/// Writes the final id over `elastic.agent.id`, if that key is there (ENR-03); otherwise the text stays.
fn with_id(metadata: RawJson, id: &AgentId) -> Result<RawJson, FleetError> {
    let refused = |error: serde_json::Error| FleetError::InvalidMetadata {
        source: Cause::new(error),
    };
    let mut object: Map<String, Value> = metadata.read().map_err(refused)?;
    let slot = object
        .get_mut("elastic")
        .and_then(|v| v.get_mut("agent"))
        .and_then(|v| v.get_mut("id"));
    let Some(slot) = slot else { return Ok(metadata) };
    *slot = Value::from(id.as_str());
    RawJson::from_value(&object).map_err(refused)
}

fn raw(value: &Value) -> Option<RawJson> {
    RawJson::from_value(value).ok()
}
