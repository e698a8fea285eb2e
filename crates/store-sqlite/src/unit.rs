//! What a piece of work on the writer is given: the connection inside its savepoint, and the change feed.

use std::{cell::Cell, ops::Deref};

use rusqlite::Connection;
use store::{ChangeKind, ChangeSequence};

use super::{fault::Outcome, feed};

/// One piece of work inside a group commit.
pub(super) struct Unit<'a> {
    connection: &'a Connection,
    last_change: Cell<Option<ChangeSequence>>,
    announced: Cell<i64>,
}

impl<'a> Unit<'a> {
    pub(super) fn new(connection: &'a Connection) -> Self {
        Self {
            connection,
            last_change: Cell::new(None),
            announced: Cell::new(0),
        }
    }

    /// Appends a change to the feed; readers see it after the commit.
    pub(super) fn announce(&self, kind: ChangeKind, id: &str) -> Outcome<()> {
        self.last_change
            .set(Some(feed::append(self.connection, kind, id)?));
        self.announced.set(self.announced.get() + 1);
        Ok(())
    }

    /// The newest change of this piece of work.
    pub(super) fn last_change(&self) -> Option<ChangeSequence> {
        self.last_change.get()
    }

    /// How many changes it announced.
    pub(super) fn announced(&self) -> i64 {
        self.announced.get()
    }

    /// Its savepoint is undone, its changes with it.
    pub(super) fn forget(&self) {
        self.last_change.set(None);
        self.announced.set(0);
    }
}

impl Deref for Unit<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}
