//! Hands a request's body on while it arrives, so that nothing holds it whole.
//!
//! In: a payload, its limits, and who takes the stream. Out: the taker's answer, or why the body did not come. A body
//! that breaks off ends the stream with an error, never as if it were whole.

use actix_web::{dev::Payload, http::header::HeaderMap, web::Bytes};
use fleet::{BlobStream, BodyFault, StoreError};
use futures_util::{StreamExt as _, future, stream};
use tokio::sync::mpsc;

use super::{BodyError, BodyLimits, announced, broken, is_gzip};
use crate::body_budget::HeldBytes;

/// Runs `take` over the body.
pub(crate) async fn pass_on<T, F: Future<Output = T>>(
    headers: &HeaderMap,
    payload: Payload,
    limits: BodyLimits,
    held: &mut HeldBytes,
    take: impl FnOnce(BlobStream) -> F,
) -> Result<T, BodyError> {
    if is_gzip(headers)? {
        let coding = "gzip".to_owned();
        return Err(BodyError::UnknownCoding { coding });
    }
    let limit = limits.wire.unwrap_or(usize::MAX);
    if announced(headers).is_some_and(|length| length > limit) {
        return Err(BodyError::TooLarge { limit });
    }
    held.grow(HELD)?;
    // One piece waits while the taker is busy; then the connection is not read.
    let (sender, receiver) = mpsc::channel(1);
    let pieces = stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|piece| (piece, receiver))
    });
    let passing = async move {
        let passed = tokio::time::timeout(limits.within, forward(payload, limit, &sender)).await;
        let passed = passed.unwrap_or(Err(BodyError::Late));
        if passed.is_err() {
            let reason = "the client sent no more".to_owned();
            // A taker that is gone needs no end.
            drop(sender.send(Err(BodyFault::CutShort { reason }.into())).await);
        }
        passed
    };
    let (passed, taken) = future::join(passing, take(pieces.boxed())).await;
    passed.map(|()| taken)
}

/// Until the body ends or the taker has seen enough.
async fn forward(mut payload: Payload, limit: usize, taker: &Taker) -> Result<(), BodyError> {
    let mut left = limit;
    while let Some(piece) = payload.next().await {
        let piece = piece.map_err(broken)?;
        left = left
            .checked_sub(piece.len())
            .ok_or(BodyError::TooLarge { limit })?;
        if taker.send(Ok(piece)).await.is_err() {
            break;
        }
    }
    Ok(())
}

type Taker = mpsc::Sender<Result<Bytes, StoreError>>;

/// What a body takes on its way: a piece of the connection, one that waits, one that is written.
const HELD: usize = 192 * 1024;
