//! Agent policies: from settings (JSON) or as a full policy (YAML). Every PUT makes a revision, also one that
//! changes nothing, and waiting agents get it.

use std::{borrow::Cow, sync::Arc};

use actix_web::{HttpResponse, http::header::CONTENT_TYPE};
use fleet::{
    ApiKey, PolicyId, PolicyRevision, PolicySummary, Timestamp,
    policies::{self, PolicySettings},
};
use notation::yaml;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    AdminState, Done, Many, One, ok,
    query::{self, Query},
};
use crate::{
    call::Call,
    error::{ApiError, Family},
    member::Member,
    off_the_loop::off_the_loop_if_large,
    operation::{Answer, Body, BodyShape, JSON, KeyKind, Operation, YAML},
};

/// Name of the body in errors.
pub(super) const WHAT: &str = "agent policy";

/// Reading a byte of YAML takes as long as reading this many bytes of JSON.
const YAML_COST: usize = 16;

/// Members that answers add to the settings. They are accepted, so that a policy that was read can be sent back.
const READ_ONLY: [&str; 6] = [
    "status",
    "updated_at",
    "created_at",
    "agents",
    "agents_pending",
    "version",
];

/// Members that have an effect.
const SETTINGS: [Member; 10] = [
    Member::text("id"),
    // Of a PUT: the revision that the operator read.
    Member::integer("revision"),
    Member::text("name"),
    Member::text("namespace"),
    Member::text("description"),
    Member::texts("monitoring_enabled"),
    Member::integer("inactivity_timeout"),
    Member::any_object("overrides"),
    Member::any_object("full_policy"),
    Member::text("managed_from"),
];

/// Parameters of the list.
const LIST: [&str; 5] = ["page", "perPage", "searchAfter", "full", "noAgentCount"];

/// Settings, or a full policy.
const BODY: Body = Body {
    media: &[JSON, YAML],
    shape: BodyShape::Members(&SETTINGS),
    is_required: true,
};

pub(super) fn about_create() -> Operation {
    const ID: &[(&str, &str)] = &[("path.id", "$response.body#/item/id")];
    Operation::new(
        "policyCreate",
        "A policy, from settings or as a full policy, and its first token",
        KeyKind::OPERATOR,
    )
    .parameters(query::described(&["id", "name", "sys_monitoring"]))
    .body(BODY)
    .answers(
        Answer::json::<Created>(200, "Revision 1, and the only sight of the token")
            .link("get", "policy", ID)
            .link("update", "policyUpdate", ID)
            .link("full", "policyFull", ID),
    )
    .fails(&[Family::Rule, Family::Conflict, Family::Policy])
}

pub(super) fn about_update() -> Operation {
    const ID: &[(&str, &str)] = &[("path.id", "$request.path.id")];
    Operation::new(
        "policyUpdate",
        "Another revision, delivered at once",
        KeyKind::OPERATOR,
    )
    .path("id", "The policy's id")
    .parameters(query::described(&["revision"]))
    .body(BODY)
    .answers(Answer::json::<One<PolicyItem>>(200, "The revision").link("full", "policyFull", ID))
    .fails(&[Family::Rule, Family::Missing, Family::Conflict, Family::Policy])
}

pub(super) fn about_check() -> Operation {
    const JSON_BODY: Body = Body {
        media: &[JSON],
        ..BODY
    };
    Operation::new(
        "policyCheck",
        "Whether a policy would be taken: a new one, or new settings of the one whose id is given",
        KeyKind::VIEWER,
    )
    .reads()
    .body(JSON_BODY)
    .answers(Answer::json::<Done>(200, "It would; nothing is stored"))
    .fails(&[Family::Rule, Family::Missing, Family::Policy])
}

pub(super) fn about_get() -> Operation {
    Operation::new("policy", "A policy", KeyKind::VIEWER)
        .path("id", "The policy's id")
        .answers(Answer::json::<One<PolicyItem>>(200, "Its newest revision"))
        .fails(&[Family::Missing])
}

pub(super) fn about_list() -> Operation {
    Operation::new("policies", "The policies", KeyKind::VIEWER)
        .parameters(query::described(&LIST))
        .answers(Answer::json::<Many<PolicyItem>>(200, "A page of them"))
        .fails(&[Family::Rule])
}

pub(super) fn about_full() -> Operation {
    Operation::new("policyFull", "The full policy as it is stored", KeyKind::VIEWER)
        .path("id", "The policy's id")
        .answers(Answer::json::<One<Map<String, Value>>>(
            200,
            "What agents get, before its secrets are filled in",
        ))
        .fails(&[Family::Missing])
}

pub(super) fn about_delete() -> Operation {
    Operation::new(
        "policyDelete",
        "Removes a policy that no agent has",
        KeyKind::OPERATOR,
    )
    .takes_json::<Delete>()
    .answers(Answer::json::<Deleted>(
        200,
        "It is gone, and its tokens are revoked",
    ))
    .fails(&[Family::Rule, Family::Missing, Family::Conflict])
}

/// The settings, as open as operators wrote them, and what the server adds.
pub(super) struct PolicyItem;

impl JsonSchema for PolicyItem {
    fn schema_name() -> Cow<'static, str> {
        "Policy".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let text = || json!({ "type": "string" });
        let number = || json!({ "type": "integer", "minimum": 0 });
        json_schema!({
            "type": "object",
            "properties": {
                "id": text(), "revision": number(), "status": text(), "updated_at": text(), "created_at": text(),
                "agents": number(), "agents_pending": number(),
            },
            "required": ["id", "revision", "status", "updated_at", "created_at"],
            "additionalProperties": true,
        })
    }
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PolicyCreated")]
pub(super) struct Created {
    #[schemars(with = "PolicyItem")]
    item: Map<String, Value>,
    enrollment_api_key: FirstToken,
}

/// The token that was created with the policy. Only this answer has its text.
#[derive(Serialize, JsonSchema)]
struct FirstToken {
    api_key: String,
    api_key_id: String,
}

pub(super) async fn create(state: Arc<AdminState>, mut call: Call) -> Result<HttpResponse, ApiError> {
    let (id, members) = if is_yaml(&call) {
        let named = Query::read(&call.query, &["id", "name"])?;
        let full = full_policy(&state, &mut call).await?;
        let inside = full.get("id").and_then(Value::as_str);
        let id = named.text("id").or(inside).map(str::to_owned);
        let name = named
            .text("name")
            .or_else(|| full.get("name").and_then(Value::as_str))
            .or(id.as_deref())
            .unwrap_or("policy")
            .to_owned();
        (id, full_members(Some(name), full))
    } else {
        let instead = "write the inputs into overrides, or send a full policy as YAML";
        Query::read(&call.query, &["sys_monitoring"])?.must_be_off("sys_monitoring", instead)?;
        let (id, _, members) = settings(&state, &mut call).await?;
        (id, members)
    };
    let settings: PolicySettings = serde_json::from_value(Value::Object(members))
        .map_err(|error| ApiError::Invalid(format!("agent policy: {error}").into()))?;
    let (revision, key) = policies::create(&state.fleet, id.as_deref(), settings, Timestamp::now()).await?;
    ok(&created((revision, key)))
}

pub(super) fn created((revision, key): (PolicyRevision, ApiKey)) -> Created {
    Created {
        item: item(&revision),
        enrollment_api_key: FirstToken {
            api_key: key.to_token(),
            api_key_id: key.id.to_string(),
        },
    }
}

pub(super) async fn update(state: Arc<AdminState>, mut call: Call) -> Result<HttpResponse, ApiError> {
    let parameters = Query::read(&call.query, &["revision"])?;
    let id = PolicyId::from(call.id.as_str());
    let mut read = parameters.text("revision").map(Value::from);
    let changes = if is_yaml(&call) {
        full_members(None, full_policy(&state, &mut call).await?)
    } else {
        let (named, revision, changes) = settings(&state, &mut call).await?;
        if changes.is_empty() {
            // A body that got lost must not make a revision that every agent has to take.
            return Err(ApiError::Invalid("there is nothing to change in the body".into()));
        }
        read = read.or(revision);
        if named.is_some_and(|named| named != id.as_str()) {
            return Err(ApiError::Invalid(
                "id cannot be changed: it must be the one in the path".into(),
            ));
        }
        changes
    };
    let read = read.map(|read| revision_number(&read)).transpose()?;
    let revision = policies::update_read(&state.fleet, &id, read, changes, Timestamp::now()).await?;
    ok(&One {
        item: item(&revision),
    })
}

pub(super) async fn check(state: Arc<AdminState>, mut call: Call) -> Result<HttpResponse, ApiError> {
    Query::none(&call.query)?;
    let (id, _, members) = settings(&state, &mut call).await?;
    let id = id.map(PolicyId::from);
    policies::check(&state.fleet, id.as_ref(), members, Timestamp::now()).await?;
    ok(&Done { action: "checked" })
}

fn revision_number(value: &Value) -> Result<i64, ApiError> {
    let number = match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_i64(),
    };
    number
        .ok_or_else(|| ApiError::Invalid("revision must be the number of the revision that was read".into()))
}

/// The settings that represent a full policy.
fn full_members(name: Option<String>, full: Map<String, Value>) -> Map<String, Value> {
    let mut members = Map::new();
    if let Some(name) = name {
        members.insert("name".to_owned(), name.into());
        members.insert("namespace".to_owned(), "default".into());
    }
    members.insert("full_policy".to_owned(), full.into());
    members
}

pub(super) async fn get(state: Arc<AdminState>, call: Call) -> Result<HttpResponse, ApiError> {
    Query::none(&call.query)?;
    let revision = policies::get(&state.fleet, &PolicyId::from(call.id.as_str())).await?;
    ok(&One {
        item: item(&revision),
    })
}

pub(super) async fn list(state: Arc<AdminState>, call: Call) -> Result<HttpResponse, ApiError> {
    let parameters = Query::read(&call.query, &LIST)?;
    let (paging, counts) = (parameters.page()?, !parameters.flag("noAgentCount")?);
    // Accepted without effect: all settings are always shown.
    parameters.flag("full")?;
    let page = policies::list(&state.fleet, paging.request()).await?;
    ok(&paging.envelope(page, |summary| summary_item(&summary, counts)))
}

pub(super) async fn full(state: Arc<AdminState>, call: Call) -> Result<HttpResponse, ApiError> {
    Query::none(&call.query)?;
    let revision = policies::get(&state.fleet, &PolicyId::from(call.id.as_str())).await?;
    ok(&One { item: revision.data })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Delete {
    #[serde(rename = "agentPolicyId")]
    id: String,
    #[serde(default)]
    force: bool,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PolicyDeleted")]
struct Deleted {
    id: String,
    name: Value,
}

pub(super) async fn delete(state: Arc<AdminState>, mut call: Call) -> Result<HttpResponse, ApiError> {
    Query::none(&call.query)?;
    let wanted: Delete = state.json(&mut call, WHAT).await?;
    if wanted.force {
        return Err(ApiError::Invalid(
            "force is not supported: reassign or unenrol the policy's agents first".into(),
        ));
    }
    let id = PolicyId::from(wanted.id.as_str());
    let gone = policies::get(&state.fleet, &id).await?;
    policies::delete(&state.fleet, &id, Timestamp::now()).await?;
    let name = item(&gone).remove("name").unwrap_or(Value::Null);
    ok(&Deleted { id: wanted.id, name })
}

fn is_yaml(call: &Call) -> bool {
    let value = call
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let kind = value
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    matches!(
        kind.as_str(),
        "application/yaml" | "application/x-yaml" | "text/yaml" | "text/x-yaml"
    )
}

async fn full_policy(state: &AdminState, call: &mut Call) -> Result<Map<String, Value>, ApiError> {
    let body = state.body(call, WHAT).await?;
    off_the_loop_if_large(body.len() * YAML_COST, move || read_full_policy(&body)).await?
}

fn read_full_policy(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    let json = yaml::read(body)
        .and_then(|node| node.to_json())
        .map_err(|error| ApiError::Invalid(format!("the YAML cannot be used: {error}").into()))?;
    serde_json::from_str(&json)
        .map_err(|_| ApiError::Invalid("the YAML is not a mapping: expected a full policy".into()))
}

/// The policy's id and the revision that was read, if the body names them, and the members of its settings.
async fn settings(
    state: &AdminState,
    call: &mut Call,
) -> Result<(Option<String>, Option<Value>, Map<String, Value>), ApiError> {
    let mut members: Map<String, Value> = state.json(call, WHAT).await?;
    let revision = members.remove("revision").filter(|revision| !revision.is_null());
    for name in READ_ONLY {
        members.remove(name);
    }
    if let Some(name) = without_effect(&members) {
        return Err(ApiError::Invalid(
            format!("{name} has no effect on this server: leave it out, and put what agents must receive into overrides")
                .into(),
        ));
    }
    let id = match members.remove("id") {
        None | Some(Value::Null) => None,
        Some(Value::String(id)) => Some(id),
        Some(_) => return Err(ApiError::Invalid("id must be a string".into())),
    };
    Ok((id, revision, members))
}

/// The first member that has no effect here (one of Kibana's, or a misspelt one) and is not empty. Empty ones are kept.
fn without_effect(members: &Map<String, Value>) -> Option<&str> {
    let asks = |value: &Value| match value {
        Value::Null => false,
        Value::Bool(on) => *on,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
    };
    let is_ours = |name: &str| SETTINGS.iter().any(|member| member.name == name);
    let is_only_space = |name: &str, value: &Value| name == "space_ids" && *value == json!(["default"]);
    members
        .iter()
        .find(|(name, value)| !is_ours(name) && asks(value) && !is_only_space(name, value))
        .map(|(name, _)| name.as_str())
}

/// The operator's settings and the members that the server adds.
pub(super) fn item(revision: &PolicyRevision) -> Map<String, Value> {
    // Settings are what this server stored; if they cannot be read, the policy is still shown.
    let mut item: Map<String, Value> = revision.settings.read().unwrap_or_default();
    item.insert("id".to_owned(), revision.policy.as_str().into());
    item.insert("revision".to_owned(), revision.revision.into());
    item.insert("status".to_owned(), "active".into());
    item.insert("updated_at".to_owned(), revision.at.to_millis_text().into());
    item.insert(
        "created_at".to_owned(),
        revision.created_at.to_millis_text().into(),
    );
    item
}

fn summary_item(summary: &PolicySummary, counts: bool) -> Map<String, Value> {
    let mut item = item(&summary.latest);
    if counts {
        item.insert("agents".to_owned(), summary.agents.into());
        item.insert("agents_pending".to_owned(), summary.pending.into());
    }
    item
}
