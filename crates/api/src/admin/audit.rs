//! The audit log (ours): who changed what. Nothing here changes an entry.

use std::sync::Arc;

use actix_web::HttpResponse;
use fleet::{AuditEntry, AuditQuery, RawJson, Timestamp, audit_log};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    AdminState, Many,
    moment::time,
    ok,
    query::{self, Query},
};
use crate::{
    call::Call,
    error::{ApiError, Family},
    operation::{Answer, KeyKind, Operation},
};

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditEntry")]
struct Item {
    /// Later ones are greater.
    id: i64,
    #[serde(rename = "@timestamp")]
    #[schemars(with = "String")]
    at: Timestamp,
    actor: Actor,
    /// The route: `policy.update`.
    action: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<Target>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    before: Option<RawJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    after: Option<RawJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_address: Option<String>,
    request_id: String,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditActor")]
struct Actor {
    /// Public half of the key.
    id: String,
    name: String,
    role: &'static str,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditTarget")]
struct Target {
    #[serde(rename = "type")]
    kind: String,
    id: String,
}

impl From<AuditEntry> for Item {
    fn from(AuditEntry { number, said }: AuditEntry) -> Self {
        Self {
            id: number,
            at: said.at,
            actor: Actor {
                id: said.actor.key.to_string(),
                name: said.actor.name,
                role: said.actor.role.as_str(),
            },
            action: said.action,
            target: said.target.map(|target| Target {
                kind: target.kind,
                id: target.id,
            }),
            before: said.before,
            after: said.after,
            client_address: said.address,
            request_id: said.request,
        }
    }
}

pub(super) fn about_list() -> Operation {
    Operation::new("audit", "What operators changed, newest first", KeyKind::VIEWER)
        .parameters(query::described(&PARAMETERS))
        .answers(Answer::json::<Many<Item>>(
            200,
            "A page of entries, without secrets",
        ))
        .fails(&[Family::Rule])
}

const PARAMETERS: [&str; 8] = [
    "page",
    "perPage",
    "searchAfter",
    "actor",
    "action",
    "target",
    "from",
    "until",
];

pub(super) async fn list(state: Arc<AdminState>, call: Call) -> Result<HttpResponse, ApiError> {
    let parameters = Query::read(&call.query, &PARAMETERS)?;
    let paging = parameters.page()?;
    let text = |name| parameters.text(name).map(str::to_owned);
    let query = AuditQuery {
        actor: text("actor"),
        action: text("action"),
        target: text("target"),
        from: time(parameters.text("from"), "from")?,
        until: time(parameters.text("until"), "until")?,
    };
    let page = audit_log::list(&state.fleet, &query, paging.request()).await?;
    ok(&paging.envelope(page, Item::from))
}
