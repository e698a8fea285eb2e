//! From SQLite's error codes to causes a caller can act on. The one place where this is decided.

use std::time::Duration;

use rusqlite::ErrorCode;

use store::{Conflict, StoreError};

/// What stopped a piece of work: a decision of ours, or SQLite.
#[derive(Debug)]
pub(super) enum Failure {
    /// The operation was refused.
    Store(StoreError),
    /// The engine failed.
    Sqlite(rusqlite::Error),
}

/// What work inside the engine answers.
pub(super) type Outcome<T> = Result<T, Failure>;

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Conflict> for Failure {
    fn from(conflict: Conflict) -> Self {
        Self::Store(conflict.into())
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Store(error) => error,
            Failure::Sqlite(error) => describe(&error),
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

/// Later, when this reason may be gone.
pub(super) fn unavailable(reason: impl Into<String>) -> StoreError {
    StoreError::Unavailable {
        reason: reason.into(),
        retry_after: RETRY_AFTER,
    }
}

/// The cause behind an SQLite error.
pub(super) fn describe(error: &rusqlite::Error) -> StoreError {
    let detail = error.to_string();
    let Some(code) = error.sqlite_error_code() else {
        // No code: rusqlite could not turn a stored value into the type that was stored.
        return match error {
            rusqlite::Error::ToSqlConversionFailure(_) => StoreError::Invalid { detail },
            _ => StoreError::Corrupt { detail },
        };
    };
    match code {
        ErrorCode::DiskFull => unavailable("the disk is full"),
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            unavailable("another program holds the store's file locked")
        }
        ErrorCode::SystemIoFailure if error.sqlite_extended_error_code() == Some(IOERR_CORRUPTFS) => {
            StoreError::Corrupt { detail }
        }
        ErrorCode::SystemIoFailure => unavailable(format!("reading or writing the disk failed ({detail})")),
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown => {
            StoreError::Corrupt { detail }
        }
        ErrorCode::TooBig | ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch => {
            StoreError::Invalid { detail }
        }
        _ => unavailable(detail),
    }
}

/// When to try again after a fault: about as often as the writer probes.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// SQLITE_IOERR_CORRUPTFS: the file system itself reports damage.
const IOERR_CORRUPTFS: i32 = 10 | (33 << 8);
