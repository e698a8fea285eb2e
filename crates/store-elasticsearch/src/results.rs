//! O12, O13: what agents answered, one document for an action and an agent (data.md 1.4).
//!
//! In: results. Out: results as stored, and counts. On a cluster they are a data stream: it takes new documents under its
//! name only, so what replaces one goes to the index that holds it, and a result is found by a search, never by a get.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::json;
use store::{
    Action, ActionId, ActionOutcome, ActionProgress, ActionResult, AgentId, Cause, Inserted, Page,
    PageRequest, RawJson, Recall, Result, StoreError, Timestamp,
};

use crate::{
    Failure, agent_document,
    checkins::sequence,
    concurrent::at_once,
    document::{Members, Moment, or_default, time, unwritable},
    documents::{Documents, Found, Visible},
    engine::{TRIES, overtaken},
    index::Index,
    pages,
};

/// Stores the first answer; one that is no end is replaced by one that is.
pub(crate) async fn insert(documents: &Documents, result: &ActionResult) -> Result<Inserted> {
    put(documents, result, |stored| {
        stored == ActionOutcome::Acknowledged && result.outcome != ActionOutcome::Acknowledged
    })
    .await
}

/// Stores it in any case.
pub(crate) async fn replace(documents: &Documents, result: &ActionResult) -> Result<()> {
    put(documents, result, |_| true).await.map(drop)
}

async fn put(
    documents: &Documents,
    result: &ActionResult,
    gives_way: impl Fn(ActionOutcome) -> bool,
) -> Result<Inserted> {
    let (id, document) = (id(&result.action, &result.agent), document(result)?);
    for _ in 0..TRIES {
        match documents
            .create(Index::Results, &id, &document, Visible::AtOnce)
            .await
        {
            Ok(_) => return Ok(Inserted::New),
            Err(Failure::VersionConflict) => {}
            Err(failure) => return Err(failure.into()),
        }
        // Whoever was first may not be found yet.
        let Some(found) = by_ids(documents, vec![id.clone()]).await?.into_iter().next() else {
            continue;
        };
        if !gives_way(read(&found)?.outcome) {
            return Ok(Inserted::Already);
        }
        match documents.replace_found(&found, &document, Visible::AtOnce).await {
            Ok(_) => return Ok(Inserted::New),
            Err(Failure::VersionConflict) => {}
            Err(failure) => return Err(failure.into()),
        }
    }
    Err(overtaken("the result"))
}

/// Oldest first, by the time that the agents gave.
pub(crate) async fn page(
    documents: &Documents,
    action: &ActionId,
    request: &PageRequest,
) -> Result<Page<ActionResult>> {
    let body = pages::search(request, &of(action), order(), "results")?;
    let found = documents.search(Index::Results, &body).await?;
    pages::page(request, found, "results", read)
}

/// What came of these actions at the agent, as far as it answered.
pub(crate) async fn outcomes(
    documents: &Documents,
    agent: &AgentId,
    actions: &[Action],
) -> Result<HashMap<ActionId, ActionOutcome>> {
    if actions.is_empty() {
        return Ok(HashMap::new());
    }
    let ids = actions.iter().map(|action| id(&action.action, agent)).collect();
    let found = by_ids(documents, ids).await?;
    let read = found
        .iter()
        .map(|found| read(found).map(|result| (result.action, result.outcome)));
    read.collect()
}

/// Counts the answers.
pub(crate) async fn progress(
    documents: &Documents,
    action: &ActionId,
    targets: u64,
) -> Result<ActionProgress> {
    let mut progress = ActionProgress {
        targets,
        ..ActionProgress::default()
    };
    let mut next = Some(PageRequest::first(PageRequest::WINDOW));
    while let Some(request) = next {
        let mut body = pages::search(&request, &of(action), order(), "results")?;
        body["_source"] = json!({"excludes": ["action_data", "action_response", "data"]});
        let found = documents.search(Index::Results, &body).await?;
        let page = pages::page(&request, found, "results", read)?;
        for result in &page.items {
            match result.outcome {
                ActionOutcome::Succeeded => progress.succeeded += 1,
                ActionOutcome::Failed => progress.failed += 1,
                ActionOutcome::Cancelled => progress.cancelled += 1,
                ActionOutcome::Acknowledged => {}
            }
        }
        next = page.next.map(|position| PageRequest {
            from: store::PageStart::After(position),
            limit: PageRequest::WINDOW,
        });
    }
    Ok(progress)
}

/// Cancels the action at those agents that have neither confirmed nor answered it.
pub(crate) async fn take_back(documents: &Documents, recall: &Recall, at: Timestamp) -> Result<()> {
    let body = json!({
        "query": {"bool": {"filter": [{"term": {"action_id": recall.action}}, {"terms": {"agents": recall.agents}}]}},
        "sort": [{"_seq_no": "asc"}],
        "size": PageRequest::WINDOW,
        "_source": ["agents", "namespaces"],
        "seq_no_primary_term": true,
    });
    let found = documents.search(Index::Actions, &body).await?.hits;
    let mut addressed: HashMap<AgentId, Vec<(i64, Vec<String>)>> = HashMap::new();
    for hit in &found {
        let source: Addressed = serde_json::from_str(hit.source.get()).map_err(|error| shape(hit, error))?;
        for agent in source.agents {
            addressed
                .entry(agent)
                .or_default()
                .push((hit.version.seq_no, source.namespaces.clone()));
        }
    }
    let cancelling = recall.agents.iter().filter_map(|agent| {
        let places = addressed.get(agent)?;
        Some(cancel(documents, recall, agent, places, at))
    });
    at_once(cancelling.collect()).await.into_iter().collect()
}

async fn cancel(
    documents: &Documents,
    recall: &Recall,
    agent: &AgentId,
    places: &[(i64, Vec<String>)],
    at: Timestamp,
) -> Result<()> {
    let Some(found) = documents.get(Index::Agents, agent.as_str()).await? else {
        return Ok(());
    };
    let confirmed = agent_document::agent(&found)?.action_position;
    let confirmed = confirmed.as_ref().map(sequence).transpose()?.unwrap_or(-1);
    let Some((_, namespaces)) = places.iter().find(|(place, _)| *place > confirmed) else {
        return Ok(());
    };
    let result = ActionResult {
        action: recall.action.clone(),
        agent: agent.clone(),
        timestamp: at.to_seconds_text(),
        received_at: at,
        outcome: ActionOutcome::Cancelled,
        error: Some(recall.reason.clone()),
        namespaces: namespaces.clone(),
        details: None,
    };
    put(documents, &result, |_| false).await.map(drop)
}

/// Removes the answers to an action.
pub(crate) async fn remove(documents: &Documents, action: &ActionId) -> Result<()> {
    let body =
        json!({"query": of(action), "size": 1000, "_source": ["action_id"], "seq_no_primary_term": true});
    loop {
        let found = documents.search(Index::Results, &body).await?.hits;
        if found.is_empty() {
            return Ok(());
        }
        let removing = found
            .iter()
            .map(|found| documents.delete_found(found, Visible::AtOnce));
        for outcome in at_once(removing.collect()).await {
            outcome?;
        }
    }
}

fn of(action: &ActionId) -> serde_json::Value {
    json!({"bool": {"filter": [{"term": {"action_id": action}}]}})
}

fn order() -> serde_json::Value {
    json!([{"@timestamp": "asc"}, {"agent_id": "asc"}])
}

async fn by_ids(documents: &Documents, ids: Vec<String>) -> Result<Vec<Found>> {
    let body =
        json!({"query": {"ids": {"values": ids}}, "size": PageRequest::WINDOW, "seq_no_primary_term": true});
    Ok(documents.search(Index::Results, &body).await?.hits)
}

fn id(action: &ActionId, agent: &AgentId) -> String {
    format!("{action}:{agent}")
}

fn document(result: &ActionResult) -> std::result::Result<Members, Failure> {
    let mut document: Members = match &result.details {
        Some(details) => details.read().map_err(unwritable)?,
        None => Members::default(),
    };
    document.set("action_id", &result.action)?;
    document.set("agent_id", &result.agent)?;
    document.set("@timestamp", &result.timestamp)?;
    document.set("received_at", &time(result.received_at))?;
    document.set("namespaces", &result.namespaces)?;
    // What failed has an error, for Kibana as well.
    let error = match (result.outcome, &result.error) {
        (ActionOutcome::Failed, None) => Some(""),
        (ActionOutcome::Succeeded, _) => None,
        (_, error) => error.as_deref(),
    };
    document.set_some("error", error.as_ref())?;
    let outcome = match result.outcome {
        ActionOutcome::Succeeded | ActionOutcome::Failed => None,
        ActionOutcome::Acknowledged => Some("acknowledged"),
        ActionOutcome::Cancelled => Some("cancelled"),
    };
    document.set_some("outcome", outcome.as_ref())?;
    Ok(document)
}

#[derive(Deserialize)]
struct Addressed {
    #[serde(default, deserialize_with = "or_default")]
    agents: Vec<AgentId>,
    #[serde(default, deserialize_with = "or_default")]
    namespaces: Vec<String>,
}

#[derive(Deserialize)]
struct Source {
    action_id: ActionId,
    agent_id: AgentId,
    #[serde(rename = "@timestamp", default)]
    timestamp: String,
    #[serde(default)]
    received_at: Moment,
    #[serde(default, deserialize_with = "or_default")]
    namespaces: Vec<String>,
    error: Option<String>,
    outcome: Option<String>,
}

fn read(found: &Found) -> Result<ActionResult> {
    let source: Source = serde_json::from_str(found.source.get()).map_err(|error| shape(found, error))?;
    let mut details: BTreeMap<String, RawJson> =
        serde_json::from_str(found.source.get()).map_err(|error| shape(found, error))?;
    details.retain(|name, _| !OWN_MEMBERS.contains(&name.as_str()));
    let details = match details.is_empty() {
        true => None,
        false => Some(RawJson::from_value(&details).map_err(|error| shape(found, error))?),
    };
    let outcome = match (source.outcome.as_deref(), &source.error) {
        (Some("acknowledged"), _) => ActionOutcome::Acknowledged,
        (Some("cancelled"), _) => ActionOutcome::Cancelled,
        (_, None) => ActionOutcome::Succeeded,
        (_, Some(_)) => ActionOutcome::Failed,
    };
    let received_at = source
        .received_at
        .0
        .or_else(|| Timestamp::parse(&source.timestamp));
    Ok(ActionResult {
        action: source.action_id,
        agent: source.agent_id,
        timestamp: source.timestamp,
        received_at: received_at.unwrap_or_else(|| Timestamp::from_millis(0)),
        outcome,
        error: source.error,
        namespaces: source.namespaces,
        details,
    })
}

fn shape(found: &Found, error: serde_json::Error) -> StoreError {
    StoreError::Corrupt {
        detail: format!("result {} has another shape", found.id),
        source: Some(Cause::new(error)),
    }
}

/// What is not the agent's own part.
const OWN_MEMBERS: [&str; 7] = [
    "action_id",
    "agent_id",
    "@timestamp",
    "received_at",
    "namespaces",
    "error",
    "outcome",
];
