//! Pages of a list in SQLite's terms.

use store::PageRequest;

/// SQLite counts with signed numbers; a list is never longer.
pub(super) fn offset(page: PageRequest) -> i64 {
    i64::try_from(page.offset).unwrap_or(i64::MAX)
}
