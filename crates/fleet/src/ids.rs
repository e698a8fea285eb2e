//! Which ids are accepted. Agents put ids into paths without escaping them (agents.md 4.3).

use store::{AgentId, EnrollmentId, PolicyId};

use crate::FleetError;

/// An agent id from outside.
pub(crate) fn agent_id(text: &str) -> Result<AgentId, FleetError> {
    // `#` would end the path of an agent's URL.
    let is_usable = is_usable(text) && !text.contains('#');
    is_usable
        .then(|| AgentId::from(text))
        .ok_or(FleetError::InvalidId { what: "the agent id" })
}

/// A policy id from outside; `base#suffix` is one (A2).
pub(crate) fn policy_id(text: &str) -> Result<PolicyId, FleetError> {
    is_usable(text)
        .then(|| PolicyId::from(text))
        .ok_or(FleetError::InvalidId {
            what: "the policy id",
        })
}

/// An idempotency key from outside.
pub(crate) fn enrollment_id(text: &str) -> Result<EnrollmentId, FleetError> {
    is_usable(text)
        .then(|| EnrollmentId::from(text))
        .ok_or(FleetError::InvalidId {
            what: "the enrollment id",
        })
}

/// The policy id without its last `#…` (data.md 1.2, ENR-04).
pub(crate) fn policy_base(policy: &PolicyId) -> PolicyId {
    policy
        .as_str()
        .rsplit_once('#')
        .map_or_else(|| policy.clone(), |(base, _)| PolicyId::from(base))
}

fn is_usable(text: &str) -> bool {
    (1..=256).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._:@#-".contains(&b))
        && text != "."
        && text != ".."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enr_04_base_is_cut_at_the_last_hash() {
        for (id, base) in [
            ("my-policy#9.2", "my-policy"),
            ("a#b#c", "a#b"),
            ("plain", "plain"),
        ] {
            assert_eq!(policy_base(&PolicyId::from(id)).as_str(), base);
        }
    }

    #[test]
    fn ids_that_break_a_path_are_refused() {
        for bad in [
            "",
            "a/b",
            "a b",
            "..",
            "a?b",
            "a%2Fb",
            "ä",
            "a\\b",
            "a\"b",
            "a#b",
            &"x".repeat(257),
        ] {
            assert!(agent_id(bad).is_err(), "{bad}");
        }
        assert!(agent_id("7f0c9f0e-2c1b-4c40-8d53-1d4a3c1c1f11").is_ok());
        assert!(policy_id("p1#9.2").is_ok());
    }
}
