//! API keys as Elasticsearch issues, verifies and invalidates them: the calls, and nothing of whose keys they are.
//!
//! In: what a key is to be, or a presented key. Out: the key, or its name. Our own keys are the only ones that can be
//! invalidated or listed here; enrollment keys are Kibana's.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{ApiKey, KeyId, Secret};

use crate::{
    Connection, Failure,
    connection::{Body, Call},
    credentials::sensitive,
};

/// A key to be issued.
#[derive(Debug)]
pub(crate) struct NewApiKey<'a> {
    pub(crate) name: &'a str,
    /// Name of its role, which opens nothing.
    pub(crate) role: &'static str,
    pub(crate) metadata: Value,
    pub(crate) expires_in: Option<Duration>,
    /// Whether the call waits until searches find the key. Authentication finds it at once.
    pub(crate) is_found_at_once: bool,
}

/// A key that Elasticsearch accepted.
#[derive(Debug, Deserialize)]
pub(crate) struct Authenticated {
    #[serde(rename = "enabled")]
    is_enabled: bool,
    api_key: Option<Named>,
}

#[derive(Debug, Deserialize)]
struct Named {
    id: KeyId,
    name: String,
}

/// A key on record, ours.
#[derive(Debug, Deserialize)]
pub(crate) struct Listed {
    pub(crate) id: KeyId,
    #[serde(default)]
    pub(crate) metadata: Value,
}

impl Connection {
    /// Issues a key that opens nothing in Elasticsearch.
    pub(crate) async fn issue_key(&self, new: NewApiKey<'_>) -> Result<ApiKey, Failure> {
        #[derive(Deserialize)]
        struct Issued {
            id: String,
            api_key: IssuedSecret,
        }
        let nothing = json!({
            "cluster": [],
            "applications": [{"application": "fleet", "privileges": ["no-privileges"], "resources": ["*"]}],
        });
        let mut body =
            json!({"name": new.name, "role_descriptors": {new.role: nothing}, "metadata": new.metadata});
        if let Some(expires_in) = new.expires_in {
            body["expiration"] = format!("{}ms", expires_in.as_millis().max(1)).into();
        }
        let refresh = if new.is_found_at_once { "wait_for" } else { "false" };
        let path = format!("/_security/api_key?refresh={refresh}");
        // A key that nobody was told opens nothing: the call may be made twice.
        let issued: Issued = self.json(Call::new(Method::PUT, path, write(&body)?)).await?;
        let pair = Secret::from(format!("{}:{}", issued.id, issued.api_key.0.reveal()));
        let token = Secret::from(STANDARD.encode(pair.reveal()));
        ApiKey::from_token(token.reveal()).map_err(Failure::unreadable)
    }

    /// The name of the presented key; `None` if Elasticsearch does not accept it.
    pub(crate) async fn authenticate(&self, presented: &ApiKey) -> Result<Option<String>, Failure> {
        let token = Secret::from(presented.to_token());
        let authorization = sensitive("ApiKey ", token.reveal()).map_err(Failure::unreadable)?;
        let call = Call {
            authorization: Some(authorization),
            ..Call::new(Method::GET, "/_security/_authenticate", Body::None)
        };
        let known: Authenticated = match self.json(call).await {
            Err(Failure::Unauthorized { .. }) => return Ok(None),
            answer => answer?,
        };
        let named = known
            .api_key
            .filter(|named| known.is_enabled && named.id == presented.id);
        Ok(named.map(|named| named.name))
    }

    /// Invalidates those of these keys that are ours and found, and answers which those are: a key that was issued without
    /// waiting is not found for a second.
    pub(crate) async fn invalidate_api_keys(&self, ids: &[KeyId]) -> Result<Vec<KeyId>, Failure> {
        let mut gone = Vec::new();
        for ids in ids.chunks(MOST_KEYS) {
            let body = write(&json!({"ids": ids, "owner": true}))?;
            let call = Call::new(Method::DELETE, "/_security/api_key", body);
            let done: Invalidated = match self.json(call).await {
                // None of them is known.
                Err(Failure::Refused { status: 404, .. }) => continue,
                answer => answer?,
            };
            if done.error_count > 0 {
                return Err(Failure::Refused {
                    status: 200,
                    kind: "error_details".to_owned(),
                    reason: format!("{} API keys could not be invalidated", done.error_count),
                });
            }
            gone.extend(done.invalidated_api_keys);
            gone.extend(done.previously_invalidated_api_keys);
        }
        Ok(gone)
    }

    /// Our keys that were invalidated at `since` or later.
    pub(crate) async fn invalidated_since(&self, since: SystemTime) -> Result<Vec<KeyId>, Failure> {
        let since = since.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let since = u64::try_from(since).unwrap_or(u64::MAX);
        let query = json!({"bool": {"filter": [
            {"term": {"invalidated": true}},
            {"range": {"invalidation": {"gte": since}}},
        ]}});
        let listed = self.find_keys(query).await?;
        Ok(listed.into_iter().map(|key| key.id).collect())
    }

    /// Our keys that are still good and have this member in their metadata.
    pub(crate) async fn living_keys(&self, member: &str, value: &str) -> Result<Vec<Listed>, Failure> {
        let query = json!({"bool": {"filter": [
            {"term": {"invalidated": false}},
            {"term": {format!("metadata.{member}"): value}},
        ]}});
        self.find_keys(query).await
    }

    /// Our key with this id, as far as a search finds it.
    pub(crate) async fn own_key(&self, id: &KeyId) -> Result<Option<Listed>, Failure> {
        let query = json!({"ids": {"values": [id]}});
        Ok(self.find_keys(query).await?.into_iter().next())
    }

    async fn find_keys(&self, query: Value) -> Result<Vec<Listed>, Failure> {
        #[derive(Deserialize)]
        struct Found {
            api_keys: Vec<Hit>,
        }
        #[derive(Deserialize)]
        struct Hit {
            #[serde(flatten)]
            key: Listed,
            #[serde(rename = "_sort", default)]
            sort: Value,
        }
        let mut keys = Vec::new();
        let mut after = Value::Null;
        loop {
            let mut body = json!({
                "query": query,
                "size": MOST_KEYS,
                "sort": [{"creation": {"order": "asc"}}, "name"],
            });
            if !after.is_null() {
                body["search_after"] = after;
            }
            let call = Call::new(Method::POST, "/_security/_query/api_key", write(&body)?);
            let found: Found = self.json(call).await?;
            let is_last = found.api_keys.len() < MOST_KEYS;
            after = found.api_keys.last().map_or(Value::Null, |hit| hit.sort.clone());
            keys.extend(found.api_keys.into_iter().map(|hit| hit.key));
            if is_last || after.is_null() {
                return Ok(keys);
            }
        }
    }
}

#[derive(Deserialize)]
struct Invalidated {
    error_count: u64,
    #[serde(default)]
    invalidated_api_keys: Vec<KeyId>,
    #[serde(default)]
    previously_invalidated_api_keys: Vec<KeyId>,
}

/// Read into a secret at once.
#[derive(Deserialize)]
#[serde(from = "String")]
struct IssuedSecret(Secret);

impl From<String> for IssuedSecret {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

pub(crate) fn write(value: &impl Serialize) -> Result<Body, Failure> {
    let bytes = serde_json::to_vec(value).map_err(|error| Failure::Unwritable {
        source: store::Cause::new(error),
    })?;
    Ok(Body::Json(Bytes::from(bytes)))
}

/// Keys of one call.
const MOST_KEYS: usize = 1000;
