//! Files for agents, ours: laid down, listed, removed.

use std::{sync::Arc, time::Duration};

use actix_web::{
    HttpResponse,
    http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue},
};
use fleet::{
    AgentFile, AgentId, FileId, Timestamp,
    agent_files::{self, Audience, FileDraft},
};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    AdminState, Done, Many, One, ok,
    query::{self, PAGING, Query},
};
use crate::{
    call::Call,
    error::{ApiError, Family},
    limits::RouteLimits,
    operation::{ANY_MEDIA, Answer, KeyKind, Operation},
};

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "File")]
struct Item {
    id: String,
    name: String,
    mime_type: String,
    size: u64,
    sha256: String,
    #[schemars(with = "Vec<String>")]
    agents: Vec<AgentId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    library: Option<String>,
    #[schemars(with = "String")]
    created_at: Timestamp,
}

impl From<AgentFile> for Item {
    fn from(stored: AgentFile) -> Self {
        let file = stored.file;
        Self {
            id: file.id.to_string(),
            name: file.name,
            mime_type: file.mime_type,
            size: stored.blob.bytes,
            sha256: stored.blob.digest.to_string(),
            agents: file.agents,
            library: file.library,
            created_at: file.at,
        }
    }
}

const CREATE: [&str; 3] = ["agents", "source", "name"];

pub(super) fn about_create() -> Operation {
    Operation::new(
        "fileCreate",
        "A file for agents, or of a library",
        KeyKind::OPERATOR,
    )
    .parameters(query::described(&CREATE))
    .takes_bytes(ANY_MEDIA)
    .answers(Answer::json::<One<Item>>(200, "It can be fetched").link(
        "delete",
        "fileDelete",
        &[("path.id", "$response.body#/item/id")],
    ))
    .fails(&[
        Family::Upload,
        Family::AgentKey,
        Family::Missing,
        Family::Rule,
        Family::Room,
    ])
}

pub(super) fn about_list() -> Operation {
    Operation::new(
        "files",
        "The files that were laid down for agents",
        KeyKind::VIEWER,
    )
    .parameters(query::described(&PAGING))
    .answers(Answer::json::<Many<Item>>(200, "A page of them"))
    .fails(&[Family::Rule])
}

pub(super) fn about_delete() -> Operation {
    Operation::new(
        "fileDelete",
        "Removes a file that was laid down for agents",
        KeyKind::OPERATOR,
    )
    .path("id", "The file's id")
    .answers(Answer::json::<Done>(200, "It is gone"))
    .fails(&[Family::File, Family::Missing])
}

pub(super) async fn create(state: Arc<AdminState>, mut call: Call) -> Result<HttpResponse, ApiError> {
    let query = Query::read(&call.query, &CREATE)?;
    let audience = match (query.text("agents"), query.text("source")) {
        (Some(agents), None) => {
            let ids = agents.split(',').map(str::trim).filter(|id| !id.is_empty());
            Audience::Agents(ids.map(AgentId::from).collect())
        }
        (None, Some(source)) if is_plain(source) => Audience::Library(format!("endpoint/{source}")),
        (None, Some(_)) => {
            let reason = "source takes lower-case letters, digits, _ . and - only";
            return Err(ApiError::Invalid(reason.into()));
        }
        _ => {
            let reason = "say for whom the file is: ?agents=ID,ID or ?source=LIBRARY";
            return Err(ApiError::Invalid(reason.into()));
        }
    };
    let mime_type = call
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let draft = FileDraft {
        name: query
            .text("name")
            .unwrap_or("file")
            .chars()
            .take(MOST_NAME)
            .collect(),
        mime_type: mime_type.unwrap_or("application/octet-stream").to_owned(),
        audience,
        bytes: call.headers.get(CONTENT_LENGTH).and_then(length),
    };
    let held = state.bodies.hold(None::<()>);
    let storing = |body| agent_files::lay_down(&state.fleet, draft, body, Timestamp::now());
    let stored = call
        .pass_body_on("file", RouteLimits::NONE, WITHIN, held, storing)
        .await?;
    ok(&One {
        item: Item::from(stored),
    })
}

pub(super) async fn list(state: Arc<AdminState>, call: Call) -> Result<HttpResponse, ApiError> {
    let paging = Query::read(&call.query, &PAGING)?.page()?;
    let page = agent_files::list(&state.fleet, paging.request()).await?;
    ok(&paging.envelope(page, Item::from))
}

pub(super) async fn delete(state: Arc<AdminState>, call: Call) -> Result<HttpResponse, ApiError> {
    Query::none(&call.query)?;
    agent_files::delete(&state.fleet, &FileId::from(call.id.as_str())).await?;
    ok(&Done { action: "deleted" })
}

/// As agents ask for libraries.
fn is_plain(source: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte);
    source.bytes().all(fits)
}

fn length(value: &HeaderValue) -> Option<u64> {
    value.to_str().ok()?.parse().ok()
}

/// A file may be large and the way to it slow; only operators send any.
const WITHIN: Duration = Duration::from_secs(3600);
const MOST_NAME: usize = 200;
