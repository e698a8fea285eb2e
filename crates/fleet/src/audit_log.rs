//! The audit log: what operators changed (data.md 9.7).
//!
//! In: from each change its target, with what was and is so of it, never a secret. Out: pages of the log. Who asked for
//! the change and how, the draft knows that came with the request.

use serde_json::Value;
use store::{AuditEntry, AuditQuery, AuditTarget, Page, PageRequest, RawJson, StoreError};

use crate::{Fleet, FleetError};

/// The next write to the store is this change. Changes that no operator asked for have no entry.
pub(crate) fn due(fleet: &Fleet, kind: &str, id: &str, before: Value, after: Value) {
    let Some(draft) = &fleet.audit else {
        return;
    };
    let shown = |value: Value| Some(value).filter(|value| !value.is_null());
    let raw = |value| shown(value).and_then(|value| RawJson::from_value(&value).ok());
    let target = AuditTarget {
        kind: kind.to_owned(),
        id: id.to_owned(),
    };
    draft.is_due(target, raw(before), raw(after));
}

/// Writes the entry of a request that succeeded, if no change took it along.
///
/// # Errors
/// The store's fault.
pub async fn complete(fleet: &Fleet) -> Result<(), FleetError> {
    let left_over = fleet.audit.as_ref().and_then(|draft| draft.left_over());
    match left_over {
        Some(entry) => match fleet.store.append_audit(entry).await {
            // Such a store keeps no log; the server's has it.
            Ok(()) | Err(StoreError::Unsupported { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        },
        None => Ok(()),
    }
}

/// Entries of the log, newest first.
///
/// # Errors
/// The store's fault.
pub async fn list(
    fleet: &Fleet,
    query: &AuditQuery,
    page: PageRequest,
) -> Result<Page<AuditEntry>, FleetError> {
    Ok(fleet.store.audit(query, page).await?)
}
