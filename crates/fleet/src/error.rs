//! Errors of the domain, named for the cause. Only the api maps them to HTTP statuses.

use std::time::Duration;

use store::{ActionId, AgentId, Cause, KeyId, OperatorRole, PolicyId, SecretId, StoreError, TokenId};

/// A request that the domain did not fulfil.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the texts and the fields' names say it")]
pub enum FleetError {
    #[error("the API key is not known")]
    UnknownKey,
    #[error("the API key is revoked")]
    KeyRevoked,
    #[error("the API key has expired")]
    KeyExpired,
    #[error("agent {agent} does not exist")]
    UnknownAgent { agent: AgentId },
    #[error("the API key does not belong to agent {agent}")]
    WrongIdentity { agent: AgentId },
    #[error("agent {agent} is inactive")]
    AgentInactive { agent: AgentId },
    #[error("the API key is not an enrollment token")]
    NotAnEnrollmentToken,
    #[error("the API key is not an agent's")]
    NotAnAgentKey,
    #[error("the API key is not an operator's")]
    NotAnOperatorKey,
    #[error("this needs a key with the role {}; the key's is {}", needed.as_str(), has.as_str())]
    RoleTooLow { needed: OperatorRole, has: OperatorRole },
    #[error("invalid operator key: {reason}")]
    InvalidOperatorKey { reason: &'static str },
    #[error("operator key {key} does not exist")]
    UnknownOperatorKey { key: KeyId },
    #[error(
        "operator key {key} is this server's own: put another key into its file and start the server again"
    )]
    OwnOperatorKey { key: KeyId },
    #[error("unknown enroll request type {kind}")]
    UnknownEnrollType { kind: String },
    #[error("agent {agent} cannot be replaced")]
    NotReplaceable { agent: AgentId },
    #[error("an enrolment with the same enrollment id is under way")]
    DuplicateEnrollment,
    #[error("policy {policy} of the static token does not exist")]
    UnknownStaticPolicy { policy: PolicyId },
    #[error("checkin status missing")]
    StatusMissing,
    /// The report that an agent was uninstalled names no known reason, or no time.
    #[error("audit/unenroll request invalid {what}")]
    InvalidAudit { what: &'static str },
    /// The agent is known to be orphaned: that stays until it checks in again.
    #[error("agent {agent} is orphaned already")]
    Orphaned { agent: AgentId },
    #[error(
        "{what} {found}: it must be 1 to 256 letters, digits or any of {}",
        spaced(marks)
    )]
    InvalidId {
        what: &'static str,
        /// The id and what is wrong in it.
        found: String,
        /// The characters that it may have besides letters and digits.
        marks: &'static str,
    },
    #[error("{what} has more than {most} bytes")]
    TooLong { what: &'static str, most: usize },
    #[error("local metadata must be an object")]
    InvalidMetadata { source: Cause },
    #[error("components must be a list of objects")]
    InvalidComponents { source: Cause },
    /// `upgrade_details` break a rule of agents.md 5.5.
    #[error("invalid upgrade details: {reason}")]
    InvalidUpgradeDetails { reason: String },
    #[error("invalid policy: {reason}")]
    InvalidPolicy { reason: String },
    #[error("invalid policy")]
    InvalidSettings { source: Cause },
    #[error("policy {policy} cannot be delivered")]
    UndeliverablePolicy { policy: PolicyId, source: Cause },
    #[error("invalid action: {reason}")]
    InvalidAction { reason: String },
    #[error("policy {policy} does not exist")]
    UnknownPolicy { policy: PolicyId },
    #[error(
        "revision {revision} of policy {policy} does not exist or is no longer kept: the newest is {current}"
    )]
    UnknownRevision {
        policy: PolicyId,
        revision: i64,
        current: i64,
    },
    /// Somebody changed it since the operator read it.
    #[error("policy {policy} is at revision {current}: read it again, and change that one")]
    StaleRevision { policy: PolicyId, current: i64 },
    #[error("policy {policy} exists")]
    PolicyExists { policy: PolicyId },
    #[error("policy {policy} has {agents} active agents")]
    PolicyInUse { policy: PolicyId, agents: u64 },
    #[error("enrollment token {token} does not exist")]
    UnknownToken { token: TokenId },
    #[error("action {action} does not exist")]
    UnknownAction { action: ActionId },
    #[error("secret {secret} does not exist")]
    UnknownSecret { secret: SecretId },
    #[error("secret {secret} exists: a secret never changes, give the new value another id")]
    SecretExists { secret: SecretId },
    #[error("secret {secret} is used by {user}")]
    SecretInUse { secret: SecretId, user: String },
    #[error("invalid secret: {reason}")]
    InvalidSecret { reason: &'static str },
    #[error("secret {secret} cannot be decrypted")]
    SecretUnreadable { secret: SecretId },
    #[error("there is no key to encrypt secrets with")]
    NoStoreKey,
    #[error("the cryptographic library failed")]
    CryptoFailed,
    #[error("too many {what} at once")]
    TooMany {
        what: &'static str,
        retry_after: Duration,
    },
    #[error(transparent)]
    Upload(#[from] crate::uploads::UploadError),
    #[error(transparent)]
    Artifact(#[from] crate::artifacts::ArtifactError),
    #[error("{what} is busy")]
    Busy {
        /// The part whose queue is full.
        what: &'static str,
        /// When to try again.
        retry_after: Duration,
    },
    /// An actor panicked before it answered; it is restarted.
    #[error("{what} failed and is restarted")]
    Interrupted { what: &'static str },
    #[error("the server is stopping")]
    ShuttingDown,
    #[error("no random numbers")]
    NoRandomness { source: Cause },
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn spaced(marks: &str) -> String {
    marks.chars().map(String::from).collect::<Vec<_>>().join(" ")
}
