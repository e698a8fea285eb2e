//! Ids as types of their own, so that one cannot be passed for another. All are opaque text.

use std::fmt;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)+) => {
        crate::opaque::opaque! {$(
            $(#[$doc])*
            #[derive(PartialOrd, Ord)]
            $name;
        )+}

        $(
            impl fmt::Display for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str(self.as_str())
                }
            }

            impl fmt::Debug for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    fmt::Debug::fmt(self.as_str(), f)
                }
            }
        )+
    };
}

ids! {
    /// Id of an agent.
    AgentId;
    /// Id of a policy; may carry a version suffix (`base#suffix`).
    PolicyId;
    /// Id of an action as agents know it. Several documents may share it.
    ActionId;
    /// Id of one stored action document: the opaque ack token.
    ActionDocId;
    /// The public half of an API key.
    KeyId;
    /// Id of an enrollment token's record.
    TokenId;
    /// The idempotency key of an enrolment.
    EnrollmentId;
    /// Id of a large body.
    BlobId;
    /// The handle of an upload: what its chunks are sent to.
    UploadId;
    /// Id of a file's document.
    FileId;
    /// Id of a secret.
    SecretId;
}

impl PolicyId {
    /// The policy without its version suffix, if it has one.
    #[must_use]
    pub fn base(&self) -> Option<Self> {
        self.as_str().rsplit_once('#').map(|(base, _)| Self::from(base))
    }
}
