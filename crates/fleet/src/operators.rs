//! The operator's key for the admin API.

use store::{Conflict, KeyKind, NewKey, StoreError, Timestamp};

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
    let key = match existing {
        Some(key) => key,
        None => ApiKey::generate()?,
    };
    let new = NewKey {
        id: key.id.clone(),
        hash: key.hash()?,
        kind: KeyKind::Admin,
        name: "admin".to_owned(),
        metadata: None,
        at: now,
    };
    match fleet.store.create_key(new).await {
        Ok(()) => Ok(key),
        Err(StoreError::Conflict(Conflict::IdTaken(_))) => {
            auth::authenticate_operator(fleet, &key).await?;
            Ok(key)
        }
        Err(other) => Err(other.into()),
    }
}
