//! Which ids are accepted. Agents put ids into paths without escaping them (agents.md 4.3).

use store::{AgentId, EnrollmentId, PolicyId, SecretId};

use crate::FleetError;

/// An agent id from outside.
pub(crate) fn agent_id(text: &str) -> Result<AgentId, FleetError> {
    // `#` would end the path of an agent's URL.
    usable("the agent id", text, "._:@-").map(AgentId::from)
}

/// A policy id from outside; `base#suffix` is one (A2).
pub(crate) fn policy_id(text: &str) -> Result<PolicyId, FleetError> {
    usable("the policy id", text, "._:@#-").map(PolicyId::from)
}

/// An action id that an agent names; it becomes part of a path for operators.
pub(crate) fn action_id(text: &str) -> Result<(), FleetError> {
    usable("the action id", text, "._:@-").map(drop)
}

/// The id of a secret from outside.
pub(crate) fn secret_id(text: &str) -> Result<SecretId, FleetError> {
    usable("the secret id", text, "._:@#-").map(SecretId::from)
}

/// An idempotency key from outside.
pub(crate) fn enrollment_id(text: &str) -> Result<EnrollmentId, FleetError> {
    usable("the enrollment id", text, "._:@#-").map(EnrollmentId::from)
}

/// The policy id without its last `#…` (data.md 1.2, ENR-04).
pub(crate) fn policy_base(policy: &PolicyId) -> PolicyId {
    policy.base().unwrap_or_else(|| policy.clone())
}

/// The text, if it is made of letters, digits and these `marks`, and no relative path.
fn usable<'a>(what: &'static str, text: &'a str, marks: &'static str) -> Result<&'a str, FleetError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || marks.contains(c);
    let found = if text.is_empty() {
        "is empty".to_owned()
    } else if text.len() > MOST_BYTES {
        format!("has {} bytes", text.len())
    } else if let Some(odd) = text.chars().find(|c| !fits(*c)) {
        format!("\"{}\" has {odd:?}", text.escape_default())
    } else if matches!(text, "." | "..") {
        format!("\"{text}\" is a relative path")
    } else {
        return Ok(text);
    };
    Err(FleetError::InvalidId { what, found, marks })
}

const MOST_BYTES: usize = 256;

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

    #[test]
    fn case_13_a_refused_id_is_told_with_what_is_wrong_in_it() {
        let said = |id: &str| agent_id(id).unwrap_err().to_string();
        assert_eq!(
            said("a#b"),
            "the agent id \"a#b\" has '#': it must be 1 to 256 letters, digits or any of . _ : @ -"
        );
        assert!(said("").starts_with("the agent id is empty: "));
        assert!(said(&"x".repeat(300)).starts_with("the agent id has 300 bytes: "));
        assert!(said("..").contains("is a relative path"));
        let policy = policy_id("a b").unwrap_err().to_string();
        assert!(
            policy.contains("has ' '") && policy.ends_with(". _ : @ # -"),
            "{policy}"
        );
    }
}
