//! Operators' keys (O17): rows of `api_key` with a role.

use rusqlite::{Connection, OptionalExtension, Row};
use store::{ApiKey, KeyId, KeyOwner, KeyPurpose, NewOperatorKey, OperatorKey, Page, PageRequest, Timestamp};

use super::{
    columns::{ReadColumn as _, count, params},
    fault::{Failure, Outcome},
    keys, pages,
    unit::Unit,
};

pub(super) fn create(unit: &Unit<'_>, new: NewOperatorKey, key: &ApiKey) -> Outcome<OperatorKey> {
    let purpose = KeyPurpose {
        name: new.name,
        metadata: None,
    };
    keys::insert(unit, key, &KeyOwner::Operator, &purpose, new.at)?;
    unit.prepare_cached("UPDATE api_key SET role = ?2, expires_at = ?3 WHERE id = ?1")?
        .execute(params![key.id, new.role, new.expires_at])?;
    Ok(OperatorKey {
        id: key.id.clone(),
        name: purpose.name,
        role: new.role,
        active: true,
        expires_at: new.expires_at,
        created_at: new.at,
    })
}

pub(super) fn by_id(connection: &Connection, id: &KeyId) -> Outcome<Option<OperatorKey>> {
    Ok(connection
        .prepare_cached(concat!(select!(), " AND id = ?1"))?
        .query_row(params![id], operator_key)
        .optional()?)
}

/// Newest first.
pub(super) fn page(connection: &Connection, request: &PageRequest) -> Outcome<Page<OperatorKey>> {
    let (offset, after) = pages::start::<(i64, String)>(request)?;
    let (time, id) = after.unwrap_or((i64::MAX, String::new()));
    let snapshot = connection.unchecked_transaction()?;
    let total = snapshot
        .prepare_cached("SELECT count(*) FROM api_key WHERE kind = 3")?
        .query_row([], |row| count(row, 0))?;
    let items = snapshot
        .prepare_cached(concat!(
            select!(),
            " AND (created_at, id) < (?3, ?4) ORDER BY created_at DESC, id DESC LIMIT ?1 OFFSET ?2"
        ))?
        .query_map(params![request.limit, offset, time, id], operator_key)?
        .collect::<rusqlite::Result<_>>()?;
    Ok(pages::page(request, items, total, |last: &OperatorKey| {
        (last.created_at.millis(), last.id.clone())
    })?)
}

pub(super) fn revoke(unit: &Unit<'_>, id: &KeyId, at: Timestamp) -> Outcome<()> {
    by_id(unit, id)?.ok_or_else(|| Failure::missing("operator key", id))?;
    keys::invalidate(unit, std::slice::from_ref(id), at)
}

/// The columns in the order in which [`operator_key`] reads them.
macro_rules! select {
    () => {
        "SELECT id, name, role, active, expires_at, created_at FROM api_key WHERE kind = 3"
    };
}
use select;

fn operator_key(row: &Row<'_>) -> rusqlite::Result<OperatorKey> {
    Ok(OperatorKey {
        id: row.read(0)?,
        name: row.read(1)?,
        role: row.read(2)?,
        active: row.read(3)?,
        expires_at: row.read(4)?,
        created_at: row.read(5)?,
    })
}
