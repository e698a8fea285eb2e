//! O28: the audit log: who changed what, in the order of the commits. Entries are appended, and go only when their time
//! is over; nothing changes one.
//!
//! In: an entry as a draft that goes with the change itself ([`Audit::audited`]), or alone. Out: pages, newest first. What
//! an entry says of a change, and that it holds no secret, is the domain's to see to.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::{KeyId, OperatorRole, Page, PageRequest, RawJson, Result, Store, Timestamp};

/// An entry to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAudit {
    /// When it was asked for.
    pub at: Timestamp,
    /// Who did it.
    pub actor: AuditActor,
    /// What: `policy.update`.
    pub action: String,
    /// To what.
    pub target: Option<AuditTarget>,
    /// What of it was so before.
    pub before: Option<RawJson>,
    /// What of it is so since.
    pub after: Option<RawJson>,
    /// From where.
    pub address: Option<String>,
    /// Id of the request.
    pub request: String,
}

/// Who did it, as the key was then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditActor {
    /// Public half of the key.
    pub key: KeyId,
    /// The key's name.
    pub name: String,
    /// The key's role.
    pub role: OperatorRole,
}

/// What was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditTarget {
    /// What it is: `policy`.
    pub kind: String,
    /// Its id.
    pub id: String,
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its place in the log: a later one is greater.
    pub number: i64,
    /// What it says.
    pub said: NewAudit,
}

/// Which entries are wanted; what is `None` excludes none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// Id or name of the actor's key.
    pub actor: Option<String>,
    /// The action, or the part of it before the dot.
    pub action: Option<String>,
    /// Id of what was changed.
    pub target: Option<String>,
    /// Not before this time.
    pub from: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
}

/// The entry of one request, which goes with the change once it is told which one that is.
#[derive(Debug)]
pub struct AuditDraft {
    state: Mutex<(NewAudit, Progress)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Nothing of the change is known yet: what is written first is not it.
    Begun,
    /// The next write is the change.
    Due,
    Written,
}

impl AuditDraft {
    /// The draft of this entry.
    #[must_use]
    pub const fn new(entry: NewAudit) -> Self {
        Self {
            state: Mutex::new((entry, Progress::Begun)),
        }
    }

    /// The next write is a change of this target.
    pub fn is_due(&self, target: AuditTarget, before: Option<RawJson>, after: Option<RawJson>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0.target = Some(target);
        state.0.before = before;
        state.0.after = after;
        state.1 = Progress::Due;
    }

    /// For an engine: the entry that goes with the next write.
    #[must_use]
    pub fn due(&self) -> Option<NewAudit> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.1 == Progress::Due).then(|| state.0.clone())
    }

    /// For an engine: what [`AuditDraft::due`] gave is written.
    pub fn written(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1 = Progress::Written;
    }

    /// The entry, if no write took it.
    #[must_use]
    pub fn left_over(&self) -> Option<NewAudit> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.1 != Progress::Written).then(|| state.0.clone())
    }
}

/// The audit log.
#[async_trait]
pub trait Audit: Send + Sync + 'static {
    /// O28: the same store, whose next write after [`AuditDraft::is_due`] takes the entry along in the unit of the change.
    /// `None` where a write takes nothing along: the entry is appended after the change, and a cut between the two leaves
    /// a change without an entry, which the server's log has.
    fn audited(&self, draft: Arc<AuditDraft>) -> Option<Arc<dyn Store>>;

    /// O28: appends an entry by itself, for what changes nothing in the store.
    async fn append_audit(&self, entry: NewAudit) -> Result<()>;

    /// O28: entries, newest first.
    async fn audit(&self, query: &AuditQuery, page: PageRequest) -> Result<Page<AuditEntry>>;

    /// O24: removes entries from before this time, at most `limit`; answers how many.
    async fn delete_audit(&self, before: Timestamp, limit: u32) -> Result<u64>;
}
