//! `inputs.0.server.limits.*`: what is served at once. What is 0 comes from a preset by fleet size or memory.

use super::{
    declare::{EFFECTIVE, INERT, section},
    duration::Interval,
    presets::Preset,
    problem::Notice,
    size::{BodyLimit, ByteSize},
};

section! {
    /// How much is served at once. 0 takes the value of the preset.
    pub struct Limits {
        keys {
            /// Chooses the preset: 0 by memory, -1 the built-in values, else by the number of agents.
            max_agents: i64 = 0 => EFFECTIVE, unit "agents";
            /// Largest request head; 0: 8192.
            max_header_byte_size: ByteSize = ByteSize(DEFAULT_HEADER) => EFFECTIVE, check header_size;
            /// Requests in flight on one listener (deprecated). More are answered 429, connections above 1.1 times
            /// this number are closed; 0: from the preset, negative: any number.
            max_connections: i64 = 0 => EFFECTIVE, unit "connections";
            /// Space for uploaded files; unset: any.
            max_file_storage_size: Option<ByteSize> = None => INERT;
        }
        sections {
            /// How fast waiting agents are told of actions.
            action_limit: PaceBucket;
            /// How fast waiting agents are told of policies.
            policy_limit: PaceBucket;
            /// Check-ins.
            checkin_limit: Bucket;
            /// Artifacts.
            artifact_limit: LaterBucket;
            /// Enrolments.
            enroll_limit: Bucket;
            /// Acks.
            ack_limit: Bucket;
            /// Status requests.
            status_limit: Bucket;
            /// OpAMP messages.
            opamp_limit: LaterBucket;
            /// Beginnings of uploads.
            upload_start_limit: LaterBucket;
            /// Ends of uploads.
            upload_end_limit: LaterBucket;
            /// Chunks of uploads.
            upload_chunk_limit: LaterBucket;
            /// Files to agents.
            file_delivery_limit: LaterBucket;
            /// PGP keys.
            pgp_retrieval_limit: LaterBucket;
            /// Reports of uninstalled agents.
            audit_unenroll_limit: LaterBucket;
        }
    }
}

const DEFAULT_HEADER: u64 = 8192;

fn header_size(size: &ByteSize) -> Result<(), String> {
    if size.0 == 0 || (1024..=1 << 20).contains(&size.0) {
        Ok(())
    } else {
        Err("0 or from 1024 to 1048576 bytes".to_owned())
    }
}

/// Declares a bucket: whether its rate counts, and whether its caps do. A route that does not exist yet has
/// neither; what only paces the server itself has no requests and no bodies.
macro_rules! bucket {
    ($name:ident, rate $state:expr, caps $caps:expr) => {
        section! {
            /// A token bucket, a cap on requests in flight, and body limits.
            pub struct $name {
                keys {
                    /// Time in which one token comes back; 0: from the preset, negative: no bucket.
                    interval: Interval = Interval::default() => $state;
                    /// Tokens at most; 0: from the preset.
                    burst: i64 = 0 => $state, unit "requests";
                    /// Requests in flight; 0: from the preset, negative: none is served.
                    max: i64 = 0 => $caps, unit "requests";
                    /// Largest body on the wire; 0: from the preset, negative: any.
                    max_body_byte_size: BodyLimit = BodyLimit::default() => $caps;
                    /// Largest body after decompression; 0: from the preset, negative: any.
                    max_body_decompressed: BodyLimit = BodyLimit::default() => $caps;
                }
                sections {}
            }
        }

        impl $name {
            /// Fills what is 0 from the preset.
            fn fill(&mut self, preset: &BucketNumbers) {
                if self.interval.nanos == 0 {
                    self.interval = preset.interval;
                }
                fill(&mut self.burst, preset.burst);
                fill(&mut self.max, preset.max);
                fill(&mut self.max_body_byte_size.0, preset.body);
                fill(&mut self.max_body_decompressed.0, preset.decompressed);
            }

            /// The token bucket, if there is one.
            pub fn rate(&self) -> Option<Rate> {
                let nanos = u64::try_from(self.interval.nanos)
                    .ok()
                    .filter(|nanos| *nanos > 0)?;
                let burst = u32::try_from(self.burst.max(1)).unwrap_or(u32::MAX);
                Some(Rate {
                    interval: std::time::Duration::from_nanos(nanos),
                    burst,
                })
            }

            /// The cap on requests in flight.
            pub fn in_flight(&self) -> InFlight {
                match u32::try_from(self.max) {
                    Ok(0) => InFlight::Unlimited,
                    Ok(max) => InFlight::AtMost(max),
                    Err(_) if self.max < 0 => InFlight::None,
                    Err(_) => InFlight::Unlimited,
                }
            }

            /// Largest body on the wire; `None`: any.
            pub fn body_limit(&self) -> Option<u64> {
                u64::try_from(self.max_body_byte_size.0)
                    .ok()
                    .filter(|limit| *limit > 0)
            }

            /// Largest body after decompression; `None`: any.
            pub fn decompressed_limit(&self) -> Option<u64> {
                u64::try_from(self.max_body_decompressed.0)
                    .ok()
                    .filter(|limit| *limit > 0)
            }
        }
    };
}
bucket!(Bucket, rate EFFECTIVE, caps EFFECTIVE);
bucket!(PaceBucket, rate EFFECTIVE, caps INERT);
bucket!(LaterBucket, rate INERT, caps INERT);

fn fill(value: &mut i64, preset: i64) {
    if *value == 0 {
        *value = preset;
    }
}

/// A token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Time in which one token comes back.
    pub interval: std::time::Duration,
    /// Tokens at most.
    pub burst: u32,
}

/// A cap on requests in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InFlight {
    /// Any number.
    Unlimited,
    /// Up to so many.
    AtMost(u32),
    /// Every request is refused.
    None,
}

/// What a preset says of one bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketNumbers {
    /// Time in which one token comes back; 0: no bucket.
    pub interval: Interval,
    /// Tokens at most.
    pub burst: i64,
    /// Requests in flight; 0: any number.
    pub max: i64,
    /// Largest body on the wire; 0: any.
    pub body: i64,
    /// Largest body after decompression; 0: any.
    pub decompressed: i64,
}

impl Limits {
    /// Fills what is 0 from the preset that fits (http-api 3.4). Returns the chosen preset.
    pub fn apply_preset(&mut self, memory_mib: Option<u64>, notices: &mut Vec<Notice>) -> Preset {
        let preset = Preset::choose(self.max_agents, memory_mib);
        if let (Some(available_mib), Some(recommended_mib), true) =
            (memory_mib, preset.recommended_mib(), self.max_agents > 0)
            && available_mib < recommended_mib
        {
            notices.push(Notice::LittleMemory {
                max_agents: self.max_agents,
                recommended_mib,
                available_mib,
            });
        }
        let numbers = preset.numbers();
        if self.max_header_byte_size.0 == 0 {
            self.max_header_byte_size = ByteSize(DEFAULT_HEADER);
        }
        fill(&mut self.max_connections, numbers.max_connections);
        self.action_limit.fill(&numbers.action);
        self.policy_limit.fill(&numbers.policy);
        self.checkin_limit.fill(&numbers.checkin);
        self.artifact_limit.fill(&numbers.artifact);
        self.enroll_limit.fill(&numbers.enroll);
        self.ack_limit.fill(&numbers.ack);
        self.status_limit.fill(&numbers.status);
        self.opamp_limit.fill(&numbers.opamp);
        self.upload_start_limit.fill(&numbers.upload_start);
        self.upload_end_limit.fill(&numbers.upload_end);
        self.upload_chunk_limit.fill(&numbers.upload_chunk);
        self.file_delivery_limit.fill(&numbers.file_delivery);
        self.pgp_retrieval_limit.fill(&numbers.pgp_retrieval);
        self.audit_unenroll_limit.fill(&numbers.audit_unenroll);
        preset
    }

    /// Requests in flight on one listener; `None`: any number.
    pub fn connections(&self) -> Option<u32> {
        u32::try_from(self.max_connections).ok().filter(|max| *max > 0)
    }

    /// Connections at one listener, before TLS: 1.1 times [`Self::connections`] (http-api 1.2).
    pub fn hard_connections(&self) -> Option<u32> {
        let max = u64::from(self.connections()?);
        u32::try_from(max * 11 / 10).ok()
    }
}
