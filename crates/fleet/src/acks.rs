//! Acknowledgements, event by event (agents.md 7.2). Repeats are harmless.

use store::{
    ActionId, ActionOutcome, ActionResult, Agent, Inserted, PolicyId, Timestamp, UpgradeChange, UpgradeEnd,
};

use crate::{
    Fleet, FleetError,
    actions::{
        ActionKind,
        ack::{self, Effect},
    },
    upgrades,
};

pub use crate::actions::ack::AckEvent;

/// The outcome of one event.
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
    let mut revisions = Vec::new();
    for (place, event) in events.into_iter().enumerate() {
        let outcome = if !event.agent_id.is_empty() && event.agent_id != agent.id.as_str() {
            AckOutcome::WrongAgent
        } else if event.action_id.starts_with("policy:") {
            if event.error.is_none()
                && let Some(revision) = revision_of(&event.action_id, &agent.policy)
            {
                policy_events.push(place);
                revisions.push(revision);
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
    if let Some(highest) = revisions.iter().max() {
        let stored = confirm(fleet, &agent, *highest, &revisions, now).await;
        fail(&mut outcomes, &policy_events, stored);
        fleet.actors.health_monitor.recount();
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

/// Stores the newest of the revisions that the agent says it runs, of those that exist.
async fn confirm(
    fleet: &Fleet,
    agent: &Agent,
    highest: i64,
    revisions: &[i64],
    now: Timestamp,
) -> Result<(), FleetError> {
    let stored = agent.policy_revision.unwrap_or(0);
    let newest = newest(fleet, &agent.policy, highest.max(stored)).await?;
    if highest > newest {
        log::warn!(
            "fleet.agent.id":% = agent.id, "fleet.policy.id":% = agent.policy, "fleet.revision_idx" = highest;
            "revision {highest} was acknowledged, but the newest is {newest}: ignored"
        );
    }
    let existing = revisions.iter().copied().filter(|revision| *revision <= newest);
    match existing.max() {
        // The stored revision is from before a restore.
        Some(revision) if stored > newest => {
            fleet
                .store
                .report_policy(&agent.id, &agent.policy, revision, now)
                .await?;
        }
        Some(revision) if revision > stored => {
            fleet
                .store
                .confirm_policy(&agent.id, &agent.policy, revision, now)
                .await?;
        }
        _ => {}
    }
    Ok(())
}

/// The policy's newest revision, read from the store if `asked` is above the known one: another server may have
/// created it. For a policy that does not exist, `asked` is accepted.
async fn newest(fleet: &Fleet, policy: &PolicyId, asked: i64) -> Result<i64, FleetError> {
    if let Ok(Some(known)) = fleet.actors.policy_monitor.latest(policy).await
        && asked <= known.revision
    {
        return Ok(known.revision);
    }
    let stored = fleet.store.policy(policy).await?;
    Ok(stored.map_or(i64::MAX, |policy| policy.revision))
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
    let effect = kind.map_or(Effect::None, |kind| Effect::of(kind, &event));
    let timestamp = event.timestamp.clone().filter(|t| Timestamp::parse(t).is_some());
    let result = ActionResult {
        action: id.clone(),
        agent: agent.id.clone(),
        timestamp: timestamp.unwrap_or_else(|| now.to_seconds_text()),
        received_at: now,
        outcome: ack::outcome(kind, &event),
        error: event.error.clone(),
        namespaces: action.namespaces,
        details: kind.and_then(|kind| ack::details(kind, event)),
    };
    let inserted = keep(fleet, &action.kind, result).await;
    match effect {
        Effect::None => inserted?,
        Effect::EndsUpgrade => {
            inserted?;
            if agent.upgrade_started_at.is_some() {
                let upgrades = fleet.store.addressed_actions(&agent.id, action.kind.as_str());
                if upgrades::is_current(agent, &id, &upgrades.await?) {
                    let change = UpgradeChange {
                        end: Some(UpgradeEnd::Missed),
                        ..UpgradeChange::default()
                    };
                    fleet.store.change_upgrade(&agent.id, change, now).await?;
                }
            }
        }
        Effect::EndsAgent => {
            // The agent is unenrolled even if the result could not be stored: its keys must not outlive it.
            if let Err(error) = inserted {
                log::warn!("fleet.agent.id":% = agent.id, "error.message":% = store::chain(&error); "result of an unenrolment not stored");
            }
            return Ok(Applied::EndsAgent);
        }
    }
    Ok(Applied::Done)
}

/// Stores the result once. An answer to what was taken back says what came of it all the same: the agent had the action
/// already. How an upgrade ends, check-ins say.
async fn keep(fleet: &Fleet, kind: &str, result: ActionResult) -> Result<(), FleetError> {
    let inserted = fleet.store.insert_result(result.clone()).await?;
    let is_end = matches!(result.outcome, ActionOutcome::Succeeded | ActionOutcome::Failed);
    if inserted == Inserted::New || !is_end || kind == ActionKind::Upgrade.as_str() {
        return Ok(());
    }
    let addressed = fleet.store.addressed_actions(&result.agent, kind).await?;
    let is_cancelled = addressed
        .iter()
        .any(|one| one.action.action == result.action && one.outcome == Some(ActionOutcome::Cancelled));
    if is_cancelled {
        let details = ack::cancelled(result.details);
        fleet
            .store
            .replace_result(ActionResult { details, ..result })
            .await?;
    }
    Ok(())
}

fn fail<E: Into<FleetError>>(outcomes: &mut [AckOutcome], places: &[usize], stored: Result<(), E>) {
    let Err(error) = stored.map_err(Into::into) else {
        return;
    };
    for place in places {
        if let Some(outcome) = outcomes.get_mut(*place) {
            *outcome = AckOutcome::Failed(error.clone());
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
