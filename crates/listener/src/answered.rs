//! The service around an application that every request passes, whatever its protocol.
//!
//! It counts the request as active until its response has left, answers 431 to a head above the limit, and turns a
//! panic of a handler into an empty 500 (agents.md 1.11) while the connection and the worker go on. The application's
//! errors become responses here.

use std::{
    any::Any,
    future::Future,
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use actix_http::{
    Request, RequestHead, Response,
    body::{BodySize, BoxBody, EitherBody, MessageBody},
};
use actix_service::Service;
use bytes::Bytes;
use pin_project_lite::pin_project;

use crate::{
    open_connections::{ActiveRequest, ConnectionCounters},
    refusal::Refusal,
};

/// An application whose requests are tracked. Shared by all connections of one listener on one worker.
pub(crate) struct Answered<S, B> {
    app: S,
    max_header_bytes: usize,
    counters: Rc<ConnectionCounters>,
    body: PhantomData<B>,
}

impl<S, B> Answered<S, B> {
    pub(crate) fn new(app: S, max_header_bytes: usize, counters: ConnectionCounters) -> Self {
        Self {
            app,
            max_header_bytes,
            counters: Rc::new(counters),
            body: PhantomData,
        }
    }
}

impl<S, B> Answered<S, B>
where
    S: Service<Request>,
    S::Error: Into<actix_web::Error>,
    S::Response: Into<Response<B>>,
    B: MessageBody + 'static,
{
    /// Hands the request to the application, or refuses a head above the limit.
    pub(crate) fn answer(&self, request: Request) -> Answer<S::Future, B> {
        let active = ActiveRequest::begin(Rc::clone(&self.counters));
        if head_bytes(request.head()) > self.max_header_bytes {
            return Answer::ready(Refusal::LongHead, active);
        }
        match catch_unwind(AssertUnwindSafe(|| self.app.call(request))) {
            Ok(answer) => Answer {
                answer: Some(answer),
                refusal: Refusal::Panicked,
                active: Some(active),
                body: PhantomData,
            },
            Err(panic) => {
                note_panic(&active, panic.as_ref());
                Answer::ready(Refusal::Panicked, active)
            }
        }
    }
}

pin_project! {
    /// A response on its way.
    pub(crate) struct Answer<F, B> {
        #[pin]
        answer: Option<F>,
        // What is answered if the handler gives no response.
        refusal: Refusal,
        active: Option<ActiveRequest>,
        body: PhantomData<B>,
    }
}

impl<F, B> Answer<F, B> {
    fn ready(refusal: Refusal, active: ActiveRequest) -> Self {
        Self {
            answer: None,
            refusal,
            active: Some(active),
            body: PhantomData,
        }
    }
}

impl<F, R, E, B> Future for Answer<F, B>
where
    F: Future<Output = Result<R, E>>,
    R: Into<Response<B>>,
    E: Into<actix_web::Error>,
    B: MessageBody + 'static,
{
    type Output = Response<BoxBody>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let response = match this.answer.as_mut().as_pin_mut() {
            None => refused(*this.refusal),
            Some(answer) => match catch_unwind(AssertUnwindSafe(|| answer.poll(cx))) {
                Ok(outcome) => match ready!(outcome) {
                    Ok(response) => response.into().map_body(|_, body| EitherBody::left(body)),
                    Err(error) => {
                        let response: Response<BoxBody> = error.into().error_response().into();
                        response.map_body(|_, body| EitherBody::right(body))
                    }
                },
                Err(panic) => {
                    if let Some(active) = this.active.as_ref() {
                        note_panic(active, panic.as_ref());
                    }
                    this.answer.set(None);
                    refused(Refusal::Panicked)
                }
            },
        };
        let active = this.active.take();
        Poll::Ready(response.map_body(|_, body| BoxBody::new(AnswerBody { body, active })))
    }
}

pin_project! {
    /// A response's body; the request is active until it is dropped.
    pub(crate) struct AnswerBody<B> {
        #[pin]
        body: EitherBody<B, BoxBody>,
        active: Option<ActiveRequest>,
    }
}

impl<B: MessageBody + 'static> MessageBody for AnswerBody<B> {
    type Error = actix_web::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.project();
        let body = this.body;
        // The head has left already, so a panic here can only end the connection, but not the worker's task.
        match catch_unwind(AssertUnwindSafe(|| body.poll_next(cx))) {
            Ok(chunk) => chunk.map(|chunk| chunk.map(|chunk| chunk.map_err(Into::into))),
            Err(panic) => {
                if let Some(active) = this.active.as_ref() {
                    note_panic(active, panic.as_ref());
                }
                Poll::Ready(Some(Err(actix_web::error::ErrorInternalServerError(
                    "response body panicked",
                ))))
            }
        }
    }
}

fn refused<B>(refusal: Refusal) -> Response<EitherBody<B, BoxBody>> {
    Response::with_body(refusal.status(), EitherBody::right(BoxBody::new(())))
}

/// The size of a request head as it came over the wire, near enough for a limit (HTTP/2 sends it compressed,
/// and its limit is on the plain size too).
fn head_bytes(head: &RequestHead) -> usize {
    let line = head.method.as_str().len() + uri_bytes(&head.uri) + REQUEST_LINE_REST;
    head.headers.iter().fold(line, |sum, (name, value)| {
        sum.saturating_add(name.as_str().len() + value.len() + HEADER_LINE_REST)
    })
}

fn uri_bytes(uri: &http::Uri) -> usize {
    uri.authority().map_or(0, |authority| authority.as_str().len())
        + uri.path_and_query().map_or(0, |path| path.as_str().len())
}

fn note_panic(active: &ActiveRequest, panic: &(dyn Any + Send)) {
    active.counters().panics.inc();
    // The panic hook has printed the text and the place. The text may quote a request, so it is not repeated.
    let kind = if panic.is::<String>() || panic.is::<&str>() {
        "panic"
    } else {
        "panic without text"
    };
    log::error!(
        "a request handler ended in a {kind}: its client gets a 500; report it with the lines printed before"
    );
}

/// Spaces, version and line end of a request line.
const REQUEST_LINE_REST: usize = 12;

/// Colon, space and line end of a header line.
const HEADER_LINE_REST: usize = 4;
