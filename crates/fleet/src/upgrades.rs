//! Upgrade details at check-in and upgrade acknowledgements (agents.md 5.5 and 7.4, data.md 6.4). Pure.

use serde_json::{Map, Value, json};
use store::{Agent, RawJson, Timestamp, UpgradeChange};

use crate::FleetError;

/// Details that a check-in may carry, with the action that they belong to.
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

    /// The action that the upgrade belongs to.
    pub(crate) fn action_id(&self) -> &str {
        self.object
            .get("action_id")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// The change of the agent's record, if there is one.
    pub(crate) fn change(mut self, agent: &Agent) -> Result<Option<UpgradeChange>, FleetError> {
        let state = self
            .object
            .get("state")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let metadata = self.object.get("metadata").filter(|value| !value.is_null());
        let metadata = match metadata {
            None => None,
            Some(Value::Object(metadata)) => Some(metadata),
            Some(_) => return Err(invalid("metadata must be an object".into())),
        };
        if let Some(metadata) = normalized(&state, metadata)? {
            self.object.insert("metadata".into(), metadata);
        }
        let details = RawJson::from_value(&self.object).map_err(|error| invalid(error.to_string()))?;
        let ends_attempts = state == "UPG_WATCHING" && agent.upgrade_attempts.is_some();
        let stored = agent
            .upgrade_details
            .as_ref()
            .and_then(|stored| stored.read::<Value>().ok());
        if stored == Some(Value::Object(self.object)) && !ends_attempts {
            return Ok(None);
        }
        Ok(Some(UpgradeChange::Progress {
            details,
            ends_attempts,
        }))
    }
}

/// A check-in without details after one with: the upgrade is over. It was a success unless it had failed (F15).
pub(crate) fn ended(agent: &Agent) -> Option<UpgradeChange> {
    let state = state(agent)?;
    Some(match state.as_str() {
        "UPG_FAILED" => UpgradeChange::Ended { clears_details: true },
        _ => UpgradeChange::Completed { ends_attempts: false },
    })
}

/// What an acknowledged UPGRADE changes: `retries` is the payload's word on an error.
pub(crate) fn acknowledged(agent: &Agent, is_error: bool, retries: bool) -> Option<UpgradeChange> {
    match (is_error, retries) {
        (true, true) => None,
        (true, false) => Some(UpgradeChange::Ended {
            clears_details: false,
        }),
        // The 9.6 agent acks a failed upgrade without an error (agents.md 7.4).
        (false, _) if state(agent).as_deref() == Some("UPG_FAILED") => Some(UpgradeChange::Ended {
            clears_details: false,
        }),
        (false, _) => Some(UpgradeChange::Completed {
            ends_attempts: agent.upgrade_details.is_none(),
        }),
    }
}

fn state(agent: &Agent) -> Option<String> {
    let details = agent.upgrade_details.as_ref()?.read::<Value>().ok()?;
    Some(
        details
            .get("state")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
    )
}

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
            let rate = rate(text).ok_or_else(|| invalid(format!("download_rate {text} is no rate")))?;
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
