//! `inputs.0.server.static_policy_tokens.*`: enrollment tokens that stand in the configuration.

use super::{
    declare::{EFFECTIVE, section},
    secret::Secret,
};

section! {
    /// Enrollment tokens that stand in the configuration.
    pub struct StaticPolicyTokens {
        keys {
            /// Whether they count.
            enabled: bool = false => EFFECTIVE;
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
            token_key: Option<Secret> = None => EFFECTIVE;
            /// The policy of agents that enrol with it.
            policy_id: Option<String> = None => EFFECTIVE;
        }
        sections {}
    }
}
