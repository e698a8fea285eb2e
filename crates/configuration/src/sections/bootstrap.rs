//! `bootstrap.*`: what a store without policies begins with.

use std::path::PathBuf;

use crate::engine::section::section;

section! {
    /// What a store without policies begins with.
    pub struct Bootstrap {
        keys {
            /// Whether it gets the default policy and one enrollment token.
            enabled: bool = true;
            /// File that holds the enrollment token. Unset: a random one. A start that does not know it registers it for
            /// the default policy, so that it may be rotated.
            enrollment_token_path: Option<PathBuf> = None;
            /// URLs of this server that the policy tells agents. Unset: https://HOSTNAME:PORT.
            fleet_hosts: Vec<String> = Vec::new();
        }
    }
}
