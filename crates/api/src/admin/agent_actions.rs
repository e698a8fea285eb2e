//! Actions for an agent, and their results.

use std::sync::Arc;

use actix_web::HttpResponse;
use fleet::{
    ActionId, ActionOutcome, ActionResult, AgentId, FromObject, RawJson, Timestamp,
    actions::{self, ActionDraft, ActionKind},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    AdminState, One,
    moment::moment,
    ok,
    query::{self, Many, PAGING, Query},
};
use crate::{
    call::Call,
    error::{ApiError, Family},
    operation::{self, KeyKind, Operation},
};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[schemars(with = "Draft")]
    action: FromObject<Draft>,
}

/// Kibana's `ack_data` is refused like any other member: results come from agents.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Draft {
    #[serde(rename = "type")]
    kind: String,
    #[schemars(with = "Option<serde_json::Value>")]
    data: Option<RawJson>,
    input_type: Option<String>,
    expiration: Option<String>,
    start_time: Option<String>,
    rollout_duration_seconds: Option<u32>,
    timeout: Option<i64>,
    #[schemars(with = "Option<serde_json::Value>")]
    signed: Option<RawJson>,
    user_id: Option<String>,
    traceparent: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PostedAction")]
struct Item<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    data: Option<&'a RawJson>,
    agents: [&'a str; 1],
    #[schemars(with = "String")]
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    expiration: Option<Timestamp>,
}

pub(super) fn about_create() -> Operation {
    Operation::new("actionCreate", "An action for an agent", KeyKind::OPERATOR)
        .path("id", "The agent's id")
        .takes_json::<Wanted>()
        .answers(
            operation::Answer::json::<One<Item<'_>>>(200, "It is on its way").link(
                "progress",
                "action",
                &[("path.id", "$response.body#/item/id")],
            ),
        )
        .fails(&[
            Family::AgentKey,
            Family::Missing,
            Family::Rule,
            Family::Conflict,
            Family::Policy,
        ])
}

pub(super) fn about_progress() -> Operation {
    Operation::new(
        "action",
        "How far an action is, and a page of the answers",
        KeyKind::VIEWER,
    )
    .path("id", "The action's id")
    .parameters(query::described(&PAGING))
    .answers(operation::Answer::json::<One<Progress>>(
        200,
        "Numbers and answers",
    ))
    .fails(&[Family::Missing, Family::Rule])
}

pub(super) async fn create(state: Arc<AdminState>, mut call: Call) -> Result<HttpResponse, ApiError> {
    Query::none(&call.query)?;
    let Wanted {
        action: FromObject(action),
    } = state.json(&mut call, "action").await?;
    let (now, kind) = (Timestamp::now(), ActionKind::parse(&action.kind)?);
    if kind == ActionKind::PolicyReassign {
        // Agents only acknowledge such an action: their policy is decided by their record.
        return Err(ApiError::Invalid(
            format!(
                "a POLICY_REASSIGN action does not move an agent: use POST /api/fleet/agents/{}/reassign with {{\"policy_id\": …}}",
                call.id
            )
            .into(),
        ));
    }
    let draft = ActionDraft {
        expiration: moment(action.expiration.as_deref(), "expiration", now)?,
        start_time: moment(action.start_time.as_deref(), "start_time", now)?,
        kind,
        data: action.data,
        input_type: action.input_type,
        rollout_duration_seconds: action.rollout_duration_seconds,
        timeout: action.timeout,
        signed: action.signed,
        user_id: action.user_id,
        traceparent: action.traceparent,
    };
    let action = actions::post(&state.fleet, vec![AgentId::from(call.id.as_str())], draft, now).await?;
    let item = Item {
        id: action.action.as_str(),
        kind: &action.kind,
        data: action.data.as_ref(),
        agents: [&call.id],
        created_at: action.at,
        expiration: action.expiration,
    };
    ok(&One { item })
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ActionProgress")]
struct Progress {
    action_id: String,
    nb_agents_actioned: u64,
    nb_agents_ack: u64,
    nb_agents_failed: u64,
    nb_agents_cancelled: u64,
    status: &'static str,
    results: Many<Answer>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ActionAnswer")]
struct Answer {
    agent_id: String,
    #[serde(rename = "@timestamp")]
    timestamp: String,
    #[schemars(with = "String")]
    received_at: Timestamp,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    details: Option<RawJson>,
}

impl From<ActionResult> for Answer {
    fn from(result: ActionResult) -> Self {
        Self {
            agent_id: result.agent.to_string(),
            timestamp: result.timestamp,
            received_at: result.received_at,
            outcome: match result.outcome {
                ActionOutcome::Acknowledged => "acknowledged",
                ActionOutcome::Succeeded => "succeeded",
                ActionOutcome::Failed => "failed",
                ActionOutcome::Cancelled => "cancelled",
            },
            error: result.error,
            details: result.details,
        }
    }
}

/// `GET /api/fleet/agents/actions/{id}` is ours: Kibana lists all actions at once (`action_status`), which would
/// walk every result on record.
pub(super) async fn progress(state: Arc<AdminState>, call: Call) -> Result<HttpResponse, ApiError> {
    let paging = Query::read(&call.query, &PAGING)?.page()?;
    let id = ActionId::from(call.id.as_str());
    let progress = actions::progress(&state.fleet, &id).await?;
    let results = actions::results(&state.fleet, &id, paging.request()).await?;
    let item = Progress {
        action_id: call.id,
        nb_agents_actioned: progress.counts.targets,
        nb_agents_ack: progress.counts.succeeded + progress.counts.failed,
        nb_agents_failed: progress.counts.failed,
        nb_agents_cancelled: progress.counts.cancelled,
        status: progress.state(Timestamp::now()).as_str(),
        results: paging.envelope(results, Answer::from),
    };
    ok(&One { item })
}
