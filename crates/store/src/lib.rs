//! The interface between the domain and a store, independent of the engine behind it.
//!
//! ```text
//! domain (crate `fleet`) ──► dyn Store ──► crate `store-sqlite`      conformance ──► every engine
//!                                     └──► later: PostgreSQL, Elasticsearch
//! ```
//!
//! The store keeps documents and their order; it knows no rule of the domain (who may enrol, what an agent
//! is sent). An operation that must be atomic is one method; no transaction crosses the boundary. Times are
//! passed in, so tests move the clock. Guarantees M1–M10 and the loss budget: `docs/adr/0003-store.md`.

mod action;
mod actions;
mod agent;
mod agent_files;
mod agent_query;
mod agents;
mod api_key;
mod audit;
mod blobs;
mod cause;
mod collector;
#[cfg(feature = "conformance")]
pub mod conformance;
mod digest;
mod engine;
mod error;
mod feed;
mod from_object;
mod health;
mod ids;
mod json;
mod keys;
mod opaque;
mod operator_keys;
mod page;
mod place;
mod policies;
mod policy;
mod secrets;
mod status;
mod timestamp;
mod upload_state;
mod uploads;

pub use action::{
    Action, ActionOutcome, ActionProgress, ActionResult, AddressedAction, AgentMark, Inserted, NewAction,
    Pending, PendingAction, Recall,
};
pub use actions::Actions;
pub use agent::{
    Agent, AuditMark, CheckinRecord, DetailsChange, Enrolled, Enrollment, NewAgent, Replacement,
    UnhealthyReason, UpgradeChange, UpgradeEnd,
};
pub use agent_files::{AgentFile, AgentFiles, NewAgentFile, agent_file_blob};
pub use agent_query::{AgentQuery, AgentSort, SortOrder, StatusReport};
pub use agents::Agents;
pub use api_key::{ApiKey, Secret, TokenError};
pub use audit::{Audit, AuditActor, AuditDraft, AuditEntry, AuditQuery, AuditTarget, NewAudit};
pub use blobs::{BODY_BLOCK_BYTES, Blob, BlobRoom, BlobSpace, BlobStream, BlobTerms, Blobs, BodyFault};
pub use cause::{Cause, chain};
pub use collector::{Collector, CollectorReport};
pub use digest::{Digest, NotADigest};
pub use engine::{Engine, EngineClass};
pub use error::{Conflict, StoreError};
pub use feed::{ChangeKind, Changes, Feed};
pub use from_object::FromObject;
pub use health::{StoreHealth, StoreMetrics, StoreStats};
pub use ids::{
    ActionDocId, ActionId, AgentId, BlobId, EnrollmentId, FileId, KeyId, PolicyId, SecretId, TokenId,
    UploadId,
};
pub use json::RawJson;
pub use keys::{EnrollmentToken, KeyOwner, KeyPurpose, Keys, NewToken, Verification};
pub use operator_keys::{NewOperatorKey, OperatorKey, OperatorKeys, OperatorRole};
pub use page::{Page, PageRequest, PageStart, Total};
pub use place::{Cursor, PagePosition, Position};
pub use policies::Policies;
pub use policy::{NewRevision, PolicyRevision, PolicySummary};
pub use secrets::{SealedSecret, Secrets};
pub use status::{AgentStatus, OFFLINE_AFTER, StatusCounts, inactivity_timeout};
pub use timestamp::Timestamp;
pub use upload_state::UploadState;
pub use uploads::{Chunk, Claims, NewUpload, Upload, UploadEnd, UploadTerms, Uploads, chunk_blob};

/// The result of a store operation.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Everything that the domain needs of a store, one trait for each concern.
///
/// A method that fails has done nothing, as far as its documentation says so for the engine's class. "Does not exist"
/// is [`StoreError::NotFound`] (or `None` where absence is an ordinary answer); "could not be read" is
/// [`StoreError::Unavailable`] or [`StoreError::Corrupt`]: a caller can always tell the two apart.
pub trait Store:
    Agents
    + Actions
    + Policies
    + Keys
    + OperatorKeys
    + Audit
    + Secrets
    + Feed
    + Blobs
    + Uploads
    + AgentFiles
    + Engine
{
}

impl<
    T: Agents
        + Actions
        + Policies
        + Keys
        + OperatorKeys
        + Audit
        + Secrets
        + Feed
        + Blobs
        + Uploads
        + AgentFiles
        + Engine,
> Store for T
{
}
