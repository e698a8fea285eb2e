//! Counts the bytes that an HTTP/1.1 dispatcher was given, so that it is known when it holds none of a next request.
//!
//! Only what is certain counts. A body of unknown length, bytes that came early (pipelining) or a response that
//! was sent before its request was read to the end make the tally uncertain, and it stays so.

use std::cell::Cell;

use actix_http::{ConnectionType, RequestHead};
use http::{Method, Version, header};

/// The tally of one dispatcher.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    given: Cell<u64>,
    head: Cell<Head>,
    /// Length of the current request's body; `None`: no request, or one whose end can not be told.
    body: Cell<Option<u64>>,
    is_uncertain: Cell<bool>,
}

/// How much of a request head was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Head {
    /// Nothing but empty lines, which may stand before a request.
    #[default]
    Before,
    /// In a line.
    Line,
    /// At the start of a line.
    LineStart,
    /// Complete after this many bytes.
    Complete(u64),
}

impl Tally {
    /// A new dispatcher begins with nothing.
    pub(crate) fn restart(&self) {
        self.given.set(0);
        self.head.set(Head::Before);
        self.body.set(None);
        self.is_uncertain.set(false);
    }

    /// The dispatcher was given these bytes.
    pub(crate) fn give(&self, bytes: &[u8]) {
        let before = self.given.get();
        self.given.set(before.saturating_add(bytes.len() as u64));
        let mut head = self.head.get();
        for (at, byte) in (before + 1..).zip(bytes) {
            head = match (head, byte) {
                (Head::Complete(_), _) => break,
                (Head::Before | Head::LineStart, b'\r') => head,
                (Head::Before, b'\n') => Head::Before,
                (Head::LineStart, b'\n') => Head::Complete(at),
                (Head::Line, b'\n') => Head::LineStart,
                _ => Head::Line,
            };
        }
        self.head.set(head);
    }

    /// A request's head was read.
    pub(crate) fn begin(&self, head: &RequestHead) {
        self.body.set(body_length(head));
    }

    /// The response to the current request has left.
    pub(crate) fn end(&self) {
        if self.is_exactly_one() {
            self.restart();
        } else {
            self.is_uncertain.set(true);
        }
    }

    /// Whether the dispatcher was given the current request to its last byte, and nothing else.
    pub(crate) fn is_exactly_one(&self) -> bool {
        match (self.is_uncertain.get(), self.head.get(), self.body.get()) {
            (false, Head::Complete(head), Some(body)) => self.given.get() == head.saturating_add(body),
            _ => false,
        }
    }
}

/// The length of the request's body, if nothing about the request or its connection is out of the ordinary.
fn body_length(head: &RequestHead) -> Option<u64> {
    let is_ordinary = head.version == Version::HTTP_11
        && head.connection_type() == ConnectionType::KeepAlive
        && head.method != Method::HEAD
        && head.method != Method::CONNECT
        && !head.headers.contains_key(header::TRANSFER_ENCODING);
    if !is_ordinary {
        return None;
    }
    let Some(length) = head.headers.get(header::CONTENT_LENGTH) else {
        return Some(0);
    };
    let length = length.to_str().ok()?.trim().parse().ok()?;
    (length <= LARGEST_BODY).then_some(length)
}

/// A body up to here is always with the handler once it was given: actix-http holds back only what is beyond 32 KiB.
const LARGEST_BODY: u64 = 32 * 1024;

#[cfg(test)]
mod tests {
    use actix_http::Request;
    use bytes::BytesMut;
    use proptest::prelude::*;
    use tokio_util::codec::Decoder as _;

    use super::*;

    /// What the dispatcher's own codec makes of the bytes: the request, and what is left after its head.
    fn decoded(bytes: &[u8]) -> Option<(Request, usize)> {
        let mut source = BytesMut::from(bytes);
        match actix_http::h1::Codec::default().decode(&mut source) {
            Ok(Some(actix_http::h1::Message::Item(request))) => Some((request, source.len())),
            _ => None,
        }
    }

    fn tally(bytes: &[u8], piece: usize) -> Option<Tally> {
        let tally = Tally::default();
        bytes.chunks(piece.max(1)).for_each(|piece| tally.give(piece));
        let (request, _) = decoded(bytes)?;
        tally.begin(request.head());
        Some(tally)
    }

    #[actix_rt::test]
    async fn a_whole_request_is_told_from_a_part_and_from_more() {
        let whole = b"POST /checkin HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody";
        for piece in 1..whole.len() {
            assert!(tally(whole, piece).unwrap().is_exactly_one(), "{piece}");
        }
        assert!(!tally(&whole[..whole.len() - 1], 7).unwrap().is_exactly_one());
        let more = [whole.as_slice(), b"G"].concat();
        assert!(!tally(&more, 7).unwrap().is_exactly_one());
        let bare = b"\r\n\nGET / HTTP/1.1\nHost: a\n\n";
        assert!(tally(bare, 3).unwrap().is_exactly_one());
    }

    #[actix_rt::test]
    async fn what_has_no_certain_end_is_never_whole() {
        for request in [
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "GET / HTTP/1.0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        ] {
            assert!(
                !tally(request.as_bytes(), 5).unwrap().is_exactly_one(),
                "{request}"
            );
        }
    }

    #[actix_rt::test]
    async fn requests_in_turn_stay_certain_and_an_early_byte_ends_it() {
        let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let (parsed, _) = decoded(request).unwrap();
        let tally = Tally::default();
        for _ in 0..3 {
            tally.give(request);
            tally.begin(parsed.head());
            assert!(tally.is_exactly_one());
            tally.end();
            assert!(!tally.is_exactly_one());
        }
        tally.give(&[request.as_slice(), b"G"].concat());
        tally.begin(parsed.head());
        tally.end();
        tally.give(b"ET / HTTP/1.1\r\nHost: a\r\n\r\n");
        tally.begin(parsed.head());
        assert!(!tally.is_exactly_one());
        tally.restart();
        tally.give(request);
        tally.begin(parsed.head());
        assert!(tally.is_exactly_one());
    }

    proptest! {
        /// The tally's opinion about where a request ends is the codec's.
        #[test]
        fn agrees_with_the_codec(
            text in r"(\r\n|\n){0,2}(GET|POST) /[a-z]{0,8} HTTP/1\.1\r?\nHost: a\r?\n([A-Za-z-]{1,12}: ?[ -~]{0,12}\r?\n){0,4}(Content-Length: [0-9]{1,2}\r?\n)?\r?\n[ -~\r\n]{0,40}",
            piece in 1_usize..40,
        ) {
            let system = actix_rt::System::new();
            let agreed = system.block_on(async {
                let (request, rest) = decoded(text.as_bytes())?;
                let claims = tally(text.as_bytes(), piece)?.is_exactly_one();
                let body = body_length(request.head());
                Some((claims, body.is_some_and(|body| body == rest as u64)))
            });
            if let Some((claims, truth)) = agreed {
                prop_assert_eq!(claims, truth);
            }
        }
    }
}
