//! Who is it? Keys are read on every request, so a revocation counts at once (data-model 5.2, store O3).

use store::{Agent, AgentId, KeyKind, KeyRecord};

use crate::{ApiKey, Fleet, FleetError};

/// What the key opens, if it is good.
///
/// # Errors
/// [`FleetError::UnknownKey`], [`FleetError::KeyRevoked`], or the store's fault.
pub async fn authenticate(fleet: &Fleet, key: &ApiKey) -> Result<KeyKind, FleetError> {
    verify(fleet, key).await.map(|record| record.kind)
}

/// The active agent with this id whose key this is.
///
/// # Errors
/// A bad key; [`FleetError::UnknownAgent`] (B4), [`FleetError::WrongIdentity`], [`FleetError::AgentInactive`]
/// (B3), told apart from the store's fault (B5).
pub async fn authenticate_agent(fleet: &Fleet, key: &ApiKey, id: &AgentId) -> Result<Agent, FleetError> {
    let record = fleet.store.key(&key.id).await?.ok_or(FleetError::UnknownKey)?;
    if !key.matches(&record.hash) {
        return Err(FleetError::UnknownKey);
    }
    // The agent before the key's state: unenrolment kills both, and "inactive" says more than "revoked".
    let agent = fleet.store.agent(id).await?;
    match (record.kind, agent) {
        (KeyKind::Access(owner), Some(agent)) if owner == *id && agent.access_key == key.id => {
            if !agent.is_active {
                return Err(FleetError::AgentInactive { agent: id.clone() });
            }
            if record.active {
                Ok(agent)
            } else {
                Err(FleetError::KeyRevoked)
            }
        }
        _ if !record.active => Err(FleetError::KeyRevoked),
        (KeyKind::Access(_), None) => Err(FleetError::UnknownAgent { agent: id.clone() }),
        _ => Err(FleetError::WrongIdentity { agent: id.clone() }),
    }
}

/// Lets only an operator's key pass.
///
/// # Errors
/// A bad key, or [`FleetError::NotAnOperatorKey`].
pub async fn authenticate_operator(fleet: &Fleet, key: &ApiKey) -> Result<(), FleetError> {
    match authenticate(fleet, key).await? {
        KeyKind::Admin => Ok(()),
        _ => Err(FleetError::NotAnOperatorKey),
    }
}

/// The key's record, if the secret fits and it is active.
pub(crate) async fn verify(fleet: &Fleet, key: &ApiKey) -> Result<KeyRecord, FleetError> {
    let record = fleet.store.key(&key.id).await?.ok_or(FleetError::UnknownKey)?;
    if !key.matches(&record.hash) {
        return Err(FleetError::UnknownKey);
    }
    if !record.active {
        return Err(FleetError::KeyRevoked);
    }
    Ok(record)
}
