//! Reads a request's body: up to its limit, inflated on the way, with a deadline of its own.

mod streamed;

use std::time::Duration;

use actix_web::{
    dev::Payload,
    error::PayloadError,
    http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap},
    web::{Bytes, BytesMut},
};
use futures_util::StreamExt as _;

pub(crate) use streamed::pass_on;

use crate::{
    body_budget::{HeldBytes, NoRoom},
    compression::{InflateError, Inflater},
};

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
    /// It has a coding that is not known here.
    UnknownCoding { coding: String },
    /// It is not gzip although its header says so.
    NotGzip(String),
    /// Too many bytes of bodies are under way.
    NoRoom(NoRoom),
    /// It did not arrive in time.
    Late,
    /// The connection broke or the framing was wrong.
    Broken(String),
}

/// The body, inflated if its headers say that it is gzip.
pub(crate) async fn read(
    headers: &HeaderMap,
    payload: Payload,
    limits: BodyLimits,
    held: &mut HeldBytes,
) -> Result<Bytes, BodyError> {
    let is_gzip = is_gzip(headers)?;
    let wire = limits.wire.unwrap_or(usize::MAX);
    if announced(headers).is_some_and(|length| length > wire) {
        return Err(BodyError::TooLarge { limit: wire });
    }
    let reading = async {
        if is_gzip {
            read_inflating(payload, wire, limits.inflated.unwrap_or(usize::MAX), held)
                .await
                .map(Bytes::from)
        } else {
            read_plain(payload, wire, held).await
        }
    };
    tokio::time::timeout(limits.within, reading)
        .await
        .unwrap_or(Err(BodyError::Late))
}

/// Content codings have names in any case, and `x-gzip` is one of gzip's (RFC 9110 8.4.1).
fn is_gzip(headers: &HeaderMap) -> Result<bool, BodyError> {
    let mut is_gzip = false;
    for line in headers.get_all(CONTENT_ENCODING) {
        let line = String::from_utf8_lossy(line.as_bytes());
        for coding in line.split(',').map(str::trim) {
            match coding.to_ascii_lowercase().as_str() {
                "" | "identity" => {}
                "gzip" | "x-gzip" if !is_gzip => is_gzip = true,
                _ => {
                    let coding = line.chars().take(SHOWN).collect();
                    return Err(BodyError::UnknownCoding { coding });
                }
            }
        }
    }
    Ok(is_gzip)
}

/// Characters of an unknown coding that are shown.
const SHOWN: usize = 64;

fn announced(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

async fn read_plain(mut payload: Payload, limit: usize, held: &mut HeldBytes) -> Result<Bytes, BodyError> {
    let mut body = BytesMut::new();
    while let Some(piece) = payload.next().await {
        let piece = piece.map_err(broken)?;
        if piece.len() > limit - body.len() {
            return Err(BodyError::TooLarge { limit });
        }
        held.grow(piece.len())?;
        body.extend_from_slice(&piece);
    }
    Ok(body.freeze())
}

async fn read_inflating(
    mut payload: Payload,
    wire: usize,
    inflated: usize,
    held: &mut HeldBytes,
) -> Result<Vec<u8>, BodyError> {
    let (mut seen, mut grown) = (0usize, 0usize);
    let mut inflater = Inflater::new(inflated);
    while let Some(piece) = payload.next().await {
        let piece = piece.map_err(broken)?;
        if piece.len() > wire - seen {
            return Err(BodyError::TooLarge { limit: wire });
        }
        seen += piece.len();
        let mut since_pause = 0;
        for part in piece.chunks(PART_BYTES) {
            let bytes = inflater.push(part).map_err(inflating)?;
            held.grow(bytes)?;
            grown += bytes;
            since_pause += bytes;
            // A part may become a thousand times as large: other requests get their turn in between.
            if since_pause >= PAUSE_BYTES {
                since_pause = 0;
                tokio::task::yield_now().await;
            }
        }
    }
    let body = inflater.finish().map_err(inflating)?;
    // The last of it comes with the end.
    held.grow(body.len() - grown)?;
    Ok(body)
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

impl From<NoRoom> for BodyError {
    fn from(no_room: NoRoom) -> Self {
        Self::NoRoom(no_room)
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
    use crate::{
        body_budget::{BodyBudget, UNCOUNTED},
        compression::gzip,
    };

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

    fn held() -> HeldBytes {
        BodyBudget::bounded(1 << 30, 1 << 30).hold(None::<()>)
    }

    fn coded(coding: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.append(CONTENT_ENCODING, HeaderValue::from_static(coding));
        headers
    }

    #[test]
    fn case_15_codings_are_known_by_all_their_names_and_others_are_told() {
        for coding in ["gzip", "GZIP", "x-gzip", "X-GZip", "identity, gzip", " gzip "] {
            assert_eq!(is_gzip(&coded(coding)), Ok(true), "{coding}");
        }
        for coding in ["", "identity", "Identity"] {
            assert_eq!(is_gzip(&coded(coding)), Ok(false), "{coding}");
        }
        for coding in ["br", "deflate", "gzip, gzip", "gzip, br", "gzip;q=1"] {
            let unknown = BodyError::UnknownCoding {
                coding: coding.to_owned(),
            };
            assert_eq!(is_gzip(&coded(coding)), Err(unknown), "{coding}");
        }
    }

    async fn plain(pieces: Vec<Vec<u8>>) -> Result<Bytes, BodyError> {
        read(&HeaderMap::new(), payload(pieces), LIMITS, &mut held()).await
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
        let over = read(&HeaderMap::new(), endless, LIMITS, &mut held()).await;
        assert_eq!(over, Err(BodyError::TooLarge { limit: 1000 }));
    }

    #[actix_rt::test]
    async fn an_announced_length_over_the_limit_is_refused_unread() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("1001"));
        let never = streamed(stream::pending());
        assert_eq!(
            read(&headers, never, LIMITS, &mut held()).await,
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
            read(&HeaderMap::new(), never, limits, &mut held()).await,
            Err(BodyError::Late)
        );
    }

    #[actix_rt::test]
    async fn attack_04_a_body_is_given_up_when_too_many_bytes_are_under_way_and_gives_them_back() {
        let budget = BodyBudget::bounded(600, 600);
        let counted = || {
            let mut held = budget.hold(None::<()>);
            held.grow(UNCOUNTED).unwrap();
            held
        };
        let mut held = counted();
        let pieces = || payload(vec![vec![b'a'; 400], vec![b'b'; 400]]);
        let refused = read(&HeaderMap::new(), pieces(), LIMITS, &mut held).await;
        assert!(matches!(refused, Err(BodyError::NoRoom(_))));
        let bomb = payload(vec![gzip(&vec![b'z'; 5000])]);
        drop(held);
        let refused = read(&coded("gzip"), bomb, LIMITS, &mut counted()).await;
        assert!(matches!(refused, Err(BodyError::NoRoom(_))));
        let small = payload(vec![vec![b'a'; 600]]);
        let read = read(&HeaderMap::new(), small, LIMITS, &mut counted()).await;
        assert!(read.is_ok());
    }

    #[actix_rt::test]
    async fn a_broken_body_is_no_short_body() {
        let broken = stream::iter([Ok(Bytes::from_static(b"{}")), Err(PayloadError::Incomplete(None))]);
        let result = read(&HeaderMap::new(), streamed(broken), LIMITS, &mut held()).await;
        assert!(matches!(result, Err(BodyError::Broken(_))));
    }

    #[actix_rt::test]
    async fn chk_12_14_gzip_is_inflated_within_both_limits() {
        let body = vec![b'z'; 5000];
        let packed = gzip(&body);
        let pieces = packed.chunks(7).map(<[u8]>::to_vec).collect();
        assert_eq!(
            read(&coded("gzip"), payload(pieces), LIMITS, &mut held())
                .await
                .unwrap(),
            body
        );
        let bomb = payload(vec![gzip(&vec![b'z'; 5001])]);
        let result = read(&coded("gzip"), bomb, LIMITS, &mut held()).await;
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
            read(&coded("gzip"), wide, LIMITS, &mut held()).await,
            Err(BodyError::TooLarge { limit: 1000 })
        );
    }
}
