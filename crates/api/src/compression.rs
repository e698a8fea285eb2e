//! gzip both ways: requests are inflated while they arrive, answers are deflated when it pays and the client asks.

use std::io::{self, Write};

use actix_web::web;
use flate2::{
    Compression,
    write::{GzEncoder, MultiGzDecoder},
};

use crate::pieces::Pieces;

/// When an answer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseCompression {
    /// 0: never; otherwise gzip's level. Negative levels of the original's configuration mean the library's default.
    pub level: u32,
    /// Answers up to this many bytes are sent as they are.
    pub threshold: usize,
}

impl Default for ResponseCompression {
    /// agents.md 1.9.
    fn default() -> Self {
        Self {
            level: 1,
            threshold: 1024,
        }
    }
}

/// Larger answers are compressed off the event loop.
const INLINE_BYTES: usize = 100 * 1024;

impl ResponseCompression {
    /// Whether the body is worth compressing for a client that takes gzip or does not.
    pub(crate) fn pays(self, body: &Pieces, accepts_gzip: bool) -> bool {
        accepts_gzip && self.level != 0 && body.len() > self.threshold
    }

    /// The compressed body, or the body as it was if it does not pay or the client did not ask for gzip.
    pub(crate) async fn apply(self, body: Pieces, accepts_gzip: bool) -> (Pieces, bool) {
        if !self.pays(&body, accepts_gzip) {
            return (body, false);
        }
        if body.len() <= INLINE_BYTES {
            return self.compressed(body);
        }
        // The pool is closed only at the end of the process; then nobody reads the answer either.
        web::block(move || self.compressed(body))
            .await
            .unwrap_or_default()
    }

    fn compressed(self, body: Pieces) -> (Pieces, bool) {
        let mut encoder = GzEncoder::new(
            Vec::with_capacity(body.len() / 4),
            Compression::new(self.level.min(9)),
        );
        let written = body.iter().try_for_each(|piece| encoder.write_all(piece));
        match written.and_then(|()| encoder.finish()) {
            Ok(small) => (small.into(), true),
            // Writing to memory does not fail; if it did, the plain body is as good an answer.
            Err(_) => (body, false),
        }
    }
}

/// Whether an `Accept-Encoding` value takes gzip (RFC 9110 12.5.3): a list with q-values; a name wins over `*`.
pub(crate) fn accepts_gzip(value: &str) -> bool {
    let mut any = None;
    let mut gzip = None;
    for item in value.split(',') {
        let mut parts = item.split(';');
        let coding = parts.next().unwrap_or_default().trim();
        let accepted = parts.all(|parameter| !is_zero_quality(parameter));
        if coding == "*" {
            any = Some(accepted);
        } else if coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip") {
            gzip = Some(gzip.unwrap_or(false) || accepted);
        }
    }
    gzip.or(any).unwrap_or(false)
}

/// `q=0`, `q=0.000`; a value that is not a number counts as zero, so that nothing is compressed on a misunderstanding.
fn is_zero_quality(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else {
        return false;
    };
    if !name.trim().eq_ignore_ascii_case("q") {
        return false;
    }
    !value
        .trim()
        .parse::<f32>()
        .is_ok_and(|quality| quality > 0.0 && quality <= 1.0)
}

/// Why a compressed body could not be inflated.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum InflateError {
    /// It is not gzip, or it is cut short.
    Malformed(String),
    /// It inflates to more than is allowed.
    TooLarge { limit: usize },
}

/// Inflates a body piece by piece, never to more than `limit` bytes.
pub(crate) struct Inflater {
    decoder: MultiGzDecoder<Capped>,
    is_empty: bool,
}

impl Inflater {
    pub(crate) fn new(limit: usize) -> Self {
        let capped = Capped {
            bytes: Vec::new(),
            limit,
            is_over: false,
        };
        Self {
            decoder: MultiGzDecoder::new(capped),
            is_empty: true,
        }
    }

    /// Takes a piece of the compressed body; answers how many bytes it became.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Result<usize, InflateError> {
        self.is_empty &= piece.is_empty();
        let before = self.decoder.get_ref().bytes.len();
        let written = self.decoder.write_all(piece);
        self.check(written)?;
        Ok(self.decoder.get_ref().bytes.len() - before)
    }

    /// The whole body.
    pub(crate) fn finish(mut self) -> Result<Vec<u8>, InflateError> {
        if self.is_empty {
            return Err(InflateError::Malformed("the body is empty".to_owned()));
        }
        let written = self.decoder.try_finish();
        self.check(written)?;
        Ok(std::mem::take(&mut self.decoder.get_mut().bytes))
    }

    fn check(&self, result: io::Result<()>) -> Result<(), InflateError> {
        result.map_err(|error| {
            let capped = self.decoder.get_ref();
            if capped.is_over {
                InflateError::TooLarge { limit: capped.limit }
            } else {
                InflateError::Malformed(error.to_string())
            }
        })
    }
}

struct Capped {
    bytes: Vec<u8>,
    limit: usize,
    is_over: bool,
}

impl Write for Capped {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if piece.len() > self.limit - self.bytes.len() {
            self.is_over = true;
            return Err(io::Error::other("larger than allowed"));
        }
        self.bytes.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
pub(crate) fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

#[cfg(test)]
pub(crate) fn gunzip(body: &[u8]) -> Vec<u8> {
    let mut inflater = Inflater::new(1 << 26);
    inflater.push(body).unwrap();
    inflater.finish().unwrap()
}

#[cfg(test)]
mod tests {
    use actix_web::body::MessageBody as _;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn chk_15_16_lists_and_qualities() {
        for yes in [
            "gzip",
            "gzip, deflate",
            "gzip;q=1",
            "deflate, gzip;q=0.5",
            "GZIP",
            "*",
            "br, *;q=0.1",
            "x-gzip",
        ] {
            assert!(accepts_gzip(yes), "{yes}");
        }
        for no in [
            "",
            "deflate",
            "gzip;q=0",
            "gzip; q=0.000, deflate",
            "*;q=0",
            "gzip;q=0, *",
            "gzip;q=x",
            "identity",
            "gzipped",
        ] {
            assert!(!accepts_gzip(no), "{no}");
        }
    }

    #[test]
    fn chk_14_a_bomb_stops_at_the_limit() {
        let bomb = gzip(&vec![b'a'; 4 << 20]);
        assert!(bomb.len() < 40_000);
        let mut inflater = Inflater::new(1 << 20);
        assert_eq!(
            inflater.push(&bomb),
            Err(InflateError::TooLarge { limit: 1 << 20 })
        );
        assert!(inflater.decoder.get_ref().bytes.capacity() <= 2 << 20);
    }

    #[test]
    fn exactly_the_limit_is_allowed() {
        let body = vec![b'x'; 5000];
        let mut inflater = Inflater::new(5000);
        inflater.push(&gzip(&body)).unwrap();
        assert_eq!(inflater.finish().unwrap(), body);
    }

    #[test]
    fn chk_13_plain_cut_short_and_empty_bodies_are_malformed() {
        assert!(matches!(
            Inflater::new(100).push(b"{\"status\":\"online\"}"),
            Err(InflateError::Malformed(_))
        ));
        assert!(matches!(
            Inflater::new(100).finish(),
            Err(InflateError::Malformed(_))
        ));
        let whole = gzip(b"{\"status\":\"online\"}");
        let mut inflater = Inflater::new(100);
        inflater.push(&whole[..whole.len() - 6]).unwrap();
        assert!(matches!(inflater.finish(), Err(InflateError::Malformed(_))));
    }

    #[actix_rt::test]
    async fn answers_are_compressed_only_when_it_pays_and_is_asked_for() {
        let compression = ResponseCompression::default();
        let small = Pieces::from(vec![b'a'; 1024]);
        assert_eq!(compression.apply(small.clone(), true).await, (small, false));
        for size in [1025, INLINE_BYTES + 1] {
            let text = vec![b'a'; size];
            let large = Pieces::from([text[..7].to_vec().into(), text[7..].to_vec().into()]);
            let (body, is_compressed) = compression.apply(large.clone(), true).await;
            assert!(is_compressed);
            assert_eq!(gunzip(&body.try_into_bytes().unwrap()), text);
            assert_eq!(
                compression.apply(large.clone(), false).await,
                (large.clone(), false)
            );
            let off = ResponseCompression {
                level: 0,
                ..compression
            };
            assert_eq!(off.apply(large.clone(), true).await, (large, false));
        }
    }

    proptest! {
        #[test]
        fn any_body_survives_in_any_pieces(body in proptest::collection::vec(any::<u8>(), 0..2000), cut in 1usize..50) {
            let packed = gzip(&body);
            let mut inflater = Inflater::new(2000);
            for piece in packed.chunks(cut) {
                inflater.push(piece).unwrap();
            }
            prop_assert_eq!(inflater.finish().unwrap(), body);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), header in ".{0,40}") {
            let mut inflater = Inflater::new(100);
            if inflater.push(&bytes).is_ok() {
                let _ = inflater.finish();
            }
            let _ = accepts_gzip(&header);
        }
    }
}
