//! What a check-in changes in the agent's record (agents.md 5.4, data.md 6.5). Pure.
//!
//! An idle agent sends its whole state every few minutes, units in random order: none of that may cause a write.

use serde::Deserialize;
use serde_json::{Map, Value};
use store::{Cause, FromObject, RawJson, UnhealthyReason};

use crate::FleetError;

/// The metadata to be stored, if it differs structurally from what is stored. `null` counts as absent.
pub(crate) fn metadata(
    stored: Option<&RawJson>,
    sent: Option<RawJson>,
) -> Result<Option<RawJson>, FleetError> {
    let Some(sent) = sent.filter(|sent| sent.as_str() != "null") else {
        return Ok(None);
    };
    if stored == Some(&sent) {
        return Ok(None);
    }
    let new: Map<String, Value> = sent.read().map_err(|error| FleetError::InvalidMetadata {
        source: Cause::new(error),
    })?;
    let is_same = stored
        .and_then(|stored| stored.read::<Map<String, Value>>().ok())
        .is_some_and(|old| old == new);
    Ok((!is_same).then_some(sent))
}

/// New component states with the reasons that follow from them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ComponentChange {
    pub(crate) components: RawJson,
    pub(crate) reasons: Vec<UnhealthyReason>,
}

/// The components to be stored, if they differ in what counts: id, message, status and units.
pub(crate) fn components(
    stored: Option<&RawJson>,
    sent: Option<RawJson>,
) -> Result<Option<ComponentChange>, FleetError> {
    let Some(sent) = sent.filter(|sent| sent.as_str() != "null") else {
        return Ok(None);
    };
    if stored == Some(&sent) {
        return Ok(None);
    }
    let new: Vec<FromObject<Component>> = sent.read().map_err(|error| FleetError::InvalidComponents {
        source: Cause::new(error),
    })?;
    // What is stored may be damaged: then it is simply replaced (CHK-33).
    let old = stored.and_then(|stored| stored.read::<Vec<FromObject<Component>>>().ok());
    let reasons = reasons(&new);
    let new = sorted(new);
    if old.map(sorted).is_some_and(|old| old == new) || (stored.is_none() && new.is_empty()) {
        return Ok(None);
    }
    Ok(Some(ComponentChange {
        components: sent,
        reasons,
    }))
}

/// Metadata as they were sent, for an agent of which another change is under way. They were read before.
pub(crate) fn metadata_as_sent(sent: Option<RawJson>) -> Option<RawJson> {
    sent.filter(|sent| sent.as_str() != "null")
}

/// Components as they were sent, likewise.
pub(crate) fn components_as_sent(sent: Option<RawJson>) -> Result<Option<ComponentChange>, FleetError> {
    let Some(components) = sent.filter(|sent| sent.as_str() != "null") else {
        return Ok(None);
    };
    let reported: Vec<FromObject<Component>> =
        components.read().map_err(|error| FleetError::InvalidComponents {
            source: Cause::new(error),
        })?;
    let reasons = reasons(&reported);
    Ok(Some(ComponentChange { components, reasons }))
}

/// The rollback list to be stored, if it differs; a check-in without one means an empty list (C23).
pub(crate) fn rollbacks(stored: Option<&RawJson>, sent: Option<RawJson>) -> Option<RawJson> {
    let sent = rollbacks_as_sent(sent)?;
    let old = stored
        .and_then(|stored| stored.read::<Value>().ok())
        .unwrap_or_else(|| Value::Array(Vec::new()));
    (sent.read::<Value>().ok()? != old).then_some(sent)
}

/// The list that a check-in means. One of another shape does not refuse a check-in (CHK-47).
pub(crate) fn rollbacks_as_sent(sent: Option<RawJson>) -> Option<RawJson> {
    let sent = match sent {
        Some(sent) => sent,
        None => RawJson::parse("[]".to_owned()).ok()?,
    };
    if let Err(error) = sent.read::<Vec<FromObject<Rollback>>>() {
        log::warn!("error.message":% = store::chain(&error); "rollback list of a check-in ignored");
        return None;
    }
    Some(sent)
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "read for its shape only; what is stored is the text")]
struct Rollback {
    version: String,
    valid_until: String,
}

#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Component {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    units: Option<Vec<FromObject<Unit>>>,
}

#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Unit {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    status: Option<String>,
    #[serde(default, rename = "type")]
    kind: Option<String>,
}

fn sorted(mut components: Vec<FromObject<Component>>) -> Vec<FromObject<Component>> {
    for units in components
        .iter_mut()
        .filter_map(|component| component.units.as_mut())
    {
        units.sort_unstable();
    }
    components.sort_unstable();
    components
}

fn reasons(components: &[FromObject<Component>]) -> Vec<UnhealthyReason> {
    let is_unhealthy = |status: &Option<String>| matches!(status.as_deref(), Some("FAILED" | "DEGRADED"));
    let mut reasons = Vec::new();
    let unhealthy: Vec<&FromObject<Component>> =
        components.iter().filter(|c| is_unhealthy(&c.status)).collect();
    for unit in unhealthy
        .iter()
        .flat_map(|c| c.units.iter().flatten())
        .filter(|u| is_unhealthy(&u.status))
    {
        match unit.kind.as_deref() {
            Some("input") => reasons.push(UnhealthyReason::Input),
            Some("output") => reasons.push(UnhealthyReason::Output),
            _ => {}
        }
    }
    if reasons.is_empty() && !unhealthy.is_empty() {
        reasons.push(UnhealthyReason::Other);
    }
    reasons.sort_unstable();
    reasons.dedup();
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> RawJson {
        RawJson::parse(text.to_owned()).unwrap()
    }

    #[test]
    fn c19_c20_metadata_is_compared_by_structure_and_replaced_whole() {
        let stored = json(r#"{"a":1,"b":2}"#);
        assert_eq!(
            metadata(Some(&stored), Some(json(r#"{"b":2,"a":1}"#))).unwrap(),
            None
        );
        assert_eq!(metadata(Some(&stored), Some(json("null"))).unwrap(), None);
        assert_eq!(
            metadata(Some(&stored), Some(json(r#"{"a":1}"#))).unwrap(),
            Some(json(r#"{"a":1}"#))
        );
        assert!(matches!(
            metadata(None, Some(json("[1]"))),
            Err(FleetError::InvalidMetadata { .. })
        ));
    }

    #[test]
    fn chk_32_c21_reasons_follow_the_components_and_are_cleared() {
        let reasons = |text: &str| components(None, Some(json(text))).unwrap().unwrap().reasons;
        let failed = |units: &str| format!(r#"[{{"id":"c","status":"FAILED","units":[{units}]}}]"#);
        let input = r#"{"id":"i","type":"input","status":"DEGRADED"}"#;
        let output = r#"{"id":"o","type":"output","status":"FAILED"}"#;
        assert_eq!(reasons(&failed(input)), vec![UnhealthyReason::Input]);
        assert_eq!(
            reasons(&failed(&format!("{output},{input}"))),
            vec![UnhealthyReason::Input, UnhealthyReason::Output]
        );
        assert_eq!(reasons(&failed("")), vec![UnhealthyReason::Other]);
        let stored = json(&failed(input));
        let healthy = json(r#"[{"id":"c","status":"HEALTHY"}]"#);
        assert_eq!(
            components(Some(&stored), Some(healthy)).unwrap().unwrap().reasons,
            vec![]
        );
    }

    #[test]
    fn units_in_another_order_are_no_change() {
        let stored = json(r#"[{"id":"c","units":[{"id":"1"},{"id":"2"}]},{"id":"d"}]"#);
        let sent = json(r#"[{"id":"d"},{"id":"c","units":[{"id":"2"},{"id":"1","payload":{"x":1}}]}]"#);
        assert_eq!(components(Some(&stored), Some(sent)).unwrap(), None);
    }

    #[test]
    fn chk_33_damaged_components_are_overwritten_and_bad_ones_refused() {
        assert!(
            components(Some(&json(r#""damaged""#)), Some(json("[]")))
                .unwrap()
                .is_some()
        );
        assert!(matches!(
            components(None, Some(json("{}"))),
            Err(FleetError::InvalidComponents { .. })
        ));
    }

    #[test]
    fn c23_a_missing_list_clears_the_stored_one() {
        assert_eq!(
            rollbacks(Some(&json(r#"[{"version":"1","valid_until":"x"}]"#)), None),
            Some(json("[]"))
        );
        assert_eq!(rollbacks(None, None), None);
        assert_eq!(rollbacks(None, Some(json(r#""text""#))), None, "CHK-47");
        assert_eq!(rollbacks(Some(&json("[]")), Some(json("[]"))), None);
    }
}
