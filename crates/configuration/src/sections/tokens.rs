//! `inputs.0.server.static_policy_tokens.*`: enrollment tokens that stand in the configuration.

use crate::engine::{secret::Secret, section::section};

section! {
    /// Enrollment tokens that stand in the configuration.
    pub struct StaticPolicyTokens {
        keys {
            /// Whether they count.
            enabled: bool = false;
        }
        sections {
            /// The tokens.
            policy_tokens: Vec<PolicyToken>;
        }
    }
}

section! {
    /// A token.
    pub struct PolicyToken {
        keys {
            /// The token's secret.
            token_key: Option<Secret> = None;
            /// The policy of agents that enrol with it.
            policy_id: Option<String> = None;
        }
    }
}
