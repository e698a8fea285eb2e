//! A TLS connection that holds no buffer while nothing is under way.
//!
//! rustls's buffered connection keeps 4 KiB for records and the memory of its queues for as long as it lives, and most
//! connections live to wait. This one drives rustls's unbuffered interface: records are read into and written from
//! memory that a worker's connections share, and a connection keeps only what is left over: the beginning of a record,
//! plain text that its reader had no room for, records that the socket did not take (docs/adr/0009).
//! In: a socket and a `ServerConfig`, chosen when the ClientHello is whole. Out: `AsyncRead` and `AsyncWrite`.

mod client_hello;
mod session;

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, BytesMut};
use rustls::{ServerConfig, server::UnbufferedServerConnection};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::connection_info::TlsFacts;
use client_hello::ClientHello;
use session::{Halt, Session, Unsent};

/// A socket whose client has sent its whole ClientHello.
pub(crate) struct Hello {
    io: TcpStream,
    /// What the client has sent so far.
    raw: Vec<u8>,
}

/// A TLS connection of a client.
pub(crate) struct TlsStream {
    io: TcpStream,
    session: Session,
    /// Bytes of the client that have not become a message: not whole yet, or not looked at.
    raw: Vec<u8>,
    /// `raw` may hold whole messages.
    is_unread: bool,
    /// The client was told of the end.
    is_closed: bool,
}

impl Hello {
    /// Waits for the ClientHello. What it says is looked at by nobody yet.
    ///
    /// # Errors
    /// Those of the socket, and its end.
    pub(crate) async fn read(io: TcpStream) -> io::Result<Self> {
        let (mut hello, mut raw) = (ClientHello::default(), Vec::new());
        // So that one more read still fits into the shared memory.
        while raw.len() < LONGEST - READ && !hello.is_whole(&raw) {
            io.readable().await?;
            let read = with_scratch(|scratch| {
                let read = io.try_read(scratch.get_mut(..READ).unwrap_or_default());
                if let Ok(bytes) = read {
                    raw.extend_from_slice(scratch.get(..bytes).unwrap_or_default());
                }
                read
            });
            match read {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self { io, raw })
    }

    /// Completes the handshake with this configuration.
    ///
    /// # Errors
    /// Those of the socket, and why there is no handshake, about which the client is told.
    pub(crate) async fn accept(self, config: Arc<ServerConfig>) -> io::Result<Box<TlsStream>> {
        let Self { io, raw } = self;
        // Boxed at once: every future that handed on its kilobyte would keep room for it.
        let mut stream = Box::new(TlsStream {
            io,
            session: Session::new(UnbufferedServerConnection::new(config).map_err(refused)?),
            raw,
            is_unread: true,
            is_closed: false,
        });
        std::future::poll_fn(|cx| stream.poll_handshake(cx)).await?;
        Ok(stream)
    }
}

impl TlsStream {
    /// The TCP socket.
    pub(crate) const fn tcp(&self) -> &TcpStream {
        &self.io
    }

    /// What the handshake came to.
    pub(crate) fn facts(&self) -> TlsFacts {
        self.session.facts()
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if !self.session.is_handshaking() {
                return self.poll_send(cx);
            }
            if self.session.is_ended() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            ready!(self.poll_fill(cx, &mut ReadBuf::new(&mut [])))?;
        }
    }

    /// Reads once and handles what came: plain text goes into `into`, what has no room there is kept.
    fn poll_fill(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // What an earlier call left over goes first: a client may wait for it before it sends more.
        if let Poll::Ready(Err(error)) = self.poll_send(cx) {
            return Poll::Ready(Err(error));
        }
        with_scratch(|scratch| {
            let kept = self.raw.len();
            let mut filled = kept;
            if let Some(place) = scratch.get_mut(..kept) {
                place.copy_from_slice(&self.raw);
            }
            if !self.is_unread {
                let end = scratch.len().min(kept + READ);
                let mut space = ReadBuf::new(scratch.get_mut(kept..end).unwrap_or_default());
                if space.capacity() == 0 {
                    return Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "a TLS message is too long",
                    )));
                }
                ready!(Pin::new(&mut self.io).poll_read(cx, &mut space))?;
                let read = space.filled().len();
                if read == 0 {
                    self.session.end();
                    // Without close_notify, the client's last words may have been cut off.
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                filled += read;
            }
            let incoming = scratch.get_mut(..filled).unwrap_or_default();
            let (used, halt) = self.session.advance(incoming, into);
            self.keep(incoming.get(used..).unwrap_or_default());
            self.is_unread = matches!(halt, Ok(Halt::Full)) && !self.raw.is_empty();
            Poll::Ready(self.settle(halt, cx))
        })
    }

    /// Keeps the beginning of a message, in no more memory than it needs.
    fn keep(&mut self, rest: &[u8]) {
        if rest.len() > self.raw.capacity() || rest.is_empty() {
            self.raw = rest.to_vec();
        } else {
            self.raw.clear();
            self.raw.extend_from_slice(rest);
        }
    }

    /// Sends what the messages called for; after a fault, the reason as far as the socket takes it.
    fn settle(&mut self, halt: Result<Halt, rustls::Error>, cx: &mut Context<'_>) -> io::Result<()> {
        match (halt, self.poll_send(cx)) {
            (Err(error), _) => Err(refused(error)),
            (Ok(_), Poll::Ready(Err(error))) => Err(error),
            (Ok(_), _) => Ok(()),
        }
    }

    /// Sends the records that wait.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.session.outgoing.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.session.outgoing))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.session.outgoing.advance(written);
        }
        self.session.outgoing = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    /// Encrypts into the shared memory and sends; what the socket does not take is kept.
    fn poll_encrypt(
        &mut self,
        cx: &mut Context<'_>,
        encrypt: impl FnOnce(&mut Session, &mut Vec<u8>, &mut [u8]) -> Result<usize, Unsent>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        with_scratch(|scratch| {
            let bytes = encrypt(&mut self.session, &mut self.raw, scratch).map_err(broken)?;
            let mut records = scratch.get(..bytes).unwrap_or_default();
            // Nothing overtakes what the client's own messages called for.
            if self.session.outgoing.is_empty()
                && let Poll::Ready(written) = Pin::new(&mut self.io).poll_write(cx, records)
            {
                records = records.get(written?..).unwrap_or_default();
            }
            self.session.outgoing.extend_from_slice(records);
            if let Poll::Ready(sent) = self.poll_send(cx) {
                sent?;
            }
            Poll::Ready(Ok(()))
        })
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        while !this.session.give(buf) && !this.session.is_ended() && buf.remaining() > 0 {
            ready!(this.poll_fill(cx, buf))?;
            if buf.filled().len() > before {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let piece = bytes.get(..WRITE).unwrap_or(bytes);
        let encrypt = |session: &mut Session, raw: &mut Vec<u8>, records: &mut [u8]| {
            session.encrypt(raw, piece, records)
        };
        ready!(self.get_mut().poll_encrypt(cx, encrypt))?;
        Poll::Ready(Ok(piece.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut taken = 0;
        let encrypt = |session: &mut Session, raw: &mut Vec<u8>, scratch: &mut [u8]| {
            // Together, so that a frame's head does not become a record of its own.
            let (records, piece) = scratch.split_at_mut(LONGEST - WRITE);
            for slice in slices {
                let bytes = slice.len().min(piece.len() - taken);
                if let (Some(place), Some(bytes)) = (piece.get_mut(taken..taken + bytes), slice.get(..bytes))
                {
                    place.copy_from_slice(bytes);
                }
                taken += bytes;
            }
            session.encrypt(raw, piece.get(..taken).unwrap_or_default(), records)
        };
        ready!(self.get_mut().poll_encrypt(cx, encrypt))?;
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_send(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !std::mem::replace(&mut this.is_closed, true) {
            // A connection that is not open any more ends without a word.
            let close = |session: &mut Session, raw: &mut Vec<u8>, records: &mut [u8]| {
                Ok(session.close(raw, records).unwrap_or_default())
            };
            if this.poll_encrypt(cx, close)?.is_pending() {
                this.is_closed = false;
                return Poll::Pending;
            }
        }
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}

fn refused(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn broken(error: Unsent) -> io::Error {
    match error {
        Unsent::Tls(error) => refused(error),
        error @ (Unsent::Encrypt(_) | Unsent::NotOpen) => io::Error::new(io::ErrorKind::BrokenPipe, error),
    }
}

/// Work with the memory that the connections of this thread share. It is never held while something waits.
fn with_scratch<R>(work: impl FnOnce(&mut [u8]) -> R) -> R {
    thread_local! {
        static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; LONGEST].into());
    }
    SCRATCH.with_borrow_mut(|scratch| work(scratch))
}

/// The longest that a client may leave a message unfinished: a handshake message of 64 KiB in its records.
const LONGEST: usize = 80 * 1024;
/// Bytes of one read from the socket: a record of the longest kind.
const READ: usize = 18 * 1024 + 512;
/// Bytes that are encrypted and written at once: two records.
const WRITE: usize = 32 * 1024;
