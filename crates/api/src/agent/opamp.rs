//! `POST /v1/opamp` (agents.md 13): OpAMP over plain HTTP, one message and one answer.
//!
//! In: an enrollment token and a protobuf body. Out: a protobuf body, also for what the domain refuses; a status without a
//! body for a bad token and for bytes that are no message. Decides nothing about agents.

mod said;

use std::sync::Arc;

use actix_web::{
    HttpResponse, Route as ActixRoute,
    body::BoxBody,
    http::{
        Method, StatusCode,
        header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue},
    },
    web::Bytes,
};
use fleet::{
    FleetError, Timestamp,
    enrollment::{self, Admission},
    opamp::{self as domain, OpampError, Reply},
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
    json::off_the_loop_if_large,
    note::Standing,
    operation::{Answer, KeyKind, Operation, PROTOBUF},
    route::Route,
};
use said::Said;

/// Named in errors.
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

/// The route. It has no API version.
pub(super) fn route(state: &Arc<AgentState>) -> ActixRoute {
    let state = Arc::clone(state);
    call::route(Method::POST, move |call| {
        let asked = Asked {
            id: call.request_id(),
            key: call.key_id(),
            is_open: false,
        };
        let state = Arc::clone(&state);
        async move {
            let result = exchange(&state, call).await;
            if cfg!(debug_assertions) {
                about().expect(&result);
            }
            match result {
                Ok(response) => asked.noted(response, Standing::Known),
                Err(error) => {
                    let standing = match error.is_failed_attempt() {
                        true => Standing::Failed,
                        false => Standing::Known,
                    };
                    let response = refused(&error, &asked.id);
                    asked.noted(response, standing)
                }
            }
        }
    })
}

async fn exchange(state: &AgentState, mut call: Call) -> Result<HttpResponse, ApiError> {
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
    let reply = answer(state, &admission, said, &call).await?.encode_to_vec();
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

/// What is answered to a message, also if it is refused.
///
/// # Errors
/// The token is no longer good.
async fn answer(
    state: &AgentState,
    admission: &Admission,
    said: Said,
    call: &Call,
) -> Result<ServerToAgent, ApiError> {
    let uid = said.uid;
    let message = match said.message {
        Ok(message) => message,
        Err(reason) => return Ok(error_response(uid, ErrorKind::BadRequest, reason, None)),
    };
    let accepts_remote_config = message.accepts_remote_config;
    let now = Timestamp::now();
    let answered = async {
        let caller = domain::recognise(&state.fleet, admission, &message).await?;
        let enrols = caller.enrols();
        // Held until the agent is enrolled.
        let place = match enrols {
            true => Some(state.admission.admit_known(Route::Enroll, call.started)),
            false => None,
        };
        let _place = match place {
            Some(Err(_)) => {
                return Err(OpampError::Fleet(FleetError::TooMany {
                    what: "enrolments",
                    retry_after: ENROLLS_AGAIN,
                }));
            }
            Some(Ok(place)) => place,
            None => None,
        };
        domain::answer(&state.fleet, admission, caller, message, now).await
    };
    match answered.await {
        Ok(reply) => Ok(reply_message(uid, reply, accepts_remote_config)),
        Err(OpampError::Fleet(error @ FleetError::KeyRevoked)) => Err(error.into()),
        Err(OpampError::Fleet(error)) => {
            log::warn!(
                "http.request.id" = call.request_id(), "error.message":% = error;
                "An OpAMP message was not taken: the agent sends it again"
            );
            let retry = retry_after(&error);
            let reason = "the agent cannot be served now".to_owned();
            Ok(error_response(uid, ErrorKind::Unavailable, reason, Some(retry)))
        }
        Err(
            error @ (OpampError::UnknownLeaves
            | OpampError::OtherKind
            | OpampError::Inactive
            | OpampError::OtherPolicy),
        ) => Ok(error_response(
            uid,
            ErrorKind::BadRequest,
            error.to_string(),
            None,
        )),
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
    message.remote_config = reply.remote_config.map(|config| AgentRemoteConfig {
        config: Some(AgentConfigMap {
            config_map: vec![ConfigEntry {
                key: String::new(),
                value: Some(AgentConfigFile {
                    body: config.text,
                    content_type: "text/yaml".to_owned(),
                }),
            }],
        }),
        config_hash: Bytes::copy_from_slice(&config.hash),
    });
    message
}

fn error_response(
    uid: Bytes,
    kind: ErrorKind,
    reason: String,
    retry_after: Option<std::time::Duration>,
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

fn retry_after(error: &FleetError) -> std::time::Duration {
    match error {
        FleetError::Busy { retry_after, .. } | FleetError::TooMany { retry_after, .. } => *retry_after,
        _ => AGAIN,
    }
}

/// A refusal by status. Clients of OpAMP read no text, so only limits and a wrong type, which people meet, have one.
fn refused(error: &ApiError, request_id: &str) -> HttpResponse {
    let mut response = error.to_response(Audience::Agent, request_id);
    if matches!(error, ApiError::Refused(_) | ApiError::ContentType { .. }) {
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
const AGAIN: std::time::Duration = std::time::Duration::from_secs(30);
/// When an agent tries again to enrol that met the limit of enrolments.
const ENROLLS_AGAIN: std::time::Duration = std::time::Duration::from_secs(5);
