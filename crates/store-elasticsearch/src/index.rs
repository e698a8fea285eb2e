//! The indices, by the names that Kibana knows.

/// An index: all are aliases, of one shard each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Index {
    Agents,
    Actions,
    Results,
    Policies,
    Tokens,
}

impl Index {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Agents => ".fleet-agents",
            Self::Actions => ".fleet-actions",
            Self::Results => ".fleet-actions-results",
            Self::Policies => ".fleet-policies",
            Self::Tokens => ".fleet-enrollment-api-keys",
        }
    }
}
