//! The agents that a request for many is about.

use fleet::{AgentId, AgentQuery, Fleet, Timestamp, agents};
use schemars::JsonSchema;
use serde::Deserialize;

use super::kuery;
use crate::error::ApiError;

/// Ids, or a kuery.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Targets {
    Ids(Vec<String>),
    Kuery(String),
}

impl Targets {
    /// For an action: those that are named, or the active ones of the kuery that take actions.
    pub(super) async fn of_an_action(self, fleet: &Fleet, now: Timestamp) -> Result<Vec<AgentId>, ApiError> {
        match self {
            Self::Ids(ids) => Ok(ids.into_iter().map(AgentId::from).collect()),
            Self::Kuery(text) => Ok(agents::who_take_actions(fleet, query(&text)?, now).await?),
        }
    }
}

pub(super) fn query(text: &str) -> Result<AgentQuery, ApiError> {
    let mut query = AgentQuery::default();
    kuery::apply(text, &mut query).map_err(|error| ApiError::Invalid(error.to_string().into()))?;
    Ok(query)
}
