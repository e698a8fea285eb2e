//! Artifacts: files that programs beside an agent fetch (Endpoint's lists of exceptions and of trusted applications), by
//! name and by the SHA-256 of what they hold.
//!
//! An operator stores one as it will be served and writes its entry into a policy; agents of that policy, and no others,
//! may fetch it. Nothing changes a stored artifact: other content has another SHA-256.

mod error;

use std::{collections::HashSet, io::Read as _};

use bytes::Bytes;
use flate2::read::ZlibDecoder;
use futures_util::{StreamExt as _, stream};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use store::{Agent, Blob, BlobId, BlobStream, BlobTerms, Digest, Timestamp};

use crate::{Fleet, FleetError, audit_log, off_the_loop::off_the_loop};

pub use error::ArtifactError;

/// A stored artifact: what its entry in a policy's `artifact_manifest.artifacts` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// Its name.
    pub identifier: String,
    /// SHA-256 and length of what it holds.
    pub decoded: Blob,
    /// SHA-256 and length of the bytes that are served.
    pub encoded: Blob,
    /// Whether these are compressed with zlib.
    pub is_zlib: bool,
}

/// Stores the bytes as they will be served. They are zlib's if they inflate to their end, and plain otherwise. The same
/// bytes again are harmless.
///
/// # Errors
/// [`ArtifactError::Name`], [`ArtifactError::InflatesTooLarge`], [`crate::uploads::UploadError::StoreFull`], or the store's
/// fault. Bytes that hold the same, compressed differently, are a conflict: agents know the stored ones by their SHA-256.
pub async fn store(
    fleet: &Fleet,
    identifier: String,
    encoded: Bytes,
    now: Timestamp,
) -> Result<Artifact, FleetError> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !(1..=MOST_NAME).contains(&identifier.len()) || !identifier.chars().all(is_name) {
        let found = identifier.chars().take(MOST_NAME).collect();
        return Err(ArtifactError::Name { found }.into());
    }
    let (decoded, served, is_zlib, bytes) = off_the_loop(move || {
        let served = measured(&encoded);
        inflated(&encoded).map(|decoded| match decoded {
            Some(decoded) => (decoded, served, true, encoded),
            None => (served, served, false, encoded),
        })
    })
    .await??;
    let id = blob(&identifier, decoded.digest);
    // What is there already needs no room.
    let room = match fleet.store.blob(&id).await? {
        Some(_) => None,
        None => Some(fleet.file_room.reserve(Some(served.bytes), now).await?),
    };
    let terms = BlobTerms {
        most_bytes: served.bytes,
        bytes: Some(served.bytes),
        digest: Some(served.digest),
    };
    let body = stream::iter([Ok(bytes)]).boxed();
    let what = json!({ "decoded_sha256": decoded.digest.to_string() });
    audit_log::due(fleet, "artifact", &identifier, Value::Null, what);
    let body = match &room {
        Some(room) => room.filled_by(body),
        None => body,
    };
    let encoded = fleet.store.put_blob(&id, body, terms).await?;
    drop(room);
    Ok(Artifact {
        identifier,
        decoded,
        encoded,
        is_zlib,
    })
}

/// The bytes that an agent may fetch, with their length.
///
/// # Errors
/// [`ArtifactError::NoDigest`], [`ArtifactError::NotListed`], [`ArtifactError::Unknown`], or the store's fault.
pub async fn read(
    fleet: &Fleet,
    agent: &Agent,
    identifier: &str,
    decoded: &str,
) -> Result<(Blob, BlobStream), FleetError> {
    let digest: Digest = decoded
        .parse()
        .map_err(|source| ArtifactError::NoDigest { source })?;
    // The policy that an operator assigned, whatever the agent says of itself.
    let policy = fleet.actors.policy_monitor.latest(&agent.policy).await?;
    let is_listed = policy.is_some_and(|policy| policy.artifacts.lists(identifier, decoded));
    if !is_listed {
        return Err(ArtifactError::NotListed {
            agent: agent.id.clone(),
            identifier: identifier.to_owned(),
        }
        .into());
    }
    let id = blob(identifier, digest);
    let unknown = || ArtifactError::Unknown {
        identifier: identifier.to_owned(),
        decoded: digest,
    };
    let found = fleet.store.blob(&id).await?.ok_or_else(unknown)?;
    Ok((found, fleet.store.read_blob(&id, 0..found.bytes).await?))
}

/// Removes an artifact. Agents whose policy still lists it are told that it does not exist.
///
/// # Errors
/// [`ArtifactError::NoDigest`], [`ArtifactError::Unknown`], or the store's fault.
pub async fn delete(fleet: &Fleet, identifier: &str, decoded: &str) -> Result<(), FleetError> {
    let decoded: Digest = decoded
        .parse()
        .map_err(|source| ArtifactError::NoDigest { source })?;
    let id = blob(identifier, decoded);
    if fleet.store.blob(&id).await?.is_none() {
        return Err(ArtifactError::Unknown {
            identifier: identifier.to_owned(),
            decoded,
        }
        .into());
    }
    let what = json!({ "decoded_sha256": decoded.to_string() });
    audit_log::due(fleet, "artifact", identifier, what, Value::Null);
    Ok(fleet.store.delete_blobs(&[id]).await?)
}

/// The artifacts that a policy lists, by name and SHA-256 as it is written there.
#[derive(Debug, Default)]
pub(crate) struct Listed(HashSet<(String, String)>);

impl Listed {
    /// Of all inputs; what is malformed lists nothing.
    pub(crate) fn of(policy: &Map<String, Value>) -> Self {
        let inputs = policy
            .get("inputs")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let manifests = inputs.filter_map(|input| input.pointer("/artifact_manifest/artifacts")?.as_object());
        let entries = manifests.flatten().filter_map(|(identifier, entry)| {
            let decoded = entry.get("decoded_sha256")?.as_str()?;
            Some((identifier.clone(), decoded.to_owned()))
        });
        Self(entries.collect())
    }

    fn lists(&self, identifier: &str, decoded: &str) -> bool {
        self.0.contains(&(identifier.to_owned(), decoded.to_owned()))
    }
}

fn blob(identifier: &str, decoded: Digest) -> BlobId {
    BlobId::from(format!("artifact/{identifier}/{decoded}"))
}

fn measured(bytes: &[u8]) -> Blob {
    Blob {
        bytes: bytes.len() as u64,
        digest: <[u8; 32]>::from(Sha256::digest(bytes)).into(),
    }
}

/// What zlib's bytes hold; `None` if they are not zlib's, or go on behind its end.
fn inflated(encoded: &[u8]) -> Result<Option<Blob>, ArtifactError> {
    let mut decoder = ZlibDecoder::new(encoded);
    let (mut digest, mut bytes) = (Sha256::new(), 0_u64);
    let mut piece = vec![0; PIECE];
    loop {
        match decoder.read(&mut piece) {
            Err(_) => return Ok(None),
            Ok(0) if decoder.total_in() < encoded.len() as u64 => return Ok(None),
            Ok(0) => break,
            Ok(read) => {
                bytes += read as u64;
                if bytes > MOST_INFLATED {
                    return Err(ArtifactError::InflatesTooLarge { most: MOST_INFLATED });
                }
                digest.update(piece.get(..read).unwrap_or_default());
            }
        }
    }
    let digest = <[u8; 32]>::from(digest.finalize()).into();
    Ok(Some(Blob { bytes, digest }))
}

const PIECE: usize = 64 * 1024;
const MOST_NAME: usize = 256;
/// Whoever fetches it holds it in memory.
const MOST_INFLATED: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::ZlibEncoder};
    use serde_json::json;

    use super::*;

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn what_zlib_holds_is_measured_and_other_bytes_are_plain() {
        let plain = b"{\"entries\":[]}".repeat(20_000);
        let packed = zlib(&plain);
        assert_eq!(inflated(&packed), Ok(Some(measured(&plain))));
        assert_eq!(inflated(&zlib(b"")), Ok(Some(measured(b""))));
        for other in [
            &b""[..],
            b"{}",
            &plain,
            &packed[..packed.len() - 1],
            &[&packed[..], b"x"].concat(),
        ] {
            assert_eq!(inflated(other), Ok(None), "{} bytes", other.len());
        }
    }

    #[test]
    fn a_policy_lists_artifacts_in_any_input() {
        let policy = json!({"inputs": [
            7,
            {"artifact_manifest": {"artifacts": {"a": {"decoded_sha256": "AB"}, "b": {}, "c": 1}}},
            {"artifact_manifest": {"artifacts": {"a": {"decoded_sha256": "cd"}}}},
            {"artifact_manifest": []},
        ]});
        let listed = Listed::of(policy.as_object().unwrap());
        assert!(listed.lists("a", "AB") && listed.lists("a", "cd"));
        for (identifier, decoded) in [("a", "ab"), ("b", ""), ("c", "1"), ("d", "AB")] {
            assert!(!listed.lists(identifier, decoded));
        }
        assert!(Listed::of(&Map::new()).0.is_empty());
    }
}
