//! Operators' keys (ours): made with a role, listed, revoked. As with enrollment tokens, a key's text (`api_key`) is shown
//! once: when it is made.

use std::sync::Arc;

use actix_web::HttpResponse;
use fleet::{ApiKey, KeyId, OperatorKey, OperatorRole, Timestamp, operators};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    AdminState, Done, Many, One,
    moment::moment,
    ok,
    query::{self, PAGING, Query},
};
use crate::{
    call::Call,
    error::{ApiError, Family},
    operation::{Answer, KeyKind, Operation},
};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "OperatorKeyDraft")]
struct Draft {
    name: String,
    role: Role,
    expiration: Option<String>,
}

#[derive(Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "OperatorRole")]
enum Role {
    Viewer,
    Operator,
    Admin,
}

impl From<Role> for OperatorRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Viewer => Self::Viewer,
            Role::Operator => Self::Operator,
            Role::Admin => Self::Admin,
        }
    }
}

impl From<OperatorRole> for Role {
    fn from(role: OperatorRole) -> Self {
        match role {
            OperatorRole::Viewer => Self::Viewer,
            OperatorRole::Operator => Self::Operator,
            OperatorRole::Admin => Self::Admin,
        }
    }
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "OperatorKey")]
struct Item {
    id: String,
    name: String,
    role: Role,
    /// It was not revoked; it may have expired.
    active: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key: Option<String>,
    #[schemars(with = "String")]
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    expire_at: Option<Timestamp>,
}

impl Item {
    fn new(record: OperatorKey, key: Option<&ApiKey>) -> Self {
        Self {
            id: record.id.to_string(),
            name: record.name,
            role: record.role.into(),
            active: record.active,
            api_key: key.map(ApiKey::to_token),
            created_at: record.created_at,
            expire_at: record.expires_at,
        }
    }
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "OperatorKeyCreated")]
struct Created {
    action: &'static str,
    item: Item,
}

pub(super) fn about_create() -> Operation {
    const ID: &[(&str, &str)] = &[("path.id", "$response.body#/item/id")];
    Operation::new("keyCreate", "A key for an operator", KeyKind::ADMIN)
        .takes_json::<Draft>()
        .answers(
            Answer::json::<Created>(200, "With its text, which is shown only here")
                .link("get", "key", ID)
                .link("revoke", "keyRevoke", ID),
        )
        .fails(&[Family::Rule])
}

pub(super) fn about_list() -> Operation {
    Operation::new(
        "keys",
        "The operators' keys, revoked ones too, newest first",
        KeyKind::ADMIN,
    )
    .parameters(query::described(&PAGING))
    .answers(Answer::json::<Many<Item>>(200, "A page of them"))
    .fails(&[Family::Rule])
}

pub(super) fn about_get() -> Operation {
    Operation::new("key", "An operator's key", KeyKind::ADMIN)
        .path("id", "The key's id, its public half")
        .answers(Answer::json::<One<Item>>(200, "Without its text"))
        .fails(&[Family::Missing])
}

pub(super) fn about_revoke() -> Operation {
    Operation::new(
        "keyRevoke",
        "Revokes an operator's key, which stays on record",
        KeyKind::ADMIN,
    )
    .path("id", "The key's id, its public half")
    .answers(Answer::json::<Done>(200, "It opens nothing any more"))
    .fails(&[Family::Missing, Family::Conflict])
}

pub(super) async fn create(state: Arc<AdminState>, mut call: Call) -> Result<HttpResponse, ApiError> {
    Query::none(&call.query)?;
    let draft: Draft = state.json(&mut call, "operator key").await?;
    let now = Timestamp::now();
    let expiration = moment(draft.expiration.as_deref(), "expiration", now)?;
    let (record, key) =
        operators::create(&state.fleet, &draft.name, draft.role.into(), expiration, now).await?;
    ok(&Created {
        action: "created",
        item: Item::new(record, Some(&key)),
    })
}

pub(super) async fn list(state: Arc<AdminState>, call: Call) -> Result<HttpResponse, ApiError> {
    let paging = Query::read(&call.query, &PAGING)?.page()?;
    let page = operators::list(&state.fleet, paging.request()).await?;
    ok(&paging.envelope(page, |record| Item::new(record, None)))
}

pub(super) async fn get(state: Arc<AdminState>, call: Call) -> Result<HttpResponse, ApiError> {
    Query::none(&call.query)?;
    let record = operators::get(&state.fleet, &KeyId::from(call.id.as_str())).await?;
    ok(&One {
        item: Item::new(record, None),
    })
}

pub(super) async fn revoke(state: Arc<AdminState>, call: Call) -> Result<HttpResponse, ApiError> {
    Query::none(&call.query)?;
    operators::revoke(&state.fleet, &KeyId::from(call.id.as_str()), Timestamp::now()).await?;
    ok(&Done { action: "deleted" })
}
