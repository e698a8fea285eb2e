//! Enrollment tokens. Only a salted hash of a token is stored, so its text (`api_key`) is shown once: when it is
//! created. Lists and later reads leave it out.

use std::sync::Arc;

use actix_web::HttpResponse;
use fleet::{ApiKey, EnrollmentToken, PolicyId, Timestamp, TokenId, tokens};
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
struct Draft {
    policy_id: String,
    name: Option<String>,
    expiration: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EnrollmentToken")]
struct Item {
    id: String,
    active: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key: Option<String>,
    api_key_id: String,
    name: String,
    policy_id: String,
    #[schemars(with = "String")]
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    expire_at: Option<Timestamp>,
}

impl Item {
    fn new(token: EnrollmentToken, key: Option<&ApiKey>) -> Self {
        Self {
            id: token.id.to_string(),
            active: token.active,
            api_key: key.map(ApiKey::to_token),
            api_key_id: token.key.to_string(),
            name: token.name,
            policy_id: token.policy.to_string(),
            created_at: token.created_at,
            expire_at: token.expires_at,
        }
    }
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EnrollmentTokenCreated")]
struct Created {
    action: &'static str,
    item: Item,
}

pub(super) fn about_create() -> Operation {
    const ID: &[(&str, &str)] = &[("path.id", "$response.body#/item/id")];
    Operation::new("tokenCreate", "An enrollment token", KeyKind::OPERATOR)
        .takes_json::<Draft>()
        .answers(
            Answer::json::<Created>(200, "With its text, which is shown only here")
                .link("get", "token", ID)
                .link("revoke", "tokenRevoke", ID),
        )
        .fails(&[Family::Rule, Family::Missing, Family::Conflict])
}

pub(super) fn about_list() -> Operation {
    Operation::new(
        "tokens",
        "The enrollment tokens, revoked ones too",
        KeyKind::VIEWER,
    )
    .parameters(query::described(&PAGING))
    .answers(Answer::json::<Many<Item>>(200, "A page of them"))
    .fails(&[Family::Rule])
}

pub(super) fn about_get() -> Operation {
    Operation::new("token", "An enrollment token", KeyKind::VIEWER)
        .path("id", "The token's id")
        .answers(Answer::json::<One<Item>>(200, "Without its text"))
        .fails(&[Family::Missing])
}

pub(super) fn about_revoke() -> Operation {
    Operation::new(
        "tokenRevoke",
        "Revokes an enrollment token, which stays on record",
        KeyKind::OPERATOR,
    )
    .path("id", "The token's id")
    .parameters(query::described(&FORCE))
    .answers(Answer::json::<Done>(200, "It enrols nobody any more"))
    .fails(&[Family::Missing, Family::Conflict])
}

const FORCE: [&str; 1] = ["forceDelete"];

pub(super) async fn create(state: Arc<AdminState>, mut call: Call) -> Result<HttpResponse, ApiError> {
    Query::none(&call.query)?;
    let draft: Draft = state.json(&mut call, "enrollment token").await?;
    let now = Timestamp::now();
    let expiration = moment(draft.expiration.as_deref(), "expiration", now)?;
    if expiration.is_some_and(|at| at <= now) {
        return Err(ApiError::Invalid("expiration lies in the past".into()));
    }
    let policy = PolicyId::from(draft.policy_id);
    let (token, key) = tokens::create(&state.fleet, &policy, draft.name.as_deref(), expiration, now).await?;
    ok(&Created {
        action: "created",
        item: Item::new(token, Some(&key)),
    })
}

pub(super) async fn list(state: Arc<AdminState>, call: Call) -> Result<HttpResponse, ApiError> {
    let paging = Query::read(&call.query, &PAGING)?.page()?;
    let page = tokens::list(&state.fleet, paging.request()).await?;
    ok(&paging.envelope(page, |token| Item::new(token, None)))
}

pub(super) async fn get(state: Arc<AdminState>, call: Call) -> Result<HttpResponse, ApiError> {
    Query::none(&call.query)?;
    let token = tokens::get(&state.fleet, &TokenId::from(call.id.as_str())).await?;
    ok(&One {
        item: Item::new(token, None),
    })
}

pub(super) async fn revoke(state: Arc<AdminState>, call: Call) -> Result<HttpResponse, ApiError> {
    if Query::read(&call.query, &FORCE)?.flag("forceDelete")? {
        return Err(ApiError::Invalid(
            "forceDelete is not supported: a revoked token stays on record; leave the parameter out".into(),
        ));
    }
    tokens::revoke(&state.fleet, &TokenId::from(call.id.as_str()), Timestamp::now()).await?;
    ok(&Done { action: "deleted" })
}
