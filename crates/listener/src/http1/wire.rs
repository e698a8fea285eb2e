//! The bytes of one HTTP/1.1 connection: what has arrived and is not used yet, where the current request ends, and
//! whether the client is still there. Sockets and actix-http's codec below, requests and bodies above.
//!
//! Reading stops at [`Wire::bound`]: a client that sends more than the server reads has to wait, and occupies no more
//! here. Only the connection reads, never a body: a handler may poll its body from another task.

use std::{
    cell::RefCell,
    io,
    mem::MaybeUninit,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use actix_http::{
    Request, Response, ServiceConfig,
    body::BodySize,
    error::{ParseError, PayloadError},
    h1::{Codec, Message, MessageType},
};
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use http::{Method, header};
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio_util::codec::{Decoder as _, Encoder as _};

use super::peer_end::PeerEnd;
use crate::guarded_io::{GuardedIo, Socket};

pub(super) struct Wire<T> {
    io: GuardedIo<T>,
    codec: Codec,
    max_header_bytes: usize,
    input: BytesMut,
    /// Counts requests, so that a body that outlives its request takes nothing of a later one.
    request: u64,
    is_head: bool,
    body: Body,
    /// The handler, where it waits for more of its body.
    body_waker: Option<Waker>,
    /// The connection, where it has stopped reading.
    reader: Option<Waker>,
    peer_end: Option<PeerEnd>,
}

/// What is left of the current request's body.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Body {
    Ended,
    /// Bytes that are still to come; `None`: chunked, so their number is unknown.
    Left(Option<u64>),
    /// Its framing is wrong: where it ends is not known.
    Broken,
    /// An upgrade is wanted: what follows is no HTTP, if the answer agrees.
    Other,
}

/// What was dropped of an unread body.
pub(super) struct Skipped {
    pub(super) bytes: u64,
    pub(super) is_end: bool,
}

impl<T: Socket> Wire<T> {
    pub(super) fn new(io: GuardedIo<T>, codec: ServiceConfig, max_header_bytes: usize) -> Self {
        Self {
            io,
            codec: Codec::new(codec),
            max_header_bytes,
            input: BytesMut::new(),
            request: 0,
            is_head: false,
            body: Body::Ended,
            body_waker: None,
            reader: None,
            peer_end: None,
        }
    }

    pub(super) fn io(&mut self) -> Pin<&mut GuardedIo<T>> {
        Pin::new(&mut self.io)
    }

    pub(super) fn has_input(&self) -> bool {
        !self.input.is_empty()
    }

    pub(super) fn forget_input(&mut self) {
        self.input = BytesMut::new();
    }

    /// Whether the current request is a HEAD, whose answer has no body.
    pub(super) fn is_head(&self) -> bool {
        self.is_head
    }

    /// Whether the response that was encoded last lets the connection go on.
    pub(super) fn keeps_alive(&self) -> bool {
        self.codec.keep_alive()
    }

    /// The next request, once its head is whole.
    pub(super) fn decode_head(&mut self) -> Result<Option<Request>, ParseError> {
        let Some(Message::Item(request)) = self.codec.decode(&mut self.input)? else {
            return match self.input.len() > self.max_header_bytes {
                true => Err(ParseError::TooLarge),
                false => Ok(None),
            };
        };
        self.request += 1;
        self.is_head = *request.method() == Method::HEAD;
        self.body = match self.codec.message_type() {
            MessageType::None => Body::Ended,
            MessageType::Payload => Body::Left(announced(&request)),
            MessageType::Stream if *request.method() == Method::GET => Body::Other,
            // CONNECT, which is not served: the rest of the connection is no HTTP.
            MessageType::Stream => Body::Broken,
        };
        self.release_input();
        Ok(Some(request))
    }

    fn poll_body(&mut self, request: u64, cx: &Context<'_>) -> Poll<Option<Result<Bytes, PayloadError>>> {
        if self.request != request || self.body == Body::Ended {
            return Poll::Ready(None);
        }
        match self.decode_body() {
            Err(error) => Poll::Ready(Some(Err(error))),
            Ok(Some(chunk)) => Poll::Ready(Some(Ok(chunk))),
            Ok(None) if self.body == Body::Ended => Poll::Ready(None),
            Ok(None) => {
                self.body_waker = Some(cx.waker().clone());
                if let Some(reader) = self.reader.take() {
                    reader.wake();
                }
                Poll::Pending
            }
        }
    }

    /// The next piece of the body that has arrived.
    fn decode_body(&mut self) -> Result<Option<Bytes>, PayloadError> {
        let Body::Left(left) = self.body else {
            return match self.body {
                Body::Broken => Err(PayloadError::EncodingCorrupted),
                Body::Other if !self.input.is_empty() => Ok(Some(std::mem::take(&mut self.input).freeze())),
                Body::Ended | Body::Left(_) | Body::Other => Ok(None),
            };
        };
        let chunk = match self.codec.decode(&mut self.input) {
            Ok(Some(Message::Chunk(Some(chunk)))) => {
                self.body = Body::Left(left.map(|left| left.saturating_sub(chunk.len() as u64)));
                Some(chunk)
            }
            Ok(Some(Message::Chunk(None) | Message::Item(_))) => {
                self.body = Body::Ended;
                None
            }
            Ok(None) => None,
            Err(error) => {
                log::debug!("the framing of a request's body is wrong: {error}");
                self.body = Body::Broken;
                return Err(PayloadError::EncodingCorrupted);
            }
        };
        self.release_input();
        Ok(chunk)
    }

    /// Drops what has arrived of the body; `None` if its end cannot be found.
    pub(super) fn skip_body(&mut self) -> Option<Skipped> {
        if self.body == Body::Other {
            return None;
        }
        let mut bytes = 0_u64;
        while let Some(chunk) = self.decode_body().ok()? {
            bytes = bytes.saturating_add(chunk.len() as u64);
        }
        let is_end = self.body == Body::Ended;
        Some(Skipped { bytes, is_end })
    }

    /// Whether the rest of the request is worth waiting for: at most `limit` bytes, or of unknown length.
    pub(super) fn rest_is_short(&mut self, limit: u64) -> bool {
        match (self.skip_body(), self.body) {
            (None, _) => false,
            (Some(_), Body::Left(Some(left))) => left <= limit,
            (Some(_), _) => true,
        }
    }

    pub(super) fn encode_head(
        &mut self,
        head: Response<()>,
        size: BodySize,
        out: &mut BytesMut,
    ) -> io::Result<()> {
        self.codec.encode(Message::Item((head, size)), out)
    }

    /// Encodes a piece of the response's body; `None` ends it.
    pub(super) fn encode_body(&mut self, piece: Option<Bytes>, out: &mut BytesMut) -> io::Result<()> {
        self.codec.encode(Message::Chunk(piece), out)
    }

    /// Reads once; 0: the client has closed its side.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // On the stack: a connection that waits holds no buffer.
        let mut space = [const { MaybeUninit::uninit() }; READ];
        let mut space = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut space))?;
        self.input.extend_from_slice(space.filled());
        Poll::Ready(Ok(space.filled().len()))
    }

    /// Resolves when the client has gone. Reads on meanwhile, as far as there is room.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.input.len() < self.bound() {
            self.peer_end = None;
            match ready!(self.poll_read(cx)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {
                    if let Some(body) = self.body_waker.take() {
                        body.wake();
                    }
                }
            }
        }
        self.reader = Some(cx.waker().clone());
        let watched = match &self.peer_end {
            Some(watched) => watched,
            None => match PeerEnd::of(self.io.tcp()) {
                Ok(watched) => self.peer_end.insert(watched),
                Err(error) => {
                    // Usually no file descriptor is left. Closing clients that send too much early then costs least.
                    log::debug!("a connection with early bytes cannot be watched and is closed: {error}");
                    return Poll::Ready(());
                }
            },
        };
        watched.poll(cx)
    }

    /// Largest number of bytes that may wait here: a next request's head, or one read of a body.
    fn bound(&self) -> usize {
        match self.body {
            Body::Left(_) | Body::Other => self.max_header_bytes.max(BODY_AHEAD),
            Body::Ended | Body::Broken => self.max_header_bytes,
        }
    }

    /// Frees the input buffer once it is empty.
    fn release_input(&mut self) {
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
    }
}

/// A request's body, for its handler.
pub(super) struct RequestBody<T> {
    wire: Rc<RefCell<Wire<T>>>,
    request: u64,
}

impl<T> RequestBody<T> {
    /// The body of the current request; `None` if it has none.
    pub(super) fn of(wire: &Rc<RefCell<Wire<T>>>) -> Option<Self> {
        let current = wire.borrow();
        (current.body != Body::Ended).then(|| Self {
            wire: Rc::clone(wire),
            request: current.request,
        })
    }
}

impl<T: Socket> Stream for RequestBody<T> {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.wire.borrow_mut().poll_body(self.request, cx)
    }
}

fn announced(request: &Request) -> Option<u64> {
    let length = request.head().headers.get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.trim().parse().ok()
}

/// Bytes of one read from the socket.
const READ: usize = 8 * 1024;

/// Bytes of a body that are read before its handler asks for them.
const BODY_AHEAD: usize = 32 * 1024;
