//! Work over large bodies, kept off the event loop.
//!
//! In: work and how many bytes it is over. Out: its result. Small work runs in place.

use std::{
    num::NonZeroUsize,
    sync::{Arc, LazyLock},
    thread::available_parallelism,
};

use actix_web::web;
use fleet::FleetError;
use tokio::sync::Semaphore;

/// Larger bodies are decoded off the event loop.
const INLINE_BYTES: usize = 64 * 1024;

/// Runs work over `bytes` bytes: in place if they are few, otherwise on a blocking thread, and as much of it at once as
/// there are cores: more would take the event loops' time from them, and hold a copy of each body.
pub(crate) async fn off_the_loop_if_large<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, FleetError> {
    if bytes <= INLINE_BYTES {
        return Ok(work());
    }
    let turn = Arc::clone(&LARGE).acquire_owned().await;
    let turn = turn.map_err(|_| FleetError::ShuttingDown)?;
    // It goes on when nobody waits for it any more, and keeps its turn. The pool is closed only at the end of the process.
    let worked = web::block(move || {
        let _turn = turn;
        work()
    });
    worked.await.map_err(|_| FleetError::ShuttingDown)
}

/// Turns for work on large bodies.
static LARGE: LazyLock<Arc<Semaphore>> = LazyLock::new(|| {
    Arc::new(Semaphore::new(
        available_parallelism().map_or(1, NonZeroUsize::get),
    ))
});

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_rt::test]
    async fn no_more_large_bodies_are_read_at_once_than_there_are_cores() {
        use std::sync::{
            Condvar, Mutex,
            atomic::{AtomicUsize, Ordering},
        };

        let cores = available_parallelism().unwrap().get();
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let gate = Arc::new((Mutex::new(false), Condvar::new()));
        let works: Vec<_> = (0..cores * 3)
            .map(|_| {
                let (running, most, gate) = (Arc::clone(&running), Arc::clone(&most), Arc::clone(&gate));
                actix_rt::spawn(off_the_loop_if_large(INLINE_BYTES + 1, move || {
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    let is_open = gate.0.lock().unwrap();
                    let _open = gate.1.wait_while(is_open, |is_open| !*is_open).unwrap();
                    running.fetch_sub(1, Ordering::SeqCst);
                }))
            })
            .collect();
        // Other tests may have a turn for a while.
        while most.load(Ordering::SeqCst) < cores {
            tokio::task::yield_now().await;
        }
        // Whatever else could begin has had its chance: so many works of no turn come and go.
        for _ in 0..cores * 3 {
            web::block(|| ()).await.unwrap();
        }
        *gate.0.lock().unwrap() = true;
        gate.1.notify_all();
        for work in works {
            work.await.unwrap().unwrap();
        }
        assert_eq!(most.load(Ordering::SeqCst), cores);
    }
}
