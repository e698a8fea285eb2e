//! The change feed.

/// Position in the change feed: strictly increasing in commit order, never reused (M1). 0 is before everything.
pub type ChangeSequence = i64;

/// Something that was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where in the feed.
    pub sequence: ChangeSequence,
    /// What kind of thing changed.
    pub kind: ChangeKind,
    /// Which one: a policy id, an action document id, an agent id, a token id, a key id.
    pub id: String,
}

/// What kind of thing a [`Change`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// A policy got a revision or was deleted.
    Policy,
    /// An action document was appended.
    Action,
    /// An agent was enrolled, reassigned or unenrolled (not: checked in).
    Agent,
    /// An enrollment token was made or revoked.
    Token,
    /// A key was made or invalidated.
    Key,
}
