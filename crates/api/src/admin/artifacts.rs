//! Artifacts that operators store for the agents of a policy, and remove. Ours: Kibana's integrations write them into its
//! indices.

use std::sync::Arc;

use actix_web::HttpResponse;
use fleet::{
    Timestamp,
    artifacts::{self, Artifact},
};
use schemars::JsonSchema;
use serde::Serialize;

use super::{AdminState, One, ok, query::Query};
use crate::{
    call::Call,
    error::{ApiError, Family},
    operation::{Answer, KeyKind, OCTETS, Operation},
};

/// The entry of a policy's `artifact_manifest.artifacts`, and where it goes.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Artifact")]
struct Item {
    identifier: String,
    entry: Entry,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ArtifactEntry")]
struct Entry {
    encryption_algorithm: &'static str,
    compression_algorithm: &'static str,
    decoded_sha256: String,
    decoded_size: u64,
    encoded_sha256: String,
    encoded_size: u64,
    relative_url: String,
}

impl From<Artifact> for Item {
    fn from(artifact: Artifact) -> Self {
        let decoded = artifact.decoded.digest.to_string();
        Self {
            entry: Entry {
                encryption_algorithm: "none",
                compression_algorithm: if artifact.is_zlib { "zlib" } else { "none" },
                decoded_size: artifact.decoded.bytes,
                encoded_sha256: artifact.encoded.digest.to_string(),
                encoded_size: artifact.encoded.bytes,
                relative_url: format!("/api/fleet/artifacts/{}/{decoded}", artifact.identifier),
                decoded_sha256: decoded,
            },
            identifier: artifact.identifier,
        }
    }
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ArtifactDeleted")]
struct Deleted {
    identifier: String,
    deleted: bool,
}

pub(super) fn about_put() -> Operation {
    const PLACE: &[(&str, &str)] = &[
        ("path.id", "$response.body#/item/identifier"),
        ("path.sha2", "$response.body#/item/entry/decoded_sha256"),
    ];
    Operation::new(
        "artifactPut",
        "An artifact, as it will be served",
        KeyKind::OPERATOR,
    )
    .path("id", "Its identifier")
    .takes_bytes(OCTETS)
    .answers(
        Answer::json::<One<Item>>(200, "The entry for a policy's manifest").link(
            "delete",
            "artifactDelete",
            PLACE,
        ),
    )
    .fails(&[Family::Artifact, Family::Room, Family::Rule, Family::Conflict])
}

pub(super) fn about_delete() -> Operation {
    Operation::new("artifactDelete", "Removes an artifact", KeyKind::OPERATOR)
        .path("id", "Its identifier")
        .path(
            "sha2",
            "The SHA-256 of what it inflates to, in hexadecimal digits",
        )
        .answers(Answer::json::<Deleted>(200, "It is gone"))
        .fails(&[Family::Artifact, Family::Missing])
}

pub(super) async fn put(state: Arc<AdminState>, mut call: Call) -> Result<HttpResponse, ApiError> {
    Query::none(&call.query)?;
    let body = state.body(&mut call, "artifact").await?;
    let stored = artifacts::store(&state.fleet, call.id.clone(), body, Timestamp::now()).await?;
    ok(&One {
        item: Item::from(stored),
    })
}

pub(super) async fn delete(state: Arc<AdminState>, call: Call) -> Result<HttpResponse, ApiError> {
    Query::none(&call.query)?;
    artifacts::delete(&state.fleet, &call.id, &call.second).await?;
    ok(&Deleted {
        identifier: call.id,
        deleted: true,
    })
}
