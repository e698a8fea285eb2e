//! The history of a policy (ours): its revisions, what differs between two, the way back.

use std::sync::Arc;

use actix_web::HttpResponse;
use fleet::{PolicyId, Timestamp, policy_history};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    AdminState, Many, One,
    agent_policies::{PolicyItem, WHAT, item},
    ok,
    query::{self, PAGING, Query},
};
use crate::{
    call::Call,
    error::{ApiError, Family},
    operation::{Answer, KeyKind, Operation},
};

pub(super) fn about_list() -> Operation {
    Operation::new(
        "policyRevisions",
        "Revisions of a policy that are kept, newest first",
        KeyKind::VIEWER,
    )
    .path("id", "The policy's id")
    .parameters(query::described(&PAGING))
    .answers(Answer::json::<Many<PolicyItem>>(200, "A page of them"))
    .fails(&[Family::Rule, Family::Missing])
}

pub(super) fn about_get() -> Operation {
    Operation::new("policyRevision", "A revision of a policy", KeyKind::VIEWER)
        .path("id", "The policy's id")
        .path("revision", "The revision's number")
        .answers(Answer::json::<One<PolicyItem>>(200, "As it was stored"))
        .fails(&[Family::Rule, Family::Missing])
}

pub(super) fn about_diff() -> Operation {
    Operation::new(
        "policyDiff",
        "What differs between two revisions",
        KeyKind::VIEWER,
    )
    .path("id", "The policy's id")
    .parameters(query::described(&DIFF))
    .answers(Answer::json::<One<Compared>>(
        200,
        "Differences of the full policy (`/full`) and of settings beside it (`/settings`)",
    ))
    .fails(&[Family::Rule, Family::Missing])
}

pub(super) fn about_roll_back() -> Operation {
    const ID: &[(&str, &str)] = &[("path.id", "$request.path.id")];
    Operation::new(
        "policyRollback",
        "Another revision with the content of an earlier one, delivered at once",
        KeyKind::OPERATOR,
    )
    .path("id", "The policy's id")
    .takes_json::<RollBack>()
    .answers(Answer::json::<One<PolicyItem>>(200, "The new revision").link("full", "policyFull", ID))
    .fails(&[Family::Rule, Family::Missing, Family::Conflict, Family::Policy])
}

const DIFF: [&str; 2] = ["from", "to"];

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PolicyDifferences")]
struct Compared {
    from: i64,
    to: i64,
    changes: Vec<Difference>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PolicyDifference")]
struct Difference {
    op: &'static str,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<Value>,
}

impl From<policy_history::Difference> for Difference {
    fn from(found: policy_history::Difference) -> Self {
        Self {
            op: match (&found.before, &found.after) {
                (None, _) => "add",
                (Some(_), None) => "remove",
                (Some(_), Some(_)) => "replace",
            },
            path: found.path,
            before: found.before,
            after: found.after,
        }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PolicyRollback")]
struct RollBack {
    /// The revision whose content comes back.
    revision: i64,
    /// The newest revision as the operator knows it; another one is a conflict.
    current: Option<i64>,
}

pub(super) async fn list(state: Arc<AdminState>, call: Call) -> Result<HttpResponse, ApiError> {
    let paging = Query::read(&call.query, &PAGING)?.page()?;
    let id = PolicyId::from(call.id.as_str());
    let page = policy_history::list(&state.fleet, &id, paging.request()).await?;
    ok(&paging.envelope(page, |revision| item(&revision)))
}

pub(super) async fn get(state: Arc<AdminState>, call: Call) -> Result<HttpResponse, ApiError> {
    Query::none(&call.query)?;
    let number = number(Some(&call.second), "revision")?;
    let revision = policy_history::get(&state.fleet, &PolicyId::from(call.id.as_str()), number).await?;
    ok(&One {
        item: item(&revision),
    })
}

pub(super) async fn diff(state: Arc<AdminState>, call: Call) -> Result<HttpResponse, ApiError> {
    let parameters = Query::read(&call.query, &DIFF)?;
    let from = number(parameters.text("from"), "from")?;
    let to = number(parameters.text("to"), "to")?;
    let id = PolicyId::from(call.id.as_str());
    let changes = policy_history::difference(&state.fleet, &id, from, to).await?;
    let changes = changes.into_iter().map(Difference::from).collect();
    ok(&One {
        item: Compared { from, to, changes },
    })
}

pub(super) async fn roll_back(state: Arc<AdminState>, mut call: Call) -> Result<HttpResponse, ApiError> {
    Query::none(&call.query)?;
    let wanted: RollBack = state.json(&mut call, WHAT).await?;
    let id = PolicyId::from(call.id.as_str());
    let now = Timestamp::now();
    let made = policy_history::roll_back(&state.fleet, &id, wanted.revision, wanted.current, now).await?;
    ok(&One { item: item(&made) })
}

fn number(text: Option<&str>, name: &str) -> Result<i64, ApiError> {
    let number = text.and_then(|text| text.parse().ok());
    number.ok_or_else(|| ApiError::Invalid(format!("{name} must be the number of a revision").into()))
}
