//! What the configuration decides about the domain. Defaults are those of agents.md 5.3; nothing is paced.

use std::time::Duration;

use store::PolicyId;

use crate::{Secret, StoreKey, uploads::FileLimits};

/// Settings of the domain.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Length of a poll whose agent names none.
    pub long_poll: Duration,
    /// A poll ends earlier by a random part of this, so that agents do not come back together; zero: off.
    pub checkin_jitter: Duration,
    /// Longest poll that an agent can ask for.
    pub checkin_max_poll: Duration,
    /// How often a waiting agent's last check-in is renewed.
    pub checkin_timestamp: Duration,
    /// How often check-in records are written: what a kill may lose of them (data.md 3.2).
    pub checkin_flush: Duration,
    /// How fast a policy change is handed to waiting agents.
    pub policy_pace: Pace,
    /// How fast waiting agents are told of an action.
    pub action_pace: Pace,
    /// Ignores the policy that agents report at check-in.
    pub ignores_reported_policy: bool,
    /// How many agents at once are told in steps that their key is dead (agents.md 5.9); 0: none.
    pub farewells: usize,
    /// What secrets are encrypted with; `None`: none can be kept.
    pub store_key: Option<StoreKey>,
    /// How replace tokens are hashed.
    pub replace_token: ReplaceTokenHashing,
    /// Enrollment tokens from the configuration.
    pub static_tokens: Vec<StaticToken>,
    /// `fleet.hosts` of the default policy.
    pub fleet_hosts: Vec<String>,
    /// Hosts of the default policy's output.
    pub default_output_hosts: Vec<String>,
    /// How often expired actions are removed.
    pub cleanup_interval: Duration,
    /// How long an expired action is kept.
    pub expired_actions_kept: Duration,
    /// How long an entry of the audit log is kept.
    pub audit_kept: Duration,
    /// How many revisions of a policy are kept.
    pub policy_revisions_kept: u32,
    /// What files may take, and how long they are kept.
    pub files: FileLimits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            long_poll: Duration::from_secs(5 * 60),
            checkin_jitter: Duration::from_secs(30),
            checkin_max_poll: Duration::from_secs(3600),
            checkin_timestamp: Duration::from_secs(30),
            checkin_flush: Duration::from_secs(10),
            policy_pace: Pace::NONE,
            action_pace: Pace::NONE,
            ignores_reported_policy: false,
            farewells: 0,
            store_key: None,
            replace_token: ReplaceTokenHashing::default(),
            static_tokens: Vec::new(),
            fleet_hosts: Vec::new(),
            default_output_hosts: vec!["https://localhost:9200".to_owned()],
            cleanup_interval: Duration::from_secs(3600),
            expired_actions_kept: Duration::from_secs(30 * 24 * 3600),
            policy_revisions_kept: 1000,
            audit_kept: Duration::from_secs(365 * 24 * 3600),
            files: FileLimits::default(),
        }
    }
}

/// A steady rate with a first burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Time between two; zero: no limit.
    pub interval: Duration,
    /// How many may go at once after a rest.
    pub burst: u32,
}

impl Pace {
    /// As fast as it goes.
    pub const NONE: Self = Self {
        interval: Duration::ZERO,
        burst: 1,
    };
}

/// PBKDF2 parameters of new replace tokens; stored ones keep theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplaceTokenHashing {
    /// Rounds of the derivation.
    pub iterations: u32,
    /// Bytes of the derived key.
    pub key_length: usize,
    /// Bytes of the salt.
    pub salt_length: usize,
}

impl Default for ReplaceTokenHashing {
    fn default() -> Self {
        Self {
            iterations: 210_000,
            key_length: 32,
            salt_length: 64,
        }
    }
}

/// An enrollment token from the configuration (agents.md 4.4).
#[derive(Clone, Debug)]
pub struct StaticToken {
    /// The secret half; the id half is arbitrary.
    pub key: Secret,
    /// The policy that it enrols into.
    pub policy: PolicyId,
}
