//! Secrets, encrypted (O18).

use rusqlite::{Connection, OptionalExtension, Row};
use store::{ActionDocId, Conflict, Page, PageRequest, SealedSecret, SecretId};

use super::{
    columns::{Raw, ReadColumn as _, count, params},
    fault::{Failure, Outcome},
    pages,
    unit::Unit,
};

/// O18, and as part of a larger unit.
pub(super) fn put(unit: &Unit<'_>, secret: &SealedSecret) -> Outcome<()> {
    if by_id(unit, &secret.id)?.is_some() {
        return Err(Conflict::IdTaken(format!("secret {}", secret.id)).into());
    }
    unit.prepare_cached(
        "INSERT INTO secret (id, name, action, key, sealed, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        secret.id,
        secret.name,
        secret.action,
        secret.key,
        Raw(secret.sealed.clone()),
        secret.created_at
    ])?;
    Ok(())
}

pub(super) fn by_id(connection: &Connection, id: &SecretId) -> Outcome<Option<SealedSecret>> {
    Ok(connection
        .prepare_cached(concat!(select!(), " WHERE id = ?1"))?
        .query_row(params![id], secret)
        .optional()?)
}

/// O18: oldest first.
pub(super) fn page(connection: &Connection, request: &PageRequest) -> Outcome<Page<SealedSecret>> {
    let (offset, after) = pages::start::<(i64, String)>(request)?;
    let (time, id) = after.unwrap_or((i64::MIN, String::new()));
    let snapshot = connection.unchecked_transaction()?;
    let total = snapshot
        .prepare_cached("SELECT count(*) FROM secret")?
        .query_row([], |row| count(row, 0))?;
    let items = snapshot
        .prepare_cached(concat!(
            select!(),
            " WHERE (created_at, id) > (?3, ?4) ORDER BY created_at, id LIMIT ?1 OFFSET ?2"
        ))?
        .query_map(params![request.limit, offset, time, id], secret)?
        .collect::<rusqlite::Result<_>>()?;
    Ok(pages::page(request, items, total, |last: &SealedSecret| {
        (last.created_at.millis(), last.id.clone())
    })?)
}

pub(super) fn delete(unit: &Unit<'_>, id: &SecretId) -> Outcome<()> {
    match unit
        .prepare_cached("DELETE FROM secret WHERE id = ?1")?
        .execute(params![id])?
    {
        0 => Err(Failure::missing("secret", id)),
        _ => Ok(()),
    }
}

/// Those that were made for an action go with it.
pub(super) fn delete_of_action(unit: &Unit<'_>, action: &ActionDocId) -> Outcome<()> {
    unit.prepare_cached("DELETE FROM secret WHERE action = ?1")?
        .execute(params![action])?;
    Ok(())
}

pub(super) fn keys(connection: &Connection) -> Outcome<Vec<String>> {
    Ok(connection
        .prepare_cached("SELECT DISTINCT key FROM secret ORDER BY key")?
        .query_map([], |row| row.read(0))?
        .collect::<rusqlite::Result<_>>()?)
}

/// O18: all or none.
pub(super) fn reseal(unit: &Unit<'_>, secrets: &[SealedSecret]) -> Outcome<()> {
    let mut update = unit.prepare_cached("UPDATE secret SET key = ?2, sealed = ?3 WHERE id = ?1")?;
    for secret in secrets {
        if update.execute(params![secret.id, secret.key, Raw(secret.sealed.clone())])? == 0 {
            return Err(Failure::missing("secret", &secret.id));
        }
    }
    Ok(())
}

/// The columns in the order in which [`secret`] reads them.
macro_rules! select {
    () => {
        "SELECT id, name, action, key, sealed, created_at FROM secret"
    };
}
use select;

fn secret(row: &Row<'_>) -> rusqlite::Result<SealedSecret> {
    Ok(SealedSecret {
        id: row.read(0)?,
        name: row.read(1)?,
        action: row.read(2)?,
        key: row.read(3)?,
        sealed: row.read::<Raw>(4)?.0,
        created_at: row.read(5)?,
    })
}
