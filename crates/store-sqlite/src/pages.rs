//! Pages of a list in SQLite's terms: an offset, or the sort values of the last item as a JSON array.

use serde::{Serialize, de::DeserializeOwned};
use store::{Cause, Page, PageRequest, PageStart, StoreError, Total};

/// Items to skip, or the sort values behind which the page begins.
pub(super) fn start<K: DeserializeOwned>(page: &PageRequest) -> Result<(i64, Option<K>), StoreError> {
    page.check()?;
    match &page.from {
        PageStart::Offset(offset) => Ok((i64::try_from(*offset).unwrap_or(i64::MAX), None)),
        PageStart::After(position) => match serde_json::from_str(position.as_str()) {
            Ok(values) => Ok((0, Some(values))),
            Err(_) => Err(foreign()),
        },
    }
}

/// The page with these items; `key` gives the sort values of one.
pub(super) fn page<T, K: Serialize>(
    request: &PageRequest,
    items: Vec<T>,
    total: u64,
    key: impl FnOnce(&T) -> K,
) -> Result<Page<T>, StoreError> {
    let last = items.last().filter(|_| items.len() >= request.limit as usize);
    let next = last.map(|last| serde_json::to_string(&key(last))).transpose();
    Ok(Page {
        next: next
            .map_err(|error| StoreError::Corrupt {
                detail: "sort values cannot be written as JSON".to_owned(),
                source: Some(Cause::new(error)),
            })?
            .map(Into::into),
        items,
        total: Total::Exact(total),
    })
}

/// A position that is not of this list.
pub(super) fn foreign() -> StoreError {
    StoreError::invalid("the position does not belong to this list, with this filter and order")
}
