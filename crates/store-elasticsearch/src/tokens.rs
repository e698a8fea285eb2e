//! O16: the records of enrollment tokens, as Kibana makes them (data.md 1.6).

use serde::Deserialize;
use serde_json::json;
use store::{
    ApiKey, Cause, Conflict, EnrollmentToken, KeyId, NewToken, Page, PageRequest, PolicyId, Result,
    StoreError, Timestamp, TokenId,
};

use crate::{
    Failure,
    agents::with,
    document::{Members, Moment, or_default, time},
    documents::{Documents, Found, Visible},
    engine::missing,
    index::Index,
    pages, policies,
};

/// Whether the token may be made, as far as can be seen.
pub(crate) async fn check(documents: &Documents, token: &NewToken) -> Result<()> {
    if policies::latest(documents, &token.policy).await?.is_none() {
        return Err(missing("policy", &token.policy));
    }
    if by_id(documents, &token.id).await?.is_some() {
        return Err(Conflict::TokenExists(token.id.clone()).into());
    }
    Ok(())
}

pub(crate) async fn create(documents: &Documents, new: NewToken, key: &ApiKey) -> Result<EnrollmentToken> {
    let mut document = Members::default();
    document.set("active", &true)?;
    document.set("api_key_id", &key.id)?;
    document.set("api_key", &key.to_token())?;
    document.set("name", &new.name)?;
    document.set("policy_id", &new.policy)?;
    document.set("namespaces", &new.namespaces)?;
    document.set("created_at", &time(new.at))?;
    document.set("updated_at", &time(new.at))?;
    document.set_some("expire_at", new.expires_at.map(time).as_ref())?;
    let made = documents
        .create(Index::Tokens, new.id.as_str(), &document, Visible::AtOnce)
        .await;
    made.map_err(|failure| match failure {
        Failure::VersionConflict => StoreError::from(Conflict::TokenExists(new.id.clone())),
        failure => failure.into(),
    })?;
    Ok(EnrollmentToken {
        id: new.id,
        key: key.id.clone(),
        name: new.name,
        policy: new.policy,
        namespaces: new.namespaces,
        active: true,
        expires_at: new.expires_at,
        created_at: new.at,
    })
}

pub(crate) async fn by_id(documents: &Documents, id: &TokenId) -> Result<Option<EnrollmentToken>> {
    let found = documents.get(Index::Tokens, id.as_str()).await?;
    found.as_ref().map(token).transpose()
}

/// The record that names the key, revoked or not.
pub(crate) async fn by_key(documents: &Documents, key: &KeyId) -> Result<Option<EnrollmentToken>> {
    let found = documents
        .search(Index::Tokens, &with("api_key_id", key.as_str(), 2))
        .await?;
    match found.hits.as_slice() {
        [] => Ok(None),
        [one] => token(one).map(Some),
        _ => Err(StoreError::corrupt(format!(
            "several enrollment tokens name key {key}"
        ))),
    }
}

/// Whether an enrolment at this time is admitted (S14).
pub(crate) async fn admits(documents: &Documents, key: &KeyId, at: Timestamp) -> Result<bool> {
    let token = by_key(documents, key).await?;
    Ok(token.is_some_and(|token| token.active && token.expires_at.is_none_or(|end| end > at)))
}

/// Newest first.
pub(crate) async fn page(documents: &Documents, request: &PageRequest) -> Result<Page<EnrollmentToken>> {
    let sort = json!([{"created_at": "desc"}, {"api_key_id": "desc"}]);
    let body = pages::search(request, &json!({"match_all": {}}), sort, "tokens")?;
    let found = documents.search(Index::Tokens, &body).await?;
    pages::page(request, found, "tokens", token)
}

/// The living tokens of a policy.
pub(crate) async fn of_policy(documents: &Documents, policy: &PolicyId) -> Result<Vec<TokenId>> {
    let body = json!({
        "query": {"bool": {"filter": [{"term": {"policy_id": policy}}, {"term": {"active": true}}]}},
        "size": PageRequest::WINDOW,
        "seq_no_primary_term": true,
    });
    let found = documents.search(Index::Tokens, &body).await?;
    Ok(found.hits.into_iter().map(|hit| TokenId::from(hit.id)).collect())
}

/// It stays on record, but admits nobody.
pub(crate) async fn deactivate(documents: &Documents, id: &TokenId, at: Timestamp) -> Result<()> {
    if by_id(documents, id).await?.is_some_and(|token| !token.active) {
        return Ok(());
    }
    let mut change = Members::default();
    change.set("active", &false)?;
    change.set("updated_at", &time(at))?;
    documents
        .update(Index::Tokens, id.as_str(), &change, Visible::AtOnce)
        .await?;
    Ok(())
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Source {
    #[serde(deserialize_with = "or_default")]
    active: bool,
    api_key_id: Option<KeyId>,
    #[serde(deserialize_with = "or_default")]
    name: String,
    policy_id: Option<PolicyId>,
    #[serde(deserialize_with = "or_default")]
    namespaces: Vec<String>,
    created_at: Moment,
    expire_at: Moment,
}

pub(crate) fn token(found: &Found) -> Result<EnrollmentToken> {
    let source: Source = serde_json::from_str(found.source.get()).map_err(|error| StoreError::Corrupt {
        detail: format!("enrollment token {} has another shape", found.id),
        source: Some(Cause::new(error)),
    })?;
    let (Some(key), Some(policy)) = (source.api_key_id, source.policy_id) else {
        return Err(StoreError::corrupt(format!(
            "enrollment token {} names no key or no policy",
            found.id
        )));
    };
    Ok(EnrollmentToken {
        id: TokenId::from(found.id.as_str()),
        key,
        name: source.name,
        policy,
        namespaces: source.namespaces,
        active: source.active,
        expires_at: source.expire_at.0,
        created_at: source.created_at.0.unwrap_or_else(|| Timestamp::from_millis(0)),
    })
}
