//! Where an upload is on its way: its states, and which of them lead where.

use strum::{IntoStaticStr, VariantArray};

/// Where an upload is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum UploadState {
    /// It takes chunks.
    #[strum(serialize = "AWAITING_UPLOAD")]
    Open,
    /// All of it is there.
    Ready,
    /// What came was not what the agent said; nothing of it is kept.
    #[strum(serialize = "UPLOAD_ERROR")]
    Failed,
    /// It was never completed; nothing of it is kept.
    Expired,
    /// An operator removed it; nothing of it is kept.
    Deleted,
}

impl UploadState {
    /// All of them; the embedded engine stores a state's place here.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// Its name in documents (data.md 1.9).
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether an upload may go from here to there.
    #[must_use]
    pub const fn leads_to(self, next: Self) -> bool {
        match self {
            Self::Open => !matches!(next, Self::Open),
            Self::Ready | Self::Failed | Self::Expired => matches!(next, Self::Deleted),
            Self::Deleted => false,
        }
    }
}
