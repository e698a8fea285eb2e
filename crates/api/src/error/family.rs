//! Causes in families: what a route says about how it can fail, and which statuses that means.
//!
//! Each cause belongs to one family, with no `_` arm: a new cause does not compile until it has one. A family's statuses
//! are checked against the table of rows by a test, and in debug builds with each refusal that is sent.

use fleet::{FleetError, StoreError, uploads::UploadError};

use super::{ApiError, Audience};
use crate::signing_key::SigningKeyError;

/// Causes that routes meet together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    /// What every route of the listener meets: limits, malformed headers, another version of the API, a defect.
    Listener,
    /// A key that is missing, malformed, unknown or revoked.
    Key,
    /// A good key that is not an enrollment token.
    EnrollmentToken,
    /// A good key that is not that agent's, or whose agent is gone.
    AgentKey,
    /// A good key that is not an operator's, or one of too low a role.
    OperatorKey,
    /// The `User-Agent`.
    UserAgent,
    /// How the body arrives and what it says.
    Body,
    /// The body's type.
    ContentType,
    /// What is asked for breaks a rule.
    Rule,
    /// What is asked for does not exist.
    Missing,
    /// What exists is in the way.
    Conflict,
    /// An enrolment that is refused.
    Enrollment,
    /// A policy that cannot be delivered.
    Policy,
    /// A file that does not come or go.
    Upload,
    /// A file that is not there, or not yet.
    File,
    /// There is no room on the disk.
    Room,
    /// An artifact that is not served or taken.
    Artifact,
    /// The key that upgrades are checked with.
    SigningKey,
    /// A WebSocket that is not asked for as it must be.
    Upgrade,
    /// A range of a file.
    Range,
    /// A library's file for somebody else.
    Library,
    /// The server cannot do it now.
    Service,
    /// The store's engine does not do it.
    Unsupported,
    /// No such path, or no such method on it.
    Path,
}

impl Family {
    /// The statuses that its causes have.
    pub(crate) const fn statuses(self, audience: Audience) -> &'static [u16] {
        match (self, audience) {
            (Self::Listener, _) => &[400, 429, 500],
            (Self::Key, _) => &[400, 401],
            (Self::EnrollmentToken, _) => &[401],
            (Self::AgentKey, Audience::Agent) => &[401, 403, 404],
            (Self::AgentKey, Audience::Operator) => &[400, 404],
            (Self::OperatorKey | Self::Library, _) => &[403],
            (Self::UserAgent | Self::Rule, _) => &[400],
            (Self::Body, _) => &[400, 408, 413, 415, 429],
            (Self::ContentType, _) => &[415],
            (Self::Missing | Self::File, _) => &[404],
            (Self::Conflict, _) => &[409],
            (Self::Enrollment, _) => &[400, 403, 429],
            (Self::Policy, Audience::Agent) => &[503],
            (Self::Policy, Audience::Operator) => &[400, 503],
            (Self::Upload, _) => &[400, 403, 409, 413],
            (Self::Room, _) => &[507],
            (Self::Artifact, _) => &[400, 403, 404, 413],
            (Self::SigningKey, _) => &[500, 501, 503],
            (Self::Upgrade, _) => &[400, 426],
            (Self::Range, _) => &[416],
            (Self::Service, _) => &[500, 503],
            (Self::Unsupported, _) => &[501],
            (Self::Path, _) => &[404, 405],
        }
    }

    /// What its causes have in common, for the description.
    pub(crate) const fn about(self) -> &'static str {
        match self {
            Self::Listener => "the request's form, a limit of the listener, or a defect of the server",
            Self::Key => "the key is missing, malformed, unknown or revoked",
            Self::EnrollmentToken => "the key is not an enrollment token",
            Self::AgentKey => "there is no such agent, it is inactive, or the key is another's",
            Self::OperatorKey => "the key is not an operator's, or has not the role that this needs",
            Self::UserAgent => "the User-Agent is not an agent's, or its version is not accepted",
            Self::Body => "the body is too large, too slow, or cannot be read",
            Self::ContentType => "the body has another type",
            Self::Rule => "what is asked for breaks a rule",
            Self::Missing => "it does not exist",
            Self::Conflict => "what exists is in the way",
            Self::Enrollment => "the enrolment is refused",
            Self::Policy => "the policy cannot be delivered",
            Self::Upload => "the upload is refused",
            Self::File => "there is no such file, or not yet",
            Self::Room => "there is no room on the disk",
            Self::Artifact => "there is no such artifact, or not for this agent",
            Self::SigningKey => "there is no key to check upgrades with",
            Self::Upgrade => "this is no handshake of a WebSocket of version 13 over HTTP/1.1",
            Self::Range => "the range is not there",
            Self::Library => "the client may not read this library",
            Self::Service => "the server cannot do it now",
            Self::Unsupported => "the store does not do this",
            Self::Path => "there is no such path or method",
        }
    }

    /// The family of a cause.
    pub(crate) fn of(cause: &ApiError) -> Self {
        match cause {
            ApiError::Fleet(error) => Self::of_domain(error),
            ApiError::Authorization(_) => Self::Key,
            ApiError::UserAgent(_) => Self::UserAgent,
            ApiError::ApiVersion { .. }
            | ApiError::HeaderMissing { .. }
            | ApiError::HeaderEmpty { .. }
            | ApiError::HeaderRepeated { .. }
            | ApiError::Invalid(_)
            | ApiError::Refused(_)
            | ApiError::Broken(_) => Self::Listener,
            ApiError::Body { .. } | ApiError::Json { .. } => Self::Body,
            ApiError::Range { .. } => Self::Range,
            ApiError::Handshake(_) => Self::Upgrade,
            ApiError::LibraryClient => Self::Library,
            ApiError::ContentType { .. } => Self::ContentType,
            ApiError::TlsRequired
            | ApiError::SigningKey(
                SigningKeyError::File { .. }
                | SigningKeyError::Upstream { .. }
                | SigningKeyError::Unreachable { .. },
            ) => Self::SigningKey,
            ApiError::NotFound { .. } | ApiError::Method { .. } => Self::Path,
        }
    }

    fn of_domain(error: &FleetError) -> Self {
        match error {
            FleetError::UnknownKey | FleetError::KeyRevoked | FleetError::KeyExpired => Self::Key,
            FleetError::NotAnEnrollmentToken => Self::EnrollmentToken,
            FleetError::NotAnAgentKey
            | FleetError::UnknownAgent { .. }
            | FleetError::WrongIdentity { .. }
            | FleetError::AgentInactive { .. } => Self::AgentKey,
            FleetError::NotAnOperatorKey | FleetError::RoleTooLow { .. } => Self::OperatorKey,
            FleetError::UnknownEnrollType { .. }
            | FleetError::NotReplaceable { .. }
            | FleetError::DuplicateEnrollment
            | FleetError::UnknownStaticPolicy { .. } => Self::Enrollment,
            FleetError::StatusMissing
            | FleetError::InvalidAudit { .. }
            | FleetError::InvalidId { .. }
            | FleetError::TooLong { .. }
            | FleetError::InvalidMetadata { .. }
            | FleetError::InvalidComponents { .. }
            | FleetError::InvalidUpgradeDetails { .. }
            | FleetError::InvalidPolicy { .. }
            | FleetError::InvalidSettings { .. }
            | FleetError::InvalidAction { .. }
            | FleetError::InvalidOperatorKey { .. }
            | FleetError::InvalidSecret { .. } => Self::Rule,
            FleetError::UndeliverablePolicy { .. } | FleetError::SecretUnreadable { .. } => Self::Policy,
            FleetError::UnknownPolicy { .. }
            | FleetError::UnknownRevision { .. }
            | FleetError::UnknownToken { .. }
            | FleetError::UnknownAction { .. }
            | FleetError::UnknownOperatorKey { .. }
            | FleetError::UnknownSecret { .. } => Self::Missing,
            FleetError::Orphaned { .. }
            | FleetError::PolicyExists { .. }
            | FleetError::StaleRevision { .. }
            | FleetError::PolicyInUse { .. }
            | FleetError::SecretExists { .. }
            | FleetError::OwnOperatorKey { .. }
            | FleetError::SecretInUse { .. } => Self::Conflict,
            FleetError::Upload(UploadError::UnknownFile { .. } | UploadError::NotReady { .. }) => Self::File,
            FleetError::Upload(UploadError::StoreFull { .. }) => Self::Room,
            FleetError::Upload(_) => Self::Upload,
            FleetError::Artifact(_) => Self::Artifact,
            // A limit, like those of the listener.
            FleetError::TooMany { .. } => Self::Listener,
            FleetError::NoStoreKey
            | FleetError::CryptoFailed
            | FleetError::Busy { .. }
            | FleetError::Interrupted { .. }
            | FleetError::ShuttingDown
            | FleetError::NoRandomness { .. } => Self::Service,
            FleetError::Store(error) => Self::of_store(error),
        }
    }

    fn of_store(error: &StoreError) -> Self {
        match error {
            StoreError::NotFound { .. } => Self::Missing,
            StoreError::Conflict(_) => Self::Conflict,
            StoreError::Unavailable { .. } | StoreError::Corrupt { .. } | StoreError::Trimmed { .. } => {
                Self::Service
            }
            StoreError::Full { .. } => Self::Room,
            StoreError::Body(_) | StoreError::Invalid { .. } => Self::Rule,
            StoreError::Unsupported { .. } => Self::Unsupported,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use fleet::{AgentId, PolicyId, StoreError};

    use super::*;
    use crate::{body::BodyError, body_budget::NoRoom, error::table, limits::Refusal};

    fn statuses(audience: Audience, causes: impl IntoIterator<Item = ApiError>) -> BTreeSet<(Family, u16)> {
        let of = |cause| (Family::of(&cause), table::row(&cause, audience).status.as_u16());
        causes.into_iter().map(of).collect()
    }

    /// What a request meets before the domain: every status of these families has a cause, and every cause a status.
    #[test]
    fn a_family_has_the_statuses_of_its_causes() {
        let wait = Duration::from_secs(1);
        let agent = || AgentId::from("a");
        let causes = || {
            let fleet = ApiError::Fleet;
            let body = |cause| ApiError::Body { what: "x", cause };
            [
                ApiError::Invalid("x".into()),
                ApiError::Refused(Refusal::InFlight { retry_after: wait }),
                ApiError::Broken("x".into()),
                fleet(FleetError::TooMany {
                    what: "x",
                    retry_after: wait,
                }),
                fleet(FleetError::NotAnEnrollmentToken),
                fleet(FleetError::UnknownAgent { agent: agent() }),
                fleet(FleetError::AgentInactive { agent: agent() }),
                body(BodyError::TooLarge { limit: 1 }),
                body(BodyError::UnknownCoding { coding: "x".into() }),
                body(BodyError::NoRoom(NoRoom { retry_after: wait })),
                body(BodyError::Late),
                body(BodyError::Broken("x".into())),
                fleet(FleetError::UndeliverablePolicy {
                    policy: PolicyId::from("p"),
                    source: store::Cause::new(std::fmt::Error),
                }),
                fleet(FleetError::NoStoreKey),
                fleet(FleetError::ShuttingDown),
                fleet(FleetError::StatusMissing),
                fleet(StoreError::Unsupported { what: "x" }.into()),
                fleet(
                    StoreError::NotFound {
                        what: "x",
                        id: "x".into(),
                    }
                    .into(),
                ),
            ]
        };
        for audience in [Audience::Agent, Audience::Operator] {
            let found = statuses(audience, causes());
            for (family, status) in &found {
                assert!(family.statuses(audience).contains(status), "{family:?} {status}");
            }
            for family in [
                Family::Listener,
                Family::Body,
                Family::Service,
                Family::Rule,
                Family::Missing,
            ] {
                for status in family.statuses(audience) {
                    assert!(
                        found.contains(&(family, *status)),
                        "{family:?} {status} has no cause"
                    );
                }
            }
        }
    }
}
