//! HTTP/1.1 connections: actix-http's dispatcher while bytes move, and hardly anything while a request waits.
//!
//! A dispatcher holds two buffers of 8 KiB and its own state, and an agent waits for minutes. So a request that is
//! not answered within [`PATIENCE`] is *parked*: its handler's future, the socket and nothing else are kept, and
//! the dispatcher goes. The answer is written here, and the next request gets a new dispatcher.
//!
//! ```text
//! dispatcher ──(request whole, no answer yet)──> parked ──(answer)──> written ──(first bytes)──> dispatcher
//!     └─ closed                                     └─ client gone        └─ closed, idle, drain
//! ```
//!
//! Parking is never necessary: a request that [`Tally`](crate::tally::Tally) is not certain about stays where it is.

use std::{
    cell::RefCell,
    future::{Future, poll_fn, ready},
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_http::{
    ConnectionType, HttpService, KeepAlive, Request, Response, ServiceConfig,
    body::{BodySize, BoxBody, MessageBody},
    h1::{Codec, Message},
};
use actix_service::{Service, ServiceFactory, fn_factory};
use bytes::BytesMut;
use futures_util::{FutureExt as _, future::LocalBoxFuture};
use prometheus_client::metrics::gauge::Gauge;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};
use tokio_util::codec::{Decoder as _, Encoder as _};

use crate::{
    answered::Answered,
    connection_info::{Connection, ConnectionInfo},
    guarded_io::GuardedIo,
    service::{Listener, Serve},
    shutdown::Shutdown,
    unstable,
};

/// A handler at work: its response, whatever happens to it.
pub(crate) type Flight = LocalBoxFuture<'static, Response<BoxBody>>;

/// Serves connections of `listener` with `app` on the current worker.
pub(crate) async fn http1<T, S, B>(listener: &Listener, app: Rc<Answered<S, B>>) -> Result<Serve<T>, ()>
where
    T: AsyncRead + AsyncWrite + Unpin + 'static,
    S: Service<Request> + 'static,
    S::Error: Into<actix_web::Error> + 'static,
    S::Response: Into<Response<B>> + 'static,
    S::Future: 'static,
    B: MessageBody + 'static,
{
    let timeouts = listener.endpoint.timeouts;
    let mut builder = HttpService::build()
        .keep_alive(KeepAlive::Timeout(timeouts.idle))
        .client_request_timeout(timeouts.read_header)
        .client_disconnect_timeout(timeouts.disconnect)
        // A client that closes its side has gone: its handler is dropped at once.
        .h1_allow_half_closed(false)
        // Send each piece of a body before the next is taken, so that the output buffer stays small.
        .h1_write_buffer_size(1)
        .local_addr(listener.address)
        .on_connect_ext(|io: &LentIo<T>, data| {
            data.insert(ConnectionInfo::new(Rc::clone(&io.connection)));
        });
    if listener.endpoint.tls.is_some() {
        builder = builder.secure();
    }
    let service = unstable::close_when_draining(builder, listener.shutdown.clone())
        .h1(fn_factory(move || {
            let app = Rc::clone(&app);
            ready(Ok::<_, ()>(InFlightApp { app }))
        }))
        .new_service(())
        .await?;
    let name: Rc<str> = Rc::from(listener.endpoint.name.as_str());
    let broken = listener.connections.counters().broken.clone();
    let dispatch = Rc::new(move |io: LentIo<T>| {
        let peer = io.connection.peer;
        let (name, broken) = (Rc::clone(&name), broken.clone());
        // Not an async block: that would hold the connection twice, as captured and as awaited.
        Box::pin(service.call((io, peer)).map(move |outcome| {
            if let Err(error) = outcome {
                broken.inc();
                log::debug!("{name}: connection of {peer:?}: {error}");
            }
        }))
    });
    let codec = ServiceConfig::new(
        KeepAlive::Timeout(timeouts.idle),
        timeouts.read_header,
        timeouts.disconnect,
        listener.endpoint.tls.is_some(),
        Some(listener.address),
    );
    let shutdown = listener.shutdown.clone();
    let parked = listener.connections.counters().parked_requests.clone();
    Ok(Box::new(move |io| {
        let connection = Http1Connection {
            connection: Rc::clone(io.connection()),
            io: Rc::new(RefCell::new(SharedIo {
                io,
                early: Vec::new(),
            })),
            codec: codec.clone(),
            shutdown: shutdown.clone(),
            parked: parked.clone(),
        };
        let dispatch = Rc::clone(&dispatch);
        Box::pin(async move { connection.serve(&*dispatch).await })
    }))
}

/// A connection between its dispatchers.
struct Http1Connection<T> {
    connection: Rc<Connection>,
    io: Rc<RefCell<SharedIo<T>>>,
    codec: ServiceConfig,
    shutdown: Shutdown,
    parked: Gauge,
}

/// Counts a parked request while it is one.
struct Parked<'a>(&'a Gauge);

impl<'a> Parked<'a> {
    fn begin(gauge: &'a Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The socket, and what was read from it while nobody could use it.
struct SharedIo<T> {
    io: GuardedIo<T>,
    early: Vec<u8>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Http1Connection<T> {
    async fn serve<F>(self, dispatch: impl Fn(LentIo<T>) -> Pin<Box<F>>)
    where
        F: Future<Output = ()>,
    {
        while let Some(flight) = self.dispatched(&dispatch).await {
            let Some(response) = self.answer_of(flight).await else {
                return;
            };
            // Boxed, so that a waiting connection does not carry the room for what comes after.
            if !Box::pin(self.after(response)).await {
                return;
            }
        }
    }

    /// Runs a dispatcher until the connection ends (`None`), or until a request waits.
    async fn dispatched<F>(&self, dispatch: impl Fn(LentIo<T>) -> Pin<Box<F>>) -> Option<Flight>
    where
        F: Future<Output = ()>,
    {
        self.connection.tally.restart();
        let mut dispatcher = dispatch(LentIo {
            connection: Rc::clone(&self.connection),
            io: Rc::clone(&self.io),
        });
        let mut patience: Option<Pin<Box<Sleep>>> = None;
        poll_fn(move |cx| {
            if dispatcher.as_mut().poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            if !self.connection.is_parkable() {
                patience = None;
                return Poll::Pending;
            }
            let patience = patience.get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
            ready!(patience.as_mut().poll(cx));
            Poll::Ready(self.connection.flight.take())
        })
        .await
    }

    /// The parked handler's response; `None` once the client has gone, which drops the handler.
    async fn answer_of(&self, mut flight: Flight) -> Option<Response<BoxBody>> {
        let _parked = Parked::begin(&self.parked);
        poll_fn(move |cx| match flight.as_mut().poll(cx) {
            Poll::Ready(response) => Poll::Ready(Some(response)),
            Poll::Pending => {
                let mut io = self.io.borrow_mut();
                // What came early is kept for later, up to a limit; beyond it the client has to wait.
                while io.early.len() < EARLY {
                    match ready!(io.poll_early(cx)) {
                        Ok(0) | Err(_) => return Poll::Ready(None),
                        Ok(_) => {}
                    }
                }
                Poll::Pending
            }
        })
        .await
    }

    /// Writes the answer and waits for a next request; `false` once the connection is over.
    async fn after(&self, response: Response<BoxBody>) -> bool {
        match self.write(response).await {
            Ok(ConnectionType::KeepAlive) if self.begins_again().await => true,
            Ok(_) => {
                self.close().await;
                false
            }
            Err(error) => {
                log::debug!("connection of {:?}: {error}", self.connection.peer);
                false
            }
        }
    }

    async fn write(&self, response: Response<BoxBody>) -> io::Result<ConnectionType> {
        let (mut head, mut body) = response.into_parts();
        if self.shutdown.is_draining() {
            head.head_mut().set_connection_type(ConnectionType::Close);
        }
        let size = body.size();
        let mut codec = self.codec()?;
        let mut out = BytesMut::new();
        codec.encode(Message::Item((head, size)), &mut out)?;
        if !matches!(size, BodySize::None | BodySize::Sized(0)) {
            while let Some(piece) = poll_fn(|cx| Pin::new(&mut body).poll_next(cx)).await {
                let piece = piece.map_err(|error| io::Error::other(error.to_string()))?;
                codec.encode(Message::Chunk(Some(piece)), &mut out)?;
                self.write_all(&mut out).await?;
            }
            codec.encode(Message::Chunk(None), &mut out)?;
        }
        self.write_all(&mut out).await?;
        poll_fn(|cx| self.with_io(|io| io.poll_flush(cx))).await?;
        Ok(match codec.keep_alive() {
            true => ConnectionType::KeepAlive,
            false => ConnectionType::Close,
        })
    }

    /// A codec that has read a request like the parked one: HTTP/1.1, keep-alive, not HEAD. Others are not parked.
    fn codec(&self) -> io::Result<Codec> {
        let mut codec = Codec::new(self.codec.clone());
        codec
            .decode(&mut BytesMut::from("POST / HTTP/1.1\r\nHost: _\r\n\r\n"))
            .map_err(io::Error::other)?;
        Ok(codec)
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

    /// Waits for the first bytes of a next request. The socket itself knows how long a client may be idle.
    async fn begins_again(&self) -> bool {
        if !self.io.borrow().early.is_empty() {
            return !self.shutdown.is_draining();
        }
        tokio::select! {
            biased;
            () = self.shutdown.notified() => false,
            read = poll_fn(|cx| self.io.borrow_mut().poll_early(cx)) => read.is_ok_and(|bytes| bytes > 0),
        }
    }

    async fn close(&self) {
        if let Err(error) = poll_fn(|cx| self.with_io(|io| io.poll_shutdown(cx))).await {
            log::debug!("closing the connection of {:?}: {error}", self.connection.peer);
        }
    }

    fn with_io<R>(&self, work: impl FnOnce(Pin<&mut GuardedIo<T>>) -> R) -> R {
        work(Pin::new(&mut self.io.borrow_mut().io))
    }
}

impl<T: AsyncRead + Unpin> SharedIo<T> {
    /// Reads what the client sends while no dispatcher is there; 0: it has closed its side.
    fn poll_early(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = [0; 1024];
        let mut space = ReadBuf::new(&mut space);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut space))?;
        self.early.extend_from_slice(space.filled());
        Poll::Ready(Ok(space.filled().len()))
    }
}

/// The socket as a dispatcher has it: for a while.
struct LentIo<T> {
    connection: Rc<Connection>,
    io: Rc<RefCell<SharedIo<T>>>,
}

impl<T> LentIo<T> {
    fn with<R>(&self, work: impl FnOnce(Pin<&mut GuardedIo<T>>) -> R) -> R
    where
        T: Unpin,
    {
        work(Pin::new(&mut self.io.borrow_mut().io))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for LentIo<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let mut shared = self.io.borrow_mut();
        let outcome = if shared.early.is_empty() {
            Pin::new(&mut shared.io).poll_read(cx, buf)
        } else {
            let length = shared.early.len().min(buf.remaining());
            buf.put_slice(shared.early.get(..length).unwrap_or_default());
            shared.early.drain(..length);
            if shared.early.is_empty() {
                shared.early = Vec::new();
            }
            Poll::Ready(Ok(()))
        };
        self.connection
            .tally
            .give(buf.filled().get(before..).unwrap_or_default());
        outcome
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for LentIo<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.with(|io| io.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.with(|io| io.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.borrow().io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|io| io.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|io| io.poll_shutdown(cx))
    }
}

/// The application as a dispatcher sees it: handlers fly where they can be taken over.
struct InFlightApp<S, B> {
    app: Rc<Answered<S, B>>,
}

impl<S, B> Service<Request> for InFlightApp<S, B>
where
    S: Service<Request>,
    S::Error: Into<actix_web::Error>,
    S::Response: Into<Response<B>>,
    S::Future: 'static,
    B: MessageBody + 'static,
{
    type Response = Response<BoxBody>;
    type Error = Response<BoxBody>;
    type Future = Watched;

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.app.poll_ready(cx)
    }

    fn call(&self, request: Request) -> Self::Future {
        let connection = match request.conn_data::<ConnectionInfo>() {
            Some(info) => Rc::clone(info.connection()),
            // Every connection has its facts from `http1`; without them only deadlines and parking are lost.
            None => Connection::new(request.peer_addr(), None),
        };
        connection.tally.begin(request.head());
        let flight = self.app.answer(request, Rc::clone(&connection));
        connection.flight.set(Some(Box::pin(flight)));
        Watched { connection }
    }
}

/// What a dispatcher holds of a handler: it watches the flight, and ends it if it is dropped first.
struct Watched {
    connection: Rc<Connection>,
}

impl Future for Watched {
    type Output = Result<Response<BoxBody>, Response<BoxBody>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Taken over: whoever has it polls it.
        let Some(mut flight) = self.connection.flight.take() else {
            return Poll::Pending;
        };
        match flight.as_mut().poll(cx) {
            Poll::Ready(response) => Poll::Ready(Ok(response)),
            Poll::Pending => {
                self.connection.flight.set(Some(flight));
                Poll::Pending
            }
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        drop(self.connection.flight.take());
    }
}

/// A handler that takes longer waits for something to happen.
const PATIENCE: Duration = Duration::from_secs(1);

/// So much of a next request may come while the current one waits.
const EARLY: usize = 16 * 1024;
