//! `inputs.0.*` and `inputs.0.server.*`: what agents reach.

use std::time::Duration;

use super::{
    declare::{EFFECTIVE, INERT, at_least, between, section},
    later::{Bulk, Instrumentation, Pgp, Profiler, Runtime},
    limits::Limits,
    maintenance::{Cache, Gc, Monitor},
    setting::{Refusal, Setting, Shown},
    ssl::Ssl,
    tokens::StaticPolicyTokens,
};

section! {
    /// Exactly one entry of the type fleet-server.
    pub struct Inputs {
        keys {}
        sections {
            /// The input.
            input as "0": Input;
        }
    }
}

section! {
    /// The input.
    pub struct Input {
        keys {
            /// Always fleet-server.
            kind as "type": InputType = InputType => EFFECTIVE;
        }
        sections {
            /// The policy of the agent that runs this server.
            policy: OwnPolicy;
            /// The server.
            server: Server;
            /// Caches of what a cluster would be asked for.
            cache: Cache;
            /// How changes of policies and actions are noticed.
            monitor: Monitor;
        }
    }
}

section! {
    /// The policy of the agent that runs this server.
    pub struct OwnPolicy {
        keys {
            /// Its id (agent mode).
            id: Option<String> = None => INERT;
        }
        sections {}
    }
}

section! {
    /// The server.
    pub struct Server {
        keys {
            /// Address that agents reach.
            host: String = "0.0.0.0".to_owned() => EFFECTIVE;
            /// Port that agents reach; 0: any free one.
            port: u16 = 8220 => EFFECTIVE, unit "port";
            /// Port on localhost for the agent on the same machine. Unset or 0: 8221, or any free one if `port` is 0.
            internal_port: Option<u16> = None => EFFECTIVE, unit "port";
            /// How hard check-in responses are compressed, -2 to 9; 0: not.
            compression_level: i64 = 1 => EFFECTIVE, check between(-2, 9);
            /// Check-in responses larger than this are compressed.
            compression_threshold: u64 = 1024 => EFFECTIVE, unit "bytes";
        }
        sections {
            /// TLS towards agents. Without this section agents are served over plain HTTP.
            ssl: Option<Ssl>;
            /// How long things may take.
            timeouts: Timeouts;
            /// How much is served at once.
            limits: Limits;
            /// Profiles over HTTP.
            profiler: Profiler;
            /// Tuning of the original's language runtime.
            runtime: Runtime;
            /// Batches of requests to a cluster.
            bulk: Bulk;
            /// Removal of what has expired.
            gc: Gc;
            /// Traces to an APM server.
            instrumentation: Instrumentation;
            /// Enrollment tokens that stand in the configuration.
            static_policy_tokens: StaticPolicyTokens;
            /// Keys that signed agent upgrades are verified with.
            pgp: Pgp;
            /// How replace tokens are derived.
            pdkdf2: Pdkdf2;
            /// Switches.
            feature_flags: FeatureFlags;
        }
    }
}

section! {
    /// How long things may take.
    pub struct Timeouts {
        keys {
            /// From accepting a connection, or a request's first byte, to the end of its body.
            read: Duration = secs(60) => EFFECTIVE;
            /// From the end of a request's head to the end of the response.
            write: Duration = secs(600) => EFFECTIVE;
            /// How long a connection may rest between requests.
            idle: Duration = secs(35) => EFFECTIVE;
            /// How long a request's head may take.
            read_header: Duration = secs(5) => EFFECTIVE;
            /// How often check-ins without news are written.
            checkin_timestamp: Duration = secs(30) => EFFECTIVE;
            /// How long a check-in waits for news if the agent does not say.
            checkin_long_poll: Duration = secs(300) => EFFECTIVE;
            /// Random part that is taken off the wait; 0: none.
            checkin_jitter: Duration = secs(30) => EFFECTIVE;
            /// Longest wait an agent may ask for.
            checkin_max_poll: Duration = secs(3600) => EFFECTIVE;
            /// How long requests may take to end when the server stops.
            drain: Duration = secs(10) => EFFECTIVE;
        }
        sections {}
    }
}

section! {
    /// How replace tokens are derived (the section's name is spelled as in the original).
    pub struct Pdkdf2 {
        keys {
            /// Iterations.
            iterations: u32 = 210_000 => EFFECTIVE, unit "iterations", check at_least(1000);
            /// Length of the derived key.
            key_length: u32 = 32 => EFFECTIVE, unit "bytes", check at_least(14);
            /// Length of the salt.
            salt_length: u32 = 64 => EFFECTIVE, unit "bytes", check at_least(16);
        }
        sections {}
    }
}

section! {
    /// Switches.
    pub struct FeatureFlags {
        keys {
            /// Leave aside the policy id that agents report in check-ins.
            ignore_checkin_policy_id: bool = false => EFFECTIVE;
            /// Serve OpAMP at /v1/opamp.
            enable_opamp: bool = true => INERT;
        }
        sections {
            /// Tell agents with a revoked key to unenroll.
            graceful_force_unenroll: GracefulForceUnenroll;
        }
    }
}

section! {
    /// Tell agents with a revoked key to unenroll.
    pub struct GracefulForceUnenroll {
        keys {
            /// Whether it is done.
            enabled: bool = false => INERT;
            /// Memory for the agents being told; 0 or less: the default.
            max_bytes: i64 = 50_000_000 => INERT, unit "bytes";
        }
        sections {}
    }
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The type of the one input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputType;

impl Setting for InputType {
    fn allowed() -> String {
        "fleet-server".to_owned()
    }
    fn from_text(text: &str) -> Result<Self, Refusal> {
        if text == "fleet-server" {
            return Ok(Self);
        }
        // http-api 3.1 fixes these words.
        Err(Refusal::Because("input type must be \"fleet-server\"".to_owned()))
    }
    fn shown(&self) -> Option<Shown> {
        Some(Shown::Text("fleet-server".to_owned()))
    }
}

impl Server {
    /// The port of the internal listener, where 0 is any free one (http-api 1.1).
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
