//! What one agent was given, and whether that was right: nothing twice, nothing out of order.
//!
//! In: deliveries in the order in which the agent read them. Out: findings. What is missing at the end is judged by
//! the scenario, which knows what should have come.

use std::rc::Rc;

/// What an agent got so far.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    policy: Option<(Rc<str>, i64)>,
    /// Digests of the ids of other actions: ids are long, agents many.
    actions: Vec<u64>,
}

/// Something that no agent should see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Finding {
    /// Delivered again although the agent had said that it has it.
    Doubled,
    /// Delivered after something newer.
    Reordered,
    /// Not delivered.
    Lost,
    /// The server did not take an acknowledgement.
    NotAcknowledged,
    /// A waiting poll broke although nothing was done to it.
    BrokenPoll,
}

impl Finding {
    /// What to call it in front of people.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Doubled => "doubled deliveries",
            Self::Reordered => "reordered deliveries",
            Self::Lost => "lost deliveries",
            Self::NotAcknowledged => "acknowledgements not taken",
            Self::BrokenPoll => "polls broken",
        }
    }
}

impl Ledger {
    /// The policy that the agent reports.
    pub(crate) fn policy(&self) -> Option<(&str, i64)> {
        self.policy.as_ref().map(|(id, revision)| (&**id, *revision))
    }

    /// Takes a delivered policy.
    pub(crate) fn take_policy(&mut self, id: &str, revision: i64) -> Option<Finding> {
        let finding = match &self.policy {
            Some((known, last)) if **known == *id && *last == revision => Some(Finding::Doubled),
            Some((known, last)) if **known == *id && *last > revision => Some(Finding::Reordered),
            _ => None,
        };
        let known = match self.policy.take() {
            Some((known, _)) if *known == *id => known,
            _ => id.into(),
        };
        self.policy = Some((known, revision));
        finding
    }

    /// Takes another delivered action.
    pub(crate) fn take_action(&mut self, id: &str) -> Option<Finding> {
        let digest = digest(id);
        if self.actions.contains(&digest) {
            return Some(Finding::Doubled);
        }
        self.actions.push(digest);
        None
    }
}

/// A number that stands for an action's id, the same in every process.
pub(crate) fn digest(id: &str) -> u64 {
    // FNV-1a.
    id.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_come_once_and_rise() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.take_policy("p", 1), None);
        assert_eq!(ledger.take_policy("p", 3), None);
        assert_eq!(ledger.take_policy("p", 3), Some(Finding::Doubled));
        assert_eq!(ledger.take_policy("p", 2), Some(Finding::Reordered));
        assert_eq!(
            ledger.take_policy("q", 1),
            None,
            "another policy counts by itself"
        );
        assert_eq!(ledger.policy(), Some(("q", 1)));
    }

    #[test]
    fn actions_come_once() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.take_action("a"), None);
        assert_eq!(ledger.take_action("b"), None);
        assert_eq!(ledger.take_action("a"), Some(Finding::Doubled));
        assert_ne!(digest("a"), digest("b"));
    }
}
