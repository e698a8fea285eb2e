//! Errors of the domain, named for the cause. Only the api maps them to HTTP statuses.

use std::time::Duration;

use store::{ActionId, AgentId, Cause, PolicyId, SecretId, StoreError, TokenId};

/// A request that the domain did not fulfil.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "fields are named for what they hold")]
pub enum FleetError {
    /// The key's id is unknown or its secret is wrong.
    #[error("the API key is not known")]
    UnknownKey,
    /// The key was invalidated.
    #[error("the API key is revoked")]
    KeyRevoked,
    /// The key is valid, but there is no such agent.
    #[error("agent {agent} does not exist")]
    UnknownAgent { agent: AgentId },
    /// The key is valid, but belongs to something else.
    #[error("the API key does not belong to agent {agent}")]
    WrongIdentity { agent: AgentId },
    /// The agent was unenrolled.
    #[error("agent {agent} is inactive")]
    AgentInactive { agent: AgentId },
    /// The key is valid, but is not an enrollment token's.
    #[error("the API key is not an enrollment token")]
    NotAnEnrollmentToken,
    /// The key is valid, but not an agent's.
    #[error("the API key is not an agent's")]
    NotAnAgentKey,
    /// The key is valid, but not an operator's.
    #[error("the API key is not an operator's")]
    NotAnOperatorKey,
    /// The enrolment names no known kind of agent.
    #[error("unknown enroll request type {kind}")]
    UnknownEnrollType { kind: String },
    /// An active agent may not be taken over.
    #[error("agent {agent} cannot be replaced")]
    NotReplaceable { agent: AgentId },
    /// The same enrolment is under way.
    #[error("an enrolment with the same enrollment id is under way")]
    DuplicateEnrollment,
    /// A token of the configuration names a policy that does not exist.
    #[error("policy {policy} of the static token does not exist")]
    UnknownStaticPolicy { policy: PolicyId },
    /// The check-in has no status.
    #[error("checkin status missing")]
    StatusMissing,
    /// The report that an agent was uninstalled names no known reason, or no time.
    #[error("audit/unenroll request invalid {what}")]
    InvalidAudit { what: &'static str },
    /// The agent is known to be orphaned: that stays until it checks in again.
    #[error("agent {agent} is orphaned already")]
    Orphaned { agent: AgentId },
    /// An id that cannot be used.
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
    /// An id or a word is longer than any agent sends.
    #[error("{what} has more than {most} bytes")]
    TooLong { what: &'static str, most: usize },
    /// An agent's metadata is not an object, or cannot be read.
    #[error("local metadata must be an object")]
    InvalidMetadata { source: Cause },
    /// `components` is not a list of components.
    #[error("components must be a list of objects")]
    InvalidComponents { source: Cause },
    /// `upgrade_details` break a rule of agents.md 5.5.
    #[error("invalid upgrade details: {reason}")]
    InvalidUpgradeDetails { reason: String },
    /// A policy that no agent could use.
    #[error("invalid policy: {reason}")]
    InvalidPolicy { reason: String },
    /// Settings of a policy with members of the wrong type.
    #[error("invalid policy")]
    InvalidSettings { source: Cause },
    /// A stored policy that cannot be delivered.
    #[error("policy {policy} cannot be delivered")]
    UndeliverablePolicy { policy: PolicyId, source: Cause },
    /// An action that agents would refuse.
    #[error("invalid action: {reason}")]
    InvalidAction { reason: String },
    /// No such policy.
    #[error("policy {policy} does not exist")]
    UnknownPolicy { policy: PolicyId },
    /// A policy with this id exists.
    #[error("policy {policy} exists")]
    PolicyExists { policy: PolicyId },
    /// Agents are assigned to the policy.
    #[error("policy {policy} has {agents} active agents")]
    PolicyInUse { policy: PolicyId, agents: u64 },
    /// No such enrollment token.
    #[error("enrollment token {token} does not exist")]
    UnknownToken { token: TokenId },
    /// No such action.
    #[error("action {action} does not exist")]
    UnknownAction { action: ActionId },
    /// No such secret.
    #[error("secret {secret} does not exist")]
    UnknownSecret { secret: SecretId },
    /// A secret with this id exists.
    #[error("secret {secret} exists: a secret never changes, give the new value another id")]
    SecretExists { secret: SecretId },
    /// Somebody refers to the secret.
    #[error("secret {secret} is used by {user}")]
    SecretInUse { secret: SecretId, user: String },
    /// A secret that cannot be kept.
    #[error("invalid secret: {reason}")]
    InvalidSecret { reason: &'static str },
    /// What is stored of a secret was damaged, or encrypted with another key.
    #[error("secret {secret} cannot be decrypted")]
    SecretUnreadable { secret: SecretId },
    /// The server has no key to encrypt secrets with.
    #[error("there is no key to encrypt secrets with")]
    NoStoreKey,
    /// The cryptographic library refused to work.
    #[error("the cryptographic library failed")]
    CryptoFailed,
    /// The limit of concurrent operations of this kind is reached.
    #[error("too many {what} at once")]
    TooMany {
        what: &'static str,
        retry_after: Duration,
    },
    /// A file does not come, go or stay as asked.
    #[error(transparent)]
    Upload(#[from] crate::uploads::UploadError),
    /// An artifact could not be stored or fetched.
    #[error(transparent)]
    Artifact(#[from] crate::artifacts::ArtifactError),
    /// A queue is full.
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
    /// The server stops.
    #[error("the server is stopping")]
    ShuttingDown,
    /// The operating system has no random numbers.
    #[error("no random numbers")]
    NoRandomness { source: Cause },
    /// The store's fault.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn spaced(marks: &str) -> String {
    marks.chars().map(String::from).collect::<Vec<_>>().join(" ")
}
