//! The table itself: for each cause one row, for each state and each acknowledged event one status.
//!
//! No match here has a `_` arm: a new cause does not compile until it has a row.

use std::{borrow::Cow, time::Duration};

use actix_http::ws::HandshakeError;
use actix_web::http::StatusCode as S;
use fleet::{
    FleetError, HealthState, StoreError, acks::AckOutcome, artifacts::ArtifactError, uploads::UploadError,
};
use log::Level;

use super::{ApiError, Audience};
use crate::{
    auth::AuthorizationError,
    body::BodyError,
    limits::Refusal,
    metrics::Reason,
    signing_key::SigningKeyError,
    version::{ApiVersionError, UserAgentError},
};

/// One line of the table.
pub(super) struct Row {
    pub(super) status: S,
    pub(super) name: &'static str,
    pub(super) form: Form,
    pub(super) level: Level,
    pub(super) retry_after: Option<Duration>,
    /// The cause is not for the client; it goes to the log.
    pub(super) is_internal: bool,
    /// The rest of the body is not read: the connection ends.
    pub(super) closes: bool,
    pub(super) is_nosniff: bool,
    /// Which limit refused the request.
    pub(super) rejection: Option<Reason>,
    /// What is logged in addition to the row; never a secret.
    pub(super) detail: Option<String>,
}

pub(super) enum Form {
    /// An error object with this message; the log has a line of its own about it.
    Object(Cow<'static, str>),
    Text(&'static str),
    Empty,
}

impl Row {
    fn new(status: S, name: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            is_nosniff: true,
            ..Self::plain(status, name, Form::Object(message.into()))
        }
    }

    fn plain(status: S, name: &'static str, form: Form) -> Self {
        Self {
            status,
            name,
            form,
            level: Level::Info,
            retry_after: None,
            is_internal: false,
            closes: false,
            is_nosniff: false,
            rejection: None,
            detail: None,
        }
    }

    fn bad_request(message: impl std::fmt::Display) -> Self {
        Self::new(S::BAD_REQUEST, "BadRequest", format!("Bad request: {message}"))
    }

    fn unavailable(retry_after: Duration) -> Self {
        Self::new(
            S::SERVICE_UNAVAILABLE,
            "ServiceUnavailable",
            "Fleet Server cannot do this now: try again later",
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

    fn counted(mut self, reason: Reason) -> Self {
        self.rejection = Some(reason);
        self
    }

    fn detailed(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

impl Form {
    fn message(self) -> Cow<'static, str> {
        match self {
            Self::Object(message) => message,
            Self::Text(text) => text.into(),
            Self::Empty => "".into(),
        }
    }
}

const BUSY: Duration = Duration::from_secs(1);

/// The row of a cause.
pub(super) fn row(cause: &ApiError, audience: Audience) -> Row {
    let is_agent = audience == Audience::Agent;
    match cause {
        ApiError::Fleet(error) => fleet_row(error, audience).detailed(fleet::chain(error)),
        ApiError::Authorization(error) => authorization_row(error),
        ApiError::UserAgent(UserAgentError::Invalid) => {
            Row::new(S::BAD_REQUEST, "InvalidUserAgent", "user-agent is invalid")
        }
        ApiError::UserAgent(UserAgentError::Unsupported) => {
            Row::new(S::BAD_REQUEST, "UnsupportedVersion", "version is not supported")
        }
        ApiError::ApiVersion {
            asked,
            supported,
            reason,
        } => api_version_row(asked, supported, *reason),
        ApiError::HeaderMissing { name } => {
            Row::bad_request(format_args!("header parameter {name} is required, but not found"))
        }
        ApiError::HeaderEmpty { name } => {
            Row::bad_request(format_args!("invalid format for parameter {name}: it is empty"))
        }
        ApiError::HeaderRepeated { name, count } => {
            Row::bad_request(format_args!("expected one value for {name}, got {count}"))
        }
        ApiError::Body { what, cause } => body_row(what, cause),
        ApiError::Json { what, cause } => {
            Row::bad_request(format_args!("unable to decode {what} request: {cause}"))
        }
        ApiError::Invalid(reason) => Row::bad_request(reason),
        ApiError::Range { size } => Row::new(
            S::RANGE_NOT_SATISFIABLE,
            "ErrRangeNotSatisfiable",
            match size {
                Some(_) => "range not satisfiable",
                None => "Multipart ranges not satisfiable",
            },
        ),
        ApiError::LibraryClient => Row::new(S::FORBIDDEN, "ErrClientFileForbidden", "client forbidden"),
        ApiError::Handshake(HandshakeError::BadWebsocketKey) => {
            Row::bad_request("Sec-WebSocket-Key is missing or is no key")
        }
        ApiError::Handshake(
            error @ (HandshakeError::GetMethodRequired
            | HandshakeError::NoWebsocketUpgrade
            | HandshakeError::NoConnectionUpgrade
            | HandshakeError::NoVersionHeader
            | HandshakeError::UnsupportedVersion),
        ) => Row::new(
            S::UPGRADE_REQUIRED,
            "UpgradeRequired",
            format!("this path takes a POST, or a WebSocket of version 13 over HTTP/1.1: {error}"),
        ),
        ApiError::ContentType { wanted } => Row::new(
            S::UNSUPPORTED_MEDIA_TYPE,
            "UnsupportedMediaType",
            format!("this path takes a body of Content-Type {wanted}"),
        )
        .closing(),
        ApiError::Refused(refusal) => refusal_row(*refusal, is_agent),
        ApiError::TlsRequired => Row::new(
            S::NOT_IMPLEMENTED,
            "ErrTLSRequired",
            "server must run with tls to use this endpoint",
        ),
        ApiError::SigningKey(error) => signing_key_row(error).detailed(error.to_string()),
        ApiError::NotFound { .. } if is_agent => {
            Row::plain(S::NOT_FOUND, "NotFound", Form::Text("404 page not found\n"))
        }
        ApiError::NotFound { what, id } => {
            Row::new(S::NOT_FOUND, "NotFound", format!("{what} {id} does not exist"))
        }
        ApiError::Method { .. } if is_agent => {
            Row::plain(S::METHOD_NOT_ALLOWED, "MethodNotAllowed", Form::Empty)
        }
        ApiError::Method { allowed } => Row::new(
            S::METHOD_NOT_ALLOWED,
            "MethodNotAllowed",
            format!("this path takes {allowed} only"),
        ),
        ApiError::Broken(reason) => internal_row().detailed(reason.clone()),
    }
}

fn signing_key_row(error: &SigningKeyError) -> Row {
    match error {
        SigningKeyError::File { .. } => internal_row(),
        SigningKeyError::Upstream { status, .. } => Row::new(
            S::INTERNAL_SERVER_ERROR,
            "ErrSigningKeyUpstream",
            match status {
                Some(status) => format!("upstream http server status error: {status}"),
                None => "the upstream http server sent no key".to_owned(),
            },
        )
        .at(Level::Warn),
        SigningKeyError::Unreachable { retry_after, .. } => Row::new(
            S::SERVICE_UNAVAILABLE,
            "ErrSigningKeyUpstream",
            "Fleet Server has no signing key and cannot reach where it could fetch one",
        )
        .at(Level::Warn)
        .after(*retry_after),
    }
}

fn authorization_row(error: &AuthorizationError) -> Row {
    match error {
        AuthorizationError::Missing => {
            Row::new(S::UNAUTHORIZED, "ErrNoAuthHeader", "no authorization header")
        }
        AuthorizationError::Malformed => Row::new(
            S::BAD_REQUEST,
            "ErrMalformedHeader",
            "malformed authorization header",
        ),
        AuthorizationError::NotBase64 => Row::new(S::UNAUTHORIZED, "ErrInvalidToken", "token not valid utf8"),
        AuthorizationError::NotOnePair => Row::new(S::BAD_REQUEST, "ErrMalformedToken", "malformed token"),
    }
}

fn api_version_row(asked: &str, supported: &str, reason: ApiVersionError) -> Row {
    match reason {
        ApiVersionError::Format => Row::new(
            S::BAD_REQUEST,
            "ErrInvalidAPIVersionFormat",
            format!(
                "received \"{asked}\", expected a valid date string formatted as YYYY-MM-DD. invalid version format"
            ),
        ),
        ApiVersionError::Unsupported => Row::new(
            S::BAD_REQUEST,
            "ErrUnsupportedAPIVersion",
            format!(
                "received \"{asked}\", is not supported. supported versions are: [{supported}] version is not supported"
            ),
        ),
    }
}

fn body_row(what: &str, cause: &BodyError) -> Row {
    match cause {
        // agents.md 1.13: 413 where the original says 400.
        BodyError::TooLarge { limit } => Row::new(
            S::PAYLOAD_TOO_LARGE,
            "ErrPayloadSizeTooLarge",
            format!("the request body exceeds the maximum allowed size: {what} takes at most {limit} bytes"),
        )
        .counted(Reason::BodySize)
        .closing(),
        BodyError::InflatesTooLarge { limit } => Row::new(
            S::PAYLOAD_TOO_LARGE,
            "ErrPayloadSizeTooLarge",
            format!(
                "the request body exceeds the maximum allowed size: {what} takes at most {limit} bytes after inflation"
            ),
        )
        .counted(Reason::BodySize)
        .closing(),
        BodyError::UnknownCoding { coding } => Row::new(
            S::UNSUPPORTED_MEDIA_TYPE,
            "UnsupportedMediaType",
            format!("Content-Encoding \"{coding}\" is not known: send gzip or a plain body"),
        ),
        BodyError::NotGzip(reason) => Row::bad_request(format_args!(
            "unable to create gzip reader for request body: {reason}"
        ))
        .closing(),
        BodyError::NoRoom(no_room) => Row::new(
            S::TOO_MANY_REQUESTS,
            "MaxLimit",
            "too many bytes of request bodies are under way",
        )
        .after(no_room.retry_after)
        .counted(Reason::BodyBytes)
        .closing(),
        BodyError::Late => Row::new(
            S::REQUEST_TIMEOUT,
            "RequestTimeout",
            "timeout on request",
        )
        .counted(Reason::BodyTime)
        .closing(),
        BodyError::Broken(reason) => Row::bad_request(format_args!(
            "unable to read {what} request: the body ended early"
        ))
        .detailed(reason.as_str())
        .closing(),
    }
}

fn refusal_row(refusal: Refusal, is_agent: bool) -> Row {
    const TOO_MANY: S = S::TOO_MANY_REQUESTS;
    match refusal {
        Refusal::Failures { .. } => Row::new(
            TOO_MANY,
            "RateLimit",
            "too many requests without a good key came from this address",
        )
        .counted(Reason::Failures),
        Refusal::Rate { .. } => {
            Row::new(TOO_MANY, "RateLimit", "exceeded the rate limit").counted(Reason::Rate)
        }
        Refusal::InFlight { .. } => {
            Row::new(TOO_MANY, "MaxLimit", "exceeded the max limit").counted(Reason::InFlight)
        }
        Refusal::Busy { .. } => {
            Row::new(TOO_MANY, "MaxLimit", "exceeded the max limit").counted(Reason::Busy)
        }
        Refusal::Capacity { .. } => {
            let mut row = Row::new(TOO_MANY, "MaxConnections", "Server capacity exceeded.");
            if is_agent {
                // agents.md 1.10: the soft cap answers agents in plain text.
                row.form = Form::Text("Server capacity exceeded.\n");
            }
            row.counted(Reason::Capacity)
        }
    }
    .after(refusal.retry_after())
    .at(Level::Debug)
}

fn internal_row() -> Row {
    Row::new(
        S::INTERNAL_SERVER_ERROR,
        "InternalServerError",
        "an unexpected error in Fleet Server",
    )
    .at(Level::Error)
    .internal()
}

fn fleet_row(error: &FleetError, audience: Audience) -> Row {
    let operator = audience == Audience::Operator;
    match error {
        FleetError::UnknownKey => Row::new(S::UNAUTHORIZED, "ErrUnauthorized", "unauthorized"),
        FleetError::KeyRevoked => Row::new(S::UNAUTHORIZED, "Unauthorized", "ApiKey not enabled"),
        FleetError::KeyExpired => Row::new(S::UNAUTHORIZED, "Unauthorized", "ApiKey expired"),
        // A key that exists, but opens nothing here (agents.md 1.13: 401 where the original says 500).
        FleetError::NotAnEnrollmentToken => Row::new(
            S::UNAUTHORIZED,
            "ErrUnauthorized",
            "the API key is not an enrollment token",
        ),
        FleetError::NotAnAgentKey => {
            Row::new(S::FORBIDDEN, "ErrAgentIdentity", "the API key is not an agent's")
        }
        FleetError::NotAnOperatorKey => {
            Row::new(S::FORBIDDEN, "Forbidden", "the API key is not an operator's key")
        }
        FleetError::RoleTooLow { .. } => Row::new(S::FORBIDDEN, "Forbidden", error.to_string()),
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
        FleetError::Orphaned { .. } => Row::new(
            S::CONFLICT,
            "ErrAuditReasonConflict",
            "agent document contains audit_unenroll_reason",
        ),
        FleetError::InvalidAudit { .. }
        | FleetError::InvalidId { .. }
        | FleetError::TooLong { .. }
        | FleetError::InvalidMetadata { .. }
        | FleetError::InvalidComponents { .. }
        | FleetError::InvalidUpgradeDetails { .. }
        | FleetError::InvalidPolicy { .. }
        | FleetError::InvalidSettings { .. }
        | FleetError::InvalidAction { .. } => Row::bad_request(fleet::chain(error)),
        FleetError::UndeliverablePolicy { .. } if operator => Row::bad_request(fleet::chain(error)),
        FleetError::UndeliverablePolicy { .. } => Row::unavailable(POLICY_FAULT),
        FleetError::UnknownPolicy { .. }
        | FleetError::UnknownToken { .. }
        | FleetError::UnknownAction { .. }
        | FleetError::UnknownOperatorKey { .. }
        | FleetError::UnknownRevision { .. }
        | FleetError::UnknownSecret { .. } => Row::new(S::NOT_FOUND, "NotFound", error.to_string()),
        FleetError::InvalidSecret { .. } | FleetError::InvalidOperatorKey { .. } => Row::bad_request(error),
        FleetError::SecretUnreadable { .. } => Row::unavailable(POLICY_FAULT),
        FleetError::PolicyExists { .. }
        | FleetError::PolicyInUse { .. }
        | FleetError::SecretExists { .. }
        | FleetError::OwnOperatorKey { .. }
        | FleetError::StaleRevision { .. }
        | FleetError::SecretInUse { .. } => Row::new(S::CONFLICT, "Conflict", error.to_string()),
        FleetError::Upload(UploadError::UnknownFile { .. }) if !operator => {
            Row::new(S::NOT_FOUND, "ErrNoFile", "file not found")
        }
        FleetError::Upload(error) => upload_row(error),
        FleetError::Artifact(error) => artifact_row(error),
        FleetError::TooMany { retry_after, .. } => {
            Row::new(S::TOO_MANY_REQUESTS, "TooManyRequests", error.to_string())
                .at(Level::Debug)
                .after(*retry_after)
        }
        FleetError::Busy { retry_after, .. } => Row::unavailable(*retry_after).at(Level::Warn),
        FleetError::Interrupted { .. } => Row::unavailable(INTERRUPTED).at(Level::Error),
        FleetError::ShuttingDown => {
            Row::new(S::SERVICE_UNAVAILABLE, "ServiceUnavailable", "server is stopping").after(BUSY)
        }
        FleetError::Store(error) => store_row(error),
        // Nothing a client could act on.
        FleetError::NoRandomness { .. } | FleetError::NoStoreKey | FleetError::CryptoFailed => internal_row(),
    }
}

/// agents.md 10.4.
fn upload_row(error: &UploadError) -> Row {
    let bad = |name, message: &'static str| Row::new(S::BAD_REQUEST, name, message);
    match error {
        UploadError::Off => Row::new(
            S::FORBIDDEN,
            "ErrFileFeatureDisable",
            "File Transfer is disabled in Fleet Server configuration",
        )
        .at(Level::Warn),
        UploadError::BodyMissing => bad("ErrFileInfoBodyRequired", "file info body is required"),
        UploadError::AgentMissing => bad("ErrAgentIDMissing", "required field agent_id is missing"),
        UploadError::MemberMissing { member } => Row::new(
            S::BAD_REQUEST,
            "ErrFieldRequired",
            format!("{member} is required: field required"),
        ),
        UploadError::MemberInvalid { .. } => Row::bad_request(error),
        UploadError::SizeMissing => bad("ErrFileSizeRequired", "file.size is required"),
        UploadError::SizeInvalid { size } => Row::new(
            S::BAD_REQUEST,
            "ErrInvalidFileSize",
            format!("file.size: {size}: invalid filesize"),
        ),
        UploadError::FileTooLarge { .. } => bad(
            "ErrFileSizeTooLarge",
            "this file exceeds the maximum allowed file size",
        ),
        UploadError::AgentQuota { .. } => Row::new(
            S::PAYLOAD_TOO_LARGE,
            "ErrAgentQuota",
            "the files of this agent take as much as they may",
        ),
        UploadError::TooManyOpen { .. } => Row::new(S::PAYLOAD_TOO_LARGE, "ErrAgentQuota", error.to_string()),
        UploadError::StoreFull { .. } => storage_full(),
        UploadError::AlreadyThere { .. } => Row::new(
            S::CONFLICT,
            "ErrUploadExists",
            "the file of this action and agent was uploaded before",
        ),
        UploadError::FileIdTaken { .. } => Row::new(S::CONFLICT, "ErrUploadExists", error.to_string()),
        UploadError::Unknown { .. } => bad("ErrInvalidFileID", "ErrInvalidID"),
        UploadError::Expired { .. } => bad("ErrUploadExpired", "upload has expired"),
        UploadError::Stopped { .. } => bad("ErrUploadStopped", "upload has stopped"),
        UploadError::ChunkNumber { .. } => bad("ErrInvalidChunkNum", "invalid chunk number"),
        UploadError::ChunkHash => bad("ErrHashMismatch", "hash does not match"),
        UploadError::ChunkTaken { .. } => bad("ErrHashMismatch", "the chunk is stored with other bytes"),
        UploadError::ChunkLength { .. } | UploadError::TransitHash => {
            bad("ErrFailValidation", "file contents failed validation")
        }
        UploadError::ChunksMissing { .. } => bad(
            "ErrMissingChunks",
            "file data incomplete, not all chunks were uploaded",
        ),
        UploadError::HashMissing => bad("TransitHashRequired", "Transit hash required"),
        UploadError::Ended { .. } => bad("ErrStatusNoUploads", "file closed, not accepting uploads"),
        UploadError::UnknownFile { .. } | UploadError::NotReady { .. } => {
            Row::new(S::NOT_FOUND, "NotFound", error.to_string())
        }
    }
}

/// agents.md 11.1.
fn artifact_row(error: &ArtifactError) -> Row {
    match error {
        ArtifactError::NoDigest { .. } | ArtifactError::Name { .. } => Row::bad_request(error),
        ArtifactError::InflatesTooLarge { .. } => {
            Row::new(S::PAYLOAD_TOO_LARGE, "PayloadTooLarge", error.to_string())
        }
        ArtifactError::NotListed { .. } => Row::new(S::FORBIDDEN, "Forbidden", "not allowed"),
        ArtifactError::Unknown { .. } => Row::new(S::NOT_FOUND, "NotFound", error.to_string()),
    }
}

fn storage_full() -> Row {
    Row::new(
        S::INSUFFICIENT_STORAGE,
        "ErrStorageFull",
        "there is no room for this file",
    )
    .at(Level::Error)
}

/// An agent whose policy cannot be rendered is told to come back; an operator has to act first.
const POLICY_FAULT: Duration = Duration::from_secs(60);
/// The actor is restarted at once.
const INTERRUPTED: Duration = Duration::from_secs(1);
/// A damaged store does not heal by itself.
const DAMAGED: Duration = Duration::from_secs(60);

fn store_row(error: &StoreError) -> Row {
    match error {
        StoreError::NotFound { .. } => Row::new(S::NOT_FOUND, "NotFound", error.to_string()),
        StoreError::Conflict(conflict) => Row::new(S::CONFLICT, "Conflict", conflict.to_string()),
        StoreError::Unavailable { retry_after, .. } => Row::unavailable(*retry_after),
        StoreError::Full { .. } => storage_full(),
        StoreError::Body(fault) => Row::bad_request(fault),
        StoreError::Corrupt { .. } => Row::unavailable(DAMAGED),
        StoreError::Invalid { .. } => Row::bad_request(fleet::chain(error)),
        StoreError::Unsupported { .. } => Row::new(S::NOT_IMPLEMENTED, "NotImplemented", error.to_string()),
        // Readers of the change feed look after it themselves; no request meets it.
        StoreError::Trimmed { .. } => internal_row(),
    }
}

/// Status and message of one acknowledged event (agents.md 7.6).
pub(crate) fn acknowledged(outcome: AckOutcome) -> (S, Cow<'static, str>) {
    let status = match outcome {
        AckOutcome::Done => S::OK,
        AckOutcome::WrongAgent => S::BAD_REQUEST,
        AckOutcome::UnknownAction => S::NOT_FOUND,
        AckOutcome::Failed(error) => {
            let row = fleet_row(&error, Audience::Agent);
            return (row.status, row.form.message());
        }
    };
    (status, status.canonical_reason().unwrap_or_default().into())
}

/// The status of an answer with items: the highest of theirs (agents.md 7.6).
pub(crate) fn highest(items: impl IntoIterator<Item = S>) -> S {
    items.into_iter().max().unwrap_or(S::OK)
}

/// The status with which the server's state is told.
pub(crate) const fn health(state: HealthState) -> S {
    match state {
        HealthState::Healthy => S::OK,
        HealthState::Starting | HealthState::Degraded | HealthState::Stopping => S::SERVICE_UNAVAILABLE,
    }
}

/// The status of the readiness probe.
pub(crate) const fn readiness(is_ready: bool) -> S {
    if is_ready { S::OK } else { S::SERVICE_UNAVAILABLE }
}

/// The status of a failure below the handlers, as actix names it: such an answer has no body either.
pub(crate) fn unanswered(error: &actix_web::Error) -> S {
    error.as_response_error().status_code()
}

/// A failure that is answered without a body (agents.md 1.11).
pub(crate) const FAILED: S = S::INTERNAL_SERVER_ERROR;
