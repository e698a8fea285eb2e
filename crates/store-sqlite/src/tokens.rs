//! Enrollment tokens (O16). A revoked one stays on record.

use rusqlite::{Connection, OptionalExtension, Row};
use store::{
    ApiKey, ChangeKind, Conflict, EnrollmentToken, KeyId, KeyOwner, NewToken, Page, PageRequest, PolicyId,
    Timestamp, TokenId,
};

use super::{
    columns::{ReadColumn as _, count, params},
    fault::{Failure, Outcome},
    keys, pages, policies,
    unit::Unit,
};

/// Token and key in one unit.
pub(super) fn create(unit: &Unit<'_>, new: NewToken, key: &ApiKey) -> Outcome<EnrollmentToken> {
    if by_id(unit, &new.id)?.is_some() || keys::exists(unit, &key.id)? {
        return Err(Conflict::TokenExists(new.id).into());
    }
    if !policies::exists(unit, &new.policy)? {
        return Err(Failure::missing("policy", &new.policy));
    }
    keys::insert(unit, key, &KeyOwner::Token(new.id.clone()), &new.purpose, new.at)?;
    unit.prepare_cached(
        "INSERT INTO enrollment_token (id, api_key, name, policy, namespaces, active, expires_at, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, 1, ?6, ?7)",
    )?
    .execute(params![
        new.id,
        key.id,
        new.name,
        new.policy,
        new.namespaces,
        new.expires_at,
        new.at
    ])?;
    unit.announce(ChangeKind::Token, new.id.as_str())?;
    Ok(EnrollmentToken {
        id: new.id,
        key: key.id.clone(),
        name: new.name,
        policy: new.policy,
        namespaces: new.namespaces,
        active: true,
        expires_at: new.expires_at,
        created_at: new.at,
    })
}

pub(super) fn by_key(connection: &Connection, key: &KeyId) -> Outcome<Option<EnrollmentToken>> {
    one(
        connection,
        concat!(select!(), " WHERE api_key = ?1"),
        key.as_str(),
    )
}

pub(super) fn by_id(connection: &Connection, id: &TokenId) -> Outcome<Option<EnrollmentToken>> {
    one(connection, concat!(select!(), " WHERE id = ?1"), id.as_str())
}

fn one(connection: &Connection, sql: &str, key: &str) -> Outcome<Option<EnrollmentToken>> {
    Ok(connection
        .prepare_cached(sql)?
        .query_row([key], token)
        .optional()?)
}

/// O16: newest first.
pub(super) fn page(connection: &Connection, request: &PageRequest) -> Outcome<Page<EnrollmentToken>> {
    let (offset, after) = pages::start::<(i64, String)>(request)?;
    let (time, id) = after.unwrap_or((i64::MAX, String::new()));
    let snapshot = connection.unchecked_transaction()?;
    let total = snapshot
        .prepare_cached("SELECT count(*) FROM enrollment_token")?
        .query_row([], |row| count(row, 0))?;
    let items = snapshot
        .prepare_cached(concat!(
            select!(),
            " WHERE (created_at, id) < (?3, ?4) ORDER BY created_at DESC, id DESC LIMIT ?1 OFFSET ?2"
        ))?
        .query_map(params![request.limit, offset, time, id], token)?
        .collect::<rusqlite::Result<_>>()?;
    Ok(pages::page(request, items, total, |last: &EnrollmentToken| {
        (last.created_at.millis(), last.id.clone())
    })?)
}

/// Whether an enrolment at this time is admitted: token and key active, not expired (S14).
pub(super) fn admits(connection: &Connection, key: &KeyId, at: Timestamp) -> Outcome<bool> {
    Ok(connection
        .prepare_cached(
            "SELECT 1 FROM enrollment_token AS t JOIN api_key AS k ON k.id = t.api_key
             WHERE t.api_key = ?1 AND t.active = 1 AND k.active = 1
                AND (t.expires_at IS NULL OR t.expires_at > ?2)",
        )?
        .exists(params![key, at])?)
}

pub(super) fn revoke(unit: &Unit<'_>, id: &TokenId, at: Timestamp) -> Outcome<()> {
    let token = by_id(unit, id)?.ok_or_else(|| Failure::missing("enrollment token", id))?;
    if token.active {
        unit.prepare_cached("UPDATE enrollment_token SET active = 0 WHERE id = ?1")?
            .execute(params![id])?;
        unit.announce(ChangeKind::Token, id.as_str())?;
    }
    keys::invalidate(unit, &[token.key], at)
}

/// Revokes every token of a policy.
pub(super) fn revoke_of_policy(unit: &Unit<'_>, policy: &PolicyId, at: Timestamp) -> Outcome<()> {
    let tokens = unit
        .prepare_cached("SELECT id FROM enrollment_token WHERE policy = ?1 AND active = 1")?
        .query_map(params![policy], |row| row.read(0))?
        .collect::<rusqlite::Result<Vec<TokenId>>>()?;
    tokens.iter().try_for_each(|token| revoke(unit, token, at))
}

/// The columns in the order in which [`token`] reads them.
macro_rules! select {
    () => {
        "SELECT id, api_key, name, policy, namespaces, active, expires_at, created_at FROM enrollment_token"
    };
}
use select;

fn token(row: &Row<'_>) -> rusqlite::Result<EnrollmentToken> {
    Ok(EnrollmentToken {
        id: row.read(0)?,
        key: row.read(1)?,
        name: row.read(2)?,
        policy: row.read(3)?,
        namespaces: row.read(4)?,
        active: row.read(5)?,
        expires_at: row.read(6)?,
        created_at: row.read(7)?,
    })
}
