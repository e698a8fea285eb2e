//! What a piece of work on the writer is given: the connection inside its savepoint, and the change feed.

use std::{cell::Cell, ops::Deref};

use rusqlite::Connection;
use store::ChangeKind;

use super::{
    fault::Outcome,
    feed::{self, Heads},
};

/// One piece of work inside a group commit.
pub(super) struct Unit<'a> {
    connection: &'a Connection,
    heads: Cell<Heads>,
    announced: Cell<i64>,
}

impl<'a> Unit<'a> {
    pub(super) fn new(connection: &'a Connection) -> Self {
        Self {
            connection,
            heads: Cell::default(),
            announced: Cell::default(),
        }
    }

    /// Appends a change to the feed; readers see it after the commit.
    pub(super) fn announce(&self, kind: ChangeKind, id: &str) -> Outcome<()> {
        let mut heads = self.heads.get();
        heads.add(kind, feed::append(self.connection, kind, id)?);
        self.heads.set(heads);
        self.announced.set(self.announced.get() + 1);
        Ok(())
    }

    /// The newest changes of this piece of work.
    pub(super) fn heads(&self) -> Heads {
        self.heads.get()
    }

    /// How many changes it announced.
    pub(super) fn announced(&self) -> i64 {
        self.announced.get()
    }

    /// Its savepoint is undone, its changes with it.
    pub(super) fn forget(&self) {
        self.heads.take();
        self.announced.take();
    }
}

impl Deref for Unit<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}
