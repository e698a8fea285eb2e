//! O9–O11, O24: actions, which are their own queue: an agent's are found by target and place (data.md 1.3).
//!
//! In: actions with their targets, an agent's position. Out: what waits for the agent. A position is the sequence number of
//! an action document; nothing is shown beyond a checkpoint up to which everything is there.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};
use store::{
    Action, ActionDocId, ActionId, ActionProgress, ActionResult, Actions, AddressedAction, AgentId,
    AgentMark, Conflict, Inserted, NewAction, Page, PageRequest, Pending, PendingAction, Position, Result,
    StoreError, Timestamp,
};

use crate::{
    ElasticStore, Failure,
    action_document::{Read, document, read},
    agents::{Change, change},
    checkins::sequence,
    concurrent::at_once,
    document::time,
    documents::{Documents, Found, Visible},
    engine::missing,
    index::Index,
    remembered::targets,
    results,
};

#[async_trait]
impl Actions for ElasticStore {
    async fn append_actions(&self, actions: Vec<NewAction>) -> Result<Vec<Action>> {
        if actions.iter().any(|action| !action.secrets.is_empty()) {
            return Err(StoreError::Unsupported {
                what: "keep secrets of actions",
            });
        }
        let documents = self.open().await?;
        let mut written = Vec::with_capacity(actions.len());
        // One after the other: their order is the order of delivery.
        for action in actions {
            self.append(&documents, &action).await?;
            written.push(action.into());
        }
        Ok(written)
    }

    async fn pending_actions(
        &self,
        agent: &AgentId,
        token: Option<&ActionDocId>,
        stored: Option<&Position>,
        now: Timestamp,
        limit: u32,
    ) -> Result<Pending> {
        let documents = self.open().await?;
        let named = match token {
            Some(token) => self.remembered.place(&documents, token).await?,
            None => None,
        };
        let after = named.max(stored.map(sequence).transpose()?);
        let checkpoint = match documents.written(Index::Actions) {
            Some(known) => known,
            None => self.checkpoint(Index::Actions).await?,
        };
        let position = after.map(|place| Position::from(place.to_string()));
        let mut actions = Vec::new();
        let mut from = after.unwrap_or(-1);
        while from < checkpoint && actions.len() < limit as usize {
            let size = limit as usize - actions.len();
            let found = waiting(&documents, agent, from, checkpoint, now, size).await?;
            let is_last = found.len() < size;
            from = found.last().map_or(checkpoint, |last| last.version.seq_no);
            actions.extend(self.deliverable(&documents, agent, found).await?);
            if is_last {
                break;
            }
        }
        Ok(Pending { actions, position })
    }

    async fn action(&self, id: &ActionId) -> Result<Option<Action>> {
        let documents = self.open().await?;
        let body = json!({
            "query": {"bool": {"filter": [{"term": {"action_id": id}}]}},
            "sort": [{"_seq_no": "desc"}],
            "size": 1,
            "_source": {"excludes": ["agents"]},
            "seq_no_primary_term": true,
        });
        let found = documents.search(Index::Actions, &body).await?;
        found
            .hits
            .first()
            .map(|found| Ok(read(found)?.action))
            .transpose()
    }

    async fn action_targets(&self, doc: &ActionDocId) -> Result<Vec<AgentId>> {
        let documents = self.open().await?;
        let targets = targets(&documents, doc).await?;
        targets.ok_or_else(|| missing("action document", doc))
    }

    async fn addressed_actions(&self, agent: &AgentId, kind: &str) -> Result<Vec<AddressedAction>> {
        let documents = self.open().await?;
        let body = json!({
            "query": {"bool": {"filter": [{"term": {"agents": agent}}, {"term": {"type": kind}}]}},
            "sort": [{"_seq_no": "asc"}],
            "size": PageRequest::WINDOW,
            "_source": {"excludes": ["agents"]},
            "seq_no_primary_term": true,
        });
        let found = documents.search(Index::Actions, &body).await?.hits;
        let actions = found
            .iter()
            .map(|found| Ok(read(found)?.action))
            .collect::<Result<Vec<_>>>()?;
        let outcomes = results::outcomes(&documents, agent, &actions).await?;
        let addressed = actions.into_iter().map(|action| AddressedAction {
            outcome: outcomes.get(&action.action).copied(),
            action,
        });
        Ok(addressed.collect())
    }

    async fn insert_result(&self, result: ActionResult) -> Result<Inserted> {
        results::insert(&*self.open().await?, &result).await
    }

    async fn replace_result(&self, result: ActionResult) -> Result<()> {
        results::replace(&*self.open().await?, &result).await
    }

    async fn results(&self, action: &ActionId, page: PageRequest) -> Result<Page<ActionResult>> {
        results::page(&*self.open().await?, action, &page).await
    }

    async fn action_progress(&self, action: &ActionId) -> Result<ActionProgress> {
        let documents = self.open().await?;
        let body = json!({
            "size": 0,
            "query": {"bool": {"filter": [{"term": {"action_id": action}}]}},
            "aggs": {"targets": {"value_count": {"field": "agents"}}},
        });
        let found = documents.search(Index::Actions, &body).await?;
        let targets = found
            .aggregations
            .pointer("/targets/value")
            .and_then(Value::as_u64)
            .unwrap_or(0);
        results::progress(&documents, action, targets).await
    }

    async fn actions_with_text(&self, text: &str, now: Timestamp) -> Result<Vec<Action>> {
        let documents = self.open().await?;
        let mut after = -1;
        let mut with_text = Vec::new();
        loop {
            let body = json!({
                "query": {"bool": {"filter": [
                    {"range": {"_seq_no": {"gt": after}}},
                    {"range": {"expiration": {"gt": now.millis(), "format": "epoch_millis"}}},
                ]}},
                "sort": [{"_seq_no": "asc"}],
                "size": SCANNED,
                "_source": {"excludes": ["agents"]},
                "seq_no_primary_term": true,
            });
            let found = documents.search(Index::Actions, &body).await?.hits;
            for hit in &found {
                let Read {
                    action,
                    is_deliverable,
                } = read(hit)?;
                if is_deliverable
                    && action
                        .data
                        .as_ref()
                        .is_some_and(|data| data.as_str().contains(text))
                {
                    with_text.push(action);
                }
            }
            match found.last() {
                Some(last) if found.len() >= SCANNED => after = last.version.seq_no,
                _ => return Ok(with_text),
            }
        }
    }

    async fn delete_expired_actions(&self, before: Timestamp, limit: u32) -> Result<u64> {
        let documents = self.open().await?;
        let body = json!({
            "query": {"bool": {"filter": [{"range": {"expiration": {"lt": before.millis(), "format": "epoch_millis"}}}]}},
            "sort": [{"expiration": "asc"}],
            "size": limit.min(PageRequest::WINDOW),
            "_source": ["action_id"],
            "seq_no_primary_term": true,
        });
        let found = documents.search(Index::Actions, &body).await?.hits;
        let removing = found
            .iter()
            .map(|found| documents.delete_found(found, Visible::AtOnce));
        let mut removed = 0;
        for outcome in at_once(removing.collect()).await {
            removed += u64::from(outcome?.is_some());
        }
        let mut actions: Vec<ActionId> = found
            .iter()
            .filter_map(|found| Some(serde_json::from_str::<Named>(found.source.get()).ok()?.action_id))
            .collect();
        actions.sort();
        actions.dedup();
        for action in &actions {
            self.remembered.forget(&found);
            let left = json!({"size": 0, "track_total_hits": 1, "query": {"bool": {"filter": [{"term": {"action_id": action}}]}}});
            if documents.search(Index::Actions, &left).await?.total == 0 {
                results::remove(&documents, action).await?;
            }
        }
        Ok(removed)
    }
}

impl ElasticStore {
    async fn append(&self, documents: &Documents, new: &NewAction) -> Result<()> {
        let made = documents
            .create(Index::Actions, new.doc.as_str(), &document(new)?, Visible::AtOnce)
            .await;
        made.map_err(|failure| match failure {
            Failure::VersionConflict => {
                StoreError::from(Conflict::IdTaken(format!("action document {}", new.doc)))
            }
            failure => failure.into(),
        })?;
        if let Some(mark) = new.mark {
            let marking = new
                .agents
                .iter()
                .map(|agent| mark_target(documents, agent, mark, new.at));
            let outcomes = at_once(marking.collect()).await;
            outcomes.into_iter().collect::<Result<()>>()?;
        }
        match &new.recall {
            Some(recall) => results::take_back(documents, recall, new.at).await,
            None => Ok(()),
        }
    }

    /// Those of the found actions that the agent is given.
    async fn deliverable(
        &self,
        documents: &Documents,
        agent: &AgentId,
        found: Vec<Found>,
    ) -> Result<Vec<PendingAction>> {
        let mut actions = Vec::with_capacity(found.len());
        for hit in &found {
            let Read {
                action,
                is_deliverable,
            } = read(hit)?;
            if is_deliverable {
                actions.push(action);
            }
        }
        if actions.is_empty() {
            return Ok(Vec::new());
        }
        let (outcomes, addressee) = tokio::try_join!(results::outcomes(documents, agent, &actions), async {
            Ok(documents.get_members(Index::Agents, agent.as_str(), &[]).await?)
        },)?;
        // The documents do not know that an agent was removed.
        if addressee.is_none() {
            return Ok(Vec::new());
        }
        let mut pending = Vec::with_capacity(actions.len());
        for action in actions {
            if outcomes.get(&action.action) == Some(&store::ActionOutcome::Cancelled) {
                continue;
            }
            let targets = self.remembered.targets(documents, &action.doc).await?;
            // An action that was removed since the search is not given any more.
            let Some(targets) = targets else { continue };
            pending.push(PendingAction {
                index: targets.places.get(agent).copied().unwrap_or(0),
                targets: targets.count,
                action,
            });
        }
        Ok(pending)
    }
}

async fn waiting(
    documents: &Documents,
    agent: &AgentId,
    after: i64,
    checkpoint: i64,
    now: Timestamp,
    size: usize,
) -> Result<Vec<Found>> {
    let body = json!({
        "query": {"bool": {"filter": [
            {"range": {"_seq_no": {"gt": after, "lte": checkpoint}}},
            {"range": {"expiration": {"gt": now.millis(), "format": "epoch_millis"}}},
            {"terms": {"agents": [agent]}},
        ]}},
        "sort": [{"_seq_no": "asc"}],
        "size": size,
        "_source": {"excludes": ["agents"]},
        "seq_no_primary_term": true,
        "track_total_hits": false,
    });
    Ok(documents.search_at(Index::Actions, checkpoint, &body).await?.hits)
}

async fn mark_target(documents: &Documents, agent: &AgentId, mark: AgentMark, at: Timestamp) -> Result<()> {
    let marked = change(documents, agent, |_, document| {
        match mark {
            AgentMark::UnenrollmentStarted => document.set("unenrollment_started_at", &time(at))?,
            AgentMark::UpgradeStarted => {
                document.set("upgrade_started_at", &time(at))?;
                document.remove("upgraded_at");
            }
        }
        document.set("updated_at", &time(at))?;
        Ok(Change::Write(()))
    });
    match marked.await {
        Err(StoreError::NotFound { .. }) => Ok(()),
        outcome => outcome,
    }
}

#[derive(Deserialize)]
struct Named {
    action_id: ActionId,
}

const SCANNED: usize = 1000;
