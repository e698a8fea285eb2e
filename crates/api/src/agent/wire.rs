//! JSON out: every successful reply to an agent is written here, member by member as agents read it.
//!
//! In: the domain's typed replies. Out: bodies. Decides nothing; what an action's `data` or a policy holds is
//! prepared in the domain and passed on as it is.

use std::borrow::Cow;

use actix_web::{http::StatusCode, web::Bytes};
use fleet::{
    ActionId, AgentId, COMPATIBLE_VERSION, Health, RawJson, RenderedPolicy, Timestamp, Upload,
    actions::DeliveredAction, checkin::CheckinReply, enrollment, farewell as domain,
};
use schemars::JsonSchema;
use serde::Serialize;

use super::Identity;
use crate::{error::ApiError, pieces::Pieces};

/// The answer to an enrolment (agents.md 4.1).
#[derive(Serialize, JsonSchema)]
pub(super) struct Enrolled<'a> {
    action: &'static str,
    item: EnrolledItem<'a>,
}
#[derive(Serialize, JsonSchema)]
pub(super) struct EnrolledItem<'a> {
    id: &'a str,
    active: bool,
    policy_id: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    enrolled_at: String,
    user_provided_metadata: Option<()>,
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    local_metadata: Option<&'a RawJson>,
    access_api_key_id: &'a str,
    access_api_key: String,
    status: &'static str,
    tags: &'a [String],
}

/// The beginning of an upload (agents.md 10.1).
#[derive(Serialize, JsonSchema)]
pub(super) struct UploadBegun<'a> {
    upload_id: &'a str,
    chunk_size: u64,
}

/// The end of an upload (agents.md 10.3).
#[derive(Serialize, JsonSchema)]
pub(super) struct UploadComplete {
    status: &'static str,
}

/// The answer to a check-in (agents.md 5.8).
#[derive(Serialize, JsonSchema)]
pub(super) struct Checkin<'a> {
    action: &'static str,
    ack_token: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    actions: Vec<Action<'a>>,
}

/// One element of `actions` (agents.md 6.2).
#[derive(Serialize, JsonSchema)]
pub(super) struct Action<'a> {
    #[schemars(with = "&str")]
    agent_id: &'a AgentId,
    created_at: String,
    #[schemars(with = "serde_json::Value")]
    data: Option<&'a RawJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration: Option<String>,
    #[schemars(with = "&str")]
    id: &'a ActionId,
    input_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    signed: Option<&'a RawJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
    #[serde(rename = "type")]
    kind: &'a str,
}

/// The last words to an agent whose key is dead (agents.md 5.9).
#[derive(Serialize, JsonSchema)]
pub(super) struct Farewell<'a> {
    action: &'static str,
    actions: [LastAction<'a>; 1],
}
#[derive(Serialize, JsonSchema)]
pub(super) struct LastAction<'a> {
    #[schemars(with = "&str")]
    agent_id: &'a AgentId,
    created_at: String,
    data: Option<EmptyPolicy>,
    id: String,
    input_type: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
}
#[derive(Serialize, JsonSchema)]
struct EmptyPolicy {
    policy: Nothing,
}
#[derive(Serialize, JsonSchema)]
struct Nothing {}

/// The answer to acknowledgements (agents.md 7.6).
#[derive(Serialize, JsonSchema)]
pub(super) struct Acks {
    action: &'static str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    errors: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    items: Vec<AckItem>,
}
#[derive(Serialize, JsonSchema)]
pub(super) struct AckItem {
    status: u16,
    message: Cow<'static, str>,
}

/// The server's state (agents.md 3.1).
#[derive(Serialize, JsonSchema)]
pub(super) struct Status<'a> {
    name: &'static str,
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<StatusVersion<'a>>,
}
#[derive(Serialize, JsonSchema)]
pub(super) struct StatusVersion<'a> {
    number: String,
    build_hash: &'a str,
    build_time: &'a str,
}

/// The answer to an enrolment (agents.md 4.1).
pub(super) fn enrolled(enrolled: &enrollment::Enrolled) -> Result<Pieces, ApiError> {
    let agent = &enrolled.agent;
    json(&Enrolled {
        action: "created",
        item: EnrolledItem {
            id: agent.id.as_str(),
            active: agent.is_active,
            policy_id: agent.policy.as_str(),
            kind: &agent.kind,
            enrolled_at: agent.enrolled_at.to_seconds_text(),
            user_provided_metadata: None,
            local_metadata: agent.local_metadata.as_ref(),
            access_api_key_id: enrolled.access_key.id.as_str(),
            access_api_key: enrolled.access_key.to_token(),
            status: "online",
            tags: &agent.tags,
        },
    })
}

/// The answer to the beginning of an upload (agents.md 10.1).
pub(super) fn upload_begun(upload: &Upload) -> Result<Pieces, ApiError> {
    json(&UploadBegun {
        upload_id: upload.id.as_str(),
        chunk_size: upload.chunk_bytes,
    })
}

/// The answer to the end of an upload (agents.md 10.3).
pub(super) fn upload_complete() -> Result<Pieces, ApiError> {
    json(&UploadComplete { status: "ok" })
}

/// The answer to a check-in (agents.md 5.8).
pub(super) fn checkin(reply: &CheckinReply) -> Result<Pieces, ApiError> {
    let (ack_token, actions) = match reply {
        CheckinReply::Empty => ("", Vec::new()),
        CheckinReply::Actions {
            agent,
            ack_token,
            actions,
        } => {
            let actions = actions.iter().map(|action| Action::new(agent, action));
            (ack_token.as_str(), actions.collect())
        }
        CheckinReply::Policy { agent, policy } => return policy_change(agent, policy),
    };
    json(&Checkin {
        action: "checkin",
        ack_token,
        actions,
    })
}

impl<'a> Action<'a> {
    fn new(agent_id: &'a AgentId, action: &'a DeliveredAction) -> Self {
        Self {
            agent_id,
            created_at: action.created_at.to_seconds_text(),
            data: action.data.as_ref(),
            expiration: action.expiration.map(Timestamp::to_seconds_text),
            id: &action.id,
            input_type: &action.input_type,
            signed: action.signed.as_ref(),
            start_time: action.start_time.map(Timestamp::to_seconds_text),
            timeout: action.timeout,
            traceparent: action.traceparent.as_deref(),
            kind: action.kind.as_str(),
        }
    }
}

/// One POLICY_CHANGE (agents.md 6.5). The policy itself, which may have megabytes, stays the shared bytes it is; a
/// policy with slots would be more pieces with the agent's values between them.
fn policy_change(agent: &AgentId, policy: &RenderedPolicy) -> Result<Pieces, ApiError> {
    let before = format!(
        r#"{{"action":"checkin","ack_token":"","actions":[{{"agent_id":{},"id":{},"type":"POLICY_CHANGE","created_at":{},"input_type":"","data":{{"policy":"#,
        text(agent)?,
        text(&policy.action_id())?,
        text(&policy.at().to_seconds_text())?,
    );
    Ok(Pieces::from([
        before.into(),
        policy.json().clone(),
        Bytes::from_static(b"}}]}"),
    ]))
}

/// The last words to an agent whose key is dead (agents.md 5.9): they have no token, and nothing acknowledges them.
pub(super) fn farewell(
    agent: &AgentId,
    farewell: domain::Farewell,
    now: Timestamp,
) -> Result<Pieces, ApiError> {
    let (kind, data) = match farewell {
        domain::Farewell::EmptyPolicy => ("POLICY_CHANGE", Some(EmptyPolicy { policy: Nothing {} })),
        domain::Farewell::Unenroll => ("UNENROLL", None),
    };
    json(&Farewell {
        action: "checkin",
        actions: [LastAction {
            agent_id: agent,
            created_at: now.to_seconds_text(),
            data,
            id: uuid::Uuid::new_v4().to_string(),
            input_type: "",
            kind,
        }],
    })
}

/// The answer to acknowledgements (agents.md 7.6): an item for each event, in their order.
pub(super) fn acks(items: Vec<(StatusCode, Cow<'static, str>)>) -> Result<Pieces, ApiError> {
    json(&Acks {
        action: "acks",
        errors: items
            .iter()
            .any(|(status, _)| status.is_client_error() || status.is_server_error()),
        items: items
            .into_iter()
            .map(|(status, message)| AckItem {
                status: status.as_u16(),
                message,
            })
            .collect(),
    })
}

/// The server's state (agents.md 3.1); `identity` only for a caller that may know it.
pub(super) fn status(health: &Health, identity: Option<&Identity>) -> Result<Pieces, ApiError> {
    json(&Status {
        name: "fleet-server",
        status: health.state.as_str(),
        version: identity.map(|identity| StatusVersion {
            number: COMPATIBLE_VERSION.to_string(),
            build_hash: &identity.build_hash,
            build_time: &identity.build_time,
        }),
    })
}

fn json<T: Serialize>(reply: &T) -> Result<Pieces, ApiError> {
    serde_json::to_vec(reply).map(Pieces::from).map_err(broken)
}

fn text<T: Serialize>(value: &T) -> Result<String, ApiError> {
    serde_json::to_string(value).map_err(broken)
}

fn broken(error: serde_json::Error) -> ApiError {
    ApiError::Broken(format!("a reply could not be written: {error}").into())
}
