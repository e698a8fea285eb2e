//! O14, O15: policies and their revisions, one document each (data.md 1.5).
//!
//! In: ids, revisions. Out: revisions as Kibana or this server stored them. Of two that append the same revision one wins,
//! since the document's id is policy and revision.

use std::{collections::HashMap, time::Duration};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};
use store::{
    Cause, Conflict, NewRevision, Page, PageRequest, PageStart, Policies, PolicyId, PolicyRevision,
    PolicySummary, RawJson, Result, StoreError, Timestamp, Total,
};

use crate::{
    ElasticStore, Failure,
    concurrent::at_once,
    document::{Members, Moment, or_default, time},
    documents::{Documents, Found, Visible},
    engine::missing,
    index::Index,
    pages, tokens,
};

#[async_trait]
impl Policies for ElasticStore {
    async fn append_policy_revision(
        &self,
        expected_previous: Option<i64>,
        new: NewRevision,
    ) -> Result<PolicyRevision> {
        let documents = self.open().await?;
        let latest = latest(&documents, &new.policy).await?;
        let current = latest.as_ref().map(|latest| latest.revision);
        let conflict = |current: i64| {
            let policy = new.policy.clone();
            StoreError::from(Conflict::Revision { policy, current })
        };
        if current != expected_previous {
            return Err(conflict(current.unwrap_or(0)));
        }
        let revision = current.unwrap_or(0) + 1;
        let created_at = latest.map_or(new.at, |latest| latest.created_at);
        let id = format!("{}:{revision}", new.policy);
        let document = document(&new, revision, created_at)?;
        match documents
            .create(Index::Policies, &id, &document, Visible::AtOnce)
            .await
        {
            Ok(_) => {}
            // Whoever was first may not be found yet.
            Err(Failure::VersionConflict) => return Err(conflict(revision)),
            Err(failure) => return Err(failure.into()),
        }
        Ok(PolicyRevision {
            policy: new.policy,
            revision,
            data: new.data,
            settings: new.settings,
            namespaces: new.namespaces,
            inactivity_timeout: new.inactivity_timeout,
            at: new.at,
            created_at,
        })
    }

    async fn policy(&self, id: &PolicyId) -> Result<Option<PolicyRevision>> {
        latest(&*self.open().await?, id).await
    }

    async fn policy_revision(&self, id: &PolicyId, number: i64) -> Result<Option<PolicyRevision>> {
        by_revision(&*self.open().await?, id, number).await
    }

    async fn policy_history(&self, id: &PolicyId, page: PageRequest) -> Result<Page<PolicyRevision>> {
        let documents = self.open().await?;
        let query = json!({"bool": {"filter": [{"term": {"policy_id": id}}]}});
        let body = pages::search(&page, &query, json!([{"revision_idx": "desc"}]), "revisions")?;
        let found = documents.search(Index::Policies, &body).await?;
        pages::page(&page, found, "revisions", revision)
    }

    /// Kibana keeps its revisions as long as it likes.
    async fn trim_policy_history(&self, _kept: u32, _limit: u32) -> Result<u64> {
        Ok(0)
    }

    async fn policies(&self, page: PageRequest) -> Result<Page<PolicySummary>> {
        page.check()?;
        let documents = self.open().await?;
        let known = known(&documents).await?;
        let start = match &page.from {
            PageStart::Offset(offset) => usize::try_from(*offset).unwrap_or(usize::MAX),
            PageStart::After(position) => {
                let after: (i64, PolicyId) =
                    serde_json::from_str(position.as_str()).map_err(|_| pages::foreign())?;
                known.partition_point(|policy| (policy.created_at, &policy.id) <= (after.0, &after.1))
            }
        };
        let shown: Vec<_> = known.iter().skip(start).take(page.limit as usize).collect();
        let agents = assigned(&documents).await?;
        let reading: Vec<_> = shown
            .iter()
            .map(|policy| summary(&documents, policy, &agents))
            .collect();
        let read = futures_util::future::try_join_all(reading).await?;
        let items = read.into_iter().flatten().collect();
        let last = shown.last().filter(|_| shown.len() >= page.limit as usize);
        let next = last.map(|last| json!([last.created_at, last.id]).to_string().into());
        let total = Total::Exact(known.len() as u64);
        Ok(Page { items, total, next })
    }

    async fn delete_policy(&self, id: &PolicyId, at: Timestamp) -> Result<()> {
        let documents = self.open().await?;
        if latest(&documents, id).await?.is_none() {
            return Err(missing("policy", id));
        }
        self.show_late_writes().await?;
        let active = json!({"size": 0, "track_total_hits": true, "query": {"bool": {"filter": [
            {"term": {"policy_id": id}}, {"term": {"active": true}}]}}});
        let agents = documents.search(Index::Agents, &active).await?.total;
        if agents > 0 {
            let policy = id.clone();
            return Err(Conflict::AgentsAssigned { policy, agents }.into());
        }
        for token in tokens::of_policy(&documents, id).await? {
            self.revoke(&documents, &token, at).await?;
        }
        remove(&documents, id).await
    }
}

/// The newest revision.
pub(crate) async fn latest(documents: &Documents, id: &PolicyId) -> Result<Option<PolicyRevision>> {
    let body = json!({
        "query": {"bool": {"filter": [{"term": {"policy_id": id}}]}},
        "sort": [{"revision_idx": "desc"}],
        "size": 1,
        "seq_no_primary_term": true,
    });
    let found = documents.search(Index::Policies, &body).await?;
    found.hits.first().map(revision).transpose()
}

async fn by_revision(documents: &Documents, id: &PolicyId, number: i64) -> Result<Option<PolicyRevision>> {
    let body = json!({
        "query": {"bool": {"filter": [{"term": {"policy_id": id}}, {"term": {"revision_idx": number}}]}},
        "size": 1,
        "seq_no_primary_term": true,
    });
    let found = documents.search(Index::Policies, &body).await?;
    found.hits.first().map(revision).transpose()
}

/// A policy on record.
pub(crate) struct Known {
    pub(crate) id: PolicyId,
    revision: i64,
    /// Milliseconds: of its oldest revision that is there.
    created_at: i64,
    pub(crate) inactivity_timeout: Option<Duration>,
}

/// All policies, oldest first.
pub(crate) async fn known(documents: &Documents) -> Result<Vec<Known>> {
    let body = json!({"size": 0, "aggs": {"policies": {
        "terms": {"field": "policy_id", "size": PageRequest::WINDOW},
        "aggs": {
            "created": {"min": {"field": "@timestamp"}},
            "latest": {"top_hits": {"size": 1, "sort": [{"revision_idx": "desc"}], "_source": ["revision_idx", "inactivity_timeout_ms", "created_at"]}},
        },
    }}});
    let found = documents.search(Index::Policies, &body).await?;
    let mut known: Vec<_> = buckets(&found.aggregations, "/policies/buckets")
        .filter_map(|bucket| {
            let latest = bucket.pointer("/latest/hits/hits/0/_source")?;
            let made = latest["created_at"]
                .as_str()
                .and_then(Timestamp::parse)
                .map(Timestamp::millis);
            #[expect(clippy::cast_possible_truncation, reason = "whole milliseconds")]
            let oldest = bucket
                .pointer("/created/value")
                .and_then(Value::as_f64)
                .map(|millis| millis as i64);
            Some(Known {
                id: PolicyId::from(bucket["key"].as_str()?),
                revision: latest["revision_idx"].as_i64()?,
                created_at: made.or(oldest).unwrap_or(0),
                inactivity_timeout: latest["inactivity_timeout_ms"]
                    .as_u64()
                    .map(Duration::from_millis),
            })
        })
        .collect();
    known.sort_by(|one, other| (one.created_at, &one.id).cmp(&(other.created_at, &other.id)));
    Ok(known)
}

/// Active agents of each policy by the revision that they confirmed.
type Assigned = HashMap<String, (u64, Vec<(i64, u64)>)>;

async fn assigned(documents: &Documents) -> Result<Assigned> {
    let body = json!({"size": 0, "query": {"term": {"active": true}}, "aggs": {"policies": {
        "terms": {"field": "policy_id", "size": PageRequest::WINDOW},
        "aggs": {"revisions": {"terms": {"field": "policy_revision_idx", "size": 1000, "order": {"_key": "desc"}}}},
    }}});
    let found = documents.search(Index::Agents, &body).await?;
    let policies = buckets(&found.aggregations, "/policies/buckets").filter_map(|bucket| {
        let revisions = buckets(bucket, "/revisions/buckets")
            .filter_map(|revision| Some((revision["key"].as_i64()?, revision["doc_count"].as_u64()?)));
        let id = bucket["key"].as_str()?.to_owned();
        Some((id, (bucket["doc_count"].as_u64()?, revisions.collect())))
    });
    Ok(policies.collect())
}

async fn summary(
    documents: &Documents,
    policy: &Known,
    assigned: &Assigned,
) -> Result<Option<PolicySummary>> {
    let Some(latest) = by_revision(documents, &policy.id, policy.revision).await? else {
        return Ok(None);
    };
    let (agents, revisions) = assigned
        .get(policy.id.as_str())
        .map_or((0, &[][..]), |(agents, revisions)| (*agents, revisions));
    let has_it = revisions
        .iter()
        .filter(|(revision, _)| *revision >= latest.revision);
    let confirmed: u64 = has_it.map(|(_, agents)| agents).sum();
    Ok(Some(PolicySummary {
        latest,
        agents,
        pending: agents.saturating_sub(confirmed),
    }))
}

/// Removes every revision.
async fn remove(documents: &Documents, id: &PolicyId) -> Result<()> {
    let body = json!({
        "query": {"bool": {"filter": [{"term": {"policy_id": id}}]}},
        "size": 1000,
        "_source": ["revision_idx"],
        "seq_no_primary_term": true,
    });
    loop {
        let found = documents.search(Index::Policies, &body).await?.hits;
        if found.is_empty() {
            return Ok(());
        }
        let removing = found
            .iter()
            .map(|hit| documents.delete(Index::Policies, &hit.id, None, Visible::AtOnce));
        for outcome in at_once(removing.collect()).await {
            outcome?;
        }
    }
}

pub(crate) fn buckets<'a>(aggregations: &'a Value, path: &str) -> impl Iterator<Item = &'a Value> {
    aggregations
        .pointer(path)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn document(
    new: &NewRevision,
    revision: i64,
    created_at: Timestamp,
) -> std::result::Result<Members, Failure> {
    let mut document = Members::default();
    document.set("policy_id", &new.policy)?;
    document.set("revision_idx", &revision)?;
    document.set("coordinator_idx", &0)?;
    document.set("@timestamp", &time(new.at))?;
    document.set("created_at", &time(created_at))?;
    document.set("data", &new.data)?;
    document.set("settings", &new.settings)?;
    document.set("namespaces", &new.namespaces)?;
    let timeout = new
        .inactivity_timeout
        .map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
    document.set_some("inactivity_timeout_ms", timeout.as_ref())?;
    Ok(document)
}

#[derive(Deserialize)]
struct Source {
    policy_id: PolicyId,
    revision_idx: i64,
    data: RawJson,
    settings: Option<RawJson>,
    #[serde(default, deserialize_with = "or_default")]
    namespaces: Vec<String>,
    inactivity_timeout_ms: Option<u64>,
    #[serde(rename = "@timestamp", default)]
    at: Moment,
    #[serde(default)]
    created_at: Moment,
}

fn revision(found: &Found) -> Result<PolicyRevision> {
    let corrupt = |error| StoreError::Corrupt {
        detail: format!("policy document {} has another shape", found.id),
        source: Some(Cause::new(error)),
    };
    let source: Source = serde_json::from_str(found.source.get()).map_err(corrupt)?;
    let at = source.at.0.unwrap_or_else(|| Timestamp::from_millis(0));
    Ok(PolicyRevision {
        policy: source.policy_id,
        revision: source.revision_idx,
        data: source.data,
        settings: match source.settings {
            Some(settings) => settings,
            None => RawJson::parse("{}".to_owned()).map_err(corrupt)?,
        },
        namespaces: source.namespaces,
        inactivity_timeout: source.inactivity_timeout_ms.map(Duration::from_millis),
        at,
        created_at: source.created_at.0.unwrap_or(at),
    })
}
