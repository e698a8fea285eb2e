//! Waits for a condition of another process, which has no event to await: its answers, its output.

use std::time::{Duration, Instant};

use crate::LIMIT;

/// Polls `is_so` until it holds: bounded by [`LIMIT`], after which the test fails with what it waited for. The pause
/// between two looks is not a synchronisation: a longer one only makes the test slower.
pub async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < LIMIT, "still not: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
