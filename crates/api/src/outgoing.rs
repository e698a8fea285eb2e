//! Bytes of answers under way, bounded: a policy change wakes all agents at once, and while a client takes its answer,
//! its connection holds a copy of the next piece, as plain text and encrypted.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// What the answers of one listener may hold.
#[derive(Debug)]
pub(crate) struct Outgoing(Arc<Semaphore>);

/// Room for one answer, free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Room {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Default for Outgoing {
    fn default() -> Self {
        Self::of(ALL)
    }
}

impl Outgoing {
    fn of(kib: usize) -> Self {
        Self(Arc::new(Semaphore::new(kib)))
    }

    /// Waits for room for an answer of so many bytes, first come, first served; but never long, for clients that do not
    /// read must not hold back the others.
    pub(crate) async fn room(&self, bytes: usize) -> Room {
        let kib = u32::try_from(bytes.div_ceil(1024)).map_or(MOST_OF_ONE, |kib| kib.min(MOST_OF_ONE));
        let room = Arc::clone(&self.0).acquire_many_owned(kib);
        Room {
            _permit: timeout(PATIENCE, room).await.ok().and_then(Result::ok),
        }
    }
}

/// 1,000 connections with all that they copy.
const ALL: usize = 80 * 1024;
/// A connection copies a piece and what TLS makes of it, however long the answer is.
const MOST_OF_ONE: u32 = 80;
const PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use actix_web::{body::MessageBody as _, web::Bytes};
    use futures_util::FutureExt as _;

    use super::*;
    use crate::{held_body::HeldBody, pieces::Pieces};

    const BIG: usize = 1_000_000;

    #[actix_rt::test]
    async fn answers_wait_for_room_in_their_order_and_hold_it_to_their_end() {
        let outgoing = Outgoing::of(100);
        let body = HeldBody::new(
            Pieces::from([Bytes::from(vec![b'x'; BIG])]),
            outgoing.room(BIG).await,
        );
        let body = body.try_into_bytes().expect_err("it is too large for one write");
        let small = outgoing.room(20 * 1024).await;
        let mut next = Box::pin(outgoing.room(1));
        assert!((&mut next).now_or_never().is_none());
        drop(small);
        drop(next.await);
        assert!(outgoing.room(BIG).now_or_never().is_none());
        drop(body);
        assert!(outgoing.room(BIG).now_or_never().is_some());
    }

    #[actix_rt::test]
    async fn a_small_answer_goes_in_one_piece() {
        let outgoing = Outgoing::of(100);
        let body = HeldBody::new(
            Pieces::from([Bytes::from_static(b"po"), Bytes::from_static(b"licy")]),
            outgoing.room(6).await,
        );
        assert_eq!(body.try_into_bytes().expect("one write"), "policy");
        assert_eq!(outgoing.0.available_permits(), 100);
    }

    #[actix_rt::test]
    async fn clients_that_do_not_read_hold_nobody_back_for_long() {
        tokio::time::pause();
        let outgoing = Outgoing::of(100);
        let _held = outgoing.room(BIG).await;
        drop(outgoing.room(BIG).await);
        assert_eq!(
            outgoing.0.available_permits(),
            20,
            "it went without room, after a second"
        );
    }
}
