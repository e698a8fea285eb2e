//! Acknowledgements, event by event (agents.md 7.2). Repeats are harmless.

use store::{ActionId, ActionResult, Agent, Inserted, PolicyId, RawJson, Timestamp};

use crate::{
    Fleet, FleetError,
    actions::{
        ActionKind,
        ack::{self, Effect},
    },
};

/// One event of an ack request.
#[derive(Clone, Debug, Default)]
pub struct AckEvent {
    /// Which action.
    pub action_id: String,
    /// Who says so; may be empty.
    pub agent_id: String,
    /// The agent's time.
    pub timestamp: Option<String>,
    /// Present (even empty): it failed.
    pub error: Option<String>,
    /// UPGRADE only: whether a failed one is tried again.
    pub retries: Option<bool>,
    /// REQUEST_DIAGNOSTICS only.
    pub data: Option<RawJson>,
    /// INPUT_ACTION only.
    pub action_input_type: Option<String>,
    /// INPUT_ACTION only.
    pub action_data: Option<RawJson>,
    /// INPUT_ACTION only.
    pub action_response: Option<RawJson>,
    /// INPUT_ACTION only.
    pub started_at: Option<String>,
    /// INPUT_ACTION only.
    pub completed_at: Option<String>,
}

/// What came of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AckOutcome {
    /// Stored.
    Done,
    /// The event names another agent.
    WrongAgent,
    /// There is no such action.
    UnknownAction,
    /// It could not be stored; the agent tries again.
    Failed(FleetError),
}

/// Applies the events; the outcomes are in their order. One failing event does not undo the others.
pub async fn apply(fleet: &Fleet, agent: Agent, events: Vec<AckEvent>, now: Timestamp) -> Vec<AckOutcome> {
    let mut outcomes = Vec::with_capacity(events.len());
    let (mut policy_events, mut ending_events) = (Vec::new(), Vec::new());
    let mut confirmed: Option<i64> = None;
    for (place, event) in events.into_iter().enumerate() {
        let outcome = if !event.agent_id.is_empty() && event.agent_id != agent.id.as_str() {
            AckOutcome::WrongAgent
        } else if event.action_id.starts_with("policy:") {
            if event.error.is_none() {
                policy_events.push(place);
                confirmed = confirmed.max(revision_of(&event.action_id, &agent.policy));
            }
            AckOutcome::Done
        } else {
            match one(fleet, &agent, event, now).await {
                Ok(Applied::Done) => AckOutcome::Done,
                Ok(Applied::EndsAgent) => {
                    ending_events.push(place);
                    AckOutcome::Done
                }
                Ok(Applied::Unknown) => AckOutcome::UnknownAction,
                Err(error) => AckOutcome::Failed(error),
            }
        };
        outcomes.push(outcome);
    }
    if let Some(revision) = confirmed.filter(|revision| *revision > agent.policy_revision.unwrap_or(0)) {
        let stored = fleet
            .store
            .confirm_policy(&agent.id, &agent.policy, revision, now)
            .await;
        fail(&mut outcomes, &policy_events, stored);
    }
    if !ending_events.is_empty() {
        let stored = fleet.store.unenroll(&agent.id, None, now).await;
        if stored.is_ok() {
            log::info!("event.action" = "unenroll", "fleet.agent.id":% = agent.id; "agent unenrolled");
        }
        fail(&mut outcomes, &ending_events, stored);
    }
    outcomes
}

enum Applied {
    Done,
    EndsAgent,
    Unknown,
}

async fn one(fleet: &Fleet, agent: &Agent, event: AckEvent, now: Timestamp) -> Result<Applied, FleetError> {
    let id = ActionId::from(event.action_id.as_str());
    let Some(action) = fleet.store.action(&id).await? else {
        return Ok(Applied::Unknown);
    };
    let kind = ActionKind::named(&action.kind);
    let effect = kind.map_or(Effect::None, |kind| Effect::of(kind, agent, &event));
    let timestamp = event.timestamp.clone().filter(|t| Timestamp::parse(t).is_some());
    let result = ActionResult {
        action: id,
        agent: agent.id.clone(),
        timestamp: timestamp.unwrap_or_else(|| now.to_seconds_text()),
        received_at: now,
        error: event.error.clone(),
        namespaces: action.namespaces,
        details: kind.and_then(|kind| ack::details(kind, event)),
    };
    let inserted = fleet.store.insert_result(result).await;
    match effect {
        Effect::None => drop(inserted?),
        // A repeat changes nothing, unless the first one came no further than its result.
        Effect::Upgrade(change) => {
            if inserted? == Inserted::New || agent.upgrade_started_at.is_some() {
                fleet.store.change_upgrade(&agent.id, change, now).await?;
            }
        }
        Effect::EndsAgent => {
            // The agent is gone whatever happens to the result: its keys must not outlive it.
            if let Err(error) = inserted {
                log::warn!("fleet.agent.id":% = agent.id, "error.message":% = error; "result of an unenrolment not stored");
            }
            return Ok(Applied::EndsAgent);
        }
    }
    Ok(Applied::Done)
}

fn fail<T>(outcomes: &mut [AckOutcome], places: &[usize], stored: store::Result<T>) {
    let Err(error) = stored else { return };
    for place in places {
        if let Some(outcome) = outcomes.get_mut(*place) {
            *outcome = AckOutcome::Failed(error.clone().into());
        }
    }
}

/// The revision in `policy:ID:REVISION[:COORDINATOR]`, if it is for this policy. The id may hold colons
/// (agents.md 7.3).
fn revision_of(action_id: &str, policy: &PolicyId) -> Option<i64> {
    let rest = action_id
        .strip_prefix("policy:")?
        .strip_prefix(policy.as_str())?
        .strip_prefix(':')?;
    let mut parts = rest.split(':');
    let revision = parts.next()?.parse().ok()?;
    let coordinator = parts.next();
    let is_whole = parts.next().is_none() && coordinator.is_none_or(|c| c.parse::<i64>().is_ok());
    is_whole.then_some(revision)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn d10_ack_08_09_ids_with_and_without_coordinator() {
        let p = PolicyId::from("P");
        assert_eq!(revision_of("policy:P:3", &p), Some(3));
        assert_eq!(revision_of("policy:P:3:0", &p), Some(3));
        assert_eq!(revision_of("policy:P:3:0:1", &p), None);
        assert_eq!(revision_of("policy:Q:3", &p), None);
        assert_eq!(revision_of("policy:P:x", &p), None);
        assert_eq!(revision_of("policy:P:3:x", &p), None);
        assert_eq!(revision_of("policy:a:b:7", &PolicyId::from("a:b")), Some(7));
        assert_eq!(revision_of("policy:a:7:1", &PolicyId::from("a")), Some(7));
    }

    proptest! {
        #[test]
        fn any_id_round_trips(id in "[a-z:#.]{1,20}", revision in 1i64..i64::MAX) {
            let policy = PolicyId::from(id.as_str());
            prop_assert_eq!(revision_of(&format!("policy:{id}:{revision}"), &policy), Some(revision));
        }

        #[test]
        fn any_text_is_read_or_ignored(text in ".{0,60}") {
            let _ = revision_of(&text, &PolicyId::from("p"));
        }
    }
}
