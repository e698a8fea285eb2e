//! How an agent's upgrade runs and ends (agents.md 5.5 and 7.4, data.md 6.4). Pure.
//!
//! In: what a check-in says, the agent's record, the UPGRADE and CANCEL actions addressed to it. Out: the change of the
//! record and the actions that have come to an end. An acknowledgement alone ends nothing but by an error: a check-in
//! whose version is the target makes an upgrade complete.

use serde_json::{Map, Value, json};
use store::{
    Action, ActionId, ActionOutcome, AddressedAction, Agent, DetailsChange, RawJson, Timestamp,
    UpgradeChange, UpgradeEnd,
};

use crate::FleetError;

/// What a check-in changes of its agent's upgrades.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Course {
    /// Of the agent's record.
    pub(crate) change: Option<UpgradeChange>,
    /// Actions that have come to an end.
    pub(crate) ends: Vec<End>,
}

/// How an action ended at an agent.
#[derive(Debug, PartialEq)]
pub(crate) struct End {
    pub(crate) action: Action,
    pub(crate) outcome: ActionOutcome,
    pub(crate) reason: Option<String>,
}

/// Details that a check-in may carry, as they are stored.
pub(crate) struct Details {
    object: Map<String, Value>,
}

impl Details {
    /// Reads what was sent; `null` counts as absent.
    pub(crate) fn read(sent: Option<&RawJson>) -> Result<Option<Self>, FleetError> {
        let Some(sent) = sent.filter(|sent| sent.as_str() != "null") else {
            return Ok(None);
        };
        let object = sent
            .read()
            .map_err(|error| invalid(format!("an object is expected ({error})")))?;
        Ok(Some(Self { object }))
    }

    /// Checks and cuts the metadata.
    pub(crate) fn normalize(&mut self) -> Result<(), FleetError> {
        let metadata = match self.object.get("metadata") {
            None | Some(Value::Null) => None,
            Some(Value::Object(metadata)) => Some(metadata),
            Some(_) => return Err(invalid("metadata must be an object".into())),
        };
        if let Some(metadata) = normalized(self.state(), metadata)? {
            self.object.insert("metadata".into(), metadata);
        }
        Ok(())
    }

    /// The action that the upgrade belongs to.
    pub(crate) fn action_id(&self) -> &str {
        text(&self.object, "action_id")
    }

    fn state(&self) -> &str {
        text(&self.object, "state")
    }

    fn metadata(&self, key: &str) -> &str {
        let metadata = self.object.get("metadata").and_then(Value::as_object);
        metadata.map_or("", |metadata| text(metadata, key))
    }

    /// Why the upgrade failed, if they say so.
    fn failure(&self) -> Option<String> {
        match self.state() {
            "UPG_FAILED" => Some(self.metadata("error_msg").to_owned()),
            "UPG_ROLLBACK" if self.metadata("reason") == WATCH_FAILED => {
                Some(format!("rolled back: {WATCH_FAILED}"))
            }
            _ => None,
        }
    }

    fn stored(agent: &Agent) -> Option<Self> {
        let object = agent.upgrade_details.as_ref()?.read().ok()?;
        Some(Self { object })
    }
}

/// Whether a check-in with these details has anything to say about upgrades. Most have not.
pub(crate) fn concerns(agent: &Agent, sent: Option<&Details>) -> bool {
    let stored = Details::stored(agent).map(|stored| stored.object);
    agent.upgrade_started_at.is_some() || sent.map(|sent| &sent.object) != stored.as_ref()
}

/// Whether the agent has said that it is at this upgrade.
pub(crate) fn is_at(agent: &Agent, action: &ActionId) -> bool {
    Details::stored(agent).is_some_and(|stored| stored.action_id() == action.as_str())
}

/// What a check-in knows when it looks at its agent's upgrades.
pub(crate) struct Seen<'a> {
    /// The details that were sent, if they belong to a known action.
    pub(crate) sent: Option<Details>,
    /// Details of an unknown action were sent: they say nothing of ours.
    pub(crate) is_foreign: bool,
    /// What the agent says it runs, in the request's head and in its metadata.
    pub(crate) versions: [Option<&'a str>; 2],
    /// UPGRADE actions of the agent, oldest first.
    pub(crate) upgrades: Vec<AddressedAction>,
    /// CANCEL actions of the agent.
    pub(crate) cancels: Vec<AddressedAction>,
    pub(crate) now: Timestamp,
}

impl Seen<'_> {
    /// Works out what the check-in changes (agents.md 7.4, AC-41 to AC-42).
    pub(crate) fn course(self, agent: &Agent) -> Result<Course, FleetError> {
        let stored = Details::stored(agent);
        let end_of = |upgrade: &AddressedAction| {
            let (outcome, reason) = self.end_of(upgrade, stored.as_ref())?;
            Some(End {
                action: upgrade.action.clone(),
                outcome,
                reason,
            })
        };
        let mut ends: Vec<End> = self.upgrades.iter().filter_map(end_of).collect();
        if !ends.is_empty() {
            // What the agent has acknowledged beside the one that ended was not run and will not be.
            let others = self.upgrades.iter().filter(|upgrade| {
                upgrade.outcome == Some(ActionOutcome::Acknowledged)
                    && !self.is_sent(upgrade)
                    && !ends.iter().any(|end| end.action == upgrade.action)
            });
            let others: Vec<_> = others.map(|upgrade| upgrade.action.clone()).collect();
            ends.extend(others.into_iter().map(|action| End {
                action,
                outcome: ActionOutcome::Cancelled,
                reason: Some("another upgrade ran in its place".to_owned()),
            }));
        }
        let is_open = self.upgrades.iter().any(|upgrade| {
            !is_over(upgrade)
                && (self.is_sent(upgrade) || upgrade.action.expiration.is_none_or(|at| at > self.now))
                && !ends.iter().any(|end| end.action == upgrade.action)
        });
        let is_running = agent.upgrade_started_at.is_some();
        // The record may have been lost after the result was stored.
        let was_upgraded = |upgrade: &AddressedAction| {
            upgrade.outcome == Some(ActionOutcome::Succeeded) && self.is_reached(&upgrade.action)
        };
        let is_upgraded = ends.iter().any(|end| end.outcome == ActionOutcome::Succeeded)
            || (ends.is_empty() && is_running && self.upgrades.last().is_some_and(was_upgraded));
        let end = match (is_open, is_upgraded) {
            (true, _) => None,
            (false, true) => Some(UpgradeEnd::Reached),
            (false, false) => (is_running || !ends.is_empty()).then_some(UpgradeEnd::Missed),
        };
        let details = match (&self.sent, &stored) {
            (Some(sent), Some(stored)) if sent.object == stored.object => DetailsChange::None,
            (Some(sent), _) => DetailsChange::Set(
                RawJson::from_value(&sent.object).map_err(|error| invalid(error.to_string()))?,
            ),
            (None, Some(_)) if !self.is_foreign => DetailsChange::Cleared,
            (None, _) => DetailsChange::None,
        };
        let is_watched = self
            .sent
            .as_ref()
            .is_some_and(|sent| sent.state() == "UPG_WATCHING");
        let change = UpgradeChange {
            details,
            end,
            ends_attempts: agent.upgrade_attempts.is_some()
                && (is_watched || end == Some(UpgradeEnd::Reached)),
        };
        Ok(Course {
            change: (change != UpgradeChange::default()).then_some(change),
            ends,
        })
    }

    /// How the upgrade ended at this agent, if that is new.
    fn end_of(
        &self,
        upgrade: &AddressedAction,
        stored: Option<&Details>,
    ) -> Option<(ActionOutcome, Option<String>)> {
        let id = upgrade.action.action.as_str();
        let sent = self.sent.as_ref().filter(|sent| sent.action_id() == id);
        let stored = stored.filter(|stored| stored.action_id() == id);
        let before = upgrade.outcome.filter(|_| is_over(upgrade));
        if let Some(failure) = sent.and_then(Details::failure) {
            // Also after a success: the watcher has taken it back.
            let is_news = matches!(before, None | Some(ActionOutcome::Succeeded));
            return is_news.then_some((ActionOutcome::Failed, Some(failure)));
        }
        // Before its restart an agent may run another build of the target already.
        let is_through = sent.is_none_or(|sent| sent.state() == "UPG_WATCHING");
        let is_run = sent.is_some() || stored.is_some_and(|stored| stored.failure().is_none());
        let is_undone = matches!(before, Some(ActionOutcome::Failed | ActionOutcome::Cancelled));
        let is_awaited = before.is_none() || (is_undone && is_run);
        if is_awaited && is_through && self.is_reached(&upgrade.action) {
            return Some((ActionOutcome::Succeeded, None));
        }
        if before.is_some() || sent.is_some() || self.is_foreign {
            return None;
        }
        let cancelled = |why: &str| Some((ActionOutcome::Cancelled, Some(why.to_owned())));
        match (stored, &self.sent) {
            (_, None) if self.is_cancelled(id) => cancelled("cancelled"),
            (Some(_), Some(_)) => cancelled("another upgrade took its place"),
            (Some(stored), None) => {
                let failure = stored.failure().unwrap_or_else(|| {
                    let runs = self.versions.iter().flatten().next();
                    format!(
                        "given up by the agent, which still runs {}",
                        runs.unwrap_or(&"another version")
                    )
                });
                Some((ActionOutcome::Failed, Some(failure)))
            }
            (None, _) => None,
        }
    }

    /// Whether the agent was sent a CANCEL of this action.
    fn is_cancelled(&self, id: &str) -> bool {
        self.cancels.iter().any(|cancel| {
            cancel.outcome.is_some() && data_text(&cancel.action, "target_id").as_deref() == Some(id)
        })
    }

    fn is_sent(&self, upgrade: &AddressedAction) -> bool {
        let id = upgrade.action.action.as_str();
        self.sent.as_ref().is_some_and(|sent| sent.action_id() == id)
    }

    fn is_reached(&self, action: &Action) -> bool {
        let target = data_text(action, "version").unwrap_or_default();
        let is_target = |version: &&str| release(version) == release(&target);
        !target.is_empty() && self.versions.iter().flatten().any(is_target)
    }
}

/// Whether nothing more is expected of the action at this agent.
fn is_over(upgrade: &AddressedAction) -> bool {
    upgrade
        .outcome
        .is_some_and(|outcome| outcome != ActionOutcome::Acknowledged)
}

/// A version without what builds of it differ in.
fn release(version: &str) -> &str {
    let version = version.split_once('+').map_or(version, |(version, _)| version);
    version.strip_suffix("-SNAPSHOT").unwrap_or(version)
}

/// Whether an acknowledgement with an error of this action ends the agent's upgrade: not if it runs another (AC-41b).
pub(crate) fn is_current(agent: &Agent, action: &ActionId, upgrades: &[AddressedAction]) -> bool {
    let newest = || {
        upgrades
            .last()
            .is_none_or(|newest| newest.action.action == *action)
    };
    Details::stored(agent).map_or_else(newest, |stored| stored.action_id() == action.as_str())
}

/// The version in `elastic.agent` of an agent's metadata.
pub(crate) fn version_in(local_metadata: &RawJson) -> Option<String> {
    let metadata: Value = local_metadata.read().ok()?;
    Some(metadata.pointer("/elastic/agent/version")?.as_str()?.to_owned())
}

fn data_text(action: &Action, key: &str) -> Option<String> {
    let data: Map<String, Value> = action.data.as_ref()?.read().ok()?;
    Some(data.get(key)?.as_str()?.to_owned())
}

fn text<'a>(object: &'a Map<String, Value>, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

const WATCH_FAILED: &str = "watch failed";

/// The metadata as it is stored; `None` keeps what was sent.
fn normalized(state: &str, metadata: Option<&Map<String, Value>>) -> Result<Option<Value>, FleetError> {
    let text = |key: &str| {
        metadata
            .and_then(|m| m.get(key))
            .and_then(Value::as_str)
            .filter(|t| !t.is_empty())
    };
    match state {
        "UPG_SCHEDULED" => {
            let at = text("scheduled_at").and_then(Timestamp::parse);
            match at {
                Some(at) if at.to_seconds_text() != "0001-01-01T00:00:00Z" => Ok(None),
                _ => Err(invalid("UPG_SCHEDULED needs metadata.scheduled_at".into())),
            }
        }
        "UPG_FAILED" => {
            let error =
                text("error_msg").ok_or_else(|| invalid("UPG_FAILED needs metadata.error_msg".into()))?;
            Ok(Some(
                json!({"error_msg": error, "failed_state": text("failed_state").unwrap_or_default()}),
            ))
        }
        "UPG_DOWNLOADING" => metadata.map(downloading).transpose(),
        _ => Ok(None),
    }
}

fn downloading(metadata: &Map<String, Value>) -> Result<Value, FleetError> {
    let mut kept = Map::new();
    let percent = match metadata.get("download_percent") {
        None | Some(Value::Null) => json!(0),
        Some(percent @ Value::Number(_)) => percent.clone(),
        Some(_) => return Err(invalid("download_percent must be a number".into())),
    };
    kept.insert("download_percent".into(), percent);
    match metadata.get("download_rate") {
        None | Some(Value::Null) => {}
        Some(rate @ Value::Number(_)) => drop(kept.insert("download_rate".into(), rate.clone())),
        Some(Value::String(text)) if text.is_empty() => {}
        Some(Value::String(text)) => {
            let rate = rate(text).ok_or_else(|| invalid(format!("download_rate {text} is not a rate")))?;
            kept.insert("download_rate".into(), rate.into());
        }
        Some(_) => return Err(invalid("download_rate must be a number or a text".into())),
    }
    for key in ["retry_error_msg", "retry_until"] {
        match metadata.get(key) {
            None | Some(Value::Null) => {}
            Some(text @ Value::String(value))
                if key == "retry_error_msg" || Timestamp::parse(value).is_some() =>
            {
                kept.insert(key.into(), text.clone());
            }
            Some(_) => return Err(invalid(format!("{key} has the wrong type"))),
        }
    }
    Ok(Value::Object(kept))
}

/// Bytes a second from texts such as `1MBps` (decimal units, truncated).
fn rate(text: &str) -> Option<u64> {
    let text = text.strip_suffix("ps").unwrap_or(text);
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(digits)?;
    let number: f64 = number.parse().ok()?;
    let factor = match suffix.trim_start().to_ascii_lowercase().as_str() {
        "b" => 1.0,
        "k" | "kb" | "kib" => 1e3,
        "m" | "mb" | "mib" => 1e6,
        "g" | "gb" | "gib" => 1e9,
        "t" | "tb" | "tib" => 1e12,
        "p" | "pb" | "pib" => 1e15,
        _ => return None,
    };
    let bytes = (number * factor).trunc();
    // Far beyond any network, and exactly representable.
    (bytes.is_finite() && bytes <= 9e15).then(|| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "bounded just above, never negative"
        )]
        let whole = bytes as u64;
        whole
    })
}

fn invalid(reason: String) -> FleetError {
    FleetError::InvalidUpgradeDetails { reason }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn chk_42_f11_rates_are_decimal() {
        for (text, bytes) in [
            ("1MBps", Some(1_000_000)),
            ("320.822575kBps", Some(320_822)),
            ("10kbps", Some(10_000)),
            ("5 MiB", Some(5_000_000)),
            ("7b", Some(7)),
            ("7", None),
            ("MBps", None),
            ("1xB", None),
            ("1e400MB", None),
        ] {
            assert_eq!(rate(text), bytes, "{text}");
        }
    }

    #[test]
    fn f12_required_metadata() {
        let check = |state: &str, metadata: Value| normalized(state, metadata.as_object());
        assert!(check("UPG_FAILED", json!({"error_msg": ""})).is_err());
        assert!(check("UPG_SCHEDULED", json!({})).is_err());
        assert!(check("UPG_SCHEDULED", json!({"scheduled_at": "0001-01-01T00:00:00Z"})).is_err());
        assert!(
            check(
                "UPG_SCHEDULED",
                json!({"scheduled_at": "2026-01-01T00:00:00Z", "x": 1})
            )
            .unwrap()
            .is_none()
        );
        assert_eq!(
            check("UPG_FAILED", json!({"error_msg": "e", "x": 1})).unwrap(),
            Some(json!({"error_msg": "e", "failed_state": ""}))
        );
        assert_eq!(
            check("UPG_DOWNLOADING", json!({"download_rate": "1MBps", "x": 1})).unwrap(),
            Some(json!({"download_percent": 0, "download_rate": 1_000_000}))
        );
        assert!(check("UPG_WATCHING", json!({"anything": 1})).unwrap().is_none());
    }

    proptest! {
        #[test]
        fn any_text_is_a_rate_or_refused(text in ".{0,40}") {
            let _ = rate(&text);
        }
    }
}
