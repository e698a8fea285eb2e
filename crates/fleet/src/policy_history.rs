//! The history of a policy: its revisions, what differs between two of them, and the way back to an earlier one.
//!
//! In: numbers of revisions. Out: revisions as they were stored, differences by path (RFC 6901). Never changes a revision:
//! going back appends another one with the old content.

use serde_json::{Map, Value, json};
use store::{Page, PageRequest, PolicyId, PolicyRevision, RawJson, Timestamp};

use crate::{
    Fleet, FleetError,
    off_the_loop::off_the_loop,
    policies::{self, PolicySettings},
};

/// Revisions of the policy, newest first.
///
/// # Errors
/// [`FleetError::UnknownPolicy`], or the store's fault.
pub async fn list(
    fleet: &Fleet,
    id: &PolicyId,
    page: PageRequest,
) -> Result<Page<PolicyRevision>, FleetError> {
    let found = fleet.store.policy_history(id, page).await?;
    if found.total.count() == 0 {
        return Err(FleetError::UnknownPolicy { policy: id.clone() });
    }
    Ok(found)
}

/// One revision.
///
/// # Errors
/// [`FleetError::UnknownPolicy`], [`FleetError::UnknownRevision`], or the store's fault.
pub async fn get(fleet: &Fleet, id: &PolicyId, revision: i64) -> Result<PolicyRevision, FleetError> {
    if let Some(found) = fleet.store.policy_revision(id, revision).await? {
        return Ok(found);
    }
    let current = policies::get(fleet, id).await?.revision;
    Err(FleetError::UnknownRevision {
        policy: id.clone(),
        revision,
        current,
    })
}

/// Makes a new revision with the settings of an earlier one; only if `read` is the newest, when it is given.
///
/// # Errors
/// [`FleetError::UnknownPolicy`], [`FleetError::UnknownRevision`], [`FleetError::StaleRevision`],
/// [`FleetError::InvalidPolicy`] if the old content is refused by now (a secret of it is gone), or the store's fault.
pub async fn roll_back(
    fleet: &Fleet,
    id: &PolicyId,
    revision: i64,
    read: Option<i64>,
    now: Timestamp,
) -> Result<PolicyRevision, FleetError> {
    let old = get(fleet, id, revision).await?;
    policies::replace(fleet, id, read, move |_| settings(&old), now).await
}

/// The settings of a revision.
pub(crate) fn settings(revision: &PolicyRevision) -> Result<PolicySettings, FleetError> {
    revision
        .settings
        .read()
        .map_err(|error| FleetError::InvalidSettings {
            source: store::Cause::new(error),
        })
}

/// One difference between two revisions.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Where: `/full/…` in what agents get, `/settings/…` in what only operators see.
    pub path: String,
    /// `None`: it was added.
    pub before: Option<Value>,
    /// `None`: it was removed.
    pub after: Option<Value>,
}

/// What differs in `to` from `from`.
///
/// # Errors
/// [`FleetError::UnknownPolicy`], [`FleetError::UnknownRevision`], or the store's fault.
pub async fn difference(
    fleet: &Fleet,
    id: &PolicyId,
    from: i64,
    to: i64,
) -> Result<Vec<Difference>, FleetError> {
    let (from, to) = (get(fleet, id, from).await?, get(fleet, id, to).await?);
    // A policy may have megabytes.
    off_the_loop(move || {
        let mut differences = Vec::new();
        compare("", Some(&shown(&from)?), Some(&shown(&to)?), 0, &mut differences);
        Ok(differences)
    })
    .await?
}

/// What is compared of a revision: not its number, and nothing twice.
fn shown(revision: &PolicyRevision) -> Result<Value, FleetError> {
    let read = |raw: &RawJson| {
        raw.read::<Map<String, Value>>()
            .map_err(|error| FleetError::InvalidSettings {
                source: store::Cause::new(error),
            })
    };
    let (mut full, mut settings) = (read(&revision.data)?, read(&revision.settings)?);
    full.remove("revision");
    for made in ["overrides", "full_policy"] {
        settings.remove(made);
    }
    Ok(json!({ "settings": settings, "full": full }))
}

fn compare(
    path: &str,
    before: Option<&Value>,
    after: Option<&Value>,
    depth: usize,
    differences: &mut Vec<Difference>,
) {
    match (before, after) {
        // JSON from outside is at most 128 deep (serde_json's own limit).
        (Some(Value::Object(before)), Some(Value::Object(after))) if depth < DEEPEST => {
            let added = after.keys().filter(|key| !before.contains_key(*key));
            for key in before.keys().chain(added) {
                let path = format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"));
                compare(&path, before.get(key), after.get(key), depth + 1, differences);
            }
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) if depth < DEEPEST => {
            for place in 0..before.len().max(after.len()) {
                let path = format!("{path}/{place}");
                compare(&path, before.get(place), after.get(place), depth + 1, differences);
            }
        }
        _ if before == after => {}
        _ => differences.push(Difference {
            path: path.to_owned(),
            before: before.cloned(),
            after: after.cloned(),
        }),
    }
}

const DEEPEST: usize = 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn compared(before: &Value, after: &Value) -> Vec<Difference> {
        let mut differences = Vec::new();
        compare("", Some(before), Some(after), 0, &mut differences);
        differences
    }

    #[test]
    fn each_difference_has_its_path() {
        let before = json!({"a": {"b/c": 1, "gone": null}, "list": [1, {"x": 1}], "same": [1]});
        let after = json!({"a": {"b/c": 2}, "list": [1, {"x": 1}, 3], "same": [1], "new": {}});
        let found = compared(&before, &after);
        let found: Vec<_> = found
            .iter()
            .map(|each| (each.path.as_str(), each.before.clone(), each.after.clone()))
            .collect();
        let expected = [
            ("/a/b~1c", Some(json!(1)), Some(json!(2))),
            ("/a/gone", Some(Value::Null), None),
            ("/list/2", None, Some(json!(3))),
            ("/new", None, Some(json!({}))),
        ];
        assert_eq!(found, expected);
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            (0..3_i64).prop_map(Value::from),
            "[a~/]{0,2}".prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec(("[a-c~/]{1,2}", inner), 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// Nothing differs from itself; what is told of two is true of both, and lost in neither direction.
        #[test]
        fn differences_are_those_of_the_two(before in value(), after in value()) {
            prop_assert_eq!(compared(&before, &before), []);
            let found = compared(&before, &after);
            prop_assert_eq!(found.is_empty(), before == after);
            for each in &found {
                prop_assert_eq!(before.pointer(&each.path), each.before.as_ref());
                prop_assert_eq!(after.pointer(&each.path), each.after.as_ref());
            }
            prop_assert_eq!(compared(&after, &before).len(), found.len());
        }
    }
}
