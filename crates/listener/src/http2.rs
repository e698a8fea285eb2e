//! HTTP/2 connections (chosen by ALPN), driven here and not by actix-http.
//!
//! actix-http detaches each stream's handler: a client that goes away or resets the stream leaves
//! its long poll behind, the number of streams is unlimited and a request head may have 16 MiB. Here handlers
//! live inside the connection: a reset drops one, the end of the connection drops all, and the limits are
//! those of HTTP/1.1. A drain sends GOAWAY and lets open streams finish.

use std::{
    cell::RefCell,
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

use actix_http::{
    BoxedPayloadStream, HttpMessage as _, Payload, Request, Response,
    body::{BodySize, MessageBody},
    error::PayloadError,
};
use actix_service::Service;
use actix_web::http::header::HttpDate;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream::FuturesUnordered};
use h2::{Ping, PingPong, Reason, RecvStream, SendStream, server::SendResponse};
use http::{HeaderValue, Method, StatusCode, header};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, sleep, timeout, timeout_at},
};

use crate::{
    answered::Answered,
    connection_info::{ConnectionInfo, peer_name},
    endpoint::Endpoint,
    frame_budget::FrameBudget,
    guarded_io::{GuardedIo, WRITE_PROGRESS},
    shutdown::{LAST_CALL, Shutdown},
};

/// How an HTTP/2 connection failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Http2Error {
    #[error("the client did not open the connection in time")]
    Silent,
    #[error("the client did not answer a ping in time")]
    Dead,
    #[error(transparent)]
    Protocol(#[from] h2::Error),
}

/// Serves one connection until it closes, the client is idle for too long, or a drain has let it finish.
pub(crate) async fn serve<T, S, B>(
    io: GuardedIo<T>,
    info: ConnectionInfo,
    app: Rc<Answered<S, B>>,
    endpoint: &Endpoint,
    shutdown: Shutdown,
) -> Result<(), Http2Error>
where
    T: AsyncRead + AsyncWrite + Unpin,
    S: Service<Request>,
    S::Error: Into<actix_web::Error>,
    S::Response: Into<Response<B>>,
    B: MessageBody + 'static,
{
    let timeouts = endpoint.timeouts;
    let opening = h2::server::Builder::new()
        .max_concurrent_streams(endpoint.limits.streams_per_connection)
        .max_header_list_size(u32::try_from(endpoint.limits.header_bytes_with_slack()).unwrap_or(u32::MAX))
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .handshake::<_, Bytes>(FrameBudget::new(io));
    let mut h2 = tokio::select! {
        biased;
        h2 = timeout(timeouts.read_header, opening) => h2.map_err(|_| Http2Error::Silent)??,
        () = shutdown.last_call() => return Ok(()),
    };
    let mut pulse = Pulse::new(h2.ping_pong());
    let mut streams = FuturesUnordered::new();
    let mut draining = pin!(shutdown.notified());
    let mut closes = false;
    // A client that does not confirm the end must not delay it.
    let mut farewell = pin!(sleep(LAST_CALL));
    let mut tick = pin!(sleep(timeouts.idle));
    loop {
        tokio::select! {
            accepted = h2.accept() => match accepted {
                None => return Ok(()),
                Some(accepted) => {
                    let (request, respond) = accepted?;
                    pulse.active();
                    streams.push(answer(request, respond, &app, info, timeouts.write));
                }
            },
            Some(()) = streams.next() => {
                pulse.active();
                farewell.as_mut().reset(Instant::now() + timeouts.disconnect);
            }
            () = &mut draining, if !closes => {
                closes = true;
                farewell.as_mut().reset(Instant::now() + LAST_CALL);
                h2.graceful_shutdown();
            }
            () = &mut farewell, if closes && streams.is_empty() => return Ok(()),
            () = pulse.answered() => {}
            () = &mut tick => {
                tick.as_mut().reset(Instant::now() + timeouts.idle);
                match (pulse.tick(), streams.is_empty()) {
                    (Beat::Unanswered, _) => return Err(Http2Error::Dead),
                    (Beat::Idle, true) => {
                        closes = true;
                        farewell.as_mut().reset(Instant::now() + LAST_CALL);
                        h2.graceful_shutdown();
                    }
                    (Beat::Idle | Beat::Active, _) => pulse.ask()?,
                }
            }
        }
    }
}

/// Detects a peer that is gone while its streams wait, and one that is idle.
struct Pulse {
    ping: Option<PingPong>,
    is_asked: bool,
    is_active: bool,
}

enum Beat {
    Active,
    Idle,
    Unanswered,
}

impl Pulse {
    fn new(ping: Option<PingPong>) -> Self {
        Self {
            ping,
            is_asked: false,
            is_active: true,
        }
    }

    fn active(&mut self) {
        self.is_active = true;
    }

    fn ask(&mut self) -> Result<(), h2::Error> {
        if let Some(ping) = &mut self.ping {
            ping.send_ping(Ping::opaque())?;
            self.is_asked = true;
        }
        Ok(())
    }

    /// Resolves when the pending ping is answered.
    async fn answered(&mut self) {
        match &mut self.ping {
            Some(ping) if self.is_asked => {
                // An error here is the connection's, and `accept` reports it.
                if poll_fn(|cx| ping.poll_pong(cx)).await.is_ok() {
                    self.is_asked = false;
                } else {
                    std::future::pending::<()>().await;
                }
            }
            _ => std::future::pending().await,
        }
    }

    fn tick(&mut self) -> Beat {
        match (self.is_asked, std::mem::take(&mut self.is_active)) {
            (true, _) => Beat::Unanswered,
            (false, true) => Beat::Active,
            (false, false) => Beat::Idle,
        }
    }
}

/// One stream from request to the end of its response. Dropping it drops the handler.
async fn answer<S, B>(
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    app: &Answered<S, B>,
    info: ConnectionInfo,
    write_deadline: Duration,
) where
    S: Service<Request>,
    S::Error: Into<actix_web::Error>,
    S::Response: Into<Response<B>>,
    B: MessageBody + 'static,
{
    let is_head = request.method() == Method::HEAD;
    let (request, body) = into_request(request, info);
    let answer = app.answer(request);
    let response = {
        let mut answer = pin!(answer);
        tokio::select! {
            biased;
            _ = poll_fn(|cx| respond.poll_reset(cx)) => return,
            response = &mut answer => response,
        }
    };
    match send(response, respond, is_head, write_deadline).await {
        Ok(()) => {
            // Dropping a body that still arrives resets the stream, and some clients then discard the answer.
            // A body that does not end in time is not an error.
            let _ = timeout(DISCARD_TIME, body.discard()).await;
        }
        Err(error) => log::debug!("HTTP/2 response to {}: {error}", peer_name(info.peer())),
    }
}

fn into_request(request: http::Request<RecvStream>, info: ConnectionInfo) -> (Request, RequestBody) {
    let (parts, body) = request.into_parts();
    let is_empty = body.is_end_stream();
    let body = RequestBody {
        body: Rc::new(RefCell::new(body)),
    };
    let payload = match is_empty {
        true => Payload::None,
        false => Payload::Stream {
            payload: Box::pin(body.clone()) as BoxedPayloadStream,
        },
    };
    let mut request = Request::with_payload(payload);
    let head = request.head_mut();
    head.method = parts.method;
    head.uri = parts.uri;
    head.version = parts.version;
    head.headers = parts.headers.into();
    head.peer_addr = info.peer();
    request.extensions_mut().insert(info);
    (request, body)
}

/// A request's body; bytes that were read are released to the client's flow-control window.
#[derive(Clone)]
struct RequestBody {
    body: Rc<RefCell<RecvStream>>,
}

impl RequestBody {
    fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>> {
        let mut body = self.body.borrow_mut();
        let chunk = match ready!(body.poll_data(cx)) {
            Some(Ok(chunk)) => chunk,
            end => return Poll::Ready(end),
        };
        let released = body.flow_control().release_capacity(chunk.len());
        Poll::Ready(Some(released.map(|()| chunk)))
    }

    /// Reads and drops what the handler left, to its end or up to a limit.
    async fn discard(&self) {
        let mut left = DISCARD;
        while let Some(Ok(chunk)) = poll_fn(|cx| self.poll(cx)).await
            && chunk.len() <= left
        {
            left -= chunk.len();
        }
    }
}

impl Stream for RequestBody {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll(cx)
            .map(|chunk| chunk.map(|chunk| chunk.map_err(PayloadError::from)))
    }
}

/// Why a response did not reach its client.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error("the client did not read the response in time")]
    Stalled,
    #[error("the body of the response failed: {0}")]
    Body(#[source] Box<dyn std::error::Error>),
    #[error(transparent)]
    Protocol(#[from] h2::Error),
}

async fn send<B: MessageBody>(
    response: Response<B>,
    mut respond: SendResponse<Bytes>,
    is_head: bool,
    write_deadline: Duration,
) -> Result<(), SendError> {
    let (response, body) = response.into_parts();
    let size = body.size();
    let ends_here = is_head || size.is_eof();
    let mut stream = respond.send_response(into_head(&response, size), ends_here)?;
    if ends_here {
        return Ok(());
    }
    let mut body = pin!(body);
    let mut left = match size {
        BodySize::Sized(length) => Some(length),
        BodySize::None | BodySize::Stream => None,
    };
    let mut patience = Patience::new(write_deadline);
    loop {
        let chunk = tokio::select! {
            biased;
            _ = poll_fn(|cx| stream.poll_reset(cx)) => return Ok(()),
            chunk = poll_fn(|cx| body.as_mut().poll_next(cx)) => chunk,
        };
        match chunk {
            Some(Ok(chunk)) => {
                left = left.map(|left| left.saturating_sub(chunk.len() as u64));
                let is_last = left == Some(0);
                send_chunk(&mut stream, chunk, is_last, &mut patience).await?;
                if is_last {
                    return Ok(());
                }
            }
            Some(Err(error)) => {
                stream.send_reset(Reason::INTERNAL_ERROR);
                return Err(SendError::Body(error.into()));
            }
            None => return Ok(stream.send_data(Bytes::new(), true)?),
        }
    }
}

async fn send_chunk(
    stream: &mut SendStream<Bytes>,
    mut chunk: Bytes,
    is_last: bool,
    patience: &mut Patience,
) -> Result<(), SendError> {
    while !chunk.is_empty() {
        stream.reserve_capacity(chunk.len().min(CHUNK));
        let room = timeout_at(patience.deadline(), poll_fn(|cx| stream.poll_capacity(cx))).await;
        match room {
            Err(_) => {
                stream.send_reset(Reason::CANCEL);
                return Err(SendError::Stalled);
            }
            // The stream is closed: the client has gone.
            Ok(None) => return Ok(()),
            Ok(Some(room)) => {
                let part = chunk.split_to(chunk.len().min(room?));
                patience.progress(part.len());
                stream.send_data(part, is_last && chunk.is_empty())?;
            }
        }
    }
    Ok(())
}

/// How long a client may take for [`WRITE_PROGRESS`] bytes of a response: one that opens its window byte by byte cannot
/// hold the response for ever.
struct Patience {
    limit: Duration,
    deadline: Option<Instant>,
    sent: usize,
}

impl Patience {
    fn new(limit: Duration) -> Self {
        Self {
            limit,
            deadline: None,
            sent: 0,
        }
    }

    fn deadline(&mut self) -> Instant {
        *self.deadline.get_or_insert_with(|| Instant::now() + self.limit)
    }

    fn progress(&mut self, bytes: usize) {
        self.sent += bytes;
        if self.sent >= WRITE_PROGRESS {
            self.sent = 0;
            self.deadline = None;
        }
    }
}

fn into_head(response: &Response<()>, size: BodySize) -> http::Response<()> {
    let mut head = http::Response::new(());
    *head.status_mut() = response.status();
    *head.version_mut() = http::Version::HTTP_2;
    let headers = head.headers_mut();
    for (name, value) in response.headers() {
        if !is_connection_header(name) {
            headers.append(name, value.clone());
        }
    }
    if let (BodySize::Sized(length), false) = (size, response.status() == StatusCode::NO_CONTENT) {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    if !headers.contains_key(header::DATE)
        && let Ok(now) = HeaderValue::try_from(HttpDate::from(SystemTime::now()).to_string())
    {
        headers.insert(header::DATE, now);
    }
    head
}

/// Headers that are specific to an HTTP/1.1 connection; RFC 9113 8.2.2 forbids them.
fn is_connection_header(name: &header::HeaderName) -> bool {
    matches!(
        *name,
        header::CONNECTION | header::TRANSFER_ENCODING | header::UPGRADE | header::CONTENT_LENGTH
    ) || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
const SEND_BUFFER: usize = 64 * 1024;
const CHUNK: usize = 16 * 1024;

/// Bytes of an unread body that are read and dropped after the answer, and for how long.
const DISCARD: usize = 64 * 1024;
const DISCARD_TIME: Duration = Duration::from_secs(1);
