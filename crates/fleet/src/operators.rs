//! Operators' keys, which open the admin API: who holds one, with which role, until when.
//!
//! In: the key of the data directory, which is an admin's; keys that admins make. Out: records; a key's text only when it
//! is made. What each role may do, the routes declare.

use serde_json::{Value, json};
use store::{
    Conflict, KeyId, KeyOwner, KeyPurpose, NewOperatorKey, OperatorKey, OperatorRole, Page, PageRequest,
    StoreError, Timestamp,
};

use crate::{ApiKey, Fleet, FleetError, audit_log, auth};

/// Whoever presented a good key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// Public half of the key.
    pub key: KeyId,
    /// The key's name.
    pub name: String,
    /// The key's role.
    pub role: OperatorRole,
}

impl Operator {
    /// Refuses an operator of a lower role.
    ///
    /// # Errors
    /// [`FleetError::RoleTooLow`].
    pub fn must_be(&self, needed: OperatorRole) -> Result<(), FleetError> {
        if self.role >= needed {
            return Ok(());
        }
        Err(FleetError::RoleTooLow {
            needed,
            has: self.role,
        })
    }
}

/// Makes sure that `existing` (or a new key, if there is none) opens the whole admin API. It is this server's own from then
/// on, and nobody revokes it.
///
/// # Errors
/// [`FleetError::KeyRevoked`], [`FleetError::KeyExpired`], [`FleetError::RoleTooLow`] or
/// [`FleetError::NotAnOperatorKey`] if the store knows the key as something else, [`FleetError::UnknownKey`] if it
/// knows the id with another secret, or the store's fault.
pub async fn ensure_key(
    fleet: &Fleet,
    existing: Option<ApiKey>,
    now: Timestamp,
) -> Result<ApiKey, FleetError> {
    let purpose = KeyPurpose {
        name: "admin".to_owned(),
        metadata: None,
    };
    let key = match existing {
        None => fleet.store.issue(KeyOwner::Operator, purpose, now).await?,
        Some(key) => {
            let adopted = fleet.store.adopt_key(&key, KeyOwner::Operator, purpose, now);
            match adopted.await {
                Ok(()) => {}
                Err(StoreError::Conflict(Conflict::IdTaken(_))) => {
                    let known = auth::authenticate_operator(fleet, &key, now).await?;
                    known.must_be(OperatorRole::Admin)?;
                }
                Err(other) => return Err(other.into()),
            }
            key
        }
    };
    // The first one stays: there is one for a process.
    drop(fleet.own_key.set(key.id.clone()));
    Ok(key)
}

/// Makes a key. Only this answer has its text.
///
/// # Errors
/// [`FleetError::InvalidOperatorKey`], or the store's fault.
pub async fn create(
    fleet: &Fleet,
    name: &str,
    role: OperatorRole,
    expires_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<(OperatorKey, ApiKey), FleetError> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > LONGEST_NAME || name.chars().any(char::is_control) {
        return Err(FleetError::InvalidOperatorKey {
            reason: "name must have 1 to 128 characters, none of them a control character",
        });
    }
    if expires_at.is_some_and(|end| end <= now) {
        return Err(FleetError::InvalidOperatorKey {
            reason: "expiration lies in the past",
        });
    }
    let new = NewOperatorKey {
        name: name.to_owned(),
        role,
        expires_at,
        at: now,
    };
    // Its id is the key's, which the store makes.
    let made = json!({ "name": name, "role": role.as_str(), "expire_at": expires_at });
    audit_log::due(fleet, "key", name, Value::Null, made);
    let (record, key) = fleet.store.create_operator_key(new).await?;
    log::info!(
        "event.action" = "operator-key-create", "fleet.apikey.id":% = record.id, "user.roles" = role.as_str();
        "operator key created"
    );
    Ok((record, key))
}

/// The key's record.
///
/// # Errors
/// [`FleetError::UnknownOperatorKey`], or the store's fault.
pub async fn get(fleet: &Fleet, id: &KeyId) -> Result<OperatorKey, FleetError> {
    let record = fleet.store.operator_key(id).await?;
    record.ok_or_else(|| FleetError::UnknownOperatorKey { key: id.clone() })
}

/// The keys, newest first, revoked and expired ones too.
pub async fn list(fleet: &Fleet, page: PageRequest) -> Result<Page<OperatorKey>, FleetError> {
    Ok(fleet.store.operator_keys(page).await?)
}

/// Revokes the key, at once; its record stays.
///
/// # Errors
/// [`FleetError::UnknownOperatorKey`]; [`FleetError::OwnOperatorKey`], without which the next start would fail; or the
/// store's fault.
pub async fn revoke(fleet: &Fleet, id: &KeyId, now: Timestamp) -> Result<(), FleetError> {
    audit_log::due(fleet, "key", id.as_str(), Value::Null, json!({ "active": false }));
    if fleet.own_key.get() == Some(id) {
        return Err(FleetError::OwnOperatorKey { key: id.clone() });
    }
    let revoked = fleet.store.revoke_operator_key(id, now).await;
    revoked.map_err(|error| match error {
        StoreError::NotFound { .. } => FleetError::UnknownOperatorKey { key: id.clone() },
        other => FleetError::Store(other),
    })?;
    log::info!("event.action" = "operator-key-revoke", "fleet.apikey.id":% = id; "operator key revoked");
    Ok(())
}

const LONGEST_NAME: usize = 128;
