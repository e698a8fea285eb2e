//! The stream below HTTP, with the deadline for a client that does not read.
//!
//! Such a client may block the output for `timeouts.write` at most; the deadline is renewed for every
//! [`WRITE_PROGRESS`] bytes that leave. A timer exists only while the output is blocked. The connection's [`Place`]
//! lives here, so it counts until the socket is closed.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};

use crate::{endpoint::Timeouts, open_connections::Place, tls_stream::TlsStream};

/// A stream that HTTP can be spoken on: TCP, or TLS over it.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin + 'static {
    /// The TCP socket below all layers.
    fn tcp(&self) -> &TcpStream;
}

impl Socket for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Socket for Box<TlsStream> {
    fn tcp(&self) -> &TcpStream {
        self.as_ref().tcp()
    }
}

pub(crate) struct GuardedIo<T> {
    io: T,
    write: Duration,
    disconnect: Duration,
    blocked_write: Option<BlockedWrite>,
    // Declared after `io`: the socket closes first, then the place becomes free.
    _place: Place,
}

struct BlockedWrite {
    deadline: Pin<Box<Sleep>>,
    progress: usize,
}

impl<T: Socket> GuardedIo<T> {
    /// The TCP socket below all layers.
    pub(crate) fn tcp(&self) -> &TcpStream {
        self.io.tcp()
    }
}

impl<T> GuardedIo<T> {
    pub(crate) fn new(io: T, timeouts: &Timeouts, place: Place) -> Self {
        Self {
            io,
            write: timeouts.write,
            disconnect: timeouts.disconnect,
            blocked_write: None,
            _place: place,
        }
    }

    /// Called while the output is blocked: an error once the deadline has passed.
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
            Poll::Pending => self.poll_blocked(self.write, cx).map(Err),
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for GuardedIo<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_read(cx, buf)
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
            Poll::Pending => this.poll_blocked(this.write, cx).map(Err),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match Pin::new(&mut this.io).poll_shutdown(cx) {
            Poll::Ready(outcome) => Poll::Ready(outcome),
            Poll::Pending => this.poll_blocked(this.disconnect, cx).map(Err),
        }
    }
}

/// Bytes that a blocked client must take to get its full time again. A client that takes single bytes
/// therefore cannot hold a response for ever.
pub(crate) const WRITE_PROGRESS: usize = 64 * 1024;
