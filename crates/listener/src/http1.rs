//! One HTTP/1.1 connection as a plain loop: read a request, let the application answer it, write the answer.
//!
//! A request waits for minutes, so what waits here is the handler's future and the socket: no buffer, no timer. The
//! bytes are parsed and written by actix-http's codec; its dispatcher is not used, for it keeps 16 KiB of buffers for
//! each connection, reads on while answers wait to be written, and does not see that a client has gone behind what
//! that client sent early (docs/adr/0004).
//!
//! ```text
//! next_request ──> application ──> respond ──┐      one request at a time; what a client sends early waits in
//!      ^                │                    │      `Wire`, up to the size of a head
//!      └────────────────┼──── keep-alive ────┘
//!                  client gone: the handler is dropped
//! ```

mod peer_end;
mod wire;

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::Poll,
    time::Duration,
};

use actix_http::{
    BoxedPayloadStream, ConnectionType, HttpMessage as _, Payload, Request, Response, ServiceConfig,
    StatusCode,
    body::{BodySize, BoxBody, MessageBody},
    error::ParseError,
};
use actix_service::Service;
use bytes::{Bytes, BytesMut};
use tokio::{
    io::AsyncWrite as _,
    time::{sleep, timeout},
};

use crate::{
    answered::Answered,
    connection_info::ConnectionInfo,
    endpoint::Timeouts,
    guarded_io::{GuardedIo, Socket},
    refusal::Refusal,
    shutdown::Shutdown,
};
use wire::{RequestBody, Wire};

/// What the HTTP/1.1 connections of a listener have in common on one worker.
pub(crate) struct Http1Rules {
    pub(crate) codec: ServiceConfig,
    pub(crate) timeouts: Timeouts,
    /// Largest request head, bytes; a longer one is refused before it is complete.
    pub(crate) max_header_bytes: usize,
    pub(crate) shutdown: Shutdown,
}

/// How an HTTP/1.1 connection failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Http1Error {
    #[error("the request cannot be parsed: {0}")]
    Malformed(#[from] ParseError),
    #[error("the client did not send its request in time")]
    Slow,
    #[error("the client closed the connection in the middle")]
    Cut,
    #[error("the body of the response failed: {0}")]
    Body(#[source] Box<dyn std::error::Error>),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Serves one connection until either side closes it.
pub(crate) async fn serve<T, S, B>(
    io: GuardedIo<T>,
    info: ConnectionInfo,
    app: Rc<Answered<S, B>>,
    rules: Rc<Http1Rules>,
) -> Result<(), Http1Error>
where
    T: Socket,
    S: Service<Request>,
    S::Error: Into<actix_web::Error>,
    S::Response: Into<Response<B>>,
    B: MessageBody + 'static,
{
    let wire = Rc::new(RefCell::new(Wire::new(
        io,
        rules.codec.clone(),
        rules.max_header_bytes,
    )));
    let connection = Http1 { wire, rules };
    let mut is_first = true;
    // Each phase is boxed, so that a connection that waits does not carry the room for the others.
    loop {
        let request = match Box::pin(connection.next_request(is_first)).await {
            Next::Request(request) => request,
            Next::End => return Ok(Box::pin(connection.close(false)).await?),
            Next::Refused(refusal, error) => {
                Box::pin(connection.refuse(refusal)).await?;
                return Err(error);
            }
            Next::Failed(error) => return Err(error),
        };
        is_first = false;
        let Some(request) = Box::pin(connection.prepared(request, info)).await? else {
            return Err(Http1Error::Cut);
        };
        let Some(response) = connection.answered(Box::pin(app.answer(request))).await else {
            return Ok(()); // it went while it waited, which is its right
        };
        if !Box::pin(connection.respond(response)).await? {
            return Ok(());
        }
    }
}

/// A connection between its phases.
struct Http1<T> {
    wire: Rc<RefCell<Wire<T>>>,
    rules: Rc<Http1Rules>,
}

/// The outcome of a wait for the next request.
enum Next {
    Request(Request),
    /// The client is idle or has closed, or the server stops.
    End,
    /// The request is refused here with a status, which ends the connection.
    Refused(Refusal, Http1Error),
    /// The connection is broken; nothing can be answered.
    Failed(Http1Error),
}

impl<T: Socket> Http1<T> {
    /// Waits for the next request within the connection's deadlines. Bytes that have arrived are always looked at, also
    /// when the server stops: a request that was sent to it is answered.
    async fn next_request(&self, is_first: bool) -> Next {
        if !is_first && !self.wire.borrow().has_input() && !self.begins().await {
            return Next::End;
        }
        let outcome = tokio::select! {
            biased;
            head = timeout(self.rules.timeouts.read_header, self.head()) => head,
            () = self.is_silent_at_the_end() => return Next::End,
        };
        match outcome {
            Ok(Ok(Some(request))) => Next::Request(request),
            Ok(Ok(None)) if self.wire.borrow().has_input() => Next::Failed(Http1Error::Cut),
            Ok(Ok(None)) => Next::End,
            Ok(Err(Http1Error::Malformed(error))) => Next::Refused(Refusal::from(&error), error.into()),
            Ok(Err(error)) => Next::Failed(error),
            Err(_) if is_first => Next::Refused(Refusal::LateHead, Http1Error::Slow),
            Err(_) => Next::Failed(Http1Error::Slow),
        }
    }

    /// Waits for the first byte of a later request; `false` if none will come.
    async fn begins(&self) -> bool {
        tokio::select! {
            biased;
            read = self.read() => read.is_ok_and(|bytes| bytes > 0),
            () = self.rules.shutdown.notified() => false,
            () = sleep(self.rules.timeouts.idle) => false,
        }
    }

    /// Resolves some time after a drain has begun, if the client has sent nothing by then.
    async fn is_silent_at_the_end(&self) {
        self.rules.shutdown.last_call().await;
        if self.wire.borrow().has_input() {
            std::future::pending::<()>().await;
        }
    }

    /// Reads a request's head; `None` once the client has closed its side.
    async fn head(&self) -> Result<Option<Request>, Http1Error> {
        loop {
            if let Some(request) = self.wire.borrow_mut().decode_head()? {
                return Ok(Some(request));
            }
            if self.read().await? == 0 {
                return Ok(None);
            }
        }
    }

    /// The request as the application gets it; `None` if the client went before.
    async fn prepared(
        &self,
        mut request: Request,
        info: ConnectionInfo,
    ) -> Result<Option<Request>, Http1Error> {
        request.head_mut().peer_addr = info.peer();
        request.extensions_mut().insert(info);
        let Some(body) = RequestBody::of(&self.wire) else {
            return Ok(Some(request));
        };
        if request.head().expect() {
            let mut go_on = BytesMut::from("HTTP/1.1 100 Continue\r\n\r\n");
            self.write_all(&mut go_on).await?;
            self.flush().await?;
        }
        let payload = Box::pin(body) as BoxedPayloadStream;
        let (request, _none) = request.replace_payload(Payload::Stream { payload });
        Ok(Some(request))
    }

    /// The handler's response; `None` once the client has gone, which drops the handler.
    async fn answered<F>(&self, mut answer: Pin<Box<F>>) -> Option<Response<BoxBody>>
    where
        F: Future<Output = Response<BoxBody>>,
    {
        poll_fn(move |cx| match answer.as_mut().poll(cx) {
            Poll::Ready(response) => Poll::Ready(Some(response)),
            Poll::Pending => self.wire.borrow_mut().poll_gone(cx).map(|()| None),
        })
        .await
    }

    /// Writes the answer and takes what is left of the request; `false` once the connection is over.
    async fn respond(&self, response: Response<BoxBody>) -> Result<bool, Http1Error> {
        let (mut head, body) = response.into_parts();
        if head.status() == StatusCode::SWITCHING_PROTOCOLS {
            return self.switched(head, body).await.map(|()| false);
        }
        let is_short = self.wire.borrow_mut().rest_is_short(DISCARD);
        if self.rules.shutdown.is_draining() || !is_short {
            head.head_mut().set_connection_type(ConnectionType::Close);
        }
        let size = body.size();
        let mut out = BytesMut::new();
        self.wire.borrow_mut().encode_head(head, size, &mut out)?;
        if !matches!(size, BodySize::None | BodySize::Sized(0)) && !self.wire.borrow().is_head() {
            self.write_body(body, &mut out).await?;
        }
        self.write_all(&mut out).await?;
        self.flush().await?;
        let is_read = is_short && self.discard().await;
        if is_read && self.wire.borrow().keeps_alive() {
            return Ok(true);
        }
        self.close(!is_read).await?;
        Ok(false)
    }

    /// Answers an upgrade. From here the body is what is sent, and the request's body what arrives, until either ends.
    async fn switched(&self, mut head: Response<()>, body: BoxBody) -> Result<(), Http1Error> {
        head.head_mut().set_connection_type(ConnectionType::Upgrade);
        head.head_mut().no_chunking(true);
        let mut out = BytesMut::new();
        self.wire
            .borrow_mut()
            .encode_head(head, BodySize::Stream, &mut out)?;
        self.write_all(&mut out).await?;
        self.flush().await?;
        match self.write_body(body, &mut out).await {
            Ok(()) => {}
            // It may go at any time.
            Err(Http1Error::Cut) => return Ok(()),
            Err(error) => return Err(error),
        }
        self.write_all(&mut out).await?;
        self.flush().await?;
        Ok(self.close(true).await?)
    }

    async fn write_body(&self, body: BoxBody, out: &mut BytesMut) -> Result<(), Http1Error> {
        let mut body = pin!(body);
        loop {
            let piece = poll_fn(|cx| match body.as_mut().poll_next(cx) {
                Poll::Ready(piece) => Poll::Ready(Piece::of(piece)),
                // Bytes that are ready must not wait for later ones.
                Poll::Pending if !out.is_empty() => Poll::Ready(Piece::Later),
                Poll::Pending => self.wire.borrow_mut().poll_gone(cx).map(|()| Piece::Gone),
            });
            match piece.await {
                Piece::Bytes(mut bytes) => {
                    while !bytes.is_empty() {
                        let piece = bytes.split_to(bytes.len().min(PIECE));
                        self.wire.borrow_mut().encode_body(Some(piece), out)?;
                        self.write_all(out).await?;
                    }
                }
                Piece::Later => {
                    self.write_all(out).await?;
                    self.flush().await?;
                }
                Piece::End => return Ok(self.wire.borrow_mut().encode_body(None, out)?),
                Piece::Gone => return Err(Http1Error::Cut),
                Piece::Failed(error) => return Err(Http1Error::Body(error)),
            }
        }
    }

    /// Reads and drops what the handler left of its request; returns whether the request's end was reached.
    async fn discard(&self) -> bool {
        let reading = async {
            let mut left = DISCARD;
            loop {
                match self.wire.borrow_mut().skip_body() {
                    None => return false,
                    Some(skipped) if skipped.is_end => return true,
                    Some(skipped) if skipped.bytes > left => return false,
                    Some(skipped) => left -= skipped.bytes,
                }
                if !self.read().await.is_ok_and(|bytes| bytes > 0) {
                    return false;
                }
            }
        };
        timeout(self.rules.timeouts.read_header, reading).await == Ok(true)
    }

    /// Writes an empty response for a request that did not reach the application.
    async fn refuse(&self, refusal: Refusal) -> io::Result<()> {
        let mut response = Response::with_body(refusal.status(), ());
        response.head_mut().set_connection_type(ConnectionType::Close);
        let mut out = BytesMut::new();
        let size = BodySize::Sized(0);
        self.wire.borrow_mut().encode_head(response, size, &mut out)?;
        self.write_all(&mut out).await?;
        self.close(true).await
    }

    /// Closes the connection. If the client is still sending, reads on for a moment: closing a socket with unread
    /// bytes resets it, and the client would lose the answer.
    async fn close(&self, is_sending: bool) -> io::Result<()> {
        poll_fn(|cx| self.with_io(|io| io.poll_shutdown(cx))).await?;
        if is_sending {
            let reading = async {
                while self.read().await.is_ok_and(|bytes| bytes > 0) {
                    self.wire.borrow_mut().forget_input();
                }
            };
            // A client that goes on sending is not an error: it has its answer.
            let _told = timeout(LINGER, reading).await;
        }
        Ok(())
    }

    /// Reads once; 0: the client has closed its side.
    async fn read(&self) -> io::Result<usize> {
        poll_fn(|cx| self.wire.borrow_mut().poll_read(cx)).await
    }

    async fn write_all(&self, out: &mut BytesMut) -> io::Result<()> {
        while !out.is_empty() {
            let written = poll_fn(|cx| self.with_io(|io| io.poll_write(cx, out))).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            drop(out.split_to(written));
        }
        Ok(())
    }

    async fn flush(&self) -> io::Result<()> {
        poll_fn(|cx| self.with_io(|io| io.poll_flush(cx))).await
    }

    fn with_io<R>(&self, work: impl FnOnce(Pin<&mut GuardedIo<T>>) -> R) -> R {
        work(self.wire.borrow_mut().io())
    }
}

/// The next part of a response's body.
enum Piece {
    Bytes(Bytes),
    Later,
    End,
    Gone,
    Failed(Box<dyn std::error::Error>),
}

impl Piece {
    fn of(piece: Option<Result<Bytes, Box<dyn std::error::Error>>>) -> Self {
        match piece {
            Some(Ok(bytes)) => Self::Bytes(bytes),
            Some(Err(error)) => Self::Failed(error),
            None => Self::End,
        }
    }
}

/// A response is encoded and written in pieces of this size, whatever the size of its chunks.
const PIECE: usize = 16 * 1024;

/// Bytes of an unread request that are read and dropped after the answer, to keep the connection.
const DISCARD: u64 = 64 * 1024;

/// How long to read from a client that is still sending after the last answer.
const LINGER: Duration = Duration::from_secs(1);
