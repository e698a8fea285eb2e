//! Pages of a list.

use crate::{PagePosition, Result, StoreError};

/// Which part of a list is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// Where the page begins.
    pub from: PageStart,
    /// Items wanted at most; 1 to [`PageRequest::WINDOW`].
    pub limit: u32,
}

/// Where a page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageStart {
    /// After this many items. Reaches only the first [`PageRequest::WINDOW`] items of a list, and pages may shift
    /// while the list changes.
    Offset(u64),
    /// After the page whose [`Page::next`] this is, with the same filter and order. Reaches the end of any
    /// list, and each page costs the same.
    After(PagePosition),
}

impl PageRequest {
    /// Largest sum of offset and limit, and largest page: what every engine can serve.
    pub const WINDOW: u32 = 10_000;

    /// The first `limit` items of a list.
    #[must_use]
    pub const fn first(limit: u32) -> Self {
        Self {
            from: PageStart::Offset(0),
            limit,
        }
    }

    /// Refuses a request that some engine could not serve.
    ///
    /// # Errors
    /// [`StoreError::Invalid`]: it reaches beyond the window.
    pub fn check(&self) -> Result<()> {
        let ends = match self.from {
            PageStart::Offset(offset) => offset.saturating_add(self.limit.into()),
            PageStart::After(_) => self.limit.into(),
        };
        if ends <= Self::WINDOW.into() {
            return Ok(());
        }
        Err(StoreError::invalid(format!(
            "a page cannot reach beyond item {}: continue from the previous page's position",
            Self::WINDOW
        )))
    }
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The items of this page, in the order asked for.
    pub items: Vec<T>,
    /// Items in the whole list, from the same snapshot.
    pub total: Total,
    /// Where the next page begins; `None` if this one is not full, so that nothing follows.
    pub next: Option<PagePosition>,
}

/// How many items a list has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Total {
    /// The exact number.
    Exact(u64),
    /// At least this number: the engine stops counting there.
    AtLeast(u64),
}

impl Total {
    /// The number, exact or not.
    #[must_use]
    pub const fn count(self) -> u64 {
        match self {
            Self::Exact(count) | Self::AtLeast(count) => count,
        }
    }
}
