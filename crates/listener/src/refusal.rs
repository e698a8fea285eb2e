//! The statuses with which a listener answers by itself, before the application or in its place: the one table of them.
//! All others are the application's (crate `api`, `error/table.rs`).

use actix_http::{StatusCode, error::ParseError};

/// Why a request gets no answer of the application. The answer has no body (agents.md 1.3, 1.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The head is longer than it may be.
    LongHead,
    /// The head cannot be read.
    MalformedHead,
    /// The first head did not come in time.
    LateHead,
    /// The handler panicked.
    Panicked,
}

impl Refusal {
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::LongHead => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::MalformedHead => StatusCode::BAD_REQUEST,
            Self::LateHead => StatusCode::REQUEST_TIMEOUT,
            Self::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl From<&ParseError> for Refusal {
    fn from(error: &ParseError) -> Self {
        match error {
            ParseError::TooLarge => Self::LongHead,
            _ => Self::MalformedHead,
        }
    }
}
