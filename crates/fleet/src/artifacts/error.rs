//! Why an artifact is not stored or not served. The api maps it to a status.

use store::Digest;

/// Why a request for an artifact was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the texts and the fields' names say it")]
pub enum ArtifactError {
    #[error("malformed sha256: {source}")]
    NoDigest { source: store::NotADigest },
    #[error("the policy of agent {agent} does not list artifact {identifier} with this SHA-256")]
    NotListed {
        agent: store::AgentId,
        identifier: String,
    },
    #[error("artifact {identifier} with SHA-256 {decoded} does not exist")]
    Unknown { identifier: String, decoded: Digest },
    #[error("an artifact's name is 1 to 256 letters, digits or any of - _ . and not {found}")]
    Name { found: String },
    #[error("the artifact inflates to more than {most} bytes")]
    InflatesTooLarge { most: u64 },
}
