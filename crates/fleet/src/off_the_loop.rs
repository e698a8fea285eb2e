//! Runs long work on a thread that may block.

use crate::FleetError;

/// Runs the work on the pool for blocking work, so that no event loop stands still for it.
///
/// # Errors
/// [`FleetError::ShuttingDown`]: the pool takes nothing any more. [`FleetError::Interrupted`]: the work panicked.
pub(crate) async fn off_the_loop<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, FleetError> {
    actix_rt::task::spawn_blocking(work)
        .await
        .map_err(|error| match error.is_panic() {
            true => FleetError::Interrupted { what: "the work" },
            false => FleetError::ShuttingDown,
        })
}

/// Runs work over `bytes` bytes: in place if they are few, since moving it to a thread would cost more.
pub(crate) async fn off_the_loop_if_large<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, FleetError> {
    if bytes <= IN_PLACE {
        Ok(work())
    } else {
        off_the_loop(work).await
    }
}

/// JSON of this size is read and written in well under a millisecond.
const IN_PLACE: usize = 64 * 1024;
