//! `POST /api/fleet/agents/{id}/checkin` (agents.md 5.2): the long poll.
//!
//! Everything up to the wait is one boxed future, gone before the wait begins: a waiting agent costs neither
//! headers nor body nor the parsed request.

use std::{future::Future, sync::Arc, time::Duration};

use actix_web::{
    HttpResponse,
    http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderValue},
};
use fleet::{
    AgentId, Timestamp,
    checkin::{self, Begun, CheckinReply, CheckinRequest},
    farewell::{self, Farewell},
};
use notation::duration;

use super::{AgentState, json, wire};
use crate::{
    call::Call,
    compression::accepts_gzip,
    error::{ApiError, Family},
    held_body::HeldBody,
    json::{self as read, JsonError, Object},
    limits::Permit,
    member::Member,
    note::{Note, Standing},
    operation::{Answer, KeyKind, Operation},
    route::Route,
};

/// Name of the body in errors.
const WHAT: &str = "checkin";

const BODY: [Member; 10] = [
    Member::text("status").required().like("online"),
    Member::text("message"),
    Member::text("ack_token"),
    Member::any_object("local_metadata"),
    Member::any_objects("components"),
    Member::text("poll_timeout").like("5m"),
    Member::any_object("upgrade_details"),
    Member::object("upgrade", &UPGRADE),
    Member::text("agent_policy_id"),
    Member::integer("policy_revision_idx"),
];
const UPGRADE: [Member; 1] = [Member::any_objects("rollbacks")];

pub(super) fn about() -> Operation {
    let summary = "The long poll: answered by actions, by a change of policy, or after the poll's time";
    Operation::new("checkin", summary, KeyKind::Agent)
        .path("id", "The agent's id")
        .takes(&BODY)
        .answers(
            Answer::json::<wire::Checkin<'_>>(200, "What is to be done")
                .or::<wire::Farewell<'_>>()
                .link("checkin", "checkin", &[("path.id", "$request.path.id")])
                .link("acks", "acks", &[("path.id", "$request.path.id")]),
        )
        .fails(&[
            Family::UserAgent,
            Family::Rule,
            Family::Conflict,
            Family::Missing,
            Family::Policy,
        ])
}

// Not an `async fn`: it would keep room for the request while the agent waits.
pub(super) fn serve(
    state: Arc<AgentState>,
    call: Call,
) -> impl Future<Output = Result<HttpResponse, ApiError>> + use<> {
    let accepts = call
        .headers
        .get(ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .is_some_and(accepts_gzip);
    let beginning = Box::pin(begin(Arc::clone(&state), call));
    async move {
        // The route's place is held while the agent waits, its own only until then.
        let (begun, _place) = match beginning.await? {
            Start::Known(begun, place) => (begun, place),
            Start::Farewell(response) => return Ok(response),
        };
        let reply = match begun {
            Begun::Reply(reply) => reply,
            Begun::Wait(waiting) => waiting.answer().await?,
        };
        Box::pin(answer(state, reply, accepts)).await
    }
}

/// How a check-in starts.
enum Start {
    /// A known agent's.
    Known(Begun, Option<Permit>),
    /// The last words to an agent whose key is dead.
    Farewell(HttpResponse),
}

async fn begin(state: Arc<AgentState>, mut call: Call) -> Result<Start, ApiError> {
    let (key, id) = (call.take_key()?, AgentId::from(call.id.as_str()));
    let agent = match fleet::auth::authenticate_agent(&state.fleet, &key, &id).await {
        Ok(agent) => agent,
        Err(error) => {
            return match farewell::instead_of(&state.fleet, &error, &id, &key.id) {
                Some(farewell) => say_farewell(&id, farewell, &error.into()).map(Start::Farewell),
                None => Err(error.into()),
            };
        }
    };
    let (_own, place) = state
        .admission
        .admit_agent(Route::Checkin, &agent.id, call.started)
        .map_err(ApiError::Refused)?;
    let version = state.agent_version(&call)?.to_string();
    let limits = state.options.limits.of(Route::Checkin);
    let held = state.admission.bodies.hold(Some(&agent.id));
    let body = call.body(WHAT, limits, state.options.body_timeout, held).await?;
    let (mut request, poll_timeout) = read::decode(body, request)
        .await
        .map_err(|cause| ApiError::Json { what: WHAT, cause })?;
    request.poll_timeout = poll_timeout.as_deref().map(poll_time).transpose()?;
    let begun = checkin::begin(
        &state.fleet,
        agent,
        &version,
        request,
        call.started.elapsed(),
        Timestamp::now(),
    )
    .await?;
    Ok(Start::Known(begun, place))
}

/// A success that counts as the failed attempt that it is.
fn say_farewell(id: &AgentId, farewell: Farewell, instead_of: &ApiError) -> Result<HttpResponse, ApiError> {
    let mut response = json(wire::farewell(id, farewell, Timestamp::now())?);
    if instead_of.is_failed_attempt() {
        Note::of(&mut response, |note| note.standing = Standing::Failed);
    }
    Ok(response)
}

/// The request and its `poll_timeout` as it was written.
fn request(text: &str) -> Result<(CheckinRequest, Option<String>), JsonError> {
    let body = Object::body(text, &BODY)?;
    let request = CheckinRequest {
        status: body.text("status")?,
        message: body.text("message")?,
        ack_token: body.text("ack_token")?,
        local_metadata: body.raw("local_metadata")?,
        components: body.raw("components")?,
        poll_timeout: None,
        upgrade_details: body.raw("upgrade_details")?,
        rollbacks: rollbacks(&body),
        agent_policy_id: body.text("agent_policy_id")?,
        policy_revision_idx: body.integer("policy_revision_idx")?,
    };
    Ok((request, body.text("poll_timeout")?))
}

/// CHK-47: what is malformed here is ignored.
fn rollbacks<const N: usize>(body: &Object<'_, N>) -> Option<fleet::RawJson> {
    match body.object("upgrade", "upgrade", &UPGRADE).and_then(|upgrade| {
        upgrade
            .map(|upgrade| upgrade.raw("rollbacks"))
            .transpose()
            .map(Option::flatten)
    }) {
        Ok(rollbacks) => rollbacks,
        Err(error) => {
            log::warn!("error.message" = error.to_string(); "A check-in's list of rollbacks was ignored");
            None
        }
    }
}

/// A negative time counts as the shortest one; zero as none at all (agents.md 5.3).
fn poll_time(text: &str) -> Result<Duration, ApiError> {
    match duration::parse(text) {
        Some(nanos) => Ok(Duration::from_nanos(u64::try_from(nanos).unwrap_or(1))),
        None => {
            let shown: String = text.chars().take(64).collect();
            Err(ApiError::Invalid(
                format!("poll_timeout cannot be parsed as duration: \"{shown}\" is none like 5m or 90s")
                    .into(),
            ))
        }
    }
}

async fn answer(
    state: Arc<AgentState>,
    reply: CheckinReply,
    accepts_gzip: bool,
) -> Result<HttpResponse, ApiError> {
    let (body, compression) = (wire::checkin(&reply)?, state.options.compression);
    let (body, is_compressed) = match &reply {
        CheckinReply::Policy { policy, .. } if compression.pays(&body, accepts_gzip) => {
            state.deflated.gzip(compression, policy, body).await
        }
        CheckinReply::Empty | CheckinReply::Actions { .. } | CheckinReply::Policy { .. } => {
            compression.apply(body, accepts_gzip).await
        }
    };
    let mut response = match &reply {
        // Agents are told of a policy all at once; of actions, each of its own.
        CheckinReply::Policy { .. } => {
            let room = state.outgoing.room(body.len()).await;
            json(HeldBody::new(body, room))
        }
        CheckinReply::Empty | CheckinReply::Actions { .. } => json(body),
    };
    if is_compressed {
        response
            .headers_mut()
            .insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(response)
}
