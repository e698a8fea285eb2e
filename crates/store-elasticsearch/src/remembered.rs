//! What is remembered of action documents, which never change: where an ack token stands, and the places of targets.
//!
//! In: ids of documents. Out: what Elasticsearch said of them once. Bounded; what this process removes is forgotten.

use std::{collections::HashMap, sync::Arc};

use quick_cache::sync::Cache;
use serde::Deserialize;
use store::{ActionDocId, AgentId, Result};

use crate::{
    action_document::shape,
    document::or_default,
    documents::{Documents, Found},
    index::Index,
};

/// What is remembered of action documents, which never change.
#[derive(Debug)]
pub(crate) struct Remembered {
    places: Cache<ActionDocId, i64>,
    targets: Cache<ActionDocId, Arc<Targets>>,
}

#[derive(Debug)]
pub(crate) struct Targets {
    pub(crate) places: HashMap<AgentId, u32>,
    pub(crate) count: u32,
}

impl Default for Remembered {
    fn default() -> Self {
        Self {
            places: Cache::new(5000),
            targets: Cache::new(64),
        }
    }
}

impl Remembered {
    /// The sequence number of the document that an ack token names.
    pub(crate) async fn place(&self, documents: &Documents, token: &ActionDocId) -> Result<Option<i64>> {
        if let Some(place) = self.places.get(token) {
            return Ok(Some(place));
        }
        let found = documents.get_members(Index::Actions, token.as_str(), &[]).await?;
        let place = found.map(|found| found.version.seq_no);
        if let Some(place) = place {
            self.places.insert(token.clone(), place);
        }
        Ok(place)
    }

    pub(crate) async fn targets(
        &self,
        documents: &Documents,
        doc: &ActionDocId,
    ) -> Result<Option<Arc<Targets>>> {
        if let Some(known) = self.targets.get(doc) {
            return Ok(Some(known));
        }
        let Some(agents) = targets(documents, doc).await? else {
            return Ok(None);
        };
        let mut places = HashMap::with_capacity(agents.len());
        let mut count = 0;
        for agent in agents {
            // A target named twice keeps its first place.
            places.entry(agent).or_insert(count);
            count += 1;
        }
        let known = Arc::new(Targets { places, count });
        self.targets.insert(doc.clone(), Arc::clone(&known));
        Ok(Some(known))
    }

    pub(crate) fn forget(&self, removed: &[Found]) {
        for found in removed {
            let doc = ActionDocId::from(found.id.as_str());
            self.places.remove(&doc);
            self.targets.remove(&doc);
        }
    }
}

/// The targets of an action document, in the order in which they were given.
pub(crate) async fn targets(documents: &Documents, doc: &ActionDocId) -> Result<Option<Vec<AgentId>>> {
    #[derive(Deserialize)]
    struct Source {
        #[serde(default, deserialize_with = "or_default")]
        agents: Vec<AgentId>,
    }
    let found = documents
        .get_members(Index::Actions, doc.as_str(), &["agents"])
        .await?;
    let read = found.map(|found| {
        serde_json::from_str::<Source>(found.source.get()).map_err(|error| shape(&found, error))
    });
    Ok(read.transpose()?.map(|source| source.agents))
}
