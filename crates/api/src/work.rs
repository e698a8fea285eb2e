//! How much is worked on at once on one listener, and whose request is refused when it could not begin in time.
//!
//! A request holds a [`Turn`] while the server works for it: not while its body is on its way, not while an agent waits
//! for a change. The queue behind the turns is first come, first served, and its length in time is measured; a request
//! that would wait longer than its route allows is refused at once, before it costs anything else, with the time after
//! which the queue has drained. Check-ins are refused last, and only after they have waited: an agent that is refused
//! stays away for a minute and more.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{
    limits::Refusal,
    returns::{Returns, Turnover},
    route::Route,
};

/// The turns of one listener.
#[derive(Debug)]
pub(crate) struct Work {
    free: Arc<Semaphore>,
    turns: u32,
    queued: AtomicUsize,
    turnover: Turnover,
    returns: Returns,
    epoch: Instant,
}

/// The right to be worked for; given on when dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _permit: Option<OwnedSemaphorePermit>,
    begun: Instant,
    work: Arc<Work>,
}

impl Work {
    /// As many turns as keep the cores and the store's commits busy.
    pub(crate) fn of_this_machine() -> Arc<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::of(u32::try_from(cores).unwrap_or(1).saturating_mul(TURNS_OF_A_CORE))
    }

    pub(crate) fn of(turns: u32) -> Arc<Self> {
        Arc::new(Self {
            free: Arc::new(Semaphore::new(usize::try_from(turns).unwrap_or(1))),
            turns: turns.max(1),
            queued: AtomicUsize::new(0),
            turnover: Turnover::default(),
            returns: Returns::default(),
            epoch: Instant::now(),
        })
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// [`Refusal::Busy`]: the wait would be too long.
    pub(crate) async fn turn(self: &Arc<Self>, route: Route) -> Result<Turn, Refusal> {
        if let Some(turn) = self.at_once() {
            return Ok(turn);
        }
        if is_refused_last(route) {
            // What the queue promises is too long while a fleet that returns makes its handshakes: nobody is turned
            // away for a promise whom being turned away costs more than the wait.
            let turn = timeout(patience(route), self.later()).await;
            return turn.map_err(|_| self.busy(self.wait()));
        }
        let wait = self.wait();
        if wait > patience(route) {
            return Err(self.busy(wait));
        }
        Ok(self.later().await)
    }

    fn at_once(self: &Arc<Self>) -> Option<Turn> {
        let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
        Some(self.begin(Some(permit)))
    }

    /// Waits for a turn without being refused: what the request has cost so far would be lost.
    async fn later(self: &Arc<Self>) -> Turn {
        let queued = Queued::of(self);
        let permit = Arc::clone(&self.free).acquire_owned().await;
        drop(queued);
        // Nobody closes the semaphore; if somebody did, there would be no bound, and no request would be lost.
        self.begin(permit.ok())
    }

    fn begin(self: &Arc<Self>, permit: Option<OwnedSemaphorePermit>) -> Turn {
        Turn {
            _permit: permit,
            begun: Instant::now(),
            work: Arc::clone(self),
        }
    }

    /// How long one who comes now would wait.
    fn wait(&self) -> Duration {
        let ahead = u32::try_from(self.queued.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
        self.turnover.held().saturating_mul(ahead.saturating_add(1)) / self.turns
    }

    fn busy(&self, wait: Duration) -> Refusal {
        let interval = self.turnover.held() / self.turns;
        Refusal::Busy {
            retry_after: self.returns.next(self.epoch.elapsed(), wait, interval),
        }
    }

    fn ended(&self, held: Duration) {
        self.turnover.ended(held, self.epoch.elapsed());
    }
}

impl Turn {
    /// Gives the turn on while something else than this server is waited for, then waits for another one.
    pub(crate) async fn without<T>(self, waiting: impl Future<Output = T>) -> (Self, T) {
        let work = Arc::clone(&self.work);
        drop(self);
        let outcome = waiting.await;
        let turn = match work.at_once() {
            Some(turn) => turn,
            None => work.later().await,
        };
        (turn, outcome)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.work.ended(self.begun.elapsed());
    }
}

/// One that waits, counted for as long as it does.
struct Queued<'a>(&'a Work);

impl<'a> Queued<'a> {
    fn of(work: &'a Work) -> Self {
        work.queued.fetch_add(1, Ordering::Relaxed);
        Self(work)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.queued.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The longest time in the queue.
const fn is_refused_last(route: Route) -> bool {
    matches!(route, Route::Checkin | Route::OpAmp)
}

const fn patience(route: Route) -> Duration {
    Duration::from_secs(match route {
        // Sent again at once or by somebody who looks on.
        Route::Artifact | Route::FileDelivery | Route::PgpRetrieval | Route::Other => 2,
        Route::UploadStart | Route::UploadChunk | Route::UploadEnd | Route::Enroll | Route::AuditUnenroll => {
            5
        }
        // What agents and operators need to get out of trouble.
        Route::Status | Route::Acks | Route::Admin => 10,
        // A refused agent stays away for a minute and more, and a poll takes minutes anyway.
        Route::Checkin | Route::OpAmp => 120,
    })
}

/// A commit of the store carries what came during the one before it: with fewer turns the disk waits for requests.
const TURNS_OF_A_CORE: u32 = 256;

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn slow(turns: u32, held: Duration) -> Arc<Work> {
        let work = Work::of(turns);
        work.ended(held);
        work
    }

    #[actix_rt::test]
    async fn who_would_wait_too_long_is_refused_with_the_time_and_check_ins_last() {
        let work = slow(1, Duration::from_secs(3));
        let held = work.turn(Route::Enroll).await.unwrap();
        let refused = work.turn(Route::Artifact).await.unwrap_err();
        assert!(refused.retry_after() >= Duration::from_secs(3));
        let next = work.turn(Route::Artifact).await.unwrap_err();
        assert!(
            next.retry_after() > refused.retry_after(),
            "not together with the first"
        );
        let mut queue: Vec<_> = (0..9).map(|_| Box::pin(work.turn(Route::Checkin))).collect();
        for waiting in &mut queue {
            assert!(waiting.now_or_never().is_none());
        }
        assert!(
            work.turn(Route::Acks).await.is_err(),
            "30 s are too long for an ack"
        );
        assert!(
            work.turn(Route::Checkin).now_or_never().is_none(),
            "and not for a check-in"
        );
        drop((held, queue));
        assert!(work.turn(Route::Artifact).await.is_ok(), "the queue has drained");
    }

    #[actix_rt::test]
    async fn a_check_in_is_refused_for_what_it_waited_and_not_for_what_it_would() {
        tokio::time::pause();
        let work = slow(1, Duration::from_secs(1000));
        let held = work.turn(Route::Enroll).await.unwrap();
        assert!(work.turn(Route::Acks).await.is_err());
        let begun = tokio::time::Instant::now();
        assert!(matches!(
            work.turn(Route::Checkin).await,
            Err(Refusal::Busy { .. })
        ));
        assert_eq!(begun.elapsed().as_secs(), patience(Route::Checkin).as_secs());
        assert_eq!(work.queued.load(Ordering::Relaxed), 0);
        let mut waiting = Box::pin(work.turn(Route::Checkin));
        assert!((&mut waiting).now_or_never().is_none());
        drop(held);
        assert!(waiting.await.is_ok());
    }

    #[actix_rt::test]
    async fn a_turn_is_not_held_while_a_body_is_on_its_way() {
        let work = Work::of(1);
        let turn = work.turn(Route::Enroll).await.unwrap();
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let reading = actix_rt::spawn(turn.without(receiver));
        let other = work.turn(Route::Enroll).await.unwrap();
        sender.send(7).unwrap();
        drop(other);
        let (turn, body) = reading.await.unwrap();
        assert_eq!(body, Ok(7));
        assert!(work.turn(Route::Checkin).now_or_never().is_none());
        drop(turn);
        assert!(work.turn(Route::Checkin).await.is_ok());
    }

    #[actix_rt::test]
    async fn who_goes_away_leaves_the_queue() {
        let work = slow(1, Duration::from_secs(1));
        let held = work.turn(Route::Enroll).await.unwrap();
        let mut waiting = Box::pin(work.turn(Route::Enroll));
        assert!((&mut waiting).now_or_never().is_none());
        assert_eq!(work.queued.load(Ordering::Relaxed), 1);
        drop(waiting);
        assert_eq!(work.queued.load(Ordering::Relaxed), 0);
        drop(held);
    }
}
