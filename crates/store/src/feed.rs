//! O23: the change feed, one for each kind of thing.
//!
//! In: a reader's cursor. Out: ids of what was committed since, and the cursor behind them. Cursors are opaque: an
//! engine may count, or keep a position for each of its shards.

use std::time::Duration;

use async_trait::async_trait;
use strum::{Display, VariantArray};

use crate::{Cursor, Result};

/// What a feed is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Display, VariantArray)]
pub enum ChangeKind {
    /// A policy got a revision or was deleted. The id is the policy's.
    #[strum(to_string = "policies")]
    Policy,
    /// An action document was appended. The id is the document's.
    #[strum(to_string = "actions")]
    Action,
    /// An agent was enrolled, reassigned or unenrolled (not: checked in). The id is the agent's.
    #[strum(to_string = "agents")]
    Agent,
    /// An enrollment token was made or revoked. The id is the token's.
    #[strum(to_string = "tokens")]
    Token,
}

impl ChangeKind {
    /// Every kind, in no particular order.
    pub const ALL: &[Self] = Self::VARIANTS;
}

/// The answer to one read of a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// Which things changed, in the order of their commits; one that changed twice is named twice.
    pub ids: Vec<String>,
    /// The cursor for the next read, also if nothing changed.
    pub next: Cursor,
}

/// Changes of each kind, in the order of their commits. Keys have none: they are verified in the store each time.
#[async_trait]
pub trait Feed: Send + Sync + 'static {
    /// O23: changes of this kind that were committed after `after`, in order, without gaps or repeats (M1, M2), at
    /// most `limit`. If there is none, waits at most `wait` for one and then answers none. Cancel-safe. A change is
    /// shown on every replica within a second of its commit.
    ///
    /// # Errors
    /// [`crate::StoreError::Trimmed`]: changes after `after` are no longer kept; the reader takes
    /// [`Feed::last_change`], reads everything of this kind again, and goes on from there.
    async fn changes(&self, kind: ChangeKind, after: &Cursor, limit: u32, wait: Duration) -> Result<Changes>;

    /// O23: the cursor after the newest committed change of this kind, from which a new reader starts.
    async fn last_change(&self, kind: ChangeKind) -> Result<Cursor>;
}
