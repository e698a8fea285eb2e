//! Agents whose key is dead and that nobody told (agents.md 5.9): first they get an empty policy, which stops what they
//! run, then they are told to unenrol, then they are refused.
//!
//! Owns which of them were told, for an hour each and so many at most. In: the agent that asks, and why it was refused. Out: what
//! it is told, or nothing. The id in the path proves nothing, so an agent counts together with the key that it shows:
//! nobody can use up another's steps.

use std::{
    collections::{HashMap, VecDeque, hash_map::RandomState},
    hash::BuildHasher as _,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{AgentId, Fleet, FleetError, KeyId};

/// What such an agent is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// A policy without any input.
    EmptyPolicy,
    /// To unenrol.
    Unenroll,
}

/// What the agent is told in place of this error; `None`: the error.
#[must_use]
pub fn instead_of(fleet: &Fleet, error: &FleetError, agent: &AgentId, key: &KeyId) -> Option<Farewell> {
    if !matches!(
        error,
        FleetError::UnknownKey | FleetError::KeyRevoked | FleetError::AgentInactive { .. }
    ) {
        return None;
    }
    let farewell = fleet.farewells.next(agent, key, Instant::now())?;
    let told = match farewell {
        Farewell::EmptyPolicy => "Returning an empty policy for agent with invalid API key",
        Farewell::Unenroll => "Returning UNENROLL action for agent with invalid API key",
    };
    log::info!(
        "event.action" = "farewell", "fleet.agent.id" = shown(agent.as_str()), "fleet.apikey.id" = shown(key.as_str());
        "{told}"
    );
    Some(farewell)
}

/// Who was told what.
#[derive(Debug)]
pub(crate) struct Farewells {
    most: usize,
    names: RandomState,
    told: Mutex<Told>,
}

/// Each hash of agent and key with the steps it has behind it.
#[derive(Debug, Default)]
struct Told {
    steps: HashMap<u64, u8>,
    /// By their first step: the order in which they are forgotten.
    since: VecDeque<(Instant, u64)>,
}

impl Farewells {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            names: RandomState::new(),
            told: Mutex::default(),
        }
    }

    fn next(&self, agent: &AgentId, key: &KeyId, now: Instant) -> Option<Farewell> {
        if self.most == 0 {
            return None;
        }
        let name = self.names.hash_one((agent.as_str(), key.as_str()));
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.forget(now);
        if let Some(step) = told.steps.get_mut(&name) {
            *step = step.saturating_add(1);
            return (*step == 2).then_some(Farewell::Unenroll);
        }
        if told.since.len() >= self.most {
            told.forget_oldest();
        }
        told.steps.insert(name, 1);
        told.since.push_back((now, name));
        Some(Farewell::EmptyPolicy)
    }
}

impl Told {
    fn forget(&mut self, now: Instant) {
        while self
            .since
            .front()
            .is_some_and(|(since, _)| now.saturating_duration_since(*since) >= REMEMBERED)
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, name)) = self.since.pop_front() {
            self.steps.remove(&name);
        }
    }
}

/// Ids of strangers are as long as they like.
fn shown(id: &str) -> String {
    id.chars().take(128).collect()
}

const REMEMBERED: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    fn next(farewells: &Farewells, agent: &str, key: &str, now: Instant) -> Option<Farewell> {
        farewells.next(&agent.into(), &key.into(), now)
    }

    #[test]
    fn b06_gfu_01_02_two_steps_then_the_error_and_again_after_an_hour() {
        let (farewells, start) = (Farewells::new(10), Instant::now());
        let steps = |after: Duration| {
            let now = start + after;
            [(); 4].map(|()| next(&farewells, "a", "k", now))
        };
        let course = [Some(Farewell::EmptyPolicy), Some(Farewell::Unenroll), None, None];
        assert_eq!(steps(Duration::ZERO), course);
        assert_eq!(steps(REMEMBERED - Duration::from_millis(1)), [None; 4]);
        assert_eq!(steps(REMEMBERED), course);
    }

    #[test]
    fn gfu_04_05_so_many_at_most_and_none_when_it_is_off() {
        let now = Instant::now();
        assert_eq!(next(&Farewells::new(0), "a", "k", now), None);
        let one = Farewells::new(1);
        for agent in ["a", "b", "a", "b"] {
            assert_eq!(next(&one, agent, "k", now), Some(Farewell::EmptyPolicy));
        }
        assert_eq!(next(&one, "b", "k", now), Some(Farewell::Unenroll));
        assert_eq!(one.told.lock().unwrap().steps.len(), 1);
    }

    #[test]
    fn nobody_uses_up_the_steps_of_another_by_naming_it() {
        let (farewells, now) = (Farewells::new(10), Instant::now());
        assert_eq!(next(&farewells, "a", "k", now), Some(Farewell::EmptyPolicy));
        for stranger in ["x", "y"] {
            assert_eq!(next(&farewells, "a", stranger, now), Some(Farewell::EmptyPolicy));
        }
        assert_eq!(next(&farewells, "a", "k", now), Some(Farewell::Unenroll));
    }
}
