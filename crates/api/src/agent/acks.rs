//! `POST /api/fleet/agents/{id}/acks` (agents.md 7.1).

use std::{borrow::Cow, sync::Arc};

use actix_web::{HttpResponse, http::StatusCode};
use fleet::{
    AgentId, Timestamp,
    acks::{self, AckEvent, AckOutcome},
};
use serde_json::value::RawValue;

use super::{AgentState, json, wire};
use crate::{
    call::Call,
    error::{self, ApiError, Family},
    json::{self as read, JsonError, Object},
    member::Member,
    operation::{Answer, KeyKind, Operation},
    route::Route,
};

/// Name of the body in errors.
const WHAT: &str = "ack";

/// Events of one request. An agent's batch holds a handful; each event is a look-up.
const MAX_EVENTS: usize = 10_000;

const BODY: [Member; 1] = [Member::items("events", &EVENT)];
const EVENT: [Member; 11] = [
    Member::text("action_id"),
    Member::text("agent_id"),
    Member::text("timestamp"),
    Member::text("error"),
    Member::object("payload", &PAYLOAD),
    Member::any("data"),
    Member::text("action_input_type"),
    Member::any("action_data"),
    Member::any("action_response"),
    Member::text("started_at"),
    Member::text("completed_at"),
];
const PAYLOAD: [Member; 1] = [Member::boolean("retry")];

pub(super) fn about() -> Operation {
    let items = |status, about| Answer::json::<wire::Acks>(status, about);
    Operation::new("acks", "An agent acknowledges actions", KeyKind::Agent)
        .path("id", "The agent's id")
        .takes(&BODY)
        .answers(items(200, "All are stored, in the order of the events"))
        .answers(items(400, "An event is of another agent"))
        .answers(items(404, "An event's action is unknown"))
        .answers(items(409, "An event met another change: it is sent again"))
        .answers(items(500, "An event is not stored: it is sent again"))
        .answers(items(503, "An event is not stored: it is sent again"))
        .fails(&[Family::Rule, Family::Conflict, Family::Missing])
}

pub(super) async fn serve(state: Arc<AgentState>, mut call: Call) -> Result<HttpResponse, ApiError> {
    let key = call.take_key()?;
    let agent = fleet::auth::authenticate_agent(&state.fleet, &key, &AgentId::from(call.id.as_str())).await?;
    let _places = state
        .admission
        .admit_agent(Route::Acks, &agent.id, call.started)
        .map_err(ApiError::Refused)?;
    let limits = state.options.limits.of(Route::Acks);
    let held = state.admission.bodies.hold(Some(&agent.id));
    let body = call.body(WHAT, limits, state.options.body_timeout, held).await?;
    let events = read::decode(body, events)
        .await
        .map_err(|cause| ApiError::Json { what: WHAT, cause })?;
    let Some(events) = events else {
        return Err(ApiError::Invalid(
            format!("an ack request takes at most {MAX_EVENTS} events").into(),
        ));
    };
    let outcomes = acks::apply(&state.fleet, agent, events, Timestamp::now()).await;
    answer(outcomes, &call.request_id())
}

/// The events; `None` if there are too many.
fn events(text: &str) -> Result<Option<Vec<AckEvent>>, JsonError> {
    let body = Object::body(text, &BODY)?;
    if body.count("events").is_some_and(|count| count > MAX_EVENTS) {
        return Ok(None);
    }
    let items = body.items("events")?.unwrap_or_default();
    Ok(Some(items.into_iter().map(event).collect()))
}

/// An event is decoded as far as possible, never refused: what is mistyped counts as absent.
fn event(raw: &RawValue) -> AckEvent {
    let event = read::item(raw, &EVENT);
    let text = |name| event.text(name).ok().flatten();
    let raw = |name| event.raw(name).ok().flatten();
    let payload = event.object("payload", "payload", &PAYLOAD).ok().flatten();
    AckEvent {
        action_id: text("action_id").unwrap_or_default(),
        agent_id: text("agent_id").unwrap_or_default(),
        timestamp: text("timestamp"),
        error: text("error"),
        retries: payload.map(|payload| payload.boolean("retry").ok().flatten().unwrap_or(false)),
        data: raw("data"),
        action_input_type: text("action_input_type"),
        action_data: raw("action_data"),
        action_response: raw("action_response"),
        started_at: text("started_at"),
        completed_at: text("completed_at"),
    }
}

fn answer(outcomes: Vec<AckOutcome>, request_id: &str) -> Result<HttpResponse, ApiError> {
    let items: Vec<_> = outcomes
        .into_iter()
        .map(|outcome| item(outcome, request_id))
        .collect();
    let status = error::highest(items.iter().map(|(status, _)| *status));
    let mut response = json(wire::acks(items)?);
    *response.status_mut() = status;
    Ok(response)
}

fn item(outcome: AckOutcome, request_id: &str) -> (StatusCode, Cow<'static, str>) {
    if let AckOutcome::Failed(error) = &outcome {
        log::warn!(
            "http.request.id" = request_id, "error.message" = fleet::chain(error);
            "An acknowledgement was not stored: the agent sends it again"
        );
    }
    error::acknowledged(outcome)
}
