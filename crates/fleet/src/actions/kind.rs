//! The types of action that agents know.

use store::AgentMark;

use crate::FleetError;

/// One row a type: its name here, its name for agents and in the store. A new row does not compile until
/// `check`, `deliver`, `ack` and this file say what it means.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal,)*) => {
        /// A type of action. The store keeps its name, and names that are no type of these: such actions are a log of
        /// operators' deeds and never sent to agents.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ActionKind {
            $($(#[$doc])* $kind,)*
        }

        impl ActionKind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// The name that agents and the store know.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }
        }
    };
}

kinds! {
    /// Drops a scheduled upgrade.
    Cancel = "CANCEL",
    /// A component executes it.
    InputAction = "INPUT_ACTION",
    /// Another policy is assigned.
    PolicyReassign = "POLICY_REASSIGN",
    /// The agent uploads an archive about itself.
    RequestDiagnostics = "REQUEST_DIAGNOSTICS",
    /// Sets the agent's own log level.
    Settings = "SETTINGS",
    /// The agent leaves.
    Unenroll = "UNENROLL",
    /// Another version of the agent, or the previous one.
    Upgrade = "UPGRADE",
    /// The agent enrols at another server.
    Migrate = "MIGRATE",
    /// The agent runs as another user.
    PrivilegeLevelChange = "PRIVILEGE_LEVEL_CHANGE",
}

impl ActionKind {
    /// The type of this name, if agents know it.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == name)
    }

    /// Reads what an operator wrote.
    ///
    /// # Errors
    /// [`FleetError::InvalidAction`]: agents know no such type.
    pub fn parse(name: &str) -> Result<Self, FleetError> {
        Self::named(name).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|kind| kind.as_str()).collect();
            FleetError::InvalidAction {
                reason: format!("type \"{name}\" is none of {}", known.join(", ")),
            }
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
