//! `POST /api/fleet/agents/enroll` (agents.md 4.1).

use std::sync::Arc;

use actix_web::HttpResponse;
use fleet::{
    Secret, Timestamp,
    enrollment::{self, EnrollRequest},
};

use super::{AgentState, json, wire};
use crate::{
    call::Call,
    error::{ApiError, Family},
    json::{self as read, JsonError, Object},
    member::Member,
    operation::{Answer, KeyKind, Operation},
    route::Route,
};

/// Name of the body in errors.
const WHAT: &str = "enroll";

const BODY: [Member; 5] = [
    Member::text("type")
        .required()
        .one_of(&["PERMANENT", "EPHEMERAL", "TEMPORARY"]),
    Member::text("id").matching("^[A-Za-z0-9._:@-]{0,256}$"),
    Member::text("replace_token"),
    Member::text("enrollment_id").matching("^[A-Za-z0-9._:@#-]{0,256}$"),
    Member::object("metadata", &METADATA),
];
const METADATA: [Member; 2] = [Member::any_object("local"), Member::texts("tags")];

pub(super) fn about() -> Operation {
    const ID: &str = "$response.body#/item/id";
    Operation::new(
        "enroll",
        "An agent joins with an enrollment token",
        KeyKind::EnrollmentToken,
    )
    .takes(&BODY)
    .answers(
        Answer::json::<wire::Enrolled<'_>>(200, "The agent and its access key, which is told only here")
            .link("checkin", "checkin", &[("path.id", ID)])
            .link("acks", "acks", &[("path.id", ID)])
            .link("auditUnenroll", "auditUnenroll", &[("path.id", ID)]),
    )
    .fails(&[
        Family::UserAgent,
        Family::Enrollment,
        Family::Rule,
        Family::Conflict,
        Family::Missing,
        Family::Policy,
    ])
}

pub(super) async fn serve(state: Arc<AgentState>, mut call: Call) -> Result<HttpResponse, ApiError> {
    let key = call.take_key()?;
    let admission = enrollment::admit(&state.fleet, &key).await?;
    let version = state.agent_version(&call)?.to_string();
    let _place = state
        .admission
        .admit_known(Route::Enroll, call.started)
        .map_err(ApiError::Refused)?;
    let limits = state.options.limits.of(Route::Enroll);
    let held = state.admission.bodies.hold(None::<()>);
    let body = call.body(WHAT, limits, state.options.body_timeout, held).await?;
    let request = read::decode(body, request)
        .await
        .map_err(|cause| ApiError::Json { what: WHAT, cause })?;
    let enrolled = enrollment::enroll(&state.fleet, admission, &version, request, Timestamp::now()).await?;
    Ok(json(wire::enrolled(&enrolled)?))
}

fn request(text: &str) -> Result<EnrollRequest, JsonError> {
    let body = Object::body(text, &BODY)?;
    let metadata = body.object("metadata", "metadata", &METADATA)?;
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
