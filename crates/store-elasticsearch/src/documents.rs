//! Single documents: read, made, replaced, changed and searched, through the bulk engine.
//!
//! In: index, id and source. Out: what is stored, with the place of its last change. A change that builds on what was
//! read names that place, and is refused if somebody changed the document meanwhile.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json, value::RawValue};

mod answers;

use crate::{
    Connection, Failure,
    bulk::{Bulk, Flush, Kind},
    document::{Members, unwritable},
    index::Index,
};
use answers::{Got, Hit, Hits, Searched, Written};

/// The documents of a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Documents {
    bulk: Bulk,
    /// The highest sequence number of each index that is known to be written; shared by clones.
    written: Arc<Mutex<HashMap<Index, i64>>>,
}

/// Where in the index's history a document was changed last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) seq_no: i64,
    pub(crate) primary_term: i64,
}

/// A document as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// The index that holds it, behind whatever alias or stream it was found.
    index: String,
    pub(crate) id: String,
    pub(crate) version: Version,
    pub(crate) source: Box<RawValue>,
    /// Its sort values, of a search that sorts.
    pub(crate) sort: Value,
}

/// What a search found.
#[derive(Debug, Default)]
pub(crate) struct Search {
    pub(crate) hits: Vec<Found>,
    pub(crate) total: u64,
    pub(crate) aggregations: Value,
}

/// Whether searches find a write when it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visible {
    AtOnce,
    Later,
}

impl Documents {
    pub(crate) fn start(connection: Arc<Connection>, flush: Flush) -> Self {
        Self {
            bulk: Bulk::start(connection, flush),
            written: Arc::default(),
        }
    }

    /// A sequence number that is written in the index.
    pub(crate) fn note_written(&self, index: Index, number: i64) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let known = written.entry(index).or_insert(number);
        *known = number.max(*known);
    }

    /// The highest number that is known; `None` before the first.
    pub(crate) fn written(&self, index: Index) -> Option<i64> {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.get(&index).copied()
    }

    /// The index was made anew: its numbers begin again.
    pub(crate) fn forget_written(&self, index: Index) {
        self.written
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&index);
    }

    /// The document as it is now, also before a search would find it.
    pub(crate) async fn get(&self, index: Index, id: &str) -> Result<Option<Found>, Failure> {
        self.get_with(json!({"_index": index.name(), "_id": id})).await
    }

    /// The same with these members only.
    pub(crate) async fn get_members(
        &self,
        index: Index,
        id: &str,
        members: &[&str],
    ) -> Result<Option<Found>, Failure> {
        self.get_with(json!({"_index": index.name(), "_id": id, "_source": members}))
            .await
    }

    async fn get_with(&self, what: Value) -> Result<Option<Found>, Failure> {
        let text = what.to_string().into();
        let answer: Got = read(&self.bulk.ask(Kind::Read, text).await?)?;
        if let Some(error) = answer.error {
            return match error.failure(404) {
                Failure::IndexMissing => Ok(None),
                failure => Err(failure),
            };
        }
        let hit = answer.found.then_some(Hit {
            index: answer.index,
            id: answer.id,
            seq_no: answer.seq_no,
            primary_term: answer.primary_term,
            source: answer.source,
            sort: Value::Null,
        });
        Ok(hit.and_then(Hit::found))
    }

    /// Makes the document; [`Failure::VersionConflict`] if there is one.
    pub(crate) async fn create(
        &self,
        index: Index,
        id: &str,
        source: &impl Serialize,
        visible: Visible,
    ) -> Result<Version, Failure> {
        let action = json!({"create": {"_index": index.name(), "_id": id}});
        self.write(Some(index), &action, Some(&one_line(source)?), visible)
            .await
    }

    /// Puts this document in the place of the one that was read.
    pub(crate) async fn replace(
        &self,
        index: Index,
        id: &str,
        seen: Version,
        source: &impl Serialize,
        visible: Visible,
    ) -> Result<Version, Failure> {
        let action = json!({"index": {"_index": index.name(), "_id": id,
            "if_seq_no": seen.seq_no, "if_primary_term": seen.primary_term}});
        self.write(Some(index), &action, Some(&one_line(source)?), visible)
            .await
    }

    /// Puts this document in the place of one that was found, in the index that holds it: a data stream takes no other
    /// change.
    pub(crate) async fn replace_found(
        &self,
        found: &Found,
        source: &impl Serialize,
        visible: Visible,
    ) -> Result<Version, Failure> {
        let action = json!({"index": {"_index": found.index, "_id": found.id,
            "if_seq_no": found.version.seq_no, "if_primary_term": found.version.primary_term}});
        self.write(None, &action, Some(&one_line(source)?), visible).await
    }

    /// Sets these members in the document that was read; objects are merged.
    pub(crate) async fn update_seen(
        &self,
        index: Index,
        id: &str,
        seen: Version,
        members: &Members,
        visible: Visible,
    ) -> Result<Version, Failure> {
        let action = json!({"update": {"_index": index.name(), "_id": id,
            "if_seq_no": seen.seq_no, "if_primary_term": seen.primary_term}});
        self.update_with(index, &action, members, visible).await
    }

    /// Sets these members, whatever the others are; objects are merged.
    pub(crate) async fn update(
        &self,
        index: Index,
        id: &str,
        members: &Members,
        visible: Visible,
    ) -> Result<Version, Failure> {
        let action = json!({"update": {"_index": index.name(), "_id": id, "retry_on_conflict": 3}});
        self.update_with(index, &action, members, visible).await
    }

    async fn update_with(
        &self,
        index: Index,
        action: &Value,
        members: &Members,
        visible: Visible,
    ) -> Result<Version, Failure> {
        #[derive(Serialize)]
        struct Partial<'a> {
            doc: &'a Members,
        }
        let text = one_line(&Partial { doc: members })?;
        self.write(Some(index), action, Some(&text), visible).await
    }

    /// Removes the document, if `seen` is given only as it was read; answers the place of the removal if there was one.
    pub(crate) async fn delete(
        &self,
        index: Index,
        id: &str,
        seen: Option<Version>,
        visible: Visible,
    ) -> Result<Option<Version>, Failure> {
        self.delete_in(Some(index), index.name(), id, seen, visible).await
    }

    /// Removes a document that was found, in the index that holds it.
    pub(crate) async fn delete_found(
        &self,
        found: &Found,
        visible: Visible,
    ) -> Result<Option<Version>, Failure> {
        self.delete_in(None, &found.index, &found.id, None, visible).await
    }

    async fn delete_in(
        &self,
        known: Option<Index>,
        index: &str,
        id: &str,
        seen: Option<Version>,
        visible: Visible,
    ) -> Result<Option<Version>, Failure> {
        let mut action = json!({"delete": {"_index": index, "_id": id}});
        if let Some(seen) = seen {
            action["delete"]["if_seq_no"] = seen.seq_no.into();
            action["delete"]["if_primary_term"] = seen.primary_term.into();
        }
        match self.write(known, &action, None, visible).await {
            Ok(version) => Ok(Some(version)),
            Err(Failure::Refused { status: 404, .. } | Failure::IndexMissing) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    async fn write(
        &self,
        index: Option<Index>,
        action: &Value,
        source: Option<&str>,
        visible: Visible,
    ) -> Result<Version, Failure> {
        let mut text = format!("{action}\n");
        if let Some(source) = source {
            text.push_str(source);
            text.push('\n');
        }
        let kind = match visible {
            Visible::AtOnce => Kind::VisibleWrite,
            Visible::Later => Kind::Write,
        };
        let answer: Written = read(&self.bulk.ask(kind, text.into()).await?)?;
        let (status, error, version) = answer.into_parts();
        match (error, version) {
            (Some(error), _) => Err(error.failure(status)),
            (None, _) if status >= 300 => Err(Failure::Refused {
                status,
                kind: String::new(),
                reason: "the document does not exist".to_owned(),
            }),
            (None, Some(version)) => {
                if let Some(index) = index {
                    self.note_written(index, version.seq_no);
                }
                Ok(version)
            }
            (None, None) => Err(Failure::unreadable("a write was answered without its place")),
        }
    }

    /// What searches find. An index that is not there yet has no documents.
    pub(crate) async fn search(&self, index: Index, body: &Value) -> Result<Search, Failure> {
        let header = json!({"index": index.name(), "ignore_unavailable": true});
        self.search_with(Kind::Search, &header, body).await
    }

    /// What searches find once everything up to the checkpoint is there.
    pub(crate) async fn search_at(
        &self,
        index: Index,
        checkpoint: i64,
        body: &Value,
    ) -> Result<Search, Failure> {
        let header = json!({"index": index.name(), "wait_for_checkpoints": [checkpoint]});
        self.search_with(Kind::SearchAt, &header, body).await
    }

    async fn search_with(&self, kind: Kind, header: &Value, body: &Value) -> Result<Search, Failure> {
        let text = Bytes::from(format!("{header}\n{body}\n"));
        let answer: Searched = read(&self.bulk.ask(kind, text).await?)?;
        if let Some(error) = answer.error {
            return match error.failure(answer.status.unwrap_or(500)) {
                Failure::IndexMissing => Ok(Search::default()),
                failure => Err(failure),
            };
        }
        // Less than everything would be taken for everything.
        if answer.timed_out || answer.shards.is_none_or(|shards| shards.failed > 0) {
            return Err(Failure::Timeout);
        }
        let Hits { total, hits } = answer.hits.unwrap_or_default();
        Ok(Search {
            total: total.map_or(0, |total| total.value),
            hits: hits.into_iter().filter_map(Hit::found).collect(),
            aggregations: answer.aggregations,
        })
    }
}

/// The source as one line: a line's end in JSON is only space between its parts.
fn one_line(source: &impl Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string(source).map_err(unwritable)?;
    Ok(if text.contains(['\n', '\r']) {
        text.replace(['\n', '\r'], " ")
    } else {
        text
    })
}

fn read<T: DeserializeOwned>(text: &RawValue) -> Result<T, Failure> {
    serde_json::from_str(text.get()).map_err(Failure::unreadable)
}
