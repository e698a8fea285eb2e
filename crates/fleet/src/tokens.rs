//! Enrollment tokens as operators hand them out. Only a hash is stored: the text is known at creation alone.

use serde_json::json;
use store::{
    Conflict, EnrollmentToken, KeyKind, NewKey, NewToken, Page, PageRequest, PolicyId, RawJson, StoreError,
    Timestamp, TokenId,
};

use crate::{ApiKey, Fleet, FleetError};

/// Makes a token for the policy.
///
/// # Errors
/// [`FleetError::UnknownPolicy`], or the store's fault.
pub async fn create(
    fleet: &Fleet,
    policy: &PolicyId,
    name: Option<&str>,
    expires_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<(EnrollmentToken, ApiKey), FleetError> {
    let key = ApiKey::generate()?;
    let name = name
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .unwrap_or("token");
    let token = create_with(fleet, policy, name, expires_at, key.clone(), now).await?;
    Ok((token, key))
}

/// Lets a token that the operator chose admit agents into the policy.
///
/// # Errors
/// [`FleetError::UnknownPolicy`], [`FleetError::UnknownKey`] if its id is known with another secret, or the store's
/// fault.
pub async fn adopt(
    fleet: &Fleet,
    policy: &PolicyId,
    key: ApiKey,
    now: Timestamp,
) -> Result<EnrollmentToken, FleetError> {
    create_with(fleet, policy, "preset token", None, key, now)
        .await
        .map_err(|error| match error {
            // The token's own id is random: it is the key's that is taken.
            FleetError::Store(StoreError::Conflict(Conflict::TokenExists(_))) => FleetError::UnknownKey,
            other => other,
        })
}

/// Stores a token whose key is given.
pub(crate) async fn create_with(
    fleet: &Fleet,
    policy: &PolicyId,
    name: &str,
    expires_at: Option<Timestamp>,
    key: ApiKey,
    now: Timestamp,
) -> Result<EnrollmentToken, FleetError> {
    let id = TokenId::from(uuid::Uuid::new_v4().to_string());
    let metadata = json!({"managed_by": "fleet", "managed": true, "type": "enroll", "policy_id": policy});
    let new = NewToken {
        id: id.clone(),
        key: NewKey {
            id: key.id.clone(),
            hash: key.hash()?,
            kind: KeyKind::Enrollment(id.clone()),
            name: format!("{name} ({id})"),
            metadata: RawJson::from_value(&metadata).ok(),
            at: now,
        },
        name: name.to_owned(),
        policy: policy.clone(),
        namespaces: Vec::new(),
        expires_at,
        at: now,
    };
    let token = fleet.store.create_token(new).await.map_err(|error| match error {
        StoreError::NotFound { .. } => FleetError::UnknownPolicy {
            policy: policy.clone(),
        },
        other => FleetError::Store(other),
    })?;
    log::info!(
        "event.action" = "token-create", "fleet.policy.id":% = policy, "fleet.enroll.apikey.id":% = token.key;
        "enrollment token made"
    );
    Ok(token)
}

/// The token's record.
///
/// # Errors
/// [`FleetError::UnknownToken`], or the store's fault.
pub async fn get(fleet: &Fleet, id: &TokenId) -> Result<EnrollmentToken, FleetError> {
    fleet
        .store
        .token(id)
        .await?
        .ok_or_else(|| FleetError::UnknownToken { token: id.clone() })
}

/// Tokens, newest first.
///
/// # Errors
/// The store's fault.
pub async fn list(fleet: &Fleet, page: PageRequest) -> Result<Page<EnrollmentToken>, FleetError> {
    Ok(fleet.store.tokens(page).await?)
}

/// The token admits nobody any more; agents that it admitted stay.
///
/// # Errors
/// [`FleetError::UnknownToken`], or the store's fault.
pub async fn revoke(fleet: &Fleet, id: &TokenId, now: Timestamp) -> Result<(), FleetError> {
    fleet
        .store
        .revoke_token(id, now)
        .await
        .map_err(|error| match error {
            StoreError::NotFound { .. } | StoreError::Conflict(Conflict::TokenRevoked) => {
                FleetError::UnknownToken { token: id.clone() }
            }
            other => FleetError::Store(other),
        })?;
    log::info!("event.action" = "token-revoke", "fleet.token.id":% = id; "enrollment token revoked");
    Ok(())
}
