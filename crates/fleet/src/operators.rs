//! The operator's key for the admin API.

use store::{Conflict, KeyOwner, KeyPurpose, StoreError, Timestamp};

use crate::{ApiKey, Fleet, FleetError, auth};

/// Makes sure that `existing` (or a new key, if there is none) opens the admin API.
///
/// # Errors
/// [`FleetError::KeyRevoked`] or [`FleetError::NotAnOperatorKey`] if the store knows the key as something else,
/// [`FleetError::UnknownKey`] if it knows the id with another secret, or the store's fault.
pub async fn ensure_key(
    fleet: &Fleet,
    existing: Option<ApiKey>,
    now: Timestamp,
) -> Result<ApiKey, FleetError> {
    let purpose = KeyPurpose {
        name: "admin".to_owned(),
        metadata: None,
    };
    let Some(key) = existing else {
        return Ok(fleet.store.issue(KeyOwner::Operator, purpose, now).await?);
    };
    match fleet
        .store
        .adopt_key(&key, KeyOwner::Operator, purpose, now)
        .await
    {
        Ok(()) => {}
        Err(StoreError::Conflict(Conflict::IdTaken(_))) => auth::authenticate_operator(fleet, &key).await?,
        Err(other) => return Err(other.into()),
    }
    Ok(key)
}
