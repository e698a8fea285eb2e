//! The stream below HTTP, with the deadlines actix-http lacks.
//!
//! - **Write**: a client that stops reading may block the output for `timeouts.write` at most; the deadline is
//!   renewed for every [`WRITE_PROGRESS`] bytes that leave.
//! - **Next request**: actix-http limits the time for a request head only on a connection's first request. Here
//!   bytes that arrive while no request is in flight must become a request within `timeouts.read_header`; this
//!   also ends a client that keeps sending the body of a request that was answered long ago.
//!
//! A timer exists only while its deadline runs: a waiting long poll holds none. The connection's [`Place`] lives
//! here, so it counts until the socket is closed.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

use crate::{connection_info::Connection, open_connections::Place};

pub(crate) struct GuardedIo<T> {
    io: T,
    connection: Rc<Connection>,
    deadlines: Rc<Deadlines>,
    blocked_write: Option<BlockedWrite>,
    next_request: Option<NextRequest>,
    // Declared after `io`: the socket closes first, then the place becomes free.
    _place: Place,
}

/// How long the client may keep us waiting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadlines {
    pub(crate) write: Duration,
    pub(crate) disconnect: Duration,
    /// `None` where the layer above judges by itself (HTTP/2).
    pub(crate) next_request: Option<NextRequestDeadlines>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct NextRequestDeadlines {
    pub(crate) idle: Duration,
    pub(crate) read_header: Duration,
}

struct BlockedWrite {
    deadline: Pin<Box<Sleep>>,
    progress: usize,
}

struct NextRequest {
    deadline: Pin<Box<Sleep>>,
    has_begun: bool,
}

impl<T> GuardedIo<T> {
    pub(crate) fn new(io: T, connection: Rc<Connection>, deadlines: Rc<Deadlines>, place: Place) -> Self {
        Self {
            io,
            connection,
            deadlines,
            blocked_write: None,
            next_request: None,
            _place: place,
        }
    }

    pub(crate) fn connection(&self) -> &Rc<Connection> {
        &self.connection
    }

    /// Called while the output is blocked: an error once the client had its time.
    fn poll_blocked(&mut self, limit: Duration, cx: &mut Context<'_>) -> Poll<io::Error> {
        let blocked = self.blocked_write.get_or_insert_with(|| BlockedWrite {
            deadline: Box::pin(sleep(limit)),
            progress: 0,
        });
        ready!(blocked.deadline.as_mut().poll(cx));
        Poll::Ready(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client did not read the response in time",
        ))
    }

    fn wrote(&mut self, bytes: usize) {
        if let Some(blocked) = &mut self.blocked_write {
            blocked.progress = blocked.progress.saturating_add(bytes);
            if blocked.progress >= WRITE_PROGRESS {
                self.blocked_write = None;
            }
        }
    }

    fn after_write(
        &mut self,
        outcome: Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match outcome {
            Poll::Ready(Ok(bytes)) => {
                self.wrote(bytes);
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => self.poll_blocked(self.deadlines.write, cx).map(Err),
        }
    }

    /// Runs the deadline of the next request; `received` tells that bytes have just arrived.
    fn poll_next_request(&mut self, received: bool, cx: &mut Context<'_>) -> Poll<io::Error> {
        let Some(limits) = self.deadlines.next_request else {
            return Poll::Pending;
        };
        if !self.connection.has_served() || !self.connection.is_idle() {
            self.next_request = None;
            return Poll::Pending;
        }
        let next = self.next_request.get_or_insert_with(|| NextRequest {
            deadline: Box::pin(sleep(limits.idle)),
            has_begun: false,
        });
        if received && !next.has_begun {
            next.has_begun = true;
            next.deadline.as_mut().reset(Instant::now() + limits.read_header);
        }
        ready!(next.deadline.as_mut().poll(cx));
        Poll::Ready(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client did not send its request in time",
        ))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for GuardedIo<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let outcome = Pin::new(&mut this.io).poll_read(cx, buf);
        let received = buf.filled().len() > before;
        if let Poll::Ready(error) = this.poll_next_request(received, cx) {
            return Poll::Ready(Err(error));
        }
        outcome
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for GuardedIo<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.io).poll_write(cx, bytes);
        this.after_write(outcome, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.io).poll_write_vectored(cx, slices);
        this.after_write(outcome, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match Pin::new(&mut this.io).poll_flush(cx) {
            Poll::Ready(outcome) => {
                this.blocked_write = None;
                Poll::Ready(outcome)
            }
            Poll::Pending => this.poll_blocked(this.deadlines.write, cx).map(Err),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match Pin::new(&mut this.io).poll_shutdown(cx) {
            Poll::Ready(outcome) => Poll::Ready(outcome),
            Poll::Pending => this.poll_blocked(this.deadlines.disconnect, cx).map(Err),
        }
    }
}

/// Bytes that must leave for a blocked client to get its full time again. A client that takes single bytes
/// therefore cannot hold a response for ever.
const WRITE_PROGRESS: usize = 64 * 1024;
