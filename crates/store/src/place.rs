//! Places in lists that only the engine can read: its numbers, sort values or shards stay its own. A place is kept and
//! handed back; it has no order, so nobody above an engine can compare two.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

macro_rules! place {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// As the engine wrote it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }
    };
}

place!(
    /// Where a reader of the change feed stands, for one kind of change.
    Cursor
);
place!(
    /// Where an agent stands in its actions: what it has confirmed through ack tokens (M4, M5).
    Position
);
place!(
    /// Behind an item of a list: where the next page begins.
    PagePosition
);
