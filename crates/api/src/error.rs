//! The one table from a cause to what a client is told: status, name, message, log level (http-api 1.8).
//!
//! Both faces use it. Agents get the contract's error names; operators get Kibana's form, in which `error` is
//! the status's own name. Causes inside the server are logged and never shown: the client gets a general
//! sentence with the request id.

use std::{borrow::Cow, time::Duration};

use actix_web::{
    HttpResponse,
    http::{
        StatusCode,
        header::{HeaderValue, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS},
    },
};
use fleet::{FleetError, StoreError};
use log::Level;
use serde::Serialize;

use crate::{
    auth::AuthorizationError,
    body::BodyError,
    json::JsonError,
    limits::Refusal,
    metrics::Reason,
    note::{ErrorNote, Note},
    version::{ApiVersionError, UserAgentError},
};

/// Why a request got no success.
#[derive(Debug)]
pub(crate) enum ApiError {
    /// The domain said no.
    Fleet(FleetError),
    /// No usable key was presented.
    Authorization(AuthorizationError),
    /// The agent is none, or of another time.
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
    /// The body can not be read.
    Json { what: &'static str, cause: JsonError },
    /// The body says something that can not be; the text says what.
    Invalid(Cow<'static, str>),
    /// A limit of the listener.
    Refused(Refusal),
    /// Operators: there is nothing of that name.
    NotFound { what: &'static str, id: String },
    /// Operators: the route exists, the method does not.
    Method { allowed: String },
    /// Something in this crate is not as it must be; the text is for the log.
    Broken(Cow<'static, str>),
}

impl From<FleetError> for ApiError {
    fn from(error: FleetError) -> Self {
        Self::Fleet(error)
    }
}

/// Whose form an error takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    Agent,
    Operator,
}

/// One line of the table.
struct Row {
    status: StatusCode,
    name: &'static str,
    message: Cow<'static, str>,
    level: Level,
    retry_after: Option<Duration>,
    /// The cause is not for the client; it goes to the log.
    is_internal: bool,
    /// The rest of the body is not read: the connection ends.
    closes: bool,
}

impl Row {
    fn new(status: StatusCode, name: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        let (message, level) = (message.into(), Level::Info);
        Self {
            status,
            name,
            message,
            level,
            retry_after: None,
            is_internal: false,
            closes: false,
        }
    }

    fn bad_request(message: impl std::fmt::Display) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "BadRequest",
            format!("Bad request: {message}"),
        )
    }

    fn unavailable(retry_after: Duration) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "ServiceUnavailable",
            "Fleet Server can not do this now: try again later",
        )
        .at(Level::Error)
        .after(retry_after)
        .internal()
    }

    fn at(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    fn internal(mut self) -> Self {
        self.is_internal = true;
        self
    }

    fn closing(mut self) -> Self {
        self.closes = true;
        self
    }
}

const BUSY: Duration = Duration::from_secs(1);

impl ApiError {
    fn row(&self, audience: Audience) -> Row {
        match self {
            Self::Fleet(error) => fleet_row(error, audience),
            Self::Authorization(error) => authorization_row(error),
            Self::UserAgent(UserAgentError::Invalid) => Row::new(
                StatusCode::BAD_REQUEST,
                "InvalidUserAgent",
                "user-agent is invalid",
            ),
            Self::UserAgent(UserAgentError::Unsupported) => Row::new(
                StatusCode::BAD_REQUEST,
                "UnsupportedVersion",
                "version is not supported",
            ),
            Self::ApiVersion {
                asked,
                supported,
                reason,
            } => api_version_row(asked, supported, *reason),
            Self::HeaderMissing { name } => {
                Row::bad_request(format_args!("header parameter {name} is required, but not found"))
            }
            Self::HeaderEmpty { name } => {
                Row::bad_request(format_args!("invalid format for parameter {name}: it is empty"))
            }
            Self::HeaderRepeated { name, count } => {
                Row::bad_request(format_args!("expected one value for {name}, got {count}"))
            }
            Self::Body { what, cause } => body_row(what, cause),
            Self::Json { what, cause } => {
                Row::bad_request(format_args!("unable to decode {what} request: {cause}"))
            }
            Self::Invalid(reason) => Row::bad_request(reason),
            Self::Refused(refusal) => refusal_row(*refusal),
            Self::NotFound { what, id } => Row::new(
                StatusCode::NOT_FOUND,
                "NotFound",
                format!("{what} {id} does not exist"),
            ),
            Self::Method { allowed } => Row::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "MethodNotAllowed",
                format!("this path takes {allowed} only"),
            ),
            Self::Broken(_) => internal_row(),
        }
    }

    /// Status and message as one item of an answer (http-api 2.4.5) tells them.
    pub(crate) fn to_item(&self) -> (StatusCode, Cow<'static, str>) {
        let row = self.row(Audience::Agent);
        (row.status, row.message)
    }

    /// What the log is told beyond the row; never a secret.
    fn detail(&self) -> Option<String> {
        match self {
            Self::Fleet(error) => Some(error.to_string()),
            Self::Broken(reason) => Some(reason.to_string()),
            Self::Body {
                cause: BodyError::Broken(reason),
                ..
            } => Some(reason.clone()),
            _ => None,
        }
    }

    fn rejection(&self) -> Option<Reason> {
        match self {
            Self::Refused(Refusal::Rate { .. }) => Some(Reason::Rate),
            Self::Refused(Refusal::InFlight) => Some(Reason::InFlight),
            Self::Refused(Refusal::Capacity) => Some(Reason::Capacity),
            Self::Body {
                cause: BodyError::TooLarge { .. } | BodyError::InflatesTooLarge { .. },
                ..
            } => Some(Reason::BodySize),
            Self::Body {
                cause: BodyError::Late,
                ..
            } => Some(Reason::BodyTime),
            _ => None,
        }
    }

    /// The answer, with a note for the access log.
    pub(crate) fn to_response(&self, audience: Audience, request_id: &str) -> HttpResponse {
        let row = self.row(audience);
        let note = Note {
            error: Some(ErrorNote {
                name: row.name,
                level: row.level,
                detail: self.detail(),
            }),
            rejection: self.rejection(),
            ..Note::default()
        };
        let message = if row.is_internal {
            Cow::Owned(format!("{} (request id {request_id})", row.message))
        } else {
            row.message
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
        let mut response = HttpResponse::build(row.status);
        response
            .content_type("application/json; charset=utf-8")
            .insert_header((X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")));
        if let Some(wait) = row.retry_after {
            // Whole seconds, rounded up, so that a client that obeys is not too early.
            response.insert_header((RETRY_AFTER, wait.as_secs().saturating_add(1).to_string()));
        }
        if row.closes {
            response.force_close();
        }
        let mut response = response.body(serde_json::to_vec(&body).unwrap_or_default());
        response.extensions_mut().insert(note);
        response
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ErrorBody<'a> {
    status_code: u16,
    error: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'a str,
}

fn authorization_row(error: &AuthorizationError) -> Row {
    match error {
        AuthorizationError::Missing => Row::new(
            StatusCode::UNAUTHORIZED,
            "ErrNoAuthHeader",
            "no authorization header",
        ),
        AuthorizationError::Malformed => Row::new(
            StatusCode::BAD_REQUEST,
            "ErrMalformedHeader",
            "malformed authorization header",
        ),
        AuthorizationError::NotBase64 => Row::new(
            StatusCode::UNAUTHORIZED,
            "ErrInvalidToken",
            "token not valid utf8",
        ),
        AuthorizationError::NotOnePair => {
            Row::new(StatusCode::BAD_REQUEST, "ErrMalformedToken", "malformed token")
        }
    }
}

fn api_version_row(asked: &str, supported: &str, reason: ApiVersionError) -> Row {
    match reason {
        ApiVersionError::Format => Row::new(
            StatusCode::BAD_REQUEST,
            "ErrInvalidAPIVersionFormat",
            format!(
                "received \"{asked}\", expected a valid date string formatted as YYYY-MM-DD. invalid version format"
            ),
        ),
        ApiVersionError::Unsupported => Row::new(
            StatusCode::BAD_REQUEST,
            "ErrUnsupportedAPIVersion",
            format!(
                "received \"{asked}\", is not supported. supported versions are: [{supported}] version is not supported"
            ),
        ),
    }
}

fn body_row(what: &str, cause: &BodyError) -> Row {
    match cause {
        // http-api 6, row 20: 413 where the original says 400.
        BodyError::TooLarge { limit } => Row::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "ErrPayloadSizeTooLarge",
            format!("the request body exceeds the maximum allowed size: {what} takes at most {limit} bytes"),
        )
        .closing(),
        BodyError::InflatesTooLarge { limit } => Row::bad_request(format_args!(
            "unable to decode {what} request: the body inflates to more than {limit} bytes"
        ))
        .closing(),
        BodyError::NotGzip(reason) => Row::bad_request(format_args!(
            "unable to create gzip reader for request body: {reason}"
        ))
        .closing(),
        BodyError::Late => Row::new(
            StatusCode::REQUEST_TIMEOUT,
            "RequestTimeout",
            "timeout on request",
        )
        .closing(),
        BodyError::Broken(_) => Row::bad_request(format_args!(
            "unable to read {what} request: the body ended early"
        ))
        .closing(),
    }
}

fn refusal_row(refusal: Refusal) -> Row {
    let (name, message, wait) = match refusal {
        Refusal::Rate { retry_after } => ("RateLimit", "exceeded the rate limit", retry_after),
        Refusal::InFlight => ("MaxLimit", "exceeded the max limit", BUSY),
        Refusal::Capacity => ("MaxConnections", "Server capacity exceeded.", BUSY),
    };
    Row::new(StatusCode::TOO_MANY_REQUESTS, name, message)
        .at(Level::Debug)
        .after(wait)
}

fn internal_row() -> Row {
    Row::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "InternalServerError",
        "an unexpected error in Fleet Server",
    )
    .at(Level::Error)
    .internal()
}

fn fleet_row(error: &FleetError, audience: Audience) -> Row {
    use StatusCode as S;
    let operator = audience == Audience::Operator;
    match error {
        FleetError::UnknownKey => Row::new(S::UNAUTHORIZED, "ErrUnauthorized", "unauthorized"),
        FleetError::KeyRevoked => Row::new(S::UNAUTHORIZED, "Unauthorized", "ApiKey not enabled"),
        // A key that exists, but opens nothing here (http-api 6, row 18: 401 where the original says 500).
        FleetError::NotAnEnrollmentToken => Row::new(
            S::UNAUTHORIZED,
            "ErrUnauthorized",
            "the API key is no enrollment token",
        ),
        FleetError::NotAnOperatorKey => {
            Row::new(S::FORBIDDEN, "Forbidden", "the API key is no operator's key")
        }
        FleetError::UnknownAgent { .. } if operator => {
            Row::new(S::NOT_FOUND, "AgentNotFound", error.to_string())
        }
        FleetError::UnknownAgent { .. } => {
            Row::new(S::NOT_FOUND, "AgentNotFound", "agent could not be found").at(Level::Warn)
        }
        FleetError::WrongIdentity { .. } => Row::new(
            S::FORBIDDEN,
            "ErrAgentIdentity",
            "Agent header contains wrong identifier",
        ),
        FleetError::AgentInactive { .. } if operator => {
            Row::new(S::BAD_REQUEST, "AgentInactive", error.to_string())
        }
        FleetError::AgentInactive { .. } => Row::new(S::UNAUTHORIZED, "ErrAgentInactive", "Agent inactive"),
        FleetError::NotReplaceable { .. } => Row::new(
            S::FORBIDDEN,
            "AgentNotReplaceable",
            "existing agent cannot be replaced",
        )
        .at(Level::Warn),
        FleetError::DuplicateEnrollment => Row::new(
            S::TOO_MANY_REQUESTS,
            "EnrollDuplicate",
            "concurrent enrollment for same id: retry",
        )
        .at(Level::Debug)
        .after(BUSY),
        FleetError::UnknownStaticPolicy { .. } => {
            Row::new(S::BAD_REQUEST, "ErrPolicyNotFound", "ErrPolicyNotFound")
        }
        FleetError::UnknownEnrollType { .. } => Row::bad_request("unknown enroll request type"),
        FleetError::StatusMissing => Row::bad_request("checkin status missing"),
        FleetError::InvalidId { .. }
        | FleetError::InvalidMetadata
        | FleetError::InvalidComponents { .. }
        | FleetError::InvalidUpgradeDetails { .. }
        | FleetError::InvalidPolicy { .. }
        | FleetError::InvalidAction { .. } => Row::bad_request(error),
        FleetError::UndeliverablePolicy { .. } if operator => Row::bad_request(error),
        FleetError::UndeliverablePolicy { .. } => Row::unavailable(POLICY_FAULT),
        FleetError::UnknownPolicy { .. } => Row::new(S::NOT_FOUND, "NotFound", error.to_string()),
        FleetError::UnknownToken { .. } => Row::new(S::NOT_FOUND, "NotFound", error.to_string()),
        FleetError::UnknownAction { .. } => Row::new(S::NOT_FOUND, "NotFound", error.to_string()),
        FleetError::PolicyExists { .. } | FleetError::PolicyInUse { .. } => {
            Row::new(S::CONFLICT, "Conflict", error.to_string())
        }
        FleetError::Busy { retry_after, .. } => Row::unavailable(*retry_after).at(Level::Warn),
        FleetError::Interrupted { .. } => Row::unavailable(INTERRUPTED).at(Level::Error),
        FleetError::ShuttingDown => {
            Row::new(S::SERVICE_UNAVAILABLE, "ServiceUnavailable", "server is stopping").after(BUSY)
        }
        FleetError::Store(error) => store_row(error),
        // No random numbers, and whatever the domain learns to say later: nothing a client could act on.
        _ => internal_row(),
    }
}

/// An agent whose policy can not be rendered is told to come back; an operator has to act first.
const POLICY_FAULT: Duration = Duration::from_secs(60);
/// It is started again at once.
const INTERRUPTED: Duration = Duration::from_secs(1);
/// A damaged store does not heal by itself.
const DAMAGED: Duration = Duration::from_secs(60);

fn store_row(error: &StoreError) -> Row {
    use StatusCode as S;
    match error {
        StoreError::NotFound { .. } => Row::new(S::NOT_FOUND, "NotFound", error.to_string()),
        StoreError::Conflict(conflict) => Row::new(S::CONFLICT, "Conflict", conflict.to_string()),
        StoreError::Unavailable { retry_after, .. } => Row::unavailable(*retry_after),
        StoreError::Corrupt { .. } => Row::unavailable(DAMAGED),
        StoreError::Invalid { .. } => Row::bad_request(error),
        _ => internal_row(),
    }
}
