//! Errors of a store. A caller can tell "does not exist" from "could not be read".

use std::time::Duration;

use crate::{AgentId, BodyFault, Cause, EnrollmentId, PolicyId, TokenId, UploadId, UploadState};

/// A store operation that did not happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the texts and the fields' names say it")]
pub enum StoreError {
    #[error("{what} {id} does not exist")]
    NotFound {
        /// What was looked for: `agent`, `policy`, …
        what: &'static str,
        id: String,
    },
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// The engine is down, full or overloaded; nothing was written.
    #[error("the store is unavailable: {reason}")]
    Unavailable {
        reason: String,
        retry_after: Duration,
        source: Option<Cause>,
    },
    /// The disk has no room for a body; smaller writes may still go on.
    #[error("there is no room for the body")]
    Full { source: Cause },
    #[error(transparent)]
    Body(#[from] BodyFault),
    #[error("the store is damaged: {detail}")]
    Corrupt { detail: String, source: Option<Cause> },
    /// A reader of the change feed fell behind what is kept (O23): it reads everything again and goes on from
    /// [`crate::Feed::last_change`], taken before that.
    #[error("older changes of {kind} are no longer kept")]
    Trimmed { kind: crate::ChangeKind },
    #[error("this store cannot {what}")]
    Unsupported { what: &'static str },
    #[error("invalid value for the store: {detail}")]
    Invalid { detail: String, source: Option<Cause> },
}

impl StoreError {
    /// Data that contradict each other, seen by our own check.
    #[must_use]
    pub fn corrupt(detail: impl Into<String>) -> Self {
        let (detail, source) = (detail.into(), None);
        Self::Corrupt { detail, source }
    }

    /// A value that the store cannot hold, refused by our own check.
    #[must_use]
    pub fn invalid(detail: impl Into<String>) -> Self {
        let (detail, source) = (detail.into(), None);
        Self::Invalid { detail, source }
    }
}

/// Why a compare-and-set or a unique key refused a change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the texts and the fields' names say it")]
pub enum Conflict {
    #[error("agent {0} exists")]
    AgentExists(AgentId),
    #[error("an agent with enrollment id {0} exists")]
    EnrollmentIdTaken(EnrollmentId),
    #[error("the enrollment token is revoked")]
    TokenRevoked,
    /// An enrollment token with this id, or a key with its key id, exists.
    #[error("enrollment token {0} exists")]
    TokenExists(TokenId),
    #[error("{0} exists")]
    IdTaken(String),
    #[error("{0} changed meanwhile")]
    Changed(String),
    #[error("policy {policy} is at revision {current}")]
    Revision {
        policy: PolicyId,
        /// Its newest revision; 0 if the policy does not exist.
        current: i64,
    },
    #[error("policy {policy} has {agents} active agents")]
    AgentsAssigned { policy: PolicyId, agents: u64 },
    /// The upload is not open any more, or does not go where it was to go.
    #[error("upload {upload} is {}", state.as_str())]
    UploadEnded { upload: UploadId, state: UploadState },
    #[error("files of agent {agent} may take {most_bytes} bytes together")]
    AgentQuota { agent: AgentId, most_bytes: u64 },
    #[error("agent {agent} has {most} uploads open")]
    OpenUploads { agent: AgentId, most: u32 },
    #[error("stored files may take {most_bytes} bytes together")]
    StoreQuota { most_bytes: u64 },
    #[error("the disk has room for {bytes} bytes in {files} files")]
    DiskRoom { bytes: u64, files: u64 },
}
