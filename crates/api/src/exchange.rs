//! The record of one request at the gate: what the answer's headers, the metrics and the log need of it.

use std::{
    any::Any,
    error::Error,
    fmt,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use actix_web::{
    HttpResponse, ResponseError,
    body::{BodySize, BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        Method, StatusCode, Version,
        header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue},
    },
    web::Bytes,
};
use log::{Level, log_enabled};
use uuid::Uuid;

use crate::{
    admission::{Admission, Places},
    call::REQUEST_ID,
    error::{ApiError, Audience, FAILED, unanswered},
    limits::Refusal,
    log_budget::shown,
    metrics::{CLIENT_GONE, Reason},
    note::{ErrorNote, Note, Standing},
    route::Route,
    work::Turn,
};

/// One request between its head and its answer. Dropped without an answer, it counts as 499: the client went away.
pub(crate) struct Exchange {
    admission: Arc<Admission>,
    places: Option<Places>,
    route: Route,
    started: Instant,
    id: HeaderValue,
    method: Method,
    /// Path and query as they were asked for.
    target: String,
    version: Version,
    peer: Option<IpAddr>,
    is_tls: bool,
    /// The body's length as it was announced; agents always do.
    body_bytes: Option<u64>,
    is_answered: bool,
}

impl Exchange {
    /// Makes sure that the request has an id, which handlers find in its header.
    pub(crate) fn begin(request: &mut ServiceRequest, admission: Arc<Admission>) -> Self {
        let id = match request.headers().get(&REQUEST_ID) {
            // Copied: a header's value is a slice of the connection's read buffer and would keep all of it alive
            // for as long as an agent waits.
            Some(id) if !id.is_empty() => {
                HeaderValue::from_bytes(id.as_bytes()).unwrap_or_else(|_| fresh_id())
            }
            _ => {
                let id = fresh_id();
                request.headers_mut().insert(REQUEST_ID.clone(), id.clone());
                id
            }
        };
        let head = request.head();
        let target = head
            .uri
            .path_and_query()
            .map(|target| shown(target.as_str(), SHOWN_TEXT).into_owned())
            .unwrap_or_default();
        let exchange = Self {
            route: admission.route(head.uri.path()),
            admission,
            places: None,
            started: Instant::now(),
            id,
            method: head.method.clone(),
            target,
            version: head.version,
            peer: request.peer_addr().map(|peer| peer.ip()),
            is_tls: request.app_config().secure(),
            body_bytes: announced(&head.headers),
            is_answered: false,
        };
        exchange
            .admission
            .metrics
            .begun(exchange.route, exchange.body_bytes.unwrap_or(0));
        exchange.log_start();
        exchange
    }

    /// Takes the places that the listener and the route have, without waiting.
    pub(crate) fn admit(&mut self) -> Result<(), Refusal> {
        self.places = Some(self.admission.enter(self.route, self.peer, self.started)?);
        Ok(())
    }

    /// Waits until the server can work for the request.
    pub(crate) async fn turn(&self) -> Result<Turn, Refusal> {
        self.admission.work.turn(self.route).await
    }

    pub(crate) fn refuse(&self, refusal: Refusal) -> HttpResponse {
        ApiError::Refused(refusal).to_response(self.admission.audience, &self.id_text())
    }

    /// Completes an answer: header, metrics, log.
    pub(crate) fn finish(mut self, mut response: ServiceResponse) -> ServiceResponse {
        let mut note = take_note(&mut response);
        if note.standing == Standing::Failed
            && let Err(refusal) = self.admission.failed(self.peer, Instant::now())
        {
            let refused = self.refuse(refusal);
            response = ServiceResponse::new(response.into_parts().0, refused);
            note = Note {
                key: note.key,
                standing: note.standing,
                ..take_note(&mut response)
            };
        }
        self.stamp(response.headers_mut());
        let status = response.status();
        response.map_body(|_, body| match body.try_into_bytes() {
            Ok(bytes) => {
                self.close(status, &note, bytes.len() as u64);
                BoxBody::new(bytes)
            }
            Err(body) => BoxBody::new(Streamed {
                body,
                exchange: self,
                status,
                note,
                sent: 0,
            }),
        })
    }

    /// A failure below the handlers, which actix turns into an answer.
    pub(crate) fn finish_error(mut self, error: &actix_web::Error) -> actix_web::Error {
        let (status, detail) = (unanswered(error), Some(error.to_string()));
        let error = Some(ErrorNote {
            name: "Unanswered",
            level: Level::Error,
            detail,
        });
        self.close(
            status,
            &Note {
                error,
                ..Note::default()
            },
            0,
        );
        Unanswered {
            status,
            id: self.id.clone(),
        }
        .into()
    }

    /// A handler panicked: 500 without a body (agents.md 1.11).
    pub(crate) fn finish_panic(mut self, panic: &(dyn Any + Send)) -> actix_web::Error {
        let said = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "a panic without a message".to_owned());
        self.admission.metrics.panicked();
        log::error!(
            "http.request.id" = self.id_text(), "http.route" = self.route.as_str(), "error.message" = said;
            "A request ended in a panic and was answered 500: please report it with the lines before this one"
        );
        let status = FAILED;
        self.close(status, &Note::default(), 0);
        Unanswered {
            status,
            id: self.id.clone(),
        }
        .into()
    }

    fn stamp(&self, headers: &mut HeaderMap) {
        headers.insert(REQUEST_ID.clone(), self.id.clone());
    }

    fn close(&mut self, status: StatusCode, note: &Note, bytes: u64) {
        self.is_answered = true;
        self.places = None;
        let took = self.started.elapsed();
        self.admission
            .metrics
            .answered(self.route, status.as_u16(), took, bytes, note.rejection);
        if self.is_audited() && note.standing == Standing::Known {
            self.log_audit(status, note);
        }
        let is_quiet = is_success(status.as_u16()) || status.as_u16() == CLIENT_GONE;
        // What costs a client nothing must not fill the log.
        let is_cheap = note.standing != Standing::Known || note.rejection.is_some();
        if is_cheap && !is_quiet && !self.admission.logs_stranger(Instant::now()) {
            return;
        }
        if let Some(error) = &note.error {
            self.log_error(error, note);
        }
        self.log_access(status.as_u16(), note, bytes);
    }

    /// What operators change, and what they take away of their agents.
    fn is_audited(&self) -> bool {
        self.admission.audience == Audience::Operator
            && (!self.method.is_safe() || self.target.contains(FILES_OF_AGENTS))
    }

    /// Who did it, whatever the log's level is.
    fn log_audit(&self, status: StatusCode, note: &Note) {
        log::info!(
            target: AUDIT_LOG,
            "event.action" = "operator-request",
            "http.request.id" = self.id_text(),
            "http.request.method" = &*shown(self.method.as_str(), SHOWN_METHOD),
            "url.full" = self.target.as_str(),
            "fleet.apikey.id" = note.key.as_ref().map(|key| shown(key.as_str(), SHOWN_ID).into_owned()),
            "client.address" = self.peer.map(|peer| peer.to_string()),
            "http.response.status_code" = status.as_u16();
            "an operator's request"
        );
    }

    fn id_text(&self) -> String {
        shown(&String::from_utf8_lossy(self.id.as_bytes()), SHOWN_ID).into_owned()
    }

    fn log_start(&self) {
        if log_enabled!(Level::Debug) {
            log::debug!(
                "http.request.id" = self.id_text(),
                "server.address" = self.admission.address.as_str(),
                "url.full" = self.target.as_str(),
                "http.request.method" = &*shown(self.method.as_str(), SHOWN_METHOD),
                "client.address" = self.peer.map(|peer| peer.to_string()),
                "tls.established" = self.is_tls;
                "HTTP start"
            );
        }
    }

    /// agents.md 1.10: limit hits of the check-in are worth a warning.
    fn error_level(&self, error: &ErrorNote, note: &Note) -> Level {
        match note.rejection {
            Some(Reason::Rate | Reason::InFlight | Reason::Capacity | Reason::Busy)
                if self.route == Route::Checkin =>
            {
                Level::Warn
            }
            _ => error.level,
        }
    }

    fn log_error(&self, error: &ErrorNote, note: &Note) {
        log::log!(
            self.error_level(error, note),
            "http.request.id" = self.id_text(),
            "server.address" = self.admission.address.as_str(),
            "fleet.apikey.id" = note.key.as_ref().map(|key| shown(key.as_str(), SHOWN_ID).into_owned()),
            "error.type" = error.name,
            "error.message" = error.detail.as_deref().map(|detail| shown(detail, SHOWN_TEXT).into_owned());
            "HTTP request error"
        );
    }

    /// agents.md 9.2: at info only what was no success.
    fn log_access(&self, status: u16, note: &Note, bytes: u64) {
        // A client that goes away is ordinary: ten thousand of them after a network fault are not worth a line each.
        let level = if is_success(status) || status == CLIENT_GONE {
            Level::Debug
        } else {
            Level::Info
        };
        if !log_enabled!(level) {
            return;
        }
        log::log!(
            level,
            "http.request.id" = self.id_text(),
            "server.address" = self.admission.address.as_str(),
            "url.full" = self.target.as_str(),
            "http.version" = version_text(self.version),
            "http.request.method" = &*shown(self.method.as_str(), SHOWN_METHOD),
            "fleet.apikey.id" = note.key.as_ref().map(|key| shown(key.as_str(), SHOWN_ID).into_owned()),
            "client.address" = self.peer.map(|peer| peer.to_string()),
            "tls.established" = self.is_tls,
            "http.request.body.bytes" = self.body_bytes,
            "http.response.body.bytes" = bytes,
            "http.response.status_code" = status,
            "event.duration" = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
            "HTTP Request"
        );
    }
}

/// An answer that leaves piece by piece: its request is under way until the last of them, or until its client goes.
struct Streamed {
    body: BoxBody,
    exchange: Exchange,
    status: StatusCode,
    note: Note,
    sent: u64,
}

impl MessageBody for Streamed {
    type Error = Box<dyn Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.get_mut();
        let piece = ready!(Pin::new(&mut this.body).poll_next(cx));
        match &piece {
            Some(Ok(bytes)) => this.sent += bytes.len() as u64,
            // The head has gone: all that is left is to cut the connection, which the client sees as a short body.
            Some(Err(error)) => log::error!(
                "http.request.id" = this.exchange.id_text(), "error.message" = error.to_string();
                "An answer was cut after {} bytes: {error}", this.sent
            ),
            None => {}
        }
        Poll::Ready(piece)
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        self.exchange.close(self.status, &self.note, self.sent);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.is_answered {
            self.admission
                .metrics
                .answered(self.route, CLIENT_GONE, self.started.elapsed(), 0, None);
            self.log_access(CLIENT_GONE, &Note::default(), 0);
        }
    }
}

/// A success, or a connection that was handed over.
fn is_success(status: u16) -> bool {
    status < 300
}

fn take_note(response: &mut ServiceResponse) -> Note {
    let mut extensions = response.response_mut().extensions_mut();
    extensions.remove::<Note>().unwrap_or_default()
}

/// The target of what operators did. It is not for `logging.level` to leave out.
pub const AUDIT_LOG: &str = "fleet_audit";
const FILES_OF_AGENTS: &str = "/fleet/agents/files/";

/// Characters of a path, a cause and the like that a line of the log shows.
const SHOWN_TEXT: usize = 512;
pub(crate) const SHOWN_ID: usize = 128;
const SHOWN_METHOD: usize = 16;

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn fresh_id() -> HeaderValue {
    let mut text = [0u8; uuid::fmt::Hyphenated::LENGTH];
    let text = Uuid::new_v4().hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("0"))
}

const fn version_text(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}

/// A request that no handler answered.
#[derive(Debug)]
struct Unanswered {
    status: StatusCode,
    id: HeaderValue,
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the request was not answered by its handler ({})", self.status)
    }
}

impl ResponseError for Unanswered {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let mut response = HttpResponse::new(self.status);
        response.headers_mut().insert(REQUEST_ID.clone(), self.id.clone());
        response.headers_mut().remove(CONTENT_TYPE);
        response
    }
}
