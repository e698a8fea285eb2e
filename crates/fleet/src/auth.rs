//! Authentication. Keys are verified on every request, so a revocation counts at once (agents.md 2.2, O3).

use store::{Agent, AgentId, KeyOwner, Timestamp, Verification};

use crate::{ApiKey, Fleet, FleetError, operators::Operator};

/// Whose key this is, if it is good.
///
/// # Errors
/// [`FleetError::UnknownKey`], [`FleetError::KeyRevoked`], [`FleetError::KeyExpired`] of an operator's, or the store's
/// fault.
pub async fn authenticate(fleet: &Fleet, key: &ApiKey) -> Result<KeyOwner, FleetError> {
    let owner = verify(fleet, key).await?;
    if owner == KeyOwner::Operator {
        living_operator(fleet, key, Timestamp::now()).await?;
    }
    Ok(owner)
}

/// The active agent with this id whose key this is.
///
/// # Errors
/// A bad key; [`FleetError::UnknownAgent`] (B4), [`FleetError::WrongIdentity`], [`FleetError::AgentInactive`]
/// (B3), told apart from the store's fault (B5).
pub async fn authenticate_agent(fleet: &Fleet, key: &ApiKey, id: &AgentId) -> Result<Agent, FleetError> {
    let (owner, is_revoked) = match fleet.store.verify(key).await? {
        Verification::Active(owner) => (owner, false),
        Verification::Revoked(owner) => (owner, true),
        Verification::Unknown => return Err(FleetError::UnknownKey),
    };
    // The agent before the key's state: unenrolment kills both, and "inactive" says more than "revoked".
    let agent = fleet.store.agent(id).await?;
    match (owner, agent) {
        (KeyOwner::Agent(owner), Some(agent)) if owner == *id && agent.access_key == key.id => {
            if !agent.is_active {
                return Err(FleetError::AgentInactive { agent: id.clone() });
            }
            if is_revoked {
                Err(FleetError::KeyRevoked)
            } else {
                Ok(agent)
            }
        }
        _ if is_revoked => Err(FleetError::KeyRevoked),
        (KeyOwner::Agent(_), None) => Err(FleetError::UnknownAgent { agent: id.clone() }),
        _ => Err(FleetError::WrongIdentity { agent: id.clone() }),
    }
}

/// The active agent whose key this is, where the request names none: the key is verified before anything else is looked
/// up.
///
/// # Errors
/// A bad key; [`FleetError::NotAnAgentKey`], [`FleetError::AgentInactive`], or the store's fault.
pub async fn authenticate_some_agent(fleet: &Fleet, key: &ApiKey) -> Result<Agent, FleetError> {
    let owner = match fleet.store.verify(key).await? {
        Verification::Active(owner) | Verification::Revoked(owner) => owner,
        Verification::Unknown => return Err(FleetError::UnknownKey),
    };
    match owner {
        KeyOwner::Agent(id) => authenticate_agent(fleet, key, &id).await,
        KeyOwner::Token(_) | KeyOwner::Operator => Err(FleetError::NotAnAgentKey),
    }
}

/// The operator whose key this is.
///
/// # Errors
/// A bad key, [`FleetError::KeyExpired`], or [`FleetError::NotAnOperatorKey`].
pub async fn authenticate_operator(
    fleet: &Fleet,
    key: &ApiKey,
    now: Timestamp,
) -> Result<Operator, FleetError> {
    match verify(fleet, key).await? {
        KeyOwner::Operator => living_operator(fleet, key, now).await,
        KeyOwner::Token(_) | KeyOwner::Agent(_) => Err(FleetError::NotAnOperatorKey),
    }
}

async fn verify(fleet: &Fleet, key: &ApiKey) -> Result<KeyOwner, FleetError> {
    match fleet.store.verify(key).await? {
        Verification::Active(owner) => Ok(owner),
        Verification::Revoked(_) => Err(FleetError::KeyRevoked),
        Verification::Unknown => Err(FleetError::UnknownKey),
    }
}

/// The operator of a verified key, which may be revoked since, or expired.
async fn living_operator(fleet: &Fleet, key: &ApiKey, now: Timestamp) -> Result<Operator, FleetError> {
    let record = fleet.store.operator_key(&key.id).await?;
    let record = record.ok_or(FleetError::NotAnOperatorKey)?;
    if !record.active {
        return Err(FleetError::KeyRevoked);
    }
    if record.expires_at.is_some_and(|end| end <= now) {
        return Err(FleetError::KeyExpired);
    }
    Ok(Operator {
        key: record.id,
        name: record.name,
        role: record.role,
    })
}
