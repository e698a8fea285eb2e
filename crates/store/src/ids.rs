//! Ids as types of their own: one cannot pass for another. All are opaque text; cloning is cheap.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The id as text.
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

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

impl PolicyId {
    /// The policy without its version suffix, if it has one.
    #[must_use]
    pub fn base(&self) -> Option<Self> {
        self.0.rsplit_once('#').map(|(base, _)| Self::from(base))
    }
}

id!(
    /// An agent.
    AgentId
);
id!(
    /// A policy; may carry a version suffix (`base#suffix`).
    PolicyId
);
id!(
    /// An action as agents know it. Several documents may share it.
    ActionId
);
id!(
    /// One stored action document: the opaque ack token.
    ActionDocId
);
id!(
    /// The public half of an API key.
    KeyId
);
id!(
    /// The record of an enrollment token.
    TokenId
);
id!(
    /// The idempotency key of an enrolment.
    EnrollmentId
);
id!(
    /// A large body.
    BlobId
);
