//! API keys: made with what they open, dead at once when invalidated, never removed.

use rusqlite::{Connection, OptionalExtension};
use store::{ChangeKind, Conflict, KeyHash, KeyId, KeyKind, KeyRecord, NewKey, Timestamp};

use super::{
    columns::{ReadColumn as _, params},
    fault::Outcome,
    unit::Unit,
};

/// O3.
pub(super) fn by_id(connection: &Connection, id: &KeyId) -> Outcome<Option<KeyRecord>> {
    let record = connection
        .prepare_cached("SELECT kind, owner, salt, digest, active FROM api_key WHERE id = ?1")?
        .query_row(params![id], |row| {
            let owner = row.read::<Option<String>>(1)?.unwrap_or_default();
            let kind = match row.read::<i64>(0)? {
                ENROLLMENT => KeyKind::Enrollment(owner.into()),
                ACCESS => KeyKind::Access(owner.into()),
                ADMIN => KeyKind::Admin,
                other => return Err(rusqlite::Error::IntegralValueOutOfRange(0, other)),
            };
            let hash = KeyHash {
                salt: row.read(2)?,
                digest: row.read(3)?,
            };
            Ok(KeyRecord {
                id: id.clone(),
                hash,
                kind,
                active: row.read(4)?,
            })
        })
        .optional()?;
    Ok(record)
}

/// O17.
pub(super) fn create(unit: &Unit<'_>, key: &NewKey) -> Outcome<()> {
    insert(unit, key)?;
    unit.announce(ChangeKind::Key, key.id.as_str())
}

/// Stores a key as part of a larger unit.
pub(super) fn insert(connection: &Connection, key: &NewKey) -> Outcome<()> {
    if exists(connection, &key.id)? {
        return Err(Conflict::IdTaken(format!("key {}", key.id)).into());
    }
    let (kind, owner) = match &key.kind {
        KeyKind::Enrollment(token) => (ENROLLMENT, Some(token.as_str())),
        KeyKind::Access(agent) => (ACCESS, Some(agent.as_str())),
        KeyKind::Admin => (ADMIN, None),
    };
    connection
        .prepare_cached(
            "INSERT INTO api_key (id, kind, owner, active, salt, digest, name, metadata, created_at)
             VALUES (?1, ?2, ?3, 1, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            key.id,
            kind,
            owner,
            key.hash.salt,
            key.hash.digest,
            key.name,
            key.metadata,
            key.at
        ])?;
    Ok(())
}

pub(super) fn exists(connection: &Connection, id: &KeyId) -> Outcome<bool> {
    Ok(connection
        .prepare_cached("SELECT 1 FROM api_key WHERE id = ?1")?
        .exists(params![id])?)
}

/// O17: unknown and dead ones are skipped.
pub(super) fn invalidate(unit: &Unit<'_>, ids: &[KeyId], at: Timestamp) -> Outcome<()> {
    for id in ids {
        let killed = unit
            .prepare_cached(
                "UPDATE api_key SET active = 0, invalidated_at = ?2 WHERE id = ?1 AND active = 1",
            )?
            .execute(params![id, at])?;
        if killed > 0 {
            unit.announce(ChangeKind::Key, id.as_str())?;
        }
    }
    Ok(())
}

/// Every living access key of an agent dies.
pub(super) fn invalidate_of_agent(unit: &Unit<'_>, agent: &str, at: Timestamp) -> Outcome<()> {
    let keys = unit
        .prepare_cached("SELECT id FROM api_key WHERE owner = ?1 AND kind = ?2 AND active = 1")?
        .query_map(params![agent, ACCESS], |row| row.read(0))?
        .collect::<rusqlite::Result<Vec<KeyId>>>()?;
    invalidate(unit, &keys, at)
}

const ENROLLMENT: i64 = 1;
const ACCESS: i64 = 2;
const ADMIN: i64 = 3;
