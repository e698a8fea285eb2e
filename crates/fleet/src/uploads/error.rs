//! Why an upload or a download does not go on. The api maps it to a status.

use store::{AgentId, FileId, UploadId, UploadState};

/// Why an upload does not go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the texts and the fields' names say it")]
pub enum UploadError {
    #[error("file transfer is off")]
    Off,
    #[error("the request says nothing of the file")]
    BodyMissing,
    #[error("agent_id is missing")]
    AgentMissing,
    #[error("{member} is required")]
    MemberMissing { member: &'static str },
    #[error("{member} is not usable: {reason}")]
    MemberInvalid {
        member: &'static str,
        reason: &'static str,
    },
    #[error("file.size is required")]
    SizeMissing,
    #[error("file.size {size} is no size")]
    SizeInvalid { size: i64 },
    #[error("the file has more than {most_bytes} bytes")]
    FileTooLarge { most_bytes: u64 },
    #[error("files of agent {agent} may take {most_bytes} bytes together")]
    AgentQuota { agent: AgentId, most_bytes: u64 },
    #[error("agent {agent} has {most} uploads open")]
    TooManyOpen { agent: AgentId, most: u32 },
    #[error("there is no room for the file: {reason}")]
    StoreFull { reason: String },
    #[error("the file of action and agent is {}", state.as_str())]
    AlreadyThere { state: UploadState },
    #[error("file {file} is of another action and agent")]
    FileIdTaken { file: FileId },
    #[error("upload {upload} is not known")]
    Unknown { upload: UploadId },
    #[error("upload {upload} has expired")]
    Expired { upload: UploadId },
    #[error("upload {upload} is {}", state.as_str())]
    Stopped { upload: UploadId, state: UploadState },
    #[error("the file has no chunk {number}")]
    ChunkNumber { number: String },
    #[error("the chunk's hash does not match")]
    ChunkHash,
    #[error("the chunk must have {bytes} bytes")]
    ChunkLength { bytes: u64 },
    #[error("chunk {number} is stored with other bytes")]
    ChunkTaken { number: u32 },
    #[error("{missing} of {chunks} chunks are missing")]
    ChunksMissing { missing: u32, chunks: u32 },
    #[error("the transit hash is missing")]
    HashMissing,
    #[error("the transit hash does not match")]
    TransitHash,
    #[error("upload {upload} has ended: it is {}", state.as_str())]
    Ended { upload: UploadId, state: UploadState },
    #[error("file {file} does not exist")]
    UnknownFile { file: FileId },
    #[error("file {file} is {}", state.as_str())]
    NotReady { file: FileId, state: UploadState },
}
