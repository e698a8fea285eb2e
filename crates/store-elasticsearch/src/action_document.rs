//! The document of an action (data.md 1.3): written from a new one, read from Kibana's and ours.

use serde::Deserialize;
use store::{Action, ActionDocId, ActionId, Cause, NewAction, RawJson, Result, StoreError, Timestamp};

use crate::{
    Failure,
    document::{Members, Moment, or_default, time},
    documents::Found,
};

/// The document of a new action.
pub(crate) fn document(new: &NewAction) -> std::result::Result<Members, Failure> {
    let mut document = Members::default();
    document.set("action_id", &new.action)?;
    document.set("agents", &new.agents)?;
    document.set("type", &new.kind)?;
    document.set("@timestamp", &time(new.at))?;
    document.set("namespaces", &new.namespaces)?;
    document.set_some("input_type", new.input_type.as_ref())?;
    document.set_some("data", new.data.as_ref())?;
    document.set_some("expiration", new.expiration.map(time).as_ref())?;
    document.set_some("start_time", new.start_time.map(time).as_ref())?;
    document.set_some("rollout_duration_seconds", new.rollout_duration_seconds.as_ref())?;
    document.set_some("timeout", new.timeout.as_ref())?;
    document.set_some("user_id", new.user_id.as_ref())?;
    document.set_some("signed", new.signed.as_ref())?;
    document.set_some("traceparent", new.traceparent.as_ref())?;
    if !new.is_deliverable {
        document.set("is_deliverable", &false)?;
    }
    Ok(document)
}

#[derive(Deserialize)]
struct Source {
    action_id: ActionId,
    #[serde(rename = "type")]
    kind: String,
    #[serde(rename = "@timestamp", default)]
    at: Moment,
    #[serde(default, deserialize_with = "or_default")]
    namespaces: Vec<String>,
    input_type: Option<String>,
    data: Option<RawJson>,
    #[serde(default)]
    expiration: Moment,
    #[serde(default)]
    start_time: Moment,
    rollout_duration_seconds: Option<u32>,
    timeout: Option<i64>,
    user_id: Option<String>,
    signed: Option<RawJson>,
    traceparent: Option<String>,
    is_deliverable: Option<bool>,
}

/// An action as it is stored.
pub(crate) struct Read {
    pub(crate) action: Action,
    pub(crate) is_deliverable: bool,
}

/// The action of this document.
pub(crate) fn read(found: &Found) -> Result<Read> {
    let source: Source = serde_json::from_str(found.source.get()).map_err(|error| shape(found, error))?;
    let action = Action {
        doc: ActionDocId::from(found.id.as_str()),
        action: source.action_id,
        kind: source.kind,
        input_type: source.input_type,
        data: source.data,
        at: source.at.0.unwrap_or_else(|| Timestamp::from_millis(0)),
        expiration: source.expiration.0,
        start_time: source.start_time.0,
        rollout_duration_seconds: source.rollout_duration_seconds,
        timeout: source.timeout,
        user_id: source.user_id,
        namespaces: source.namespaces,
        signed: source.signed,
        traceparent: source.traceparent,
    };
    let is_deliverable = source.is_deliverable.unwrap_or(true);
    Ok(Read {
        action,
        is_deliverable,
    })
}

/// That the document is not as it should be.
pub(crate) fn shape(found: &Found, error: serde_json::Error) -> StoreError {
    StoreError::Corrupt {
        detail: format!("action document {} has another shape", found.id),
        source: Some(Cause::new(error)),
    }
}
