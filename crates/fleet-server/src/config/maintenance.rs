//! `inputs.0.cache.*`, `inputs.0.monitor.*`, `inputs.0.server.gc.*`: what runs beside requests.

use std::time::Duration;

use super::{
    declare::{EFFECTIVE, INERT, section},
    duration::Retention,
    size::ByteSize,
};

section! {
    /// Caches of what a cluster would be asked for; the embedded store needs none.
    pub struct Cache {
        keys {
            /// Counters that estimate what is worth keeping; 0: from the preset.
            num_counters: u64 = 0 => INERT, unit "counters";
            /// Size; 0: from the preset.
            max_cost: ByteSize = ByteSize(0) => INERT;
            /// How long actions are kept; 0 takes the default, as for the others.
            ttl_action: Duration = Duration::from_secs(300) => INERT;
            /// How long enrollment tokens are kept.
            ttl_enroll_key: Duration = Duration::from_secs(60) => INERT;
            /// How long artifacts are kept.
            ttl_artifact: Duration = Duration::from_secs(24 * 3600) => INERT;
            /// How long verified API keys are kept.
            ttl_api_key: Duration = Duration::from_secs(15 * 60) => INERT;
            /// Random part that is taken off `ttl_api_key`.
            jitter_api_key: Duration = Duration::from_secs(300) => INERT;
        }
        sections {}
    }
}

section! {
    /// How changes of policies and actions are noticed.
    pub struct Monitor {
        keys {
            /// Documents in one answer of a cluster.
            fetch_size: u32 = 1000 => INERT, unit "documents";
            /// How long a cluster is asked to wait for news.
            poll_timeout: Duration = Duration::from_secs(240) => INERT;
            /// Pause after a policy change was seen in a cluster. Changes within 60ms go out as one anyway.
            policy_debounce_time: Duration = Duration::from_secs(1) => INERT;
        }
        sections {}
    }
}

section! {
    /// Removal of what has expired.
    pub struct Gc {
        keys {
            /// How often.
            schedule_interval: Duration = Duration::from_secs(3600) => EFFECTIVE;
            /// How long expired actions are kept: a number and one of y, M, w, d, h, m, s. What is neither is 30d.
            cleanup_after_expired_interval: Retention = Retention::thirty_days() => EFFECTIVE;
        }
        sections {}
    }
}
