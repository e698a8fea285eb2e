//! API keys: made with what they open, dead at once when invalidated, never removed.

use rusqlite::{Connection, OptionalExtension};
use store::{ApiKey, Conflict, KeyId, KeyOwner, KeyPurpose, OperatorRole, Timestamp, Verification};

use super::{
    columns::{ReadColumn as _, params},
    fault::Outcome,
    key_hash::KeyHash,
    unit::Unit,
};

/// What is stored of a key.
#[derive(Clone)]
pub(super) struct StoredKey {
    hash: KeyHash,
    owner: KeyOwner,
    is_active: bool,
}

impl StoredKey {
    pub(super) fn verify(self, presented: &ApiKey) -> Verification {
        match (self.hash.fits(presented), self.is_active) {
            (true, true) => Verification::Active(self.owner),
            (true, false) => Verification::Revoked(self.owner),
            (false, _) => Verification::Unknown,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let owner = match &self.owner {
            KeyOwner::Token(token) => token.as_str().len(),
            KeyOwner::Agent(agent) => agent.as_str().len(),
            KeyOwner::Operator => 0,
        };
        size_of::<Self>() + owner
    }
}

/// An unknown key is compared too, so that looking for one takes as long.
pub(super) fn verify(stored: Option<StoredKey>, presented: &ApiKey) -> Verification {
    match stored {
        Some(stored) => stored.verify(presented),
        None => {
            let _never = KeyHash::NONE.fits(presented);
            Verification::Unknown
        }
    }
}

pub(super) fn by_id(connection: &Connection, id: &KeyId) -> Outcome<Option<StoredKey>> {
    Ok(connection
        .prepare_cached("SELECT kind, owner, salt, digest, active FROM api_key WHERE id = ?1")?
        .query_row(params![id], |row| {
            let owner = row.read::<Option<String>>(1)?.unwrap_or_default();
            let owner = match row.read::<i64>(0)? {
                TOKEN => KeyOwner::Token(owner.into()),
                AGENT => KeyOwner::Agent(owner.into()),
                OPERATOR => KeyOwner::Operator,
                other => return Err(rusqlite::Error::IntegralValueOutOfRange(0, other)),
            };
            let hash = KeyHash {
                salt: row.read(2)?,
                digest: row.read(3)?,
            };
            Ok(StoredKey {
                hash,
                owner,
                is_active: row.read(4)?,
            })
        })
        .optional()?)
}

/// O17, and as part of a larger unit.
pub(super) fn insert(
    connection: &Connection,
    key: &ApiKey,
    owner: &KeyOwner,
    purpose: &KeyPurpose,
    at: Timestamp,
) -> Outcome<()> {
    if exists(connection, &key.id)? {
        return Err(Conflict::IdTaken(format!("key {}", key.id)).into());
    }
    let (kind, owner) = match owner {
        KeyOwner::Token(token) => (TOKEN, Some(token.as_str())),
        KeyOwner::Agent(agent) => (AGENT, Some(agent.as_str())),
        KeyOwner::Operator => (OPERATOR, None),
    };
    let hash = KeyHash::of(key)?;
    connection
        .prepare_cached(
            "INSERT INTO api_key (id, kind, owner, active, salt, digest, name, metadata, created_at, role)
             VALUES (?1, ?2, ?3, 1, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            key.id,
            kind,
            owner,
            hash.salt,
            hash.digest,
            purpose.name,
            purpose.metadata,
            at,
            (kind == OPERATOR).then_some(OperatorRole::Admin)
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
    let mut kill = unit
        .prepare_cached("UPDATE api_key SET active = 0, invalidated_at = ?2 WHERE id = ?1 AND active = 1")?;
    for id in ids {
        kill.execute(params![id, at])?;
    }
    Ok(())
}

/// Every living access key of an agent dies.
pub(super) fn invalidate_of_agent(unit: &Unit<'_>, agent: &str, at: Timestamp) -> Outcome<()> {
    unit.prepare_cached(
        "UPDATE api_key SET active = 0, invalidated_at = ?3 WHERE owner = ?1 AND kind = ?2 AND active = 1",
    )?
    .execute(params![agent, AGENT, at])?;
    Ok(())
}

const TOKEN: i64 = 1;
const AGENT: i64 = 2;
const OPERATOR: i64 = 3;
