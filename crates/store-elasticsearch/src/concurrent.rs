//! Documents that are worked on at the same time, so that they share requests.

use futures_util::{StreamExt as _, stream};

/// The outcomes in no particular order; so many are under way at once. What is not ready waits in a list, not in an
/// iterator that would be held over the waiting.
pub(crate) async fn at_once<F: Future>(work: Vec<F>) -> Vec<F::Output> {
    stream::iter(work).buffer_unordered(AT_ONCE).collect().await
}

const AT_ONCE: usize = 2048;
