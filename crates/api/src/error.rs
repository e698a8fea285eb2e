//! The one table from a cause to the answer: status, name, message, log level (agents.md 1.12).
//!
//! Both APIs use it. Agents get the original's error names; operators get Kibana's form, in which `error` is
//! the status's own name. Causes inside the server are logged and never shown: the client gets a general
//! sentence with the request id. The rows are in `table`.

mod family;
mod table;

use std::borrow::Cow;

use actix_http::ws::HandshakeError;
use actix_web::{
    HttpResponse,
    http::{
        StatusCode,
        header::{
            ALLOW, CONTENT_RANGE, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_VERSION, UPGRADE,
            X_CONTENT_TYPE_OPTIONS,
        },
    },
};
use fleet::FleetError;
use schemars::JsonSchema;
use serde::Serialize;

pub(crate) use family::Family;
use table::Form;
pub(crate) use table::{FAILED, acknowledged, health, highest, readiness, unanswered};

use crate::{
    auth::AuthorizationError,
    body::BodyError,
    json::JsonError,
    limits::Refusal,
    note::{ErrorNote, Note},
    signing_key::SigningKeyError,
    version::{ApiVersionError, UserAgentError},
};

/// Why a request got no success.
#[derive(Debug)]
pub(crate) enum ApiError {
    /// The domain refused the request.
    Fleet(FleetError),
    /// No usable key was presented.
    Authorization(AuthorizationError),
    /// The `User-Agent` is not an agent's, or its version is not accepted.
    UserAgent(UserAgentError),
    /// Another version of the API was asked for.
    ApiVersion {
        asked: String,
        supported: &'static str,
        reason: ApiVersionError,
    },
    /// A header that must be there is not.
    HeaderMissing { name: &'static str },
    /// A header that must have text is empty.
    HeaderEmpty { name: &'static str },
    /// A header came more than once.
    HeaderRepeated { name: &'static str, count: usize },
    /// The body did not arrive as it should.
    Body { what: &'static str, cause: BodyError },
    /// The body cannot be read.
    Json { what: &'static str, cause: JsonError },
    /// The body says something that is not allowed; the text says what.
    Invalid(Cow<'static, str>),
    /// The body is of another type.
    ContentType { wanted: &'static str },
    /// A WebSocket was wanted, and its request is not as it must be.
    Handshake(HandshakeError),
    /// A limit of the listener.
    Refused(Refusal),
    /// The route is for encrypted connections only.
    TlsRequired,
    /// There is no key to check upgrades with.
    SigningKey(SigningKeyError),
    /// A range that is not there (416, with the file's size), or several at once (`None`).
    Range { size: Option<u64> },
    /// Whoever asks for a library's file is no client of it.
    LibraryClient,
    /// There is nothing of that name.
    NotFound { what: &'static str, id: String },
    /// The route exists, the method does not.
    Method { allowed: String },
    /// A defect of this crate; the text is for the log.
    Broken(Cow<'static, str>),
}

impl From<FleetError> for ApiError {
    fn from(error: FleetError) -> Self {
        Self::Fleet(error)
    }
}

/// Whom an error is written for, which decides its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    Agent,
    Operator,
}

impl ApiError {
    /// Whether the client showed no good key.
    pub(crate) fn is_failed_attempt(&self) -> bool {
        matches!(self, Self::Authorization(_) | Self::Fleet(FleetError::UnknownKey))
    }

    /// The answer, with a note for the access log.
    pub(crate) fn to_response(&self, audience: Audience, request_id: &str) -> HttpResponse {
        let row = table::row(self, audience);
        debug_assert!(
            Family::of(self).statuses(audience).contains(&row.status.as_u16()),
            "{self:?} is answered {}, which its family lacks",
            row.status
        );
        let mut note = Note {
            rejection: row.rejection,
            ..Note::default()
        };
        let mut response = HttpResponse::build(row.status);
        if row.is_nosniff {
            response.insert_header((X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")));
        }
        if let Self::Method { allowed } = self {
            response.insert_header((ALLOW, allowed.as_str()));
        }
        if let Self::Range { size: Some(size) } = self {
            response.insert_header((CONTENT_RANGE, format!("bytes */{size}")));
        }
        if row.status == StatusCode::UPGRADE_REQUIRED {
            response
                .insert_header((UPGRADE, "websocket"))
                .insert_header((SEC_WEBSOCKET_VERSION, "13"));
        }
        if let Some(wait) = row.retry_after {
            // Whole seconds, rounded up, so that a client that obeys is not too early.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response.insert_header((RETRY_AFTER, seconds.max(1).to_string()));
        }
        if row.closes {
            response.force_close();
        }
        let mut response = match row.form {
            Form::Object(message) => {
                note.error = Some(ErrorNote {
                    name: row.name,
                    level: row.level,
                    detail: row.detail,
                });
                let message = if row.is_internal {
                    Cow::Owned(format!("{message} (request id {request_id})"))
                } else {
                    message
                };
                let error = match audience {
                    Audience::Agent => row.name,
                    Audience::Operator => row.status.canonical_reason().unwrap_or(row.name),
                };
                let body = ErrorBody {
                    status_code: row.status.as_u16(),
                    error,
                    message: &message,
                };
                response
                    .content_type("application/json; charset=utf-8")
                    .body(serde_json::to_vec(&body).unwrap_or_default())
            }
            Form::Text(text) => response.content_type("text/plain; charset=utf-8").body(text),
            Form::Empty => response.finish(),
        };
        response.extensions_mut().insert(note);
        response
    }
}

/// The body of a failure.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Error")]
pub(crate) struct ErrorBody<'a> {
    status_code: u16,
    error: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'a str,
}
