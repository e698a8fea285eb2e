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
    error::{self, ApiError},
    json::{self as read, JsonError, Object},
    route::Route,
};

/// Name of the body in errors.
const WHAT: &str = "ack";

/// Events of one request. An agent's batch holds a handful; each event is a look-up.
const MAX_EVENTS: usize = 10_000;

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
    let body = Object::body(text, &["events"])?;
    if body.count("events").is_some_and(|count| count > MAX_EVENTS) {
        return Ok(None);
    }
    let items = body.items("events")?.unwrap_or_default();
    Ok(Some(items.into_iter().map(event).collect()))
}

/// An event is decoded as far as possible, never refused: what is mistyped counts as absent.
fn event(raw: &RawValue) -> AckEvent {
    let event = read::item(
        raw,
        &[
            "action_id",
            "agent_id",
            "timestamp",
            "error",
            "payload",
            "data",
            "action_input_type",
            "action_data",
            "action_response",
            "started_at",
            "completed_at",
        ],
    );
    let text = |name| event.text(name).ok().flatten();
    let raw = |name| event.raw(name).ok().flatten();
    let payload = event.object("payload", "payload", &["retry"]).ok().flatten();
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
