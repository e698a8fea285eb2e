//! The state of the server as a pure function of what the store says and of the faults that were told.

use std::collections::BTreeMap;

use store::StoreHealth;
use strum::IntoStaticStr;

/// State of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "UPPERCASE")]
pub enum HealthState {
    /// The store has not answered yet.
    Starting,
    /// All is well.
    Healthy,
    /// It runs, but something is wrong.
    Degraded,
    /// It stops.
    Stopping,
}

impl HealthState {
    /// Its name in `/api/status`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// State with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What `/api/status` shows.
    pub state: HealthState,
    /// Why, for people.
    pub message: String,
}

/// The state after a look at the store, with the faults of other parts.
pub(super) fn next(
    current: HealthState,
    store: &StoreHealth,
    faults: &BTreeMap<&'static str, String>,
) -> Health {
    let is_served = store.readable && store.writable;
    let reason = match (is_served, &store.reason) {
        (true, _) => faults.values().next().cloned(),
        (false, Some(reason)) => Some(reason.clone()),
        (false, None) => Some("the store is not available".to_owned()),
    };
    let state = match (current, &reason) {
        (HealthState::Stopping, _) => HealthState::Stopping,
        (_, None) => HealthState::Healthy,
        (HealthState::Starting, Some(_)) => HealthState::Starting,
        (_, Some(_)) => HealthState::Degraded,
    };
    let message = reason.unwrap_or_else(|| "running".to_owned());
    Health { state, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sta_04_states_follow_the_store() {
        let well = StoreHealth {
            readable: true,
            writable: true,
            reason: None,
        };
        let full = StoreHealth {
            readable: true,
            writable: false,
            reason: Some("disk full".into()),
        };
        let none = BTreeMap::new();
        assert_eq!(
            next(HealthState::Starting, &full, &none).state,
            HealthState::Starting
        );
        assert_eq!(
            next(HealthState::Starting, &well, &none).state,
            HealthState::Healthy
        );
        let degraded = next(HealthState::Healthy, &full, &none);
        assert_eq!(
            (degraded.state, degraded.message.as_str()),
            (HealthState::Degraded, "disk full")
        );
        assert_eq!(
            next(HealthState::Degraded, &well, &none).state,
            HealthState::Healthy
        );
        assert_eq!(
            next(HealthState::Stopping, &well, &none).state,
            HealthState::Stopping
        );
    }
    #[test]
    fn a_told_fault_degrades_a_server_whose_store_is_well() {
        let well = StoreHealth {
            readable: true,
            writable: true,
            reason: None,
        };
        let faults = BTreeMap::from([("part", "does not work".to_owned())]);
        let health = next(HealthState::Healthy, &well, &faults);
        assert_eq!(
            (health.state, health.message.as_str()),
            (HealthState::Degraded, "does not work")
        );
    }
}
