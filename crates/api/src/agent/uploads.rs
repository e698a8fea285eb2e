//! `POST /api/fleet/uploads`, `PUT /api/fleet/uploads/{id}/{chunk}`, `POST /api/fleet/uploads/{id}` (agents.md 10.1 to 10.3).
//!
//! The key is verified before anything is looked up or read; then the agent's limits, then the request.

use std::sync::Arc;

use actix_web::{HttpResponse, http::header::HeaderName, web::Bytes};
use fleet::{
    Agent, RawJson, Timestamp, UploadId,
    uploads::{self, UploadError, UploadRequest},
};
use serde_json::value::RawValue;

use super::{AgentState, json, wire};
use crate::{
    call::Call,
    clients::OwnRequest,
    error::{ApiError, Family},
    json::{self as read, JsonError, Object},
    limits::Permit,
    member::Member,
    operation::{Answer, KeyKind, OCTETS, Operation, Parameter},
    route::Route,
};

static CHUNK_DIGEST: HeaderName = HeaderName::from_static("x-chunk-sha2");

const BEGIN: [Member; 4] = [
    Member::text("action_id").required(),
    Member::text("agent_id").required(),
    Member::text("src").required().matching("^[a-z0-9_-]+$"),
    Member::object("file", &FILE).required(),
];
const FILE: [Member; 3] = [
    Member::text("name").required(),
    Member::text("mime_type").required(),
    Member::integer("size").required(),
];
const COMPLETE: [Member; 1] = [Member::object("transithash", &TRANSIT_HASH).required()];
const TRANSIT_HASH: [Member; 1] = [Member::text("sha256").required()];

pub(super) fn about_begin() -> Operation {
    const ID: &str = "$response.body#/upload_id";
    Operation::new("uploadBegin", "An agent announces a file", KeyKind::Agent)
        .takes(&BEGIN)
        .answers(
            Answer::json::<wire::UploadBegun<'_>>(200, "The upload, in chunks of this size")
                .link("chunk", "uploadChunk", &[("path.id", ID)])
                .link("complete", "uploadComplete", &[("path.id", ID)]),
        )
        .fails(UPLOAD)
}

pub(super) fn about_chunk() -> Operation {
    Operation::new("uploadChunk", "A chunk of a file, in any order", KeyKind::Agent)
        .path("id", "The upload's id")
        .parameter(
            Parameter::new::<u32>(crate::operation::Place::Path, "chunk", "Its number, from 0").required(),
        )
        .parameter(
            Parameter::header(
                "X-Chunk-SHA2",
                "The SHA-256 of the chunk in lower-case hexadecimal digits",
            )
            .with_schema(|_| schemars::json_schema!({ "type": "string", "pattern": "^[0-9a-f]{64}$" }))
            .required(),
        )
        .takes_bytes(OCTETS)
        .answers(Answer::empty(200, "It is stored").link(
            "complete",
            "uploadComplete",
            &[("path.id", "$request.path.id")],
        ))
        .fails(UPLOAD)
}

pub(super) fn about_complete() -> Operation {
    let summary = "The end of a file, with the SHA-256 over the chunks' SHA-256s";
    Operation::new("uploadComplete", summary, KeyKind::Agent)
        .path("id", "The upload's id")
        .takes(&COMPLETE)
        .answers(Answer::json::<wire::UploadComplete>(200, "The file is stored"))
        .fails(UPLOAD)
}

const UPLOAD: &[Family] = &[
    Family::Upload,
    Family::Room,
    Family::Rule,
    Family::Conflict,
    Family::Missing,
];

/// `POST /api/fleet/uploads`.
pub(super) async fn begin(state: Arc<AgentState>, mut call: Call) -> Result<HttpResponse, ApiError> {
    const WHAT: &str = "upload begin";
    let (agent, _places) = enter(&state, &mut call, Route::UploadStart).await?;
    let body = body(&state, &mut call, &agent, WHAT, Route::UploadStart).await?;
    let request = read::decode(body, request).await.map_err(|cause| match cause {
        JsonError::Empty => ApiError::Fleet(UploadError::BodyMissing.into()),
        cause => ApiError::Json { what: WHAT, cause },
    })?;
    let upload = uploads::begin(&state.fleet, &agent, request, Timestamp::now()).await?;
    Ok(json(wire::upload_begun(&upload)?))
}

/// `PUT /api/fleet/uploads/{id}/{chunk}`.
pub(super) async fn chunk(state: Arc<AgentState>, mut call: Call) -> Result<HttpResponse, ApiError> {
    const WHAT: &str = "upload chunk";
    let number: i64 = call.second.parse().map_err(|_| {
        ApiError::Invalid("invalid format for parameter chunkNum: it is no whole number".into())
    })?;
    let digest = call.required(&CHUNK_DIGEST, "X-Chunk-SHA2")?;
    let (agent, _places) = enter(&state, &mut call, Route::UploadChunk).await?;
    let upload = uploads::of_agent(&state.fleet, &agent, &UploadId::from(call.id.as_str())).await?;
    let (number, terms) =
        uploads::chunk_terms(&state.fleet, &upload, number, &digest, Timestamp::now()).await?;
    let limits = state.options.limits.of(Route::UploadChunk);
    let held = state.admission.bodies.hold(Some(&agent.id));
    let storing = |body| uploads::chunk(&state.fleet, &upload, number, body, terms);
    call.pass_body_on(WHAT, limits, state.options.body_timeout, held, storing)
        .await?;
    Ok(HttpResponse::Ok().content_type("application/json").finish())
}

/// `POST /api/fleet/uploads/{id}`.
pub(super) async fn complete(state: Arc<AgentState>, mut call: Call) -> Result<HttpResponse, ApiError> {
    const WHAT: &str = "upload complete";
    let (agent, _places) = enter(&state, &mut call, Route::UploadEnd).await?;
    let upload = uploads::of_agent(&state.fleet, &agent, &UploadId::from(call.id.as_str())).await?;
    let body = body(&state, &mut call, &agent, WHAT, Route::UploadEnd).await?;
    let transit_hash = read::decode(body, transit_hash)
        .await
        .map_err(|_| ApiError::Invalid("unable to decode upload complete request".into()))?;
    uploads::complete(&state.fleet, &upload, transit_hash.as_deref(), Timestamp::now()).await?;
    Ok(json(wire::upload_complete()?))
}

/// The agent whose key this is, and its places.
async fn enter(
    state: &AgentState,
    call: &mut Call,
    route: Route,
) -> Result<(Agent, (OwnRequest, Option<Permit>)), ApiError> {
    let key = call.take_key()?;
    let agent = fleet::auth::authenticate_some_agent(&state.fleet, &key).await?;
    let places = state
        .admission
        .admit_agent(route, &agent.id, call.started)
        .map_err(ApiError::Refused)?;
    Ok((agent, places))
}

async fn body(
    state: &AgentState,
    call: &mut Call,
    agent: &Agent,
    what: &'static str,
    route: Route,
) -> Result<Bytes, ApiError> {
    let limits = state.options.limits.of(route);
    let held = state.admission.bodies.hold(Some(&agent.id));
    call.body(what, limits, state.options.body_timeout, held).await
}

/// What has the wrong type counts as absent, and is then named as such.
fn request(text: &str) -> Result<UploadRequest, JsonError> {
    let body = Object::body(text, &BEGIN)?;
    let file = body.object("file", "file", &FILE).ok().flatten();
    let of_body = |name| body.text(name).ok().flatten();
    let of_file = |name| file.as_ref().and_then(|file| file.text(name).ok().flatten());
    Ok(UploadRequest {
        action_id: of_body("action_id"),
        agent_id: of_body("agent_id"),
        source: of_body("src"),
        name: of_file("name"),
        mime_type: of_file("mime_type"),
        size: file.as_ref().and_then(|file| file.integer("size").ok().flatten()),
        document: document(text)?,
    })
}

/// The body's first value as it was written.
fn document(text: &str) -> Result<RawJson, JsonError> {
    let syntax = |error: serde_json::Error| JsonError::Syntax(error.to_string());
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    match values.next() {
        Some(value) => RawJson::parse(value.map_err(syntax)?.get().to_owned()).map_err(syntax),
        None => Err(JsonError::Empty),
    }
}

fn transit_hash(text: &str) -> Result<Option<String>, JsonError> {
    let body = Object::body(text, &COMPLETE)?;
    let hash = body.object("transithash", "transithash", &TRANSIT_HASH)?;
    hash.map_or(Ok(None), |hash| hash.text("sha256"))
}
