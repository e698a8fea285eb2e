//! `inputs.0.*` and `inputs.0.server.*`: what agents reach.

use std::{path::PathBuf, time::Duration};

use super::{ssl::Ssl, tokens::StaticPolicyTokens};
use crate::{
    addresses::host_alone,
    engine::{
        quantity::{ByteSize, Retention},
        section::{at_least, between, section},
        setting::{Refusal, Shown, setting},
    },
    limits::Limits,
};

section! {
    /// The input.
    pub struct Input {
        keys {
            /// Always fleet-server.
            kind as "type": InputType = InputType;
        }
        sections {
            /// The server.
            server: Server;
        }
    }
}

section! {
    /// The server.
    pub struct Server {
        keys {
            /// Address that agents reach.
            host: String = "0.0.0.0".to_owned(), check |host| host_alone(host);
            /// Port that agents reach; 0: any free one.
            port: u16 = 8220, unit "port";
            /// Port on localhost for the agent on the same machine. Unset or 0: 8221, or any free one if `port` is 0.
            internal_port: Option<u16> = None, unit "port";
            /// How hard check-in responses are compressed, -2 to 9; 0: not.
            compression_level: i64 = 1, check between(-2, 9);
            /// Check-in responses larger than this are compressed.
            compression_threshold: u64 = 1024, unit "bytes";
        }
        sections {
            /// TLS towards agents. Without this section agents are served over plain HTTP.
            ssl: Option<Ssl>;
            /// How long things may take.
            timeouts: Timeouts;
            /// How much is served at once.
            limits: Limits;
            /// Tuning of the original's language runtime.
            runtime: Runtime;
            /// Removal of what has expired.
            gc: Gc;
            /// Enrollment tokens that stand in the configuration.
            static_policy_tokens: StaticPolicyTokens;
            /// How replace tokens are derived.
            pdkdf2: Pdkdf2;
            /// Switches.
            feature_flags: FeatureFlags;
            /// The key that agents check the signatures of upgrades with.
            pgp: Pgp;
        }
    }
}

section! {
    /// How long things may take.
    pub struct Timeouts {
        keys {
            /// From accepting a connection, or a request's first byte, to the end of its body.
            read: Duration = secs(60), check above_zero;
            /// From the end of a request's head to the end of the response.
            write: Duration = secs(600), check above_zero;
            /// How long a connection may rest between requests; a WebSocket is then asked whether it is there.
            idle: Duration = secs(35), check above_zero;
            /// How long a request's head may take.
            read_header: Duration = secs(5), check above_zero;
            /// How often check-ins without news are written.
            checkin_timestamp: Duration = secs(30);
            /// How long a check-in waits for news if the agent does not say.
            checkin_long_poll: Duration = secs(300);
            /// Random part that is taken off the wait; 0: none.
            checkin_jitter: Duration = secs(30);
            /// Longest wait an agent may ask for.
            checkin_max_poll: Duration = secs(3600);
            /// How long requests may take to end when the server stops.
            drain: Duration = secs(10);
        }
    }
}

section! {
    /// How replace tokens are derived (the section's name is spelled as in the original).
    pub struct Pdkdf2 {
        keys {
            /// Iterations.
            iterations: u32 = 210_000, unit "iterations", check at_least(1000);
            /// Length of the derived key.
            key_length: u32 = 32, unit "bytes", check at_least(14);
            /// Length of the salt.
            salt_length: u32 = 64, unit "bytes", check at_least(16);
        }
    }
}

section! {
    /// Switches.
    pub struct FeatureFlags {
        keys {
            /// Leave aside the policy id that agents report in check-ins.
            ignore_checkin_policy_id: bool = false;
            /// Serve agents that speak OpAMP on `/v1/opamp`.
            enable_opamp: bool = true;
        }
        sections {
            /// Agents whose key is dead.
            graceful_force_unenroll: GracefulForceUnenroll;
        }
    }
}

section! {
    /// The key that agents check the signatures of upgrades with.
    pub struct Pgp {
        keys {
            /// Where it is fetched from if the directory has none: https only, by the proxy of HTTPS_PROXY if there is one.
            upstream_url: String = "https://artifacts.elastic.co/GPG-KEY-elastic-agent".to_owned();
            /// Directory of default.pgp, which only its owner may write to. Unset: elastic-agent-upgrade-keys in the data
            /// directory. What was fetched is kept there.
            dir: Option<PathBuf> = None;
        }
    }
}

section! {
    /// Agents whose key is dead.
    pub struct GracefulForceUnenroll {
        keys {
            /// Tell them: at the first check-in to stop what they run, at the second to unenrol; then they are refused.
            enabled: bool = false;
            /// Memory for the agents that were told; 250 bytes each.
            max_bytes: ByteSize = ByteSize(50_000_000), check |size| match size.0 {
                0 => Err("at least 1 byte".to_owned()),
                _ => Ok(()),
            };
        }
    }
}

impl GracefulForceUnenroll {
    /// How many agents are remembered.
    pub fn agents(&self) -> u64 {
        if self.enabled {
            (self.max_bytes.0 / 250).max(1)
        } else {
            0
        }
    }
}

section! {
    /// Removal of what has expired.
    pub struct Gc {
        keys {
            /// How often.
            schedule_interval: Duration = Duration::from_secs(3600);
            /// How long expired actions are kept: a number and one of y, M, w, d, h, m, s. What is neither is 30d.
            cleanup_after_expired_interval: Retention = Retention::new("30d");
        }
    }
}

section! {
    /// Tuning of the original's language runtime.
    pub struct Runtime {
        keys {
            /// Memory that counts instead of the memory found; 0: as found. Without `max_agents` it completes token buckets
            /// that are set in part, as the original's preset of that memory; with it, less memory than the preset asks for is warned of.
            memory_limit: i64 = 0, unit "bytes", only "completes token buckets that are set in part, and warns";
        }
    }
}

/// The original takes 0 for no limit at all, which no listener should have.
fn above_zero(time: &Duration) -> Result<(), String> {
    match time.is_zero() {
        true => Err("more than 0: without a limit one client could hold a connection for ever".to_owned()),
        false => Ok(()),
    }
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The type of the one input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputType;

setting!(
    InputType,
    "fleet-server",
    |text| match text {
        "fleet-server" => Ok(Self),
        // The original's words.
        _ => Err(Refusal::Because("input type must be \"fleet-server\"".to_owned())),
    },
    |_| Shown::Text("fleet-server".to_owned())
);

impl Server {
    /// The port of the internal listener, where 0 is any free one (agents.md 1.1).
    pub fn internal_port(&self) -> u16 {
        match self.internal_port.unwrap_or(0) {
            0 if self.port == 0 => 0,
            0 => 8221,
            port => port,
        }
    }

    /// The internal listener's address, unless it is the external one's.
    pub fn internal_address(&self) -> Option<(&'static str, u16)> {
        let port = self.internal_port();
        let is_external = port != 0 && port == self.port && self.host.eq_ignore_ascii_case("localhost");
        (!is_external).then_some(("localhost", port))
    }

    /// TLS, if it is on.
    pub fn tls(&self) -> Option<&Ssl> {
        self.ssl.as_ref().filter(|ssl| ssl.enabled)
    }
}
