//! Enrollment tokens for operators. Their text is available only at creation.

use serde_json::{Value, json};
use store::{
    Conflict, EnrollmentToken, KeyPurpose, NewToken, Page, PageRequest, PolicyId, RawJson, StoreError,
    Timestamp, TokenId,
};

use crate::{ApiKey, Fleet, FleetError, audit_log};

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
    let name = name
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .unwrap_or("token");
    let new = new(policy, name, expires_at, now);
    audit_log::due(
        fleet,
        "token",
        new.id.as_str(),
        Value::Null,
        json!({ "policy_id": policy, "name": name, "expire_at": expires_at }),
    );
    let (token, key) = fleet
        .store
        .create_token(new)
        .await
        .map_err(|error| refused(error, policy))?;
    made(&token);
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
    adopt_as(fleet, policy, "preset token", &key, now)
        .await
        .map_err(|error| match error {
            // The token's own id is random: it is the key's that is taken.
            FleetError::Store(StoreError::Conflict(Conflict::TokenExists(_))) => FleetError::UnknownKey,
            other => other,
        })
}

/// Stores a token whose key is given.
pub(crate) async fn adopt_as(
    fleet: &Fleet,
    policy: &PolicyId,
    name: &str,
    key: &ApiKey,
    now: Timestamp,
) -> Result<EnrollmentToken, FleetError> {
    let token = fleet
        .store
        .adopt_token(new(policy, name, None, now), key)
        .await
        .map_err(|error| refused(error, policy))?;
    made(&token);
    Ok(token)
}

fn new(policy: &PolicyId, name: &str, expires_at: Option<Timestamp>, now: Timestamp) -> NewToken {
    let id = TokenId::from(uuid::Uuid::new_v4().to_string());
    let metadata = json!({"managed_by": "fleet", "managed": true, "type": "enroll", "policy_id": policy});
    NewToken {
        purpose: KeyPurpose {
            name: format!("{name} ({id})"),
            metadata: RawJson::from_value(&metadata).ok(),
        },
        id,
        name: name.to_owned(),
        policy: policy.clone(),
        namespaces: Vec::new(),
        expires_at,
        at: now,
    }
}

fn refused(error: StoreError, policy: &PolicyId) -> FleetError {
    match error {
        StoreError::NotFound { .. } => FleetError::UnknownPolicy {
            policy: policy.clone(),
        },
        other => FleetError::Store(other),
    }
}

fn made(token: &EnrollmentToken) {
    log::info!(
        "event.action" = "token-create", "fleet.policy.id":% = token.policy,
        "fleet.enroll.apikey.id":% = token.key; "enrollment token created"
    );
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
pub async fn list(fleet: &Fleet, page: PageRequest) -> Result<Page<EnrollmentToken>, FleetError> {
    Ok(fleet.store.tokens(page).await?)
}

/// Revokes the token; agents that it admitted stay enrolled.
///
/// # Errors
/// [`FleetError::UnknownToken`], or the store's fault.
pub async fn revoke(fleet: &Fleet, id: &TokenId, now: Timestamp) -> Result<(), FleetError> {
    audit_log::due(
        fleet,
        "token",
        id.as_str(),
        Value::Null,
        json!({ "active": false }),
    );
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
    fleet.announcer.tokens_revoked();
    log::info!("event.action" = "token-revoke", "fleet.token.id":% = id; "enrollment token revoked");
    Ok(())
}
