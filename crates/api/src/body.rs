//! Reads a request's body: up to its limit, inflated on the way, with a deadline of its own.

use std::time::Duration;

use actix_web::{
    dev::Payload,
    error::PayloadError,
    http::header::{CONTENT_LENGTH, HeaderMap},
    web::{Bytes, BytesMut},
};
use futures_util::StreamExt as _;

use crate::compression::{InflateError, Inflater};

/// What a route allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyLimits {
    /// Bytes on the wire.
    pub wire: Option<usize>,
    /// Bytes after inflation.
    pub inflated: Option<usize>,
    /// Time for the whole body.
    pub within: Duration,
}

/// Why a body was not read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// More bytes than allowed arrived or were announced.
    TooLarge { limit: usize },
    /// It inflates to more than allowed.
    InflatesTooLarge { limit: usize },
    /// It is not gzip although its header says so.
    NotGzip(String),
    /// It did not arrive in time.
    Late,
    /// The connection broke or the framing was wrong.
    Broken(String),
}

/// The body, inflated if `is_gzip`.
pub(crate) async fn read(
    headers: &HeaderMap,
    payload: Payload,
    limits: BodyLimits,
    is_gzip: bool,
) -> Result<Bytes, BodyError> {
    let wire = limits.wire.unwrap_or(usize::MAX);
    if announced(headers).is_some_and(|length| length > wire) {
        return Err(BodyError::TooLarge { limit: wire });
    }
    let reading = async {
        if is_gzip {
            read_inflating(payload, wire, limits.inflated.unwrap_or(usize::MAX))
                .await
                .map(Bytes::from)
        } else {
            read_plain(payload, wire).await
        }
    };
    tokio::time::timeout(limits.within, reading)
        .await
        .unwrap_or(Err(BodyError::Late))
}

fn announced(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

async fn read_plain(mut payload: Payload, limit: usize) -> Result<Bytes, BodyError> {
    let mut body = BytesMut::new();
    while let Some(piece) = payload.next().await {
        let piece = piece.map_err(broken)?;
        if piece.len() > limit - body.len() {
            return Err(BodyError::TooLarge { limit });
        }
        body.extend_from_slice(&piece);
    }
    Ok(body.freeze())
}

async fn read_inflating(mut payload: Payload, wire: usize, inflated: usize) -> Result<Vec<u8>, BodyError> {
    let mut seen = 0usize;
    let mut inflater = Inflater::new(inflated);
    while let Some(piece) = payload.next().await {
        let piece = piece.map_err(broken)?;
        if piece.len() > wire - seen {
            return Err(BodyError::TooLarge { limit: wire });
        }
        seen += piece.len();
        let mut since_pause = 0;
        for part in piece.chunks(PART_BYTES) {
            since_pause += inflater.push(part).map_err(inflating)?;
            // A part may become a thousand times as large: other requests get their turn in between.
            if since_pause >= PAUSE_BYTES {
                since_pause = 0;
                tokio::task::yield_now().await;
            }
        }
    }
    inflater.finish().map_err(inflating)
}

/// Compressed bytes inflated in one go.
const PART_BYTES: usize = 1024;
/// Inflated bytes after which the event loop is given back.
const PAUSE_BYTES: usize = 512 * 1024;

fn inflating(error: InflateError) -> BodyError {
    match error {
        InflateError::Malformed(reason) => BodyError::NotGzip(reason),
        InflateError::TooLarge { limit } => BodyError::InflatesTooLarge { limit },
    }
}

fn broken(error: PayloadError) -> BodyError {
    BodyError::Broken(error.to_string())
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;
    use futures_util::{Stream, stream};

    use super::*;
    use crate::compression::gzip;

    const LIMITS: BodyLimits = BodyLimits {
        wire: Some(1000),
        inflated: Some(5000),
        within: Duration::from_secs(20),
    };

    fn streamed(pieces: impl Stream<Item = Result<Bytes, PayloadError>> + 'static) -> Payload {
        Payload::Stream {
            payload: Box::pin(pieces),
        }
    }

    fn payload(pieces: Vec<Vec<u8>>) -> Payload {
        streamed(stream::iter(
            pieces.into_iter().map(|piece| Ok(Bytes::from(piece))),
        ))
    }

    async fn plain(pieces: Vec<Vec<u8>>) -> Result<Bytes, BodyError> {
        read(&HeaderMap::new(), payload(pieces), LIMITS, false).await
    }

    #[actix_rt::test]
    async fn a_body_is_read_up_to_its_limit() {
        assert_eq!(
            plain(vec![vec![b'a'; 400], vec![b'b'; 600]]).await.unwrap().len(),
            1000
        );
        let over = plain(vec![vec![b'a'; 400], vec![b'b'; 601]]).await;
        assert_eq!(over, Err(BodyError::TooLarge { limit: 1000 }));
    }

    #[actix_rt::test]
    async fn an_endless_body_is_not_collected() {
        let endless = streamed(stream::repeat_with(|| Ok(Bytes::from_static(&[0; 64]))));
        let over = read(&HeaderMap::new(), endless, LIMITS, false).await;
        assert_eq!(over, Err(BodyError::TooLarge { limit: 1000 }));
    }

    #[actix_rt::test]
    async fn an_announced_length_over_the_limit_is_refused_unread() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("1001"));
        let never = streamed(stream::pending());
        assert_eq!(
            read(&headers, never, LIMITS, false).await,
            Err(BodyError::TooLarge { limit: 1000 })
        );
    }

    #[actix_rt::test]
    async fn a_stalled_body_is_late() {
        let never = streamed(stream::pending());
        let limits = BodyLimits {
            within: Duration::from_millis(20),
            ..LIMITS
        };
        assert_eq!(
            read(&HeaderMap::new(), never, limits, false).await,
            Err(BodyError::Late)
        );
    }

    #[actix_rt::test]
    async fn a_broken_body_is_no_short_body() {
        let broken = stream::iter([Ok(Bytes::from_static(b"{}")), Err(PayloadError::Incomplete(None))]);
        let result = read(&HeaderMap::new(), streamed(broken), LIMITS, false).await;
        assert!(matches!(result, Err(BodyError::Broken(_))));
    }

    #[actix_rt::test]
    async fn chk_12_14_gzip_is_inflated_within_both_limits() {
        let body = vec![b'z'; 5000];
        let packed = gzip(&body);
        let pieces = packed.chunks(7).map(<[u8]>::to_vec).collect();
        assert_eq!(
            read(&HeaderMap::new(), payload(pieces), LIMITS, true)
                .await
                .unwrap(),
            body
        );
        let bomb = payload(vec![gzip(&vec![b'z'; 5001])]);
        let result = read(&HeaderMap::new(), bomb, LIMITS, true).await;
        assert_eq!(result, Err(BodyError::InflatesTooLarge { limit: 5000 }));
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[0]
        })
        .take(1200)
        .collect();
        let wide = payload(vec![gzip(&noise)]);
        assert_eq!(
            read(&HeaderMap::new(), wide, LIMITS, true).await,
            Err(BodyError::TooLarge { limit: 1000 })
        );
    }
}
