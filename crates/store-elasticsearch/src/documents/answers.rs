//! What Elasticsearch answers to reads, searches and writes of documents, one item each.

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{Found, Version};
use crate::failure::Reason;

#[derive(Deserialize)]
pub(super) struct Got {
    #[serde(default)]
    pub(super) found: bool,
    pub(super) error: Option<Reason>,
    #[serde(rename = "_index")]
    pub(super) index: String,
    #[serde(rename = "_id")]
    pub(super) id: String,
    #[serde(rename = "_seq_no")]
    pub(super) seq_no: Option<i64>,
    #[serde(rename = "_primary_term")]
    pub(super) primary_term: Option<i64>,
    #[serde(rename = "_source")]
    pub(super) source: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
pub(super) struct Hit {
    #[serde(rename = "_index")]
    pub(super) index: String,
    #[serde(rename = "_id")]
    pub(super) id: String,
    #[serde(rename = "_seq_no")]
    pub(super) seq_no: Option<i64>,
    #[serde(rename = "_primary_term")]
    pub(super) primary_term: Option<i64>,
    #[serde(rename = "_source")]
    pub(super) source: Option<Box<RawValue>>,
    #[serde(default)]
    pub(super) sort: Value,
}

impl Hit {
    pub(super) fn found(self) -> Option<Found> {
        Some(Found {
            index: self.index,
            id: self.id,
            version: Version {
                seq_no: self.seq_no?,
                primary_term: self.primary_term?,
            },
            source: self.source?,
            sort: self.sort,
        })
    }
}

#[derive(Deserialize)]
pub(super) struct Searched {
    #[serde(default)]
    pub(super) timed_out: bool,
    #[serde(rename = "_shards")]
    pub(super) shards: Option<Shards>,
    pub(super) hits: Option<Hits>,
    #[serde(default)]
    pub(super) aggregations: Value,
    pub(super) error: Option<Reason>,
    pub(super) status: Option<u16>,
}

#[derive(Deserialize)]
pub(super) struct Shards {
    pub(super) failed: u64,
}

#[derive(Default, Deserialize)]
pub(super) struct Hits {
    pub(super) total: Option<Total>,
    #[serde(default)]
    pub(super) hits: Vec<Hit>,
}

#[derive(Deserialize)]
pub(super) struct Total {
    pub(super) value: u64,
}

/// An item's answer, under the name of what was done.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Written {
    Create(Item),
    Index(Item),
    Update(Item),
    Delete(Item),
}

#[derive(Deserialize)]
pub(super) struct Item {
    pub(super) status: u16,
    pub(super) error: Option<Reason>,
    #[serde(rename = "_seq_no")]
    pub(super) seq_no: Option<i64>,
    #[serde(rename = "_primary_term")]
    pub(super) primary_term: Option<i64>,
}

impl Written {
    pub(super) fn into_parts(self) -> (u16, Option<Reason>, Option<Version>) {
        let (Self::Create(item) | Self::Index(item) | Self::Update(item) | Self::Delete(item)) = self;
        let version = item.seq_no.zip(item.primary_term);
        let version = version.map(|(seq_no, primary_term)| Version { seq_no, primary_term });
        (item.status, item.error, version)
    }
}
