//! `POST /api/fleet/agents/enroll` (http-api 2.2).

use std::sync::Arc;

use actix_web::HttpResponse;
use fleet::{
    RawJson, Secret, Timestamp,
    enrollment::{self, EnrollRequest, Enrolled},
};
use serde::Serialize;

use super::{AgentState, json};
use crate::{
    call::Call,
    error::ApiError,
    json::{self as read, JsonError, Object},
    route::Route,
};

/// Named in errors.
const WHAT: &str = "enroll";

pub(super) async fn serve(state: Arc<AgentState>, mut call: Call) -> Result<HttpResponse, ApiError> {
    let key = call.take_key()?;
    let admission = enrollment::admit(&state.fleet, &key).await?;
    let version = state.agent_version(&call)?.to_string();
    let limits = state.options.limits.of(Route::Enroll);
    let body = call.body(WHAT, limits, state.options.body_timeout, false).await?;
    let request = read::decode(body, request)
        .await
        .map_err(|cause| ApiError::Json { what: WHAT, cause })?;
    let enrolled = enrollment::enroll(&state.fleet, admission, &version, request, Timestamp::now()).await?;
    answer(&enrolled)
}

fn request(text: &str) -> Result<EnrollRequest, JsonError> {
    let body = Object::body(
        text,
        &["type", "id", "replace_token", "enrollment_id", "metadata"],
    )?;
    let metadata = body.object("metadata", "metadata", &["local", "tags"])?;
    let (local_metadata, tags) = match &metadata {
        Some(metadata) => (
            metadata.raw("local")?,
            metadata.texts("tags")?.unwrap_or_default(),
        ),
        None => (None, Vec::new()),
    };
    Ok(EnrollRequest {
        kind: body.text("type")?.unwrap_or_default(),
        id: present(body.text("id")?),
        replace_token: present(body.text("replace_token")?).map(Secret::from),
        enrollment_id: present(body.text("enrollment_id")?),
        local_metadata,
        tags,
    })
}

/// Agents send empty text for what they do not have.
fn present(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

fn answer(enrolled: &Enrolled) -> Result<HttpResponse, ApiError> {
    let agent = &enrolled.agent;
    let body = Answer {
        action: "created",
        item: Item {
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
    };
    let body =
        serde_json::to_vec(&body).map_err(|_| ApiError::Broken("the enroll answer is no JSON".into()))?;
    Ok(json(body))
}

#[derive(Serialize)]
struct Answer<'a> {
    action: &'static str,
    item: Item<'a>,
}

#[derive(Serialize)]
struct Item<'a> {
    id: &'a str,
    active: bool,
    policy_id: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    enrolled_at: String,
    user_provided_metadata: Option<()>,
    local_metadata: Option<&'a RawJson>,
    access_api_key_id: &'a str,
    access_api_key: String,
    status: &'static str,
    tags: &'a [String],
}
