//! From SQLite's error codes to causes a caller can act on. The one place where this is decided.

use std::{error::Error, time::Duration};

use rusqlite::ErrorCode;

use store::{Cause, Conflict, StoreError};

/// What stopped a piece of work: a decision of ours, or SQLite.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

/// What work inside the engine answers.
pub(super) type Outcome<T> = Result<T, Failure>;

impl From<Conflict> for Failure {
    fn from(conflict: Conflict) -> Self {
        Self::Store(conflict.into())
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Store(error) => error,
            Failure::Sqlite(error) => describe(error),
        }
    }
}

impl Failure {
    /// Something to be changed that does not exist.
    pub(super) fn missing(what: &'static str, id: &dyn std::fmt::Display) -> Self {
        Self::Store(StoreError::NotFound {
            what,
            id: id.to_string(),
        })
    }
}

/// The store does not take the request now, by our own decision.
pub(super) fn unavailable(reason: impl Into<String>) -> StoreError {
    StoreError::Unavailable {
        reason: reason.into(),
        retry_after: RETRY_AFTER,
        source: None,
    }
}

/// The answer of a closed store.
pub(super) fn closed() -> StoreError {
    unavailable("the store is closed")
}

/// The answer for work that panicked; its savepoint was undone.
pub(super) fn panicked() -> StoreError {
    log::error!("an operation of the store panicked; nothing of it was written");
    unavailable("the operation failed inside the store")
}

/// The store does not take the request now, because of this error.
pub(super) fn failed(reason: &str, error: impl Into<Box<dyn Error + Send + Sync>>) -> StoreError {
    StoreError::Unavailable {
        reason: reason.to_owned(),
        retry_after: RETRY_AFTER,
        source: Some(Cause::new(error)),
    }
}

/// The cause behind an SQLite error.
pub(super) fn describe(error: rusqlite::Error) -> StoreError {
    let (code, extended) = (error.sqlite_error_code(), error.sqlite_extended_error_code());
    let corrupt = |source| StoreError::Corrupt {
        detail: "stored data cannot be read".to_owned(),
        source: Some(Cause::new(source)),
    };
    let invalid = |source| StoreError::Invalid {
        detail: "SQLite refuses it".to_owned(),
        source: Some(Cause::new(source)),
    };
    let Some(code) = code else {
        // No code: rusqlite could not turn a stored value into the type that was stored.
        return match error {
            error @ rusqlite::Error::ToSqlConversionFailure(_) => invalid(error),
            error => corrupt(error),
        };
    };
    match code {
        ErrorCode::DiskFull => failed("the disk is full", error),
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            failed("another program holds the store's file locked", error)
        }
        ErrorCode::SystemIoFailure if extended == Some(IOERR_CORRUPTFS) => corrupt(error),
        ErrorCode::SystemIoFailure => failed("reading or writing the disk failed", error),
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown => corrupt(error),
        ErrorCode::TooBig | ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch => invalid(error),
        _ => failed("SQLite failed", error),
    }
}

/// When to try again after a fault: about as often as the writer probes.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// SQLITE_IOERR_CORRUPTFS: the file system itself reports damage.
const IOERR_CORRUPTFS: i32 = 10 | (33 << 8);
