//! A few threads that read, each with a connection of its own, so that SQLite never runs on an event loop.
//!
//! The queue is bounded; a caller that finds it full waits for a place, at most [`QUEUE_WAIT`], then is told
//! `Unavailable`.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use rusqlite::Connection;
use store::{Result, StoreError};
use tokio::sync::{mpsc, oneshot};

use super::{
    condition::Condition,
    fault::{Outcome, closed, panicked, unavailable},
};

type Job = Box<dyn FnOnce(&Connection) + Send>;

/// Where questions are handed to the readers.
pub(super) struct Readers {
    sender: Mutex<Option<mpsc::Sender<Job>>>,
    condition: Arc<Condition>,
}

impl Readers {
    /// Starts one thread for each connection.
    pub(super) fn start(
        connections: Vec<Connection>,
        capacity: usize,
        condition: Arc<Condition>,
    ) -> io::Result<(Self, Vec<JoinHandle<()>>)> {
        let (sender, receiver) = mpsc::channel::<Job>(capacity.max(1));
        let receiver = Arc::new(Mutex::new(receiver));
        let mut threads = Vec::with_capacity(connections.len());
        for connection in connections {
            let receiver = Arc::clone(&receiver);
            let work = move || {
                while let Some(job) = take(&receiver) {
                    job(&connection);
                }
            };
            // On an error the sender is dropped with this function, and the threads so far end.
            threads.push(
                thread::Builder::new()
                    .name("store-reader".to_owned())
                    .spawn(work)?,
            );
        }
        Ok((
            Self {
                sender: Mutex::new(Some(sender)),
                condition,
            },
            threads,
        ))
    }

    /// Answers `question` from one of the connections.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> Outcome<T> + Send + 'static,
    ) -> Result<T> {
        let sender = self
            .sender
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .ok_or_else(closed)?;
        let (reply, answer) = oneshot::channel();
        let job: Job =
            Box::new(move |connection| {
                let outcome = catch_unwind(AssertUnwindSafe(|| question(connection)));
                // A caller that went away no longer wants to know.
                drop(reply.send(
                    outcome.map_or_else(|_| Err(panicked()), |outcome| outcome.map_err(StoreError::from)),
                ));
            });
        match tokio::time::timeout(QUEUE_WAIT, sender.send(job)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(closed()),
            Err(_) => return Err(unavailable("too many reads are waiting")),
        }
        drop(sender);
        let answer = answer.await.unwrap_or_else(|_| Err(closed()));
        if let Err(error) = &answer {
            self.condition.damaged(error);
        }
        answer
    }

    /// Accepts nothing more. What was accepted is still answered.
    pub(super) fn close(&self) {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// The next question; whoever holds the lock waits for it. `None` once the queue is closed and empty.
fn take(receiver: &Mutex<mpsc::Receiver<Job>>) -> Option<Job> {
    receiver
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .blocking_recv()
}

/// How long a caller waits for a place in the queue.
const QUEUE_WAIT: Duration = Duration::from_secs(5);
