//! Policies as Kibana's scripts take them along: a copy under another name, the full policy as a file, many by id.

use std::sync::Arc;

use actix_web::{
    HttpResponse,
    http::header::{CONTENT_DISPOSITION, CONTENT_TYPE},
};
use fleet::{FleetError, PolicyId, Timestamp, policies};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    AdminState,
    agent_policies::{Created, PolicyItem, WHAT, created, item},
    ok,
    query::Query,
};
use crate::{
    call::Call,
    error::{ApiError, Family},
    operation::{Answer, KeyKind, Operation, YAML},
};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PolicyCopy")]
struct Copy {
    name: String,
    description: Option<String>,
}

/// Kibana's `full` asks for what is always there.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PoliciesWanted")]
struct Wanted {
    ids: Vec<String>,
    #[serde(default, rename = "full")]
    _full: bool,
    #[serde(default, rename = "ignoreMissing")]
    ignores_missing: bool,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PoliciesFound")]
struct Found {
    #[schemars(with = "Vec<PolicyItem>")]
    items: Vec<Map<String, Value>>,
}

pub(super) fn about_copy() -> Operation {
    Operation::new(
        "policyCopy",
        "A policy with the settings of another, and its first token",
        KeyKind::OPERATOR,
    )
    .path("id", "The id of the policy that is copied")
    .takes_json::<Copy>()
    .answers(Answer::json::<Created>(
        200,
        "Revision 1, and the only sight of the token",
    ))
    .fails(&[Family::Rule, Family::Missing, Family::Conflict, Family::Policy])
}

pub(super) fn about_download() -> Operation {
    Operation::new("policyDownload", "The full policy as a file", KeyKind::VIEWER)
        .path("id", "The policy's id")
        .answers(
            Answer::of(200, YAML, "JSON, which is YAML").header("Content-Disposition", "elastic-agent.yml"),
        )
        .fails(&[Family::Missing])
}

pub(super) fn about_bulk_get() -> Operation {
    Operation::new("policiesGet", "Policies by id", KeyKind::VIEWER)
        .reads()
        .takes_json::<Wanted>()
        .answers(Answer::json::<Found>(200, "In the order of the ids"))
        .fails(&[Family::Rule, Family::Missing])
}

pub(super) async fn copy(state: Arc<AdminState>, mut call: Call) -> Result<HttpResponse, ApiError> {
    Query::none(&call.query)?;
    let wanted: Copy = state.json(&mut call, WHAT).await?;
    let id = PolicyId::from(call.id.as_str());
    let made = policies::copy(
        &state.fleet,
        &id,
        wanted.name,
        wanted.description,
        Timestamp::now(),
    )
    .await?;
    ok(&created(made))
}

pub(super) async fn download(state: Arc<AdminState>, call: Call) -> Result<HttpResponse, ApiError> {
    Query::none(&call.query)?;
    let revision = policies::get(&state.fleet, &PolicyId::from(call.id.as_str())).await?;
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, YAML))
        .insert_header((CONTENT_DISPOSITION, "attachment; filename=\"elastic-agent.yml\""))
        .body(revision.data.as_str().to_owned()))
}

pub(super) async fn bulk_get(state: Arc<AdminState>, mut call: Call) -> Result<HttpResponse, ApiError> {
    Query::none(&call.query)?;
    let wanted: Wanted = state.json(&mut call, WHAT).await?;
    if wanted.ids.len() > MOST {
        return Err(ApiError::Invalid(format!("ids has more than {MOST}").into()));
    }
    let mut items = Vec::with_capacity(wanted.ids.len());
    for id in wanted.ids {
        match policies::get(&state.fleet, &PolicyId::from(id)).await {
            Ok(revision) => items.push(item(&revision)),
            Err(FleetError::UnknownPolicy { .. }) if wanted.ignores_missing => {}
            Err(error) => return Err(error.into()),
        }
    }
    ok(&Found { items })
}

/// Policies of one request.
const MOST: usize = 1000;
