//! Secrets for operators, and their values for whoever renders a policy or delivers an action (data.md 9.5).

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use store::{
    ActionDocId, ActionId, Conflict, Page, PageRequest, PageStart, PolicyId, RawJson, SealedSecret, Secret,
    SecretId, Store, StoreError, Timestamp,
};

use crate::{
    Fleet, FleetError,
    actions::{self, ActionKind, ActionState},
    audit_log, ids,
    off_the_loop::off_the_loop_if_large,
    secret_references::{self, Values},
    store_key::StoreKey,
};

/// A secret as operators see it: never its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRecord {
    /// Id, as references name it.
    pub id: SecretId,
    /// Name.
    pub name: String,
    /// The action document that it was made for.
    pub action: Option<ActionDocId>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl From<SealedSecret> for SecretRecord {
    fn from(sealed: SealedSecret) -> Self {
        Self {
            id: sealed.id,
            name: sealed.name,
            action: sealed.action,
            created_at: sealed.created_at,
        }
    }
}

/// Stores a secret. Its value can never be read again but by agents whose policy or action refers to it.
///
/// # Errors
/// [`FleetError::InvalidId`], [`FleetError::InvalidSecret`], [`FleetError::SecretExists`], or the store's fault.
pub async fn create(
    fleet: &Fleet,
    id: Option<&str>,
    name: &str,
    value: Secret,
    now: Timestamp,
) -> Result<SecretRecord, FleetError> {
    let id = match id.filter(|id| !id.is_empty()) {
        Some(id) => ids::secret_id(id)?,
        None => SecretId::from(uuid::Uuid::new_v4().to_string()),
    };
    if value.reveal().is_empty() || value.reveal().len() > MOST_BYTES {
        return Err(FleetError::InvalidSecret {
            reason: "its value must have 1 to 65536 bytes",
        });
    }
    if name.len() > MOST_NAME_BYTES {
        return Err(FleetError::InvalidSecret {
            reason: "its name must have at most 256 bytes",
        });
    }
    let sealed = sealed(key(fleet)?, id, name, None, &value, now)?;
    let record = SecretRecord::from(sealed.clone());
    audit_log::due(
        fleet,
        "secret",
        record.id.as_str(),
        Value::Null,
        json!({ "name": name }),
    );
    fleet
        .store
        .put_secret(sealed)
        .await
        .map_err(|error| match error {
            StoreError::Conflict(Conflict::IdTaken(_)) => FleetError::SecretExists {
                secret: record.id.clone(),
            },
            other => FleetError::Store(other),
        })?;
    log::info!("event.action" = "secret-create", "fleet.secret.id":% = record.id; "secret created");
    Ok(record)
}

/// All secrets, oldest first.
pub async fn list(fleet: &Fleet, page: PageRequest) -> Result<Page<SecretRecord>, FleetError> {
    let page = fleet.store.secrets(page).await?;
    Ok(Page {
        items: page.items.into_iter().map(SecretRecord::from).collect(),
        total: page.total,
        next: page.next,
    })
}

/// The secret, and the policies whose newest revision refers to it.
///
/// # Errors
/// [`FleetError::UnknownSecret`], or the store's fault.
pub async fn get(fleet: &Fleet, id: &SecretId) -> Result<(SecretRecord, Vec<PolicyId>), FleetError> {
    let sealed = fleet.store.secret(id).await?;
    let sealed = sealed.ok_or_else(|| FleetError::UnknownSecret { secret: id.clone() })?;
    Ok((sealed.into(), users(fleet, id).await?))
}

/// Removes a secret to which no policy refers, and no action that an agent may still be given.
///
/// # Errors
/// [`FleetError::UnknownSecret`], [`FleetError::SecretInUse`], or the store's fault.
pub async fn delete(fleet: &Fleet, id: &SecretId, now: Timestamp) -> Result<(), FleetError> {
    // Nothing of this server comes to refer to it meanwhile.
    let _in_turn = fleet.policy_changes.lock().await;
    let (record, policies) = get(fleet, id).await?;
    let user = match (record.action, policies.first()) {
        (Some(action), _) => Some(format!("action document {action}, with which it goes")),
        (None, Some(policy)) if policies.len() == 1 => Some(format!("policy {policy}")),
        (None, Some(policy)) => Some(format!("policy {policy} and {} more", policies.len() - 1)),
        (None, None) => waiting_action(fleet, id, now)
            .await?
            .map(|action| format!("action {action}, which waits for agents")),
    };
    if let Some(user) = user {
        return Err(FleetError::SecretInUse {
            secret: id.clone(),
            user,
        });
    }
    audit_log::due(fleet, "secret", id.as_str(), Value::Null, Value::Null);
    fleet.store.delete_secret(id).await?;
    log::info!("event.action" = "secret-delete", "fleet.secret.id":% = id; "secret deleted");
    Ok(())
}

/// An action that refers to the secret and has not come to its end.
async fn waiting_action(
    fleet: &Fleet,
    id: &SecretId,
    now: Timestamp,
) -> Result<Option<ActionId>, FleetError> {
    for action in fleet.store.actions_with_text(id.as_str(), now).await? {
        let refers = action.data.as_ref().is_some_and(|data| {
            secret_references::may_refer(data.as_str())
                && data
                    .read()
                    .is_ok_and(|data| secret_references::of_value(&data).contains(id))
        });
        let progress = actions::progress(fleet, &action.action);
        if refers && progress.await?.state(now) == ActionState::InProgress {
            return Ok(Some(action.action));
        }
    }
    Ok(None)
}

async fn users(fleet: &Fleet, id: &SecretId) -> Result<Vec<PolicyId>, FleetError> {
    let mut users = Vec::new();
    let mut next = Some(PageRequest::first(BATCH));
    while let Some(request) = next {
        let page = fleet.store.policies(request).await?;
        for summary in page.items {
            if references(&summary.latest.data).await?.contains(id) {
                users.push(summary.latest.policy);
            }
        }
        next = page.next.map(|position| PageRequest {
            from: PageStart::After(position),
            limit: BATCH,
        });
    }
    Ok(users)
}

/// The ids that a stored policy refers to; none if it cannot be read.
pub(crate) async fn references(data: &RawJson) -> Result<BTreeSet<SecretId>, FleetError> {
    if !secret_references::may_refer(data.as_str()) {
        return Ok(BTreeSet::new());
    }
    let data = data.clone();
    off_the_loop_if_large(data.as_str().len(), move || {
        data.read::<Map<String, Value>>()
            .map(|policy| secret_references::of_policy(&policy))
            .unwrap_or_default()
    })
    .await
}

/// The values that a policy refers to. Unknown ones are missing, with a warning.
///
/// # Errors
/// [`FleetError::SecretUnreadable`], [`FleetError::NoStoreKey`], or the store's fault.
pub(crate) async fn values_for_policy(
    store: &dyn Store,
    key: Option<&StoreKey>,
    policy: &PolicyId,
    data: &RawJson,
) -> Result<Values, FleetError> {
    let mut values = Values::new();
    for id in references(data).await? {
        match value(store, key, &id).await? {
            Some(value) => drop(values.insert(id, value)),
            None => log::warn!(
                "fleet.policy.id":% = policy, "fleet.secret.id":% = id;
                "policy {policy} refers to secret {id}, which does not exist: agents get the reference as it is"
            ),
        }
    }
    Ok(values)
}

/// The values that the data of actions refer to. Those that are unknown or cannot be read are missing.
pub(crate) async fn values_for_actions<'a>(
    fleet: &Fleet,
    data: impl Iterator<Item = &'a RawJson>,
) -> Result<Values, FleetError> {
    let mut values = Values::new();
    for data in data.filter(|data| secret_references::may_refer(data.as_str())) {
        let Ok(data) = data.read::<Value>() else { continue };
        for id in secret_references::of_value(&data) {
            match value(&*fleet.store, fleet.settings.store_key.as_ref(), &id).await {
                Ok(Some(value)) => drop(values.insert(id, value)),
                Ok(None) => {}
                Err(FleetError::Store(error)) => return Err(error.into()),
                Err(error) => log::error!("fleet.secret.id":% = id, "error.message":% = error; "{error}"),
            }
        }
    }
    Ok(values)
}

/// Whether all of them exist.
///
/// # Errors
/// [`FleetError::UnknownSecret`] names the first that does not; or the store's fault.
pub(crate) async fn must_exist(fleet: &Fleet, ids: BTreeSet<SecretId>) -> Result<(), FleetError> {
    for id in ids {
        if fleet.store.secret(&id).await?.is_none() {
            return Err(FleetError::UnknownSecret { secret: id });
        }
    }
    Ok(())
}

async fn value(
    store: &dyn Store,
    key: Option<&StoreKey>,
    id: &SecretId,
) -> Result<Option<Secret>, FleetError> {
    let Some(sealed) = store.secret(id).await? else {
        return Ok(None);
    };
    let key = key.ok_or(FleetError::NoStoreKey)?;
    key.open(id, &sealed.sealed).map(Some)
}

/// What an operator wrote into an action in plain text and nobody should find in the store: references in its place,
/// and the secrets that they name, which go with the action's document.
pub(crate) fn hide(
    fleet: &Fleet,
    kind: ActionKind,
    data: RawJson,
    doc: &ActionDocId,
    now: Timestamp,
) -> Result<(RawJson, Vec<SealedSecret>), FleetError> {
    let paths = secret_members(kind);
    if paths.is_empty() {
        return Ok((data, Vec::new()));
    }
    let invalid = |error: serde_json::Error| FleetError::InvalidAction {
        reason: format!("data: {error}"),
    };
    let mut value: Value = data.read().map_err(invalid)?;
    let mut hidden = Vec::new();
    for path in paths {
        let below = path
            .iter()
            .try_fold(&mut value, |value, name| value.get_mut(name));
        let name = format!("{} of an action", path.join("."));
        for text in below.map(texts).unwrap_or_default() {
            if text.is_empty() || !secret_references::of_value(&Value::String(text.clone())).is_empty() {
                continue;
            }
            let id = SecretId::from(uuid::Uuid::new_v4().to_string());
            let secret = Secret::from(std::mem::replace(text, secret_references::reference(&id)));
            hidden.push(sealed(key(fleet)?, id, &name, Some(doc.clone()), &secret, now)?);
        }
    }
    if hidden.is_empty() {
        return Ok((data, hidden));
    }
    Ok((RawJson::from_value(&value).map_err(invalid)?, hidden))
}

/// Where the data of a type hold what is secret; of a map or a list, each text in it.
fn secret_members(kind: ActionKind) -> &'static [&'static [&'static str]] {
    match kind {
        // A key may be given as PEM, and headers carry credentials.
        ActionKind::Migrate => &[
            &["enrollment_token"],
            &["settings", "key"],
            &["settings", "replace_token"],
            &["settings", "headers"],
            &["settings", "proxy_headers"],
        ],
        ActionKind::PrivilegeLevelChange => &[&["user_info", "password"]],
        ActionKind::Cancel
        | ActionKind::InputAction
        | ActionKind::PolicyReassign
        | ActionKind::RequestDiagnostics
        | ActionKind::Settings
        | ActionKind::Unenroll
        | ActionKind::Upgrade => &[],
    }
}

fn texts(value: &mut Value) -> Vec<&mut String> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter_mut().flat_map(texts).collect(),
        Value::Object(members) => members.values_mut().flat_map(texts).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

fn key(fleet: &Fleet) -> Result<&StoreKey, FleetError> {
    fleet.settings.store_key.as_ref().ok_or(FleetError::NoStoreKey)
}

fn sealed(
    key: &StoreKey,
    id: SecretId,
    name: &str,
    action: Option<ActionDocId>,
    value: &Secret,
    now: Timestamp,
) -> Result<SealedSecret, FleetError> {
    Ok(SealedSecret {
        sealed: key.seal(&id, value)?,
        key: key.id().to_owned(),
        name: name.to_owned(),
        action,
        created_at: now,
        id,
    })
}

/// Encrypts all secrets of a store with another key, in one unit; answers how many. Nobody else may use the store.
///
/// # Errors
/// [`FleetError::SecretUnreadable`]: nothing is changed. Or the store's fault.
pub async fn rotate(store: &dyn Store, from: &StoreKey, to: &StoreKey) -> Result<usize, FleetError> {
    let mut anew = Vec::new();
    for old in all(store).await? {
        let value = from.open(&old.id, &old.sealed)?;
        anew.push(SealedSecret {
            sealed: to.seal(&old.id, &value)?,
            key: to.id().to_owned(),
            ..old
        });
    }
    let count = anew.len();
    store.reseal_secrets(anew).await?;
    Ok(count)
}

/// Removes every secret of a store, whose key is lost; answers how many.
pub async fn discard(store: &dyn Store) -> Result<usize, FleetError> {
    let all = all(store).await?;
    for secret in &all {
        store.delete_secret(&secret.id).await?;
    }
    Ok(all.len())
}

async fn all(store: &dyn Store) -> Result<Vec<SealedSecret>, FleetError> {
    let mut found = Vec::new();
    let mut next = Some(PageRequest::first(BATCH));
    while let Some(request) = next {
        let page = store.secrets(request).await?;
        found.extend(page.items);
        next = page.next.map(|position| PageRequest {
            from: PageStart::After(position),
            limit: BATCH,
        });
    }
    Ok(found)
}

const MOST_BYTES: usize = 64 * 1024;
const MOST_NAME_BYTES: usize = 256;
const BATCH: u32 = 100;
