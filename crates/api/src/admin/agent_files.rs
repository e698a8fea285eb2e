//! Files that agents sent: Kibana's paths for a list, a download and a removal, and the request for diagnostics.

use std::sync::Arc;

use actix_web::{
    HttpResponse,
    body::SizedStream,
    http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS},
};
use fleet::{
    AgentId, FileId, RawJson, Timestamp, Upload,
    actions::{self, ActionDraft, ActionKind},
    uploads,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    AdminState, Many, ok,
    query::{self, PAGING, Query},
    targets::Targets,
};
use crate::{
    call::Call,
    error::{ApiError, Family},
    operation::{Answer, KeyKind, OCTETS, Operation},
};

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Upload")]
struct Item {
    id: String,
    name: String,
    file_path: String,
    #[schemars(with = "String")]
    create_time: Timestamp,
    status: &'static str,
    action_id: String,
    size: u64,
    mime_type: String,
    source: String,
}

impl From<Upload> for Item {
    fn from(upload: Upload) -> Self {
        Self {
            file_path: format!(
                "/api/fleet/agents/files/{}/{}",
                in_path(upload.file.as_str()),
                in_path(&upload.name)
            ),
            id: upload.file.to_string(),
            name: upload.name,
            create_time: upload.started_at,
            status: upload.state.as_str(),
            action_id: upload.action.to_string(),
            size: upload.bytes,
            mime_type: upload.mime_type,
            source: upload.source,
        }
    }
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "UploadDeleted")]
struct Deleted {
    id: String,
    deleted: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WantedDiagnostics {
    #[serde(default)]
    additional_metrics: Vec<Metric>,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
enum Metric {
    Cpu,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "DiagnosticsRequested")]
struct Requested<'a> {
    action_id: &'a str,
}

pub(super) fn about_list() -> Operation {
    Operation::new("uploads", "Files of an agent, newest first", KeyKind::VIEWER)
        .path("id", "The agent's id")
        .parameters(query::described(&PAGING))
        .answers(Answer::json::<Many<Item>>(200, "A page of them"))
        .fails(&[Family::AgentKey, Family::Missing, Family::Rule])
}

pub(super) fn about_download() -> Operation {
    Operation::new(
        "uploadDownload",
        "The bytes of a file that an agent sent",
        KeyKind::OPERATOR,
    )
    .path("id", "The file's id")
    .path("name", "Any name: the id alone counts")
    .answers(Answer::of(200, OCTETS, "The file, as an attachment").header("Content-Disposition", "Its name"))
    .fails(&[Family::File, Family::Missing])
}

pub(super) fn about_delete() -> Operation {
    Operation::new(
        "uploadDelete",
        "Removes the bytes of a file that an agent sent",
        KeyKind::OPERATOR,
    )
    .path("id", "The file's id")
    .answers(Answer::json::<Deleted>(
        200,
        "The bytes are gone, the record stays",
    ))
    .fails(&[Family::File, Family::Missing])
}

pub(super) fn about_request_diagnostics() -> Operation {
    Operation::new(
        "diagnosticsRequest",
        "Asks an agent for diagnostics",
        KeyKind::OPERATOR,
    )
    .path("id", "The agent's id")
    .takes_json::<WantedDiagnostics>()
    .answers(Answer::json::<Requested<'_>>(200, "The action").link(
        "progress",
        "action",
        &[("path.id", "$response.body#/actionId")],
    ))
    .fails(&[Family::AgentKey, Family::Missing, Family::Rule, Family::Conflict])
}

pub(super) fn about_bulk_request_diagnostics() -> Operation {
    Operation::new(
        "diagnosticsRequestOfMany",
        "Asks agents for diagnostics, all or none; of a kuery, those that take actions",
        KeyKind::OPERATOR,
    )
    .takes_json::<WantedOfMany>()
    .answers(Answer::json::<Requested<'_>>(200, "The action"))
    .fails(&[Family::AgentKey, Family::Missing, Family::Rule, Family::Conflict])
}

pub(super) async fn list(state: Arc<AdminState>, call: Call) -> Result<HttpResponse, ApiError> {
    let paging = Query::read(&call.query, &PAGING)?.page()?;
    let page = uploads::list(&state.fleet, &AgentId::from(call.id.as_str()), paging.request()).await?;
    ok(&paging.envelope(page, Item::from))
}

/// The name in the path is for people who save by it; the id alone counts.
pub(super) async fn download(state: Arc<AdminState>, call: Call) -> Result<HttpResponse, ApiError> {
    Query::none(&call.query)?;
    let file = FileId::from(call.id.as_str());
    let (upload, bytes) = uploads::read(&state.fleet, &file).await?;
    // What an agent says of its type is not for a browser to act on.
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/octet-stream"))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((CONTENT_DISPOSITION, disposition(&upload.name)))
        .body(SizedStream::new(upload.bytes, bytes)))
}

pub(super) async fn delete(state: Arc<AdminState>, call: Call) -> Result<HttpResponse, ApiError> {
    Query::none(&call.query)?;
    uploads::delete(&state.fleet, &FileId::from(call.id.as_str()), Timestamp::now()).await?;
    ok(&Deleted {
        id: call.id,
        deleted: true,
    })
}

pub(super) async fn request_diagnostics(
    state: Arc<AdminState>,
    mut call: Call,
) -> Result<HttpResponse, ApiError> {
    Query::none(&call.query)?;
    let wanted: WantedDiagnostics = state.json(&mut call, "diagnostics").await?;
    let agents = vec![AgentId::from(call.id.as_str())];
    requested(&state, agents, &wanted.additional_metrics, Timestamp::now()).await
}

/// What many agents are asked for. Kibana's `batchSize` has no meaning here.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WantedOfMany {
    agents: Targets,
    #[serde(default)]
    additional_metrics: Vec<Metric>,
}

pub(super) async fn bulk_request_diagnostics(
    state: Arc<AdminState>,
    mut call: Call,
) -> Result<HttpResponse, ApiError> {
    Query::none(&call.query)?;
    let wanted: WantedOfMany = state.json(&mut call, "diagnostics").await?;
    let now = Timestamp::now();
    let agents = wanted.agents.of_an_action(&state.fleet, now).await?;
    requested(&state, agents, &wanted.additional_metrics, now).await
}

/// One action for all of them.
async fn requested(
    state: &AdminState,
    agents: Vec<AgentId>,
    metrics: &[Metric],
    now: Timestamp,
) -> Result<HttpResponse, ApiError> {
    let data = serde_json::json!({"additional_metrics": metrics});
    let draft = ActionDraft {
        data: (!metrics.is_empty())
            .then(|| RawJson::from_value(&data).map_err(|_| ApiError::Broken("no JSON".into())))
            .transpose()?,
        expiration: Some(now.plus(DIAGNOSTICS_LIFE)),
        ..ActionDraft::new(ActionKind::RequestDiagnostics)
    };
    let action = actions::post(&state.fleet, agents, draft, now).await?;
    ok(&Requested {
        action_id: action.action.as_str(),
    })
}

/// An attachment under the file's own name, as far as a file may be called so: a last segment of a path, without
/// characters that a header or a file system reads as something else. Once in ASCII, once in full.
fn disposition(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let clean: String = last
        .chars()
        .map(|c| {
            if c.is_control() || "\"*:<>?|%;".contains(c) {
                '_'
            } else {
                c
            }
        })
        .take(MOST_NAME)
        .collect();
    let clean = clean.trim_matches(['.', ' ']);
    let clean = if clean.is_empty() { "file" } else { clean };
    let ascii: String = clean
        .chars()
        .map(|c| if c.is_ascii() { c } else { '_' })
        .collect();
    format!(
        "attachment; filename=\"{ascii}\"; filename*=UTF-8''{}",
        in_path(clean)
    )
}

fn in_path(text: &str) -> impl std::fmt::Display {
    utf8_percent_encode(text, PLAIN)
}

const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Kibana's: an agent that is away for longer is not asked any more.
const DIAGNOSTICS_LIFE: std::time::Duration = std::time::Duration::from_secs(3 * 3600);
const MOST_NAME: usize = 200;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_agents_become_names_of_files() {
        for (name, expected) in [
            ("a-b_c.zip", "a-b_c.zip"),
            ("../../etc/passwd", "passwd"),
            ("C:\\x\\y.zip", "y.zip"),
            ("..", "file"),
            (" . ", "file"),
            ("a/", "file"),
            ("a\"; filename=\"b.exe", "a__ filename=_b.exe"),
            ("a\r\nSet-Cookie: x", "a__Set-Cookie_ x"),
        ] {
            let shown = disposition(name);
            assert!(
                shown.starts_with(&format!("attachment; filename=\"{expected}\"; ")),
                "{shown}"
            );
        }
        assert_eq!(
            disposition("Bericht ä.zip"),
            "attachment; filename=\"Bericht _.zip\"; filename*=UTF-8''Bericht%20%C3%A4.zip"
        );
    }

    proptest! {
        #[test]
        fn every_name_is_one_header_value(name in "\\PC*|.*") {
            let shown = disposition(&name);
            prop_assert!(shown.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{}", shown);
            prop_assert_eq!(shown.matches('"').count(), 2);
        }
    }
}
