//! What Elasticsearch or the way to it refused, and what that is to a caller of the store (data.md 10.3).

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use store::{Cause, StoreError, chain};

/// A call that was not answered with success.
#[derive(Clone, Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts and the fields' names say it")]
pub enum Failure {
    #[error("Elasticsearch at {host} does not answer")]
    Unreachable { host: String, source: Cause },
    #[error("Elasticsearch at {host} did not answer within {} s", limit.as_secs())]
    TooSlow { host: String, limit: Duration },
    #[error("what answers at {host} is not Elasticsearch: its answer ({status}) lacks X-Elastic-Product")]
    NotElasticsearch { host: String, status: u16 },
    #[error("Elasticsearch does not accept our credentials: {reason}")]
    Unauthorized { reason: String },
    #[error("Elasticsearch does not permit it: {reason}")]
    Forbidden { reason: String },
    /// Another writer changed or made the document.
    #[error("the document changed meanwhile")]
    VersionConflict,
    #[error("there is no index for it")]
    IndexMissing,
    /// Nothing happened within the time that was given to wait for something.
    #[error("Elasticsearch waited in vain")]
    Timeout,
    #[error("Elasticsearch answers {status}: {kind}: {reason}")]
    Refused {
        status: u16,
        kind: String,
        reason: String,
    },
    #[error("an answer of Elasticsearch cannot be read")]
    Unreadable { source: Cause },
    #[error("an answer of Elasticsearch is longer than {most_bytes} bytes")]
    TooLong { most_bytes: usize },
    #[error("a request for Elasticsearch cannot be written")]
    Unwritable { source: Cause },
    #[error("too many requests to Elasticsearch wait for their turn")]
    NoSlot,
    #[error("the connection to Elasticsearch is closed")]
    Closed,
}

impl Failure {
    /// From an answer that is no success.
    pub(crate) fn refused(status: u16, body: &[u8]) -> Self {
        match serde_json::from_slice::<ErrorBody>(body) {
            Ok(body) => body.error.failure(status),
            Err(_) => Reason::Text(shown(&String::from_utf8_lossy(body))).failure(status),
        }
    }

    /// Something that was not what the documentation of the call says.
    pub(crate) fn unreadable(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Unreadable {
            source: Cause::new(cause),
        }
    }

    /// Whether the same call may succeed on another host or a little later.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => is_passing(*status),
            _ => false,
        }
    }
}

/// Statuses that are answered to a call which may be made again.
const fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 502 | 503 | 504)
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        Self::Unavailable {
            reason: chain(&failure),
            retry_after: RETRY_AFTER,
            source: Some(Cause::new(failure)),
        }
    }
}

#[derive(Deserialize)]
struct ErrorBody {
    error: Reason,
}

/// The reason of an answer, or of one item of an answer to many.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Reason {
    Typed {
        #[serde(rename = "type")]
        kind: String,
        #[serde(default)]
        reason: Option<String>,
    },
    Text(String),
    Other(Value),
}

impl Reason {
    pub(crate) fn failure(self, status: u16) -> Failure {
        let (kind, reason) = match self {
            Self::Typed { kind, reason } => (kind, reason.unwrap_or_default()),
            Self::Text(text) => (kind_in(&text).to_owned(), text),
            Self::Other(value) => (String::new(), value.to_string()),
        };
        let reason = shown(&reason);
        match (kind.as_str(), status) {
            ("version_conflict_engine_exception", _) => Failure::VersionConflict,
            ("index_not_found_exception", _) => Failure::IndexMissing,
            ("timeout_exception", _) => Failure::Timeout,
            (_, 401) => Failure::Unauthorized { reason },
            (_, 403) => Failure::Forbidden { reason },
            _ => Failure::Refused { status, kind, reason },
        }
    }
}

/// The type of an error that is a text, by the names that Elasticsearch and its classes give it.
fn kind_in(text: &str) -> &'static str {
    let known = [
        (
            "version_conflict_engine_exception",
            "VersionConflictEngineException",
        ),
        ("index_not_found_exception", "IndexNotFoundException"),
        ("timeout_exception", "TimeoutException"),
    ];
    let named = known
        .into_iter()
        .find(|(kind, class)| text.contains(kind) || text.contains(class));
    named.map_or("", |(kind, _)| kind)
}

/// A reason for logs: one line, and not long, since it may quote a document.
fn shown(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(LONGEST_REASON)
        .collect()
}

const LONGEST_REASON: usize = 300;
const RETRY_AFTER: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, body: &str) -> Failure {
        Failure::refused(status, body.as_bytes())
    }

    #[test]
    fn an_answer_is_told_by_type_or_by_text() {
        let typed = r#"{"error":{"root_cause":[],"type":"version_conflict_engine_exception","reason":"x"},"status":409}"#;
        assert!(matches!(of(409, typed), Failure::VersionConflict));
        let text = r#"{"error":"IndexNotFoundException[no such index]","status":404}"#;
        assert!(matches!(of(404, text), Failure::IndexMissing));
        let waited = r#"{"error":"org.elasticsearch.TimeoutException: late"}"#;
        assert!(matches!(of(504, waited), Failure::Timeout));
        let denied = r#"{"error":{"type":"security_exception","reason":"no"}}"#;
        assert!(matches!(of(401, denied), Failure::Unauthorized { .. }));
        assert!(matches!(of(403, denied), Failure::Forbidden { .. }));
    }

    #[test]
    fn what_is_no_error_of_elasticsearch_is_quoted_in_one_short_line() {
        let Failure::Refused { status, kind, reason } = of(502, &"<html>\n".repeat(100)) else {
            panic!("another failure");
        };
        assert_eq!((status, kind.as_str(), reason.len()), (502, "", LONGEST_REASON));
        assert!(!reason.contains('\n'));
        assert!(of(503, "").is_passing() && !of(500, "[]").is_passing());
        assert!(matches!(of(400, r#"{"error":7}"#), Failure::Refused { .. }));
    }
}
