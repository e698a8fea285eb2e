//! `GET /api/fleet/file/{id}` (agents.md 12.2): a file for agents, whole or one range of it.

use std::sync::Arc;

use actix_web::{
    HttpResponse, HttpResponseBuilder,
    body::SizedStream,
    http::{
        StatusCode,
        header::{
            ACCEPT_RANGES, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH, IF_RANGE, RANGE,
            X_CONTENT_TYPE_OPTIONS,
        },
    },
    web,
};
use fleet::{AgentFile, FileId, agent_files};

use super::{
    AgentState,
    byte_range::{self, RangeError, Wanted},
};
use crate::{
    call::Call,
    error::{ApiError, Family},
    held_body::HeldBody,
    operation::{ANY_MEDIA, Answer, KeyKind, Operation, Parameter},
    route::Route,
};

static PRODUCT_ORIGIN: HeaderName = HeaderName::from_static("x-elastic-product-origin");
static FILE_DIGEST: HeaderName = HeaderName::from_static("x-file-sha2");

pub(super) fn about() -> Operation {
    let whole = |status, about| {
        Answer::of(status, ANY_MEDIA, about)
            .header("ETag", "The file's SHA-256")
            .header("Accept-Ranges", "bytes")
            .header("X-File-SHA2", "The file's SHA-256")
    };
    Operation::new(
        "file",
        "A file for the agent, whole or a range of it",
        KeyKind::Agent,
    )
    .path("id", "The file's id, or its name in the library")
    .parameter(Parameter::query::<String>(
        "source",
        "A library instead of the agent's own files",
    ))
    .parameter(Parameter::header(
        "X-elastic-product-origin",
        "Who asks for a library's file: `endpoint-security`",
    ))
    .parameter(Parameter::header("Range", "One range of bytes").like("bytes=0-9"))
    .parameter(Parameter::header(
        "If-Range",
        "The range is of use for this ETag only",
    ))
    .parameter(Parameter::header("If-None-Match", "ETags that are known"))
    .answers(whole(200, "The file"))
    .answers(whole(206, "A range of it").header("Content-Range", "Which"))
    .answers(Answer::empty(304, "It is known").header("ETag", "The file's SHA-256"))
    .fails(&[
        Family::File,
        Family::Range,
        Family::Library,
        Family::Missing,
        Family::Rule,
    ])
}

pub(super) async fn serve(state: Arc<AgentState>, mut call: Call) -> Result<HttpResponse, ApiError> {
    let key = call.take_key()?;
    let agent = fleet::auth::authenticate_some_agent(&state.fleet, &key).await?;
    let places = state
        .admission
        .admit_agent(Route::FileDelivery, &agent.id, call.started)
        .map_err(ApiError::Refused)?;
    let library = library(&call)?;
    let id = FileId::from(call.id.as_str());
    let file = agent_files::find(&state.fleet, &agent, &id, library.as_deref()).await?;
    let etag = format!("\"{}\"", file.blob.digest);
    let header = |name: &HeaderName| call.headers.get(name).and_then(|value| value.to_str().ok());
    if header(&IF_NONE_MATCH).is_some_and(|known| names(known, &etag)) {
        return Ok(HttpResponse::NotModified().insert_header((ETAG, etag)).finish());
    }
    // A range of another version of the file is of no use: all of it is sent.
    let is_same = header(&IF_RANGE).is_none_or(|known| known == etag);
    let asked = call.one(&RANGE, "Range")?.filter(|_| is_same);
    let size = file.blob.bytes;
    let (status, range) = match byte_range::wanted(asked.as_deref(), size) {
        Ok(Wanted::Whole) => (StatusCode::OK, 0..size),
        Ok(Wanted::Part(part)) => (StatusCode::PARTIAL_CONTENT, part),
        Err(RangeError::Unsatisfiable) => return Err(ApiError::Range { size: Some(size) }),
        Err(RangeError::Several) => return Err(ApiError::Range { size: None }),
    };
    let bytes = range.end - range.start;
    let mut response = described(status, &file, &etag);
    if status == StatusCode::PARTIAL_CONTENT {
        let last = range.end.saturating_sub(1);
        response.insert_header((CONTENT_RANGE, format!("bytes {}-{last}/{size}", range.start)));
    }
    let body = agent_files::read(&state.fleet, &file, range).await?;
    // Under way until its last byte: so many at once, and so many of one agent.
    Ok(response.body(HeldBody::new(SizedStream::new(bytes, body), places)))
}

fn described(status: StatusCode, file: &AgentFile, etag: &str) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    response
        .insert_header((CONTENT_TYPE, file.file.mime_type.as_str()))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((ACCEPT_RANGES, "bytes"))
        .insert_header((ETAG, etag))
        .insert_header((FILE_DIGEST.clone(), file.blob.digest.to_string()));
    response
}

/// The library that is asked for, if one is.
fn library(call: &Call) -> Result<Option<String>, ApiError> {
    let query = web::Query::<Vec<(String, String)>>::from_query(&call.query)
        .map_err(|_| ApiError::Invalid("the query cannot be read: expected name=value pairs".into()))?
        .into_inner();
    let source = query.iter().find(|(name, _)| name == "source");
    let Some(source) = source
        .map(|(_, value)| plain(value))
        .filter(|value| !value.is_empty())
    else {
        return Ok(None);
    };
    let origin = call.one(&PRODUCT_ORIGIN, "X-elastic-product-origin")?;
    match plain(origin.as_deref().unwrap_or_default()).as_str() {
        "endpoint-security" => Ok(Some(format!("endpoint/{source}"))),
        _ => Err(ApiError::LibraryClient),
    }
}

/// As the original reads names of libraries.
fn plain(text: &str) -> String {
    text.trim()
        .to_lowercase()
        .chars()
        .filter(|c| !"*?\"<>\\/,|#".contains(*c))
        .collect()
}

/// Whether a list of entity tags has this one.
fn names(list: &str, etag: &str) -> bool {
    list.split(',')
        .map(str::trim)
        .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == etag)
}
