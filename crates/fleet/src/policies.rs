//! Policies for operators: settings in, a full policy revision out (data.md 8.1 and 9.3).

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use store::{
    Cause, Conflict, NewRevision, Page, PageRequest, PolicyId, PolicyRevision, PolicySummary, RawJson,
    StoreError, Timestamp,
};

use crate::{
    ApiKey, Fleet, FleetError, Settings, audit_log, ids, namespace, off_the_loop::off_the_loop,
    policy_history, rendered_policy, secret_references, secrets, tokens,
};

/// An operator's settings of a policy. Unknown members are kept and shown again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PolicySettings {
    /// Display name.
    pub name: String,
    /// Namespace of its data streams.
    pub namespace: String,
    /// Free text for operators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// `logs`, `metrics`, `traces`: what the agent reports of itself. Absent or empty: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitoring_enabled: Option<Vec<String>>,
    /// Seconds without a check-in until an agent counts as inactive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inactivity_timeout: Option<u64>,
    /// Merged into the full policy: objects merge, other values replace, `null` removes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overrides: Option<Map<String, Value>>,
    /// A full policy that replaces the generated one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_policy: Option<Map<String, Value>>,
    /// The file that made the policy, if one did. Shown to operators, and kept when the policy changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_from: Option<String>,
    /// Members that are not known here.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

/// Creates a policy with revision 1 and one enrollment token. Only this answer has the token's text.
///
/// # Errors
/// [`FleetError::PolicyExists`], [`FleetError::InvalidPolicy`], [`FleetError::InvalidId`], or the store's fault.
pub async fn create(
    fleet: &Fleet,
    id: Option<&str>,
    settings: PolicySettings,
    now: Timestamp,
) -> Result<(PolicyRevision, ApiKey), FleetError> {
    let id = match id.filter(|id| !id.is_empty()) {
        Some(id) => ids::policy_id(id)?,
        None => PolicyId::from(uuid::Uuid::new_v4().to_string()),
    };
    let token_name = format!("{} token", settings.name);
    let revision = create_first(fleet, &id, settings, now).await?;
    let (_, key) = tokens::create(fleet, &id, Some(&token_name), None, now).await?;
    Ok((revision, key))
}

/// Creates a policy with the settings of the newest revision of another one. Only this answer has its token's text.
///
/// # Errors
/// [`FleetError::UnknownPolicy`], or as [`create`].
pub async fn copy(
    fleet: &Fleet,
    of: &PolicyId,
    name: String,
    description: Option<String>,
    now: Timestamp,
) -> Result<(PolicyRevision, ApiKey), FleetError> {
    let settings = policy_history::settings(&get(fleet, of).await?)?;
    let settings = PolicySettings {
        name,
        description,
        ..settings
    };
    create(fleet, None, settings, now).await
}

async fn create_first(
    fleet: &Fleet,
    id: &PolicyId,
    settings: PolicySettings,
    now: Timestamp,
) -> Result<PolicyRevision, FleetError> {
    let _in_turn = fleet.policy_changes.lock().await;
    append(fleet, id, None, || Ok(settings), now)
        .await
        .map_err(|error| match error {
            FleetError::Store(StoreError::Conflict(Conflict::Revision { policy, .. })) => {
                FleetError::PolicyExists { policy }
            }
            other => other,
        })
}

/// Replaces the given members of the policy's settings; always makes a new revision, also without a visible change.
///
/// # Errors
/// [`FleetError::UnknownPolicy`], [`FleetError::InvalidPolicy`], or the store's fault.
pub async fn update(
    fleet: &Fleet,
    id: &PolicyId,
    changes: Map<String, Value>,
    now: Timestamp,
) -> Result<PolicyRevision, FleetError> {
    update_read(fleet, id, None, changes, now).await
}

/// As [`update`], only if the newest revision is still the one that the operator read, when that is known.
///
/// # Errors
/// As [`update`]; [`FleetError::StaleRevision`].
pub async fn update_read(
    fleet: &Fleet,
    id: &PolicyId,
    read: Option<i64>,
    changes: Map<String, Value>,
    now: Timestamp,
) -> Result<PolicyRevision, FleetError> {
    replace(fleet, id, read, move |current| changed(current, &changes), now).await
}

/// Makes a revision of what `settings` makes of the newest one.
pub(crate) async fn replace(
    fleet: &Fleet,
    id: &PolicyId,
    read: Option<i64>,
    settings: impl Fn(&PolicyRevision) -> Result<PolicySettings, FleetError> + Send + Sync + 'static,
    now: Timestamp,
) -> Result<PolicyRevision, FleetError> {
    let made = Arc::new(settings);
    let _in_turn = fleet.policy_changes.lock().await;
    // Another server may have changed the policy meanwhile: then this change is applied to that revision.
    for _ in 0..UPDATE_ATTEMPTS {
        let current = get(fleet, id).await?;
        let (previous, made) = (current.revision, Arc::clone(&made));
        if read.is_some_and(|read| read != previous) {
            return Err(FleetError::StaleRevision {
                policy: id.clone(),
                current: previous,
            });
        }
        let settings = move || made(&current);
        match append(fleet, id, Some(previous), settings, now).await {
            Err(FleetError::Store(StoreError::Conflict(Conflict::Revision { .. }))) => {}
            outcome => return outcome,
        }
    }
    Err(FleetError::Busy {
        what: "the policy",
        retry_after: Duration::from_secs(1),
    })
}

fn changed(current: &PolicyRevision, changes: &Map<String, Value>) -> Result<PolicySettings, FleetError> {
    let mut settings: Map<String, Value> =
        current
            .settings
            .read()
            .map_err(|error| FleetError::InvalidSettings {
                source: Cause::new(error),
            })?;
    for (key, value) in changes {
        settings.insert(key.clone(), value.clone());
    }
    serde_json::from_value(Value::Object(settings)).map_err(|error| FleetError::InvalidSettings {
        source: Cause::new(error),
    })
}

/// What [`create`] would refuse, or for the policy `id` what [`update`] would. Stores nothing.
///
/// # Errors
/// Those of the two, but for another change at the same time.
pub async fn check(
    fleet: &Fleet,
    id: Option<&PolicyId>,
    members: Map<String, Value>,
    now: Timestamp,
) -> Result<(), FleetError> {
    let current = match id {
        Some(id) => get(fleet, id).await?,
        None => {
            let settings = move || {
                serde_json::from_value(Value::Object(members)).map_err(|error| FleetError::InvalidPolicy {
                    reason: error.to_string(),
                })
            };
            let id = PolicyId::from(uuid::Uuid::new_v4().to_string());
            return drafted(fleet, &id, None, settings, now).await.map(drop);
        }
    };
    let (id, previous) = (current.policy.clone(), current.revision);
    let settings = move || changed(&current, &members);
    drafted(fleet, &id, Some(previous), settings, now).await.map(drop)
}

/// The newest revision.
///
/// # Errors
/// [`FleetError::UnknownPolicy`], or the store's fault.
pub async fn get(fleet: &Fleet, id: &PolicyId) -> Result<PolicyRevision, FleetError> {
    fleet
        .store
        .policy(id)
        .await?
        .ok_or_else(|| FleetError::UnknownPolicy { policy: id.clone() })
}

/// All policies with their agents counted.
pub async fn list(fleet: &Fleet, page: PageRequest) -> Result<Page<PolicySummary>, FleetError> {
    Ok(fleet.store.policies(page).await?)
}

/// Deletes the policy and revokes its tokens.
///
/// # Errors
/// [`FleetError::UnknownPolicy`], [`FleetError::PolicyInUse`], or the store's fault.
pub async fn delete(fleet: &Fleet, id: &PolicyId, now: Timestamp) -> Result<(), FleetError> {
    audit_log::due(fleet, "policy", id.as_str(), Value::Null, Value::Null);
    fleet
        .store
        .delete_policy(id, now)
        .await
        .map_err(|error| match error {
            StoreError::NotFound { .. } => FleetError::UnknownPolicy { policy: id.clone() },
            StoreError::Conflict(Conflict::AgentsAssigned { policy, agents }) => {
                FleetError::PolicyInUse { policy, agents }
            }
            other => FleetError::Store(other),
        })?;
    fleet.announcer.tokens_revoked();
    log::info!("event.action" = "policy-delete", "fleet.policy.id":% = id; "policy deleted");
    Ok(())
}

/// Whether the store holds any policy.
pub async fn any(fleet: &Fleet) -> Result<bool, FleetError> {
    Ok(!list(fleet, PageRequest::first(1)).await?.items.is_empty())
}

/// Gives a store without policies the default policy, with `token` as its enrollment token.
pub async fn bootstrap(
    fleet: &Fleet,
    token: ApiKey,
    now: Timestamp,
) -> Result<Option<PolicyRevision>, FleetError> {
    let default = PolicyId::from(DEFAULT_POLICY);
    let policy = if any(fleet).await? {
        let has_tokens = !tokens::list(fleet, PageRequest::first(1)).await?.items.is_empty();
        // Completes a first start that ended between policy and token.
        match fleet.store.policy(&default).await? {
            Some(policy) if !has_tokens => policy,
            _ => return Ok(None),
        }
    } else {
        let settings = PolicySettings {
            name: "Default policy".to_owned(),
            namespace: "default".to_owned(),
            ..PolicySettings::default()
        };
        create_first(fleet, &default, settings, now).await?
    };
    tokens::adopt_as(fleet, &default, "Default policy token", &token, now).await?;
    Ok(Some(policy))
}

async fn append(
    fleet: &Fleet,
    id: &PolicyId,
    previous: Option<i64>,
    settings: impl FnOnce() -> Result<PolicySettings, FleetError> + Send + 'static,
    now: Timestamp,
) -> Result<PolicyRevision, FleetError> {
    let revision = drafted(fleet, id, previous, settings, now).await?;
    audit_log::due(
        fleet,
        "policy",
        id.as_str(),
        previous.map_or(Value::Null, |revision| json!({ "revision": revision })),
        json!({ "revision": previous.unwrap_or(0) + 1 }),
    );
    let stored = fleet.store.append_policy_revision(previous, revision).await?;
    log::info!(
        "event.action" = "policy-revision", "fleet.policy.id":% = id, "fleet.revision_idx" = stored.revision;
        "policy revision created"
    );
    // The next check-in gets it without waiting for the feed; the monitor wakes waiting polls.
    if let Err(error) = fleet.actors.policy_monitor.revised(&stored).await {
        log::warn!("fleet.policy.id":% = id, "error.message":% = store::chain(&error); "the new revision is offered only once the change feed reports it");
    }
    fleet.actors.health_monitor.recount();
    Ok(stored)
}

/// A revision that may be stored: agents could run it, and its secrets are there.
async fn drafted(
    fleet: &Fleet,
    id: &PolicyId,
    previous: Option<i64>,
    settings: impl FnOnce() -> Result<PolicySettings, FleetError> + Send + 'static,
    now: Timestamp,
) -> Result<NewRevision, FleetError> {
    let (policy, defaults) = (id.clone(), Arc::clone(&fleet.settings));
    // A policy may have megabytes, and is parsed, merged and checked here.
    let revision =
        off_the_loop(move || new_revision(&defaults, policy, previous, &settings()?, now)).await??;
    secrets::must_exist(fleet, secrets::references(&revision.data).await?)
        .await
        .map_err(|error| match error {
            FleetError::UnknownSecret { .. } => FleetError::InvalidPolicy {
                reason: format!("{error}: make it before the policy that refers to it"),
            },
            other => other,
        })?;
    Ok(revision)
}

fn new_revision(
    defaults: &Settings,
    id: PolicyId,
    previous: Option<i64>,
    settings: &PolicySettings,
    now: Timestamp,
) -> Result<NewRevision, FleetError> {
    if settings.name.trim().is_empty() {
        return Err(FleetError::InvalidPolicy {
            reason: "name must not be empty".into(),
        });
    }
    let refused = |reason| FleetError::InvalidPolicy { reason };
    let invalid = |error: serde_json::Error| refused(error.to_string());
    namespace::check(&settings.namespace).map_err(|reason| refused(format!("namespace {reason}")))?;
    let full = full(defaults, &id, previous.unwrap_or(0) + 1, settings);
    // A policy that no agent could run is refused before it is stored.
    rendered_policy::check(&full).map_err(refused)?;
    namespace::check_policy(&full).map_err(refused)?;
    Ok(NewRevision {
        policy: id,
        data: RawJson::from_value(&full).map_err(invalid)?,
        settings: RawJson::from_value(settings).map_err(invalid)?,
        namespaces: Vec::new(),
        inactivity_timeout: settings
            .inactivity_timeout
            .filter(|s| *s > 0)
            .map(Duration::from_secs),
        at: now,
    })
}

/// The full policy: generated or given, with the overrides applied.
fn full(defaults: &Settings, id: &PolicyId, revision: i64, settings: &PolicySettings) -> Map<String, Value> {
    let mut full = settings
        .full_policy
        .clone()
        .unwrap_or_else(|| made(defaults, settings));
    if let Some(overrides) = &settings.overrides {
        lay_over(&mut full, overrides, 0);
    }
    full.insert("id".into(), id.as_str().into());
    full.insert("revision".into(), revision.into());
    secret_references::list(&mut full);
    full
}

fn made(defaults: &Settings, settings: &PolicySettings) -> Map<String, Value> {
    let monitored = settings.monitoring_enabled.as_deref().unwrap_or_default();
    let has = |what: &str| monitored.iter().any(|monitored| monitored == what);
    let monitoring = if monitored.is_empty() {
        json!({"enabled": false})
    } else {
        json!({
            "enabled": true, "use_output": "default", "namespace": settings.namespace,
            "logs": has("logs"), "metrics": has("metrics"), "traces": has("traces"),
        })
    };
    let full = json!({
        "outputs": {"default": {"type": "elasticsearch", "hosts": defaults.default_output_hosts}},
        "agent": {"monitoring": monitoring},
        "fleet": {"hosts": defaults.fleet_hosts},
        "inputs": [],
    });
    match full {
        Value::Object(full) => full,
        _ => Map::new(),
    }
}

fn lay_over(under: &mut Map<String, Value>, over: &Map<String, Value>, depth: usize) {
    for (key, value) in over {
        match (under.get_mut(key), value) {
            (_, Value::Null) => drop(under.remove(key)),
            // JSON from outside is at most 128 deep (serde_json's own limit).
            (Some(Value::Object(under)), Value::Object(over)) if depth < 128 => {
                lay_over(under, over, depth + 1)
            }
            _ => drop(under.insert(key.clone(), value.clone())),
        }
    }
}

/// Id of the policy that the first start makes.
pub const DEFAULT_POLICY: &str = "default-policy";

const UPDATE_ATTEMPTS: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(object) => object,
            other => panic!("{other} is no object"),
        }
    }

    #[test]
    fn overrides_merge_objects_replace_the_rest_and_remove_with_null() {
        let mut under = object(json!({"agent": {"a": 1, "b": [1, 2]}, "inputs": [1], "fleet": {}}));
        lay_over(
            &mut under,
            &object(json!({"agent": {"b": [3], "c": {"d": 1}}, "fleet": null})),
            0,
        );
        assert_eq!(
            Value::Object(under),
            json!({"agent": {"a": 1, "b": [3], "c": {"d": 1}}, "inputs": [1]})
        );
    }

    #[test]
    fn unknown_members_are_kept() {
        let settings: PolicySettings =
            serde_json::from_value(json!({"name": "n", "namespace": "d", "is_protected": true})).unwrap();
        assert_eq!(serde_json::to_value(&settings).unwrap()["is_protected"], true);
    }
}
