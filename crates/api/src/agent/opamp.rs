//! `/v1/opamp` (agents.md 13): OpAMP over plain HTTP by `POST`, one message and one answer, and by `GET` over WebSocket.
//!
//! In: an enrollment token and a protobuf body. Out: a protobuf body, also for what the domain refuses; a status without a
//! body for a bad token and for bytes that are no message. Decides nothing about agents.

mod said;
mod socket;

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_http::ws;
use actix_web::{
    HttpResponse, Route as ActixRoute,
    body::{BodyStream, BoxBody},
    dev::{Payload, RequestHead},
    http::{
        Method, StatusCode,
        header::{
            ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT,
            SEC_WEBSOCKET_KEY,
        },
    },
    web::Bytes,
};
use fleet::{
    FleetError, Timestamp,
    enrollment::{self, Admission},
    opamp::{self as domain, OpampError, Place, RemoteConfig, Reply},
};
use opamp::{
    AgentConfigFile, AgentConfigMap, AgentIdentification, AgentRemoteConfig, ConfigEntry, CustomCapabilities,
    ErrorKind, Message as _, RetryInfo, ServerErrorResponse, ServerToAgent, server_capability, server_flag,
};

use super::{AgentState, Asked};
use crate::{
    call::{self, Call},
    compression::accepts_gzip,
    error::{ApiError, Audience, Family},
    note,
    off_the_loop::off_the_loop_if_large,
    operation::{Answer, KeyKind, Operation, PROTOBUF},
    route::Route,
};
use said::Said;
use socket::Socket;

const WHAT: &str = "OpAMP";

pub(super) const PATH: &str = "/v1/opamp";

pub(super) fn about() -> Operation {
    Operation::new(
        "opamp",
        "One message of OpAMP and its answer",
        KeyKind::EnrollmentToken,
    )
    .takes_bytes(PROTOBUF)
    .answers(Answer::of(
        200,
        PROTOBUF,
        "ServerToAgent, also for a message that is refused",
    ))
    .fails(&[Family::ContentType, Family::Rule, Family::Enrollment])
    .with_bare_failures(PROTOBUF)
}

pub(super) fn about_connection() -> Operation {
    Operation::new(
        "opampConnection",
        "A WebSocket of version 13 over HTTP/1.1, on which OpAMP is spoken",
        KeyKind::EnrollmentToken,
    )
    .answers(Answer::empty(101, "the connection is a WebSocket"))
    .fails(&[Family::Upgrade, Family::Enrollment])
    .with_bare_failures(PROTOBUF)
}

/// Plain HTTP. It has no API version.
pub(super) fn messages(state: &Arc<AgentState>) -> ActixRoute {
    route(state, Method::POST, exchange, about)
}

/// WebSocket.
pub(super) fn connections(state: &Arc<AgentState>) -> ActixRoute {
    route(state, Method::GET, upgrade, about_connection)
}

fn route<F, Fut>(state: &Arc<AgentState>, method: Method, handle: F, about: fn() -> Operation) -> ActixRoute
where
    F: Fn(Arc<AgentState>, Call) -> Fut + Copy + 'static,
    Fut: Future<Output = Result<HttpResponse, ApiError>> + 'static,
{
    let state = Arc::clone(state);
    call::route(method, move |call| {
        let asked = Asked {
            id: call.request_id(),
            key: call.key_id(),
            is_open: false,
        };
        let answer = handle(Arc::clone(&state), call);
        async move {
            let result = answer.await;
            if cfg!(debug_assertions) {
                about().expect(&result);
            }
            match result {
                Ok(response) => asked.noted(response, note::Standing::Known),
                Err(error) => {
                    let standing = match error.is_failed_attempt() {
                        true => note::Standing::Failed,
                        false => note::Standing::Known,
                    };
                    let response = refused(&error, &asked.id);
                    asked.noted(response, standing)
                }
            }
        }
    })
}

/// Key, then the form of the upgrade, then a place that the connection keeps.
async fn upgrade(state: Arc<AgentState>, mut call: Call) -> Result<HttpResponse, ApiError> {
    let key = call.take_key()?;
    // Before the look at the token, so that no revocation is missed.
    let notices = state.fleet.notices();
    enrollment::admit(&state.fleet, &key).await?;
    let request_id = call.request_id();
    let mut head = RequestHead::default();
    head.headers = std::mem::take(&mut call.headers);
    ws::verify_handshake(&head).map_err(ApiError::Handshake)?;
    let place = state
        .admission
        .admit_known(Route::OpAmp, call.started)
        .map_err(ApiError::Refused)?;
    let accept = head
        .headers
        .get(SEC_WEBSOCKET_KEY)
        .map(|key| ws::hash_key(key.as_bytes()))
        .and_then(|accept| HeaderValue::from_bytes(&accept).ok())
        .ok_or_else(|| ApiError::Broken("a WebSocket key cannot be answered".into()))?;
    let payload = std::mem::replace(&mut call.payload, Payload::None);
    let socket = Socket::new(Arc::clone(&state), key, notices, request_id, payload, place);
    Ok(HttpResponse::build(StatusCode::SWITCHING_PROTOCOLS)
        .upgrade("websocket")
        .insert_header((SEC_WEBSOCKET_ACCEPT, accept))
        .body(BodyStream::new(Box::pin(socket.sent()))))
}

async fn exchange(state: Arc<AgentState>, mut call: Call) -> Result<HttpResponse, ApiError> {
    let key = call.take_key()?;
    let admission = enrollment::admit(&state.fleet, &key).await?;
    if !is_protobuf(&call.headers) {
        return Err(ApiError::ContentType { wanted: PROTOBUF });
    }
    let _places = state
        .admission
        .admit_known(Route::OpAmp, call.started)
        .map_err(ApiError::Refused)?;
    let limits = state.options.limits.of(Route::OpAmp);
    let held = state.admission.bodies.hold(None::<()>);
    let body = call.body(WHAT, limits, state.options.body_timeout, held).await?;
    let said = off_the_loop_if_large(body.len() * YAML_COST, move || Said::read(body))
        .await?
        .map_err(|error| ApiError::Invalid(format!("this is no OpAMP message: {error}").into()))?;
    let answered = answered(&state, &admission, said, &call.request_id(), call.started).await?;
    let reply = answered.message.encode_to_vec();
    let accepts_gzip = call
        .headers
        .get_all(ACCEPT_ENCODING)
        .any(|value| value.to_str().is_ok_and(accepts_gzip));
    let (body, is_compressed) = state.options.compression.apply(reply.into(), accepts_gzip).await;
    let mut response = HttpResponse::Ok().content_type(PROTOBUF).body(body);
    if is_compressed {
        let gzip = HeaderValue::from_static("gzip");
        response.headers_mut().insert(CONTENT_ENCODING, gzip);
    }
    Ok(response)
}

/// What is answered to a message.
struct Answered {
    message: ServerToAgent,
    standing: Standing,
}

/// What a message means for the connection that it came on.
enum Standing {
    /// The agent can be told things here.
    Here(Box<Place>),
    /// It goes away.
    Left,
    /// The message was not taken.
    Refused,
}

impl Answered {
    const fn refused(message: ServerToAgent) -> Self {
        Self {
            message,
            standing: Standing::Refused,
        }
    }
}

/// Has the message answered, also if it is refused.
///
/// # Errors
/// The token is no longer good.
async fn answered(
    state: &AgentState,
    admission: &Admission,
    said: Said,
    request_id: &str,
    started: Instant,
) -> Result<Answered, ApiError> {
    let uid = said.uid;
    let message = match said.message {
        Ok(message) => message,
        Err(reason) => {
            let message = error_response(uid, ErrorKind::BadRequest, reason, None);
            return Ok(Answered::refused(message));
        }
    };
    let accepts_remote_config = message.accepts_remote_config;
    let answering = async {
        let caller = domain::recognise(&state.fleet, admission, &message).await?;
        // Held until the agent is enrolled.
        let _place = match caller.enrols() {
            false => None,
            true => state
                .admission
                .admit_known(Route::Enroll, started)
                .map_err(|refusal| FleetError::TooMany {
                    what: "enrolments",
                    retry_after: refusal.retry_after(),
                })?,
        };
        domain::answer(&state.fleet, admission, caller, message, Timestamp::now()).await
    };
    match answering.await {
        Ok(mut reply) => {
            let standing = match reply.place.take() {
                Some(place) => Standing::Here(Box::new(place)),
                None => Standing::Left,
            };
            let message = reply_message(uid, reply, accepts_remote_config);
            Ok(Answered { message, standing })
        }
        Err(OpampError::Fleet(error @ FleetError::KeyRevoked)) => Err(error.into()),
        Err(OpampError::Fleet(error)) => {
            log::warn!(
                "http.request.id" = request_id, "error.message":% = error;
                "An OpAMP message was not taken: the agent sends it again"
            );
            Ok(Answered::refused(unavailable(uid, retry_after(&error))))
        }
        Err(
            error @ (OpampError::UnknownLeaves
            | OpampError::OtherKind
            | OpampError::Inactive
            | OpampError::OtherPolicy),
        ) => Ok(Answered::refused(error_response(
            uid,
            ErrorKind::BadRequest,
            error.to_string(),
            None,
        ))),
    }
}

fn reply_message(uid: Bytes, reply: Reply, accepts_remote_config: bool) -> ServerToAgent {
    let mut message = ServerToAgent {
        instance_uid: uid,
        custom_capabilities: Some(CustomCapabilities::default()),
        ..ServerToAgent::default()
    };
    if reply.is_farewell {
        return message;
    }
    message.flags = server_flag::REPORT_FULL_STATE;
    if reply.introduces_server {
        message.capabilities =
            server_capability::ACCEPTS_STATUS | server_capability::ACCEPTS_EFFECTIVE_CONFIG;
        if accepts_remote_config {
            message.capabilities |= server_capability::OFFERS_REMOTE_CONFIG;
        }
    }
    message.agent_identification = reply.new_uid.map(|uid| AgentIdentification {
        new_instance_uid: Bytes::copy_from_slice(uid.as_bytes()),
    });
    message.remote_config = reply.remote_config.map(configuration);
    message
}

/// One entry; none where there is no configuration any more: the supervisor then runs no pipeline, while an entry
/// without text would be a configuration that no collector starts with.
fn configuration(config: RemoteConfig) -> AgentRemoteConfig {
    let entry = (!config.text.is_empty()).then(|| ConfigEntry {
        key: String::new(),
        value: Some(AgentConfigFile {
            body: config.text,
            content_type: "text/yaml".to_owned(),
        }),
    });
    AgentRemoteConfig {
        config: Some(AgentConfigMap {
            config_map: entry.into_iter().collect(),
        }),
        config_hash: Bytes::copy_from_slice(&config.hash),
    }
}

/// The agent says it again later.
fn unavailable(uid: Bytes, retry_after: Option<Duration>) -> ServerToAgent {
    let reason = "the agent cannot be served now".to_owned();
    let retry_after = retry_after.unwrap_or(AGAIN);
    error_response(uid, ErrorKind::Unavailable, reason, Some(retry_after))
}

fn error_response(
    uid: Bytes,
    kind: ErrorKind,
    reason: String,
    retry_after: Option<Duration>,
) -> ServerToAgent {
    ServerToAgent {
        instance_uid: uid,
        error_response: Some(ServerErrorResponse {
            r#type: kind.into(),
            error_message: reason,
            retry_info: retry_after.map(|wait| RetryInfo {
                retry_after_nanoseconds: u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX),
            }),
        }),
        ..ServerToAgent::default()
    }
}

const fn retry_after(error: &FleetError) -> Option<Duration> {
    match error {
        FleetError::Busy { retry_after, .. } | FleetError::TooMany { retry_after, .. } => Some(*retry_after),
        _ => None,
    }
}

/// A refusal by status. Clients of OpAMP read no text, so only limits and a wrong type, which people meet, have one.
fn refused(error: &ApiError, request_id: &str) -> HttpResponse {
    let mut response = error.to_response(Audience::Agent, request_id);
    if matches!(
        error,
        ApiError::Refused(_) | ApiError::ContentType { .. } | ApiError::Handshake(_)
    ) {
        return response;
    }
    let is_of_the_key = matches!(error, ApiError::Authorization(_) | ApiError::Fleet(_));
    if is_of_the_key && response.status().is_client_error() {
        *response.status_mut() = StatusCode::UNAUTHORIZED;
    }
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(PROTOBUF));
    response.set_body(BoxBody::new(()))
}

fn is_protobuf(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.is_some_and(|value| {
        let kind = value.split(';').next().unwrap_or_default();
        kind.trim().eq_ignore_ascii_case(PROTOBUF)
    })
}

/// Reading YAML takes so many times as long as reading JSON.
const YAML_COST: usize = 16;
/// When an agent tries again that could not be served.
const AGAIN: Duration = Duration::from_secs(30);
