//! Secrets that policies and actions refer to (data.md 9.5). Their values go in and never come out.

use std::sync::Arc;

use actix_web::HttpResponse;
use fleet::{
    PolicyId, Secret, SecretId, Timestamp,
    secrets::{self, SecretRecord},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    AdminState, Done, Many, One, ok,
    query::{self, PAGING, Query},
};
use crate::{
    call::Call,
    error::{ApiError, Family},
    operation::{Answer, KeyKind, Operation},
};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Draft {
    /// Any JSON: an error about its type would quote it.
    value: Value,
    id: Option<String>,
    name: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Secret")]
struct Item {
    id: String,
    name: String,
    #[schemars(with = "String")]
    created_at: Timestamp,
    /// The action document that it goes with.
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<String>,
    /// Who refers to it; told of one secret only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<String>>")]
    policies: Option<Vec<PolicyId>>,
}

impl From<SecretRecord> for Item {
    fn from(record: SecretRecord) -> Self {
        Self {
            id: record.id.to_string(),
            name: record.name,
            created_at: record.created_at,
            action: record.action.map(|action| action.as_str().to_owned()),
            policies: None,
        }
    }
}

pub(super) fn about_create() -> Operation {
    const ID: &[(&str, &str)] = &[("path.id", "$response.body#/item/id")];
    Operation::new(
        "secretCreate",
        "A secret for policies and actions",
        KeyKind::OPERATOR,
    )
    .takes_json::<Draft>()
    .answers(
        Answer::json::<One<Item>>(200, "Without its value, which is never shown")
            .link("get", "secret", ID)
            .link("delete", "secretDelete", ID),
    )
    .fails(&[Family::Rule, Family::Conflict])
}

pub(super) fn about_list() -> Operation {
    Operation::new("secrets", "Ids and names of the secrets", KeyKind::VIEWER)
        .parameters(query::described(&PAGING))
        .answers(Answer::json::<Many<Item>>(200, "A page of them"))
        .fails(&[Family::Rule])
}

pub(super) fn about_get() -> Operation {
    Operation::new("secret", "A secret and who refers to it", KeyKind::VIEWER)
        .path("id", "The secret's id")
        .answers(Answer::json::<One<Item>>(200, "Without its value"))
        .fails(&[Family::Missing])
}

pub(super) fn about_delete() -> Operation {
    Operation::new(
        "secretDelete",
        "Removes a secret to which nothing refers",
        KeyKind::OPERATOR,
    )
    .path("id", "The secret's id")
    .answers(Answer::json::<Done>(200, "It is gone"))
    .fails(&[Family::Missing, Family::Conflict])
}

pub(super) async fn create(state: Arc<AdminState>, mut call: Call) -> Result<HttpResponse, ApiError> {
    Query::none(&call.query)?;
    let draft: Draft = state.json(&mut call, "secret").await?;
    let Value::String(value) = draft.value else {
        return Err(ApiError::Invalid("value must be a text".into()));
    };
    let (id, name) = (draft.id.as_deref(), draft.name.as_deref().unwrap_or_default());
    let record = secrets::create(&state.fleet, id, name, Secret::from(value), Timestamp::now()).await?;
    ok(&One {
        item: Item::from(record),
    })
}

pub(super) async fn list(state: Arc<AdminState>, call: Call) -> Result<HttpResponse, ApiError> {
    let paging = Query::read(&call.query, &PAGING)?.page()?;
    let page = secrets::list(&state.fleet, paging.request()).await?;
    ok(&paging.envelope(page, Item::from))
}

pub(super) async fn get(state: Arc<AdminState>, call: Call) -> Result<HttpResponse, ApiError> {
    Query::none(&call.query)?;
    let (record, policies) = secrets::get(&state.fleet, &SecretId::from(call.id.as_str())).await?;
    ok(&One {
        item: Item {
            policies: Some(policies),
            ..Item::from(record)
        },
    })
}

pub(super) async fn delete(state: Arc<AdminState>, call: Call) -> Result<HttpResponse, ApiError> {
    Query::none(&call.query)?;
    secrets::delete(&state.fleet, &SecretId::from(call.id.as_str()), Timestamp::now()).await?;
    ok(&Done { action: "deleted" })
}
