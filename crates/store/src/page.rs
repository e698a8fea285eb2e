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
    /// Behind so many items. Serves only the first [`PageRequest::WINDOW`] items of a list, whose pages may shift
    /// while the list changes.
    Offset(u64),
    /// Behind the page whose [`Page::next`] this is, in a list that is filtered and sorted as that one was. Serves any
    /// list to its end, and each page costs the same.
    After(PagePosition),
}

impl PageRequest {
    /// Items that an offset can reach, the limit included, and items of one page: what every engine can serve.
    pub const WINDOW: u32 = 10_000;

    /// The beginning of a list.
    #[must_use]
    pub const fn first(limit: u32) -> Self {
        Self {
            from: PageStart::Offset(0),
            limit,
        }
    }

    /// Refuses what not every engine could serve.
    ///
    /// # Errors
    /// [`StoreError::Invalid`]: it reaches behind the window.
    pub fn check(&self) -> Result<()> {
        let ends = match self.from {
            PageStart::Offset(offset) => offset.saturating_add(self.limit.into()),
            PageStart::After(_) => self.limit.into(),
        };
        if ends <= Self::WINDOW.into() {
            return Ok(());
        }
        Err(StoreError::Invalid {
            detail: format!(
                "a page ends at item {} at most: go on behind the page before",
                Self::WINDOW
            ),
        })
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
    /// So many.
    Exact(u64),
    /// So many or more: the engine stops counting there.
    AtLeast(u64),
}

impl Total {
    /// The number.
    #[must_use]
    pub const fn count(self) -> u64 {
        match self {
            Self::Exact(count) | Self::AtLeast(count) => count,
        }
    }
}
