//! OpAMP over WebSocket (agents.md 13.6): the same messages as over HTTP, any number on one connection, and a new
//! configuration the moment a policy has it.
//!
//! In: the bytes of an upgraded connection. Out: the bytes to send, as the body of its answer: whoever polls that body
//! drives the connection, so nothing runs beside it and its end ends everything. Never holds more than one message.

mod frames;

use std::{sync::Arc, time::Duration};

use actix_http::ws::{CloseCode, CloseReason, Codec, Message as Outgoing, ProtocolError};
use actix_web::{
    dev::Payload,
    web::{Bytes, BytesMut},
};
use fleet::{
    ApiKey, FleetError, Notice, Notices,
    enrollment::{self, Admission},
    opamp::{self as domain, Event, Watch},
};
use futures_util::{Stream, StreamExt as _, stream};
use opamp::{ErrorKind, Message as _, ServerToAgent};
use tokio::time::{Instant, sleep_until};
use tokio_util::codec::Encoder as _;

use super::{AgentState, Said, Standing, YAML_COST, answered, configuration, error_response, unavailable};
use crate::{
    body_budget::HeldBytes, error::ApiError, limits::Permit, off_the_loop::off_the_loop_if_large,
    route::Route,
};
use frames::{Arrived, Broken, Frames};

/// One upgraded connection.
pub(super) struct Socket {
    state: Arc<AgentState>,
    key: ApiKey,
    request_id: String,
    payload: Payload,
    frames: Frames,
    held: HeldBytes,
    /// When the message that is on its way must be whole, or the first one there.
    due: Option<Instant>,
    heard: Instant,
    is_pinged: bool,
    /// When the token was found good.
    admitted: Instant,
    notices: Notices,
    watch: Option<Watch>,
    is_over: bool,
    _place: Option<Permit>,
}

/// What happens next on a connection.
enum Next {
    Bytes(Bytes),
    Gone,
    Silent,
    Late,
    /// The token is to be looked at again.
    Admit,
    Stopping,
    Domain(Event),
}

impl Socket {
    pub(super) fn new(
        state: Arc<AgentState>,
        key: ApiKey,
        notices: Notices,
        request_id: String,
        payload: Payload,
        place: Option<Permit>,
    ) -> Self {
        let now = Instant::now();
        Self {
            frames: Frames::new(state.options.limits.of(Route::OpAmp).body_bytes.unwrap_or(ANY)),
            held: state.admission.bodies.hold(None::<()>),
            due: Some(now + state.options.body_timeout),
            state,
            key,
            request_id,
            payload,
            heard: now,
            is_pinged: false,
            admitted: now,
            notices,
            watch: None,
            is_over: false,
            _place: place,
        }
    }

    /// What is sent, until the connection is over.
    pub(super) fn sent(self) -> impl Stream<Item = Result<Bytes, ProtocolError>> {
        stream::unfold(self, |mut socket| async move {
            if socket.is_over {
                return None;
            }
            let message = socket.next().await?;
            let mut bytes = BytesMut::new();
            let sent = Codec::new().encode(message, &mut bytes).map(|()| bytes.freeze());
            Some((sent, socket))
        })
    }

    /// The next thing to send; `None` once the client has gone.
    async fn next(&mut self) -> Option<Outgoing> {
        loop {
            let sent = match self.frames.next() {
                Ok(Some(arrived)) => self.take(arrived).await,
                Ok(None) => match self.wait().await {
                    Next::Gone => return None,
                    Next::Bytes(bytes) => self.arrived(&bytes),
                    Next::Silent if self.is_pinged => return None,
                    Next::Silent => {
                        self.is_pinged = true;
                        Some(Outgoing::Ping(Bytes::new()))
                    }
                    Next::Late => Some(self.close(CloseCode::Policy, "the message did not come in time")),
                    Next::Admit => self.admit().await.err(),
                    Next::Stopping => Some(self.close(CloseCode::Away, "the server stops")),
                    Next::Domain(event) => self.told(event),
                },
                Err(Broken { code, reason }) => Some(self.close(code, reason)),
            };
            if sent.is_some() {
                return sent;
            }
        }
    }

    async fn wait(&mut self) -> Next {
        let idle = self.state.options.idle_timeout;
        let silent = self.heard + if self.is_pinged { 2 * idle } else { idle };
        let stale = self.admitted + ADMITTED;
        let due = self.due.unwrap_or(silent);
        let until = silent.min(stale).min(due);
        let watch = &mut self.watch;
        let event = async {
            match watch {
                Some(watch) => watch.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            notice = self.notices.next() => match notice {
                Notice::TokensRevoked => Next::Admit,
                Notice::Stopping => Next::Stopping,
            },
            piece = self.payload.next() => match piece {
                Some(Ok(bytes)) => Next::Bytes(bytes),
                Some(Err(_)) | None => Next::Gone,
            },
            event = event => Next::Domain(event),
            () = sleep_until(until) => match until {
                _ if until == silent => Next::Silent,
                _ if until == stale => Next::Admit,
                _ => Next::Late,
            },
        }
    }

    fn arrived(&mut self, bytes: &Bytes) -> Option<Outgoing> {
        self.heard = Instant::now();
        self.is_pinged = false;
        self.due
            .get_or_insert(self.heard + self.state.options.body_timeout);
        if self.held.grow(bytes.len()).is_err() {
            return Some(self.close(CloseCode::Again, "too much is on its way: try again later"));
        }
        self.frames.add(bytes);
        None
    }

    /// What it is answered with, if with anything.
    async fn take(&mut self, arrived: Arrived) -> Option<Outgoing> {
        match arrived {
            Arrived::Message(message) => {
                let answer = self.answer(message).await;
                self.rest();
                Some(answer)
            }
            Arrived::Ping(said) => {
                self.settled();
                Some(Outgoing::Pong(said))
            }
            Arrived::Pong => {
                self.settled();
                None
            }
            Arrived::Close => Some(self.close(CloseCode::Normal, "")),
        }
    }

    /// A control frame is no part of a message, and no first message either.
    fn settled(&mut self) {
        if self.watch.is_some() && !self.frames.is_within() {
            self.rest();
        }
    }

    /// The message is over, and perhaps the next one has begun.
    fn rest(&mut self) {
        self.held = self.state.admission.bodies.hold(None::<()>);
        let begun = self.frames.held();
        // There was room for it a moment ago, and what it lacks now, the next bytes are refused for.
        let _counted = self.held.grow(begun);
        self.due = self
            .frames
            .is_within()
            .then(|| Instant::now() + self.state.options.body_timeout);
    }

    async fn answer(&mut self, message: Bytes) -> Outgoing {
        if message.first() != Some(&0) {
            return self.close(CloseCode::Protocol, "a message begins with a zero");
        }
        let admission = match self.admit().await {
            Ok(admission) => admission,
            Err(closed) => return closed,
        };
        match self.reply(admission, message.slice(1..)).await {
            Ok(reply) => binary(&reply),
            Err(ApiError::Invalid(reason)) => {
                log::debug!("http.request.id" = self.request_id.as_str(), "error.message" = &*reason; "no OpAMP message");
                self.close(CloseCode::Invalid, "this is no OpAMP message")
            }
            Err(ApiError::Fleet(FleetError::KeyRevoked)) => self.shut_out(),
            Err(error) => {
                log::error!(
                    "http.request.id" = self.request_id.as_str(), "error.message" = format!("{error:?}");
                    "An OpAMP connection is closed"
                );
                self.close(CloseCode::Error, "")
            }
        }
    }

    /// Whether the token still admits; none if that cannot be known now.
    ///
    /// # Errors
    /// It does not: what to send.
    async fn admit(&mut self) -> Result<Option<Admission>, Outgoing> {
        self.admitted = Instant::now();
        match enrollment::admit(&self.state.fleet, &self.key).await {
            Ok(admission) => Ok(Some(admission)),
            Err(error @ FleetError::Store(_)) => {
                log::warn!(
                    "http.request.id" = self.request_id.as_str(), "error.message":% = error;
                    "The token of an OpAMP connection cannot be looked at now"
                );
                Ok(None)
            }
            Err(_) => Err(self.shut_out()),
        }
    }

    fn shut_out(&mut self) -> Outgoing {
        log::info!(
            "http.request.id" = self.request_id.as_str(), "fleet.apikey.id" = self.key.id.as_str();
            "An OpAMP connection is closed: its enrollment token is no longer good"
        );
        self.close(CloseCode::Policy, "the enrollment token is not good")
    }

    /// # Errors
    /// The token is no longer good, or the bytes are no message: both end the connection.
    async fn reply(
        &mut self,
        admission: Option<Admission>,
        message: Bytes,
    ) -> Result<ServerToAgent, ApiError> {
        let now = std::time::Instant::now();
        let admitting = &self.state.admission;
        let turn = match admitting.spend(Route::OpAmp, now) {
            Ok(()) => admitting.work.turn(Route::OpAmp).await,
            Err(refusal) => Err(refusal),
        };
        let said = off_the_loop_if_large(message.len() * YAML_COST, move || Said::read(message))
            .await?
            .map_err(|error| ApiError::Invalid(error.to_string().into()))?;
        let (_turn, admission) = match (turn, admission) {
            (Ok(turn), Some(admission)) => (turn, admission),
            (Err(refusal), _) => return Ok(unavailable(said.uid, Some(refusal.retry_after()))),
            (Ok(_), None) => return Ok(unavailable(said.uid, None)),
        };
        let answered = answered(&self.state, &admission, said, &self.request_id, now).await?;
        match answered.standing {
            Standing::Here(place) => {
                // The one before first: two of one agent would end each other.
                self.watch = None;
                self.watch = Some(Watch::begin(&self.state.fleet, *place));
            }
            Standing::Left => self.watch = None,
            Standing::Refused => {}
        }
        Ok(answered.message)
    }

    /// What the domain has to say unasked.
    fn told(&mut self, event: Event) -> Option<Outgoing> {
        match event {
            Event::Configuration { uid, config } => Some(binary(&ServerToAgent {
                instance_uid: Bytes::copy_from_slice(uid.as_bytes()),
                remote_config: Some(configuration(config)),
                ..ServerToAgent::default()
            })),
            Event::Unenrolled { uid } => {
                self.watch = None;
                let uid = Bytes::copy_from_slice(uid.as_bytes());
                let reason = domain::OpampError::Inactive.to_string();
                Some(binary(&error_response(uid, ErrorKind::BadRequest, reason, None)))
            }
            Event::End => Some(self.close(CloseCode::Away, "the agent has another connection")),
        }
    }

    fn close(&mut self, code: CloseCode, reason: &str) -> Outgoing {
        self.is_over = true;
        Outgoing::Close(Some(CloseReason {
            code,
            description: (!reason.is_empty()).then(|| reason.to_owned()),
        }))
    }
}

/// A message as WebSocket carries it: behind a zero.
fn binary(message: &ServerToAgent) -> Outgoing {
    let mut bytes = Vec::with_capacity(1 + message.encoded_len());
    bytes.push(0);
    bytes.extend(message.encode_to_vec());
    Outgoing::Binary(bytes.into())
}

/// How long a token counts as good without a look: it may expire, or be revoked on another server.
const ADMITTED: Duration = Duration::from_secs(30);
/// Most bytes of a message where the configuration names no limit.
const ANY: usize = 64 * 1024 * 1024;
