//! Positions in lists that only the engine can read: its numbers, sort values or shards stay its own. A position is kept
//! and handed back; it has no order, so nothing above an engine can compare two.

crate::opaque::opaque! {
    /// Position of a reader of the change feed, for one kind of change.
    #[derive(Debug)]
    Cursor;
    /// Position of an agent in its actions: what it has confirmed through ack tokens (M4, M5).
    #[derive(Debug)]
    Position;
    /// Position after an item of a list: where the next page begins.
    #[derive(Debug)]
    PagePosition;
}
