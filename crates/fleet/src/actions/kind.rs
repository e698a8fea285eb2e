//! The types of action that agents know.

use store::AgentMark;
use strum::{EnumString, IntoStaticStr, VariantArray, VariantNames};

use crate::FleetError;

/// A type of action. The store keeps its name, and names that are no type of these: such actions are a log of operators'
/// deeds and never sent to agents. A new one does not compile until `check`, `deliver` and `ack` say what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr, VariantArray, VariantNames)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum ActionKind {
    /// Drops a scheduled upgrade.
    Cancel,
    /// A component executes it.
    InputAction,
    /// Another policy is assigned.
    PolicyReassign,
    /// The agent uploads an archive about itself.
    RequestDiagnostics,
    /// Sets the agent's own log level.
    Settings,
    /// The agent leaves.
    Unenroll,
    /// Another version of the agent, or the previous one.
    Upgrade,
    /// The agent enrols at another server.
    Migrate,
    /// The agent runs as another user.
    PrivilegeLevelChange,
}

impl ActionKind {
    /// All of them.
    pub const ALL: &[Self] = <Self as VariantArray>::VARIANTS;

    /// The name that agents and the store know.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The type of this name, if agents know it.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        name.parse().ok()
    }

    /// Reads what an operator wrote.
    ///
    /// # Errors
    /// [`FleetError::InvalidAction`]: agents know no such type.
    pub fn parse(name: &str) -> Result<Self, FleetError> {
        Self::named(name).ok_or_else(|| {
            let known = <Self as VariantNames>::VARIANTS.join(", ");
            let reason = format!("type \"{name}\" is none of {known}");
            FleetError::InvalidAction { reason }
        })
    }

    /// What posting it changes in the records of its targets.
    pub(crate) const fn mark(self) -> Option<AgentMark> {
        match self {
            Self::Unenroll => Some(AgentMark::UnenrollmentStarted),
            Self::Upgrade => Some(AgentMark::UpgradeStarted),
            Self::Cancel
            | Self::InputAction
            | Self::PolicyReassign
            | Self::RequestDiagnostics
            | Self::Settings
            | Self::Migrate
            | Self::PrivilegeLevelChange => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_what_agents_do_not_know_is_no_type() {
        for kind in ActionKind::ALL {
            assert_eq!(ActionKind::named(kind.as_str()), Some(*kind));
        }
        for name in ["UPDATE_TAGS", "POLICY_CHANGE", "FORCE_UNENROLL", "settings", ""] {
            assert!(ActionKind::parse(name).is_err(), "{name}");
        }
    }
}
