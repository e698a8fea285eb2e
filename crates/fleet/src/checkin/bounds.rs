//! Bounds of what is stored of a check-in. Within the limit of its body a check-in is not refused for its size: a message is cut,
//! and a larger field leaves the stored value as it is. Only ids and words, which no agent has that long, are
//! refused.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use store::{Agent, AgentId, RawJson};
use tokio::time::Instant;

use super::CheckinRequest;
use crate::FleetError;

/// Counts fields over their bound, and logs them once an hour for each agent.
#[derive(Debug, Default)]
pub(crate) struct Bounds {
    over: Family<FieldLabel, Counter>,
    told: Mutex<HashMap<AgentId, Instant>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FieldLabel {
    field: &'static str,
}

impl Bounds {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let bounds = Self::default();
        registry.register(
            "checkin_fields_over_bound",
            "Fields of check-ins that were cut or not stored for their size",
            bounds.over.clone(),
        );
        bounds
    }

    /// Brings the request within its bounds.
    ///
    /// # Errors
    /// [`FleetError::TooLong`]: an id or a word is too long.
    pub(super) fn apply(&self, agent: &Agent, request: &mut CheckinRequest) -> Result<(), FleetError> {
        for (what, text) in [
            ("status", &request.status),
            ("ack_token", &request.ack_token),
            ("agent_policy_id", &request.agent_policy_id),
        ] {
            if text.as_ref().is_some_and(|text| text.len() > WORD) {
                return Err(FleetError::TooLong { what, most: WORD });
            }
        }
        if let Some(message) = &mut request.message
            && message.len() > MESSAGE
        {
            *message = cut(message);
            self.is_over(&agent.id, "message", MESSAGE);
        }
        let is_over =
            |json: &Option<RawJson>, most| json.as_ref().is_some_and(|json| json.as_str().len() > most);
        if is_over(&request.local_metadata, METADATA) {
            request.local_metadata = None;
            self.is_over(&agent.id, "local_metadata", METADATA);
        }
        if is_over(&request.components, COMPONENTS) {
            request.components = None;
            self.is_over(&agent.id, "components", COMPONENTS);
        }
        // Absent details have a meaning, so a field that is too large is replaced by the stored one.
        if is_over(&request.upgrade_details, DETAILS) {
            request.upgrade_details.clone_from(&agent.upgrade_details);
            self.is_over(&agent.id, "upgrade_details", DETAILS);
        }
        if is_over(&request.rollbacks, DETAILS) {
            request.rollbacks.clone_from(&agent.rollbacks);
            self.is_over(&agent.id, "rollbacks", DETAILS);
        }
        Ok(())
    }

    pub(crate) fn is_over(&self, agent: &AgentId, field: &'static str, most: usize) {
        self.over.get_or_create(&FieldLabel { field }).inc();
        let now = Instant::now();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= MOST_TOLD {
            told.retain(|_, at| now < *at + EVERY);
        }
        let is_due = told.get(agent).is_none_or(|at| now >= *at + EVERY);
        if is_due && told.len() < MOST_TOLD {
            told.insert(agent.clone(), now);
            log::warn!(
                "fleet.agent.id":% = agent;
                "{field} of a check-in has more than {most} bytes: it is cut or not stored, the check-in is served"
            );
        }
    }
}

/// The beginning of a message, with a mark.
fn cut(message: &str) -> String {
    let end = (0..=MESSAGE)
        .rev()
        .find(|end| message.is_char_boundary(*end))
        .unwrap_or(0);
    let (beginning, rest) = message.split_at(end);
    format!("{beginning}… (cut: {} more bytes)", rest.len())
}

/// Most bytes of an id or a word.
const WORD: usize = 1024;
const MESSAGE: usize = 16 * 1024;
const METADATA: usize = 512 * 1024;
const COMPONENTS: usize = 1024 * 1024;
/// Most bytes of upgrade details and of the rollback list.
const DETAILS: usize = 64 * 1024;
const EVERY: Duration = Duration::from_secs(3600);
/// Most agents whose last log line is remembered; about 100 bytes each.
const MOST_TOLD: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attack_04_a_message_is_cut_between_characters() {
        for text in [
            "x".repeat(MESSAGE + 7),
            "ü".repeat(MESSAGE),
            format!("x{}", "😀".repeat(MESSAGE)),
        ] {
            let cut = cut(&text);
            let (beginning, mark) = cut.split_once("… (cut: ").unwrap();
            assert!(
                text.starts_with(beginning) && beginning.len() > MESSAGE - 4 && beginning.len() <= MESSAGE
            );
            assert_eq!(mark, format!("{} more bytes)", text.len() - beginning.len()));
        }
    }
}
