//! `inputs.0.server.limits.*`: how much is served at once. One table holds the original's built-in numbers and presets;
//! [`Limits::settle`] says which of them hold where no source sets a number, and listeners and routes are given
//! [`Bucket::numbers`].

use std::time::Duration;

use crate::engine::{
    problem::Notice,
    quantity::{BodyLimit, ByteSize, Interval},
    section::{Declared, Section, Visit},
};

/// A row of the table.
struct Row {
    name: &'static str,
    about: &'static str,
    /// Whether it only paces the server's own work, so that it has no caps on requests or bodies.
    is_pace: bool,
    /// Numbers without a preset. Body limits are the same in all presets.
    built_in: Numbers,
    /// Largest body on the wire, and after decompression; 0: any.
    bodies: (i64, i64),
    presets: [Numbers; PRESETS],
}

/// Microseconds in which a token comes back (0: no bucket), burst, requests in flight (0: any number).
type Numbers = (i64, i64, i64);
const PRESETS: usize = 8;

/// Largest fleet of each preset; the last has none.
const UP_TO: [i64; PRESETS - 1] = [500, 1_000, 2_500, 5_000, 10_000, 20_000, 40_000];
const RECOMMENDED_MIB: [u64; PRESETS] = [256, 512, 1_024, 2_048, 4_048, 8_096, 16_192, 32_384];
const MAX_CONNECTIONS: [i64; PRESETS] = [1_500, 3_000, 7_000, 12_000, 22_000, 42_000, 0, 0];

/// What a preset gives one limit: `micros` for each fleet size, with bursts and caps.
const fn presets(micros: [i64; PRESETS], counts: [(i64, i64); PRESETS]) -> [Numbers; PRESETS] {
    let mut numbers = [(0, 0, 0); PRESETS];
    let mut at = 0;
    while at < PRESETS {
        numbers[at] = (micros[at], counts[at].0, counts[at].1);
        at += 1;
    }
    numbers
}

/// Bursts and caps that many limits share.
#[rustfmt::skip]
const PER_AGENT: [(i64, i64); PRESETS] = [
    (100, 200), (200, 400), (500, 1_000), (1_000, 2_000), (2_000, 4_000), (4_000, 8_000), (4_000, 8_000), (8_000, 16_000),
];
#[rustfmt::skip]
const PER_FILE: [(i64, i64); PRESETS] = [(5, 5), (5, 10), (10, 20), (20, 40), (40, 80), (40, 80), (40, 80), (40, 80)];

/// One row a limit: its name, what it is about, and its numbers.
macro_rules! limits {
    ($(
        $(#[doc = $about:literal])+
        $limit:ident = $name:literal, pace $is_pace:literal, $built_in:expr, bodies $bodies:expr, $presets:expr;
    )*) => {
        /// A limit that has an effect.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Limit {
            $( $(#[doc = $about])+ $limit, )*
        }

        /// In the order of [`Limit`].
        const TABLE: &[Row] = &[$( Row {
            name: $name,
            about: concat!($($about),+),
            is_pace: $is_pace,
            built_in: $built_in,
            bodies: $bodies,
            presets: $presets,
        } ),*];
    };
}

limits! {
    /// How fast waiting agents are told of actions.
    Action = "action_limit", pace true, (0, 5, 0), bodies (0, 0), presets(
        [5_000, 5_000, 5_000, 5_000, 1_000, 1_000, 500, 250],
        [(1, 0), (1, 0), (1, 0), (5, 0), (10, 0), (100, 0), (100, 0), (100, 0)]
    );
    /// How fast waiting agents are told of policies.
    Policy = "policy_limit", pace true, (5_000, 1, 0), bodies (0, 0), presets(
        [5_000, 5_000, 5_000, 5_000, 5_000, 5_000, 2_000, 250], [(1, 0); PRESETS]
    );
    /// Check-ins.
    Checkin = "checkin_limit", pace false, (1_000, 1_000, 0), bodies (1_048_576, 20_971_520), presets(
        [5_000, 5_000, 5_000, 2_000, 1_000, 500, 500, 250],
        [
            (100, 500), (200, 1_000), (500, 2_500), (1_000, 5_000),
            (2_000, 10_000), (4_000, 20_000), (4_000, 40_000), (8_000, 80_000),
        ]
    );
    /// Enrolments.
    Enroll = "enroll_limit", pace false, (10_000, 50, 100), bodies (524_288, 0), presets(
        [10_000; PRESETS],
        [(10, 20), (20, 40), (50, 100), (100, 200), (100, 200), (100, 200), (100, 200), (200, 400)]
    );
    /// Acks.
    Ack = "ack_limit", pace false, (10_000, 50, 100), bodies (2_097_152, 0), presets(
        [4_000, 4_000, 4_000, 2_000, 1_000, 500, 500, 250], PER_AGENT
    );
    /// Status requests.
    Status = "status_limit", pace false, (5_000, 25, 50), bodies (0, 0), presets(
        [5_000; PRESETS],
        [(10, 20), (20, 40), (50, 100), (100, 200), (200, 400), (200, 400), (200, 400), (200, 400)]
    );
    /// Reports of agents that were uninstalled.
    AuditUnenroll = "audit_unenroll_limit", pace false, (10_000, 50, 100), bodies (1_024, 0), presets(
        [4_000, 4_000, 4_000, 2_000, 1_000, 500, 500, 250], PER_AGENT
    );
    /// Requests for the signing key of upgrades.
    PgpRetrieval = "pgp_retrieval_limit", pace false, (5_000, 25, 50), bodies (0, 0), presets(
        [5_000, 5_000, 5_000, 2_000, 1_000, 500, 500, 250], PER_AGENT
    );
    /// Fetches of artifacts.
    Artifact = "artifact_limit", pace false, (5_000, 25, 50), bodies (0, 0), presets(
        [5_000, 5_000, 5_000, 2_000, 1_000, 500, 500, 250], PER_AGENT
    );
    /// Beginnings of uploads.
    UploadStart = "upload_start_limit", pace false, (2_000_000, 5, 10), bodies (5_242_880, 0),
        presets([2_000_000; PRESETS], PER_FILE);
    /// Ends of uploads.
    UploadEnd = "upload_end_limit", pace false, (2_000_000, 5, 10), bodies (1_024, 0),
        presets([2_000_000; PRESETS], PER_FILE);
    /// Chunks of uploads.
    UploadChunk = "upload_chunk_limit", pace false, (3_000, 5, 10), bodies (4_194_304, 0),
        presets([3_000; PRESETS], PER_FILE);
    /// Files for agents.
    FileDelivery = "file_delivery_limit", pace false, (100_000, 5, 10), bodies (0, 0),
        presets([100_000; PRESETS], PER_FILE);
    /// Messages of agents that speak OpAMP, and their WebSockets.
    // The original's presets say nothing of it.
    OpAmp = "opamp_limit", pace false, (1_000, 1_000, 0), bodies (3_145_728, 3_145_728), [(1_000, 1_000, 0); PRESETS];
}

/// The buckets with keys that have no effect, each with the number of its first keys that do.
pub(crate) fn inert() -> impl Iterator<Item = (&'static str, usize)> {
    TABLE.iter().filter(|row| row.is_pace).map(|row| (row.name, 2))
}

/// How much is served at once. 0 leaves it to [`Limits::settle`].
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    max_agents: i64,
    /// Largest request head.
    pub max_header_byte_size: ByteSize,
    max_connections: i64,
    /// Bytes of one file that an agent sends; `None`: any number, 0: no files.
    pub max_file_storage_size: Option<ByteSize>,
    buckets: [Bucket; TABLE.len()],
}

const DEFAULT_HEADER: u64 = 8192;

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_agents: 0,
            max_header_byte_size: ByteSize(DEFAULT_HEADER),
            max_connections: 0,
            max_file_storage_size: None,
            buckets: std::array::from_fn(|place| Bucket {
                is_pace: TABLE[place].is_pace,
                ..Bucket::default()
            }),
        }
    }
}

impl Section for Limits {
    fn walk<V: Visit>(&mut self, visit: &mut V) {
        let max_agents = "Above 0: takes the caps on connections and requests (`max`) of the preset for so many agents; never a rate, and no\n\
             cap on check-ins. 0 and -1: none; the server bounds its work by what it measures.";
        visit.key(
            &key("max_agents", max_agents, Some("agents")),
            &mut self.max_agents,
            &any,
        );
        let header = "Largest request head; 0: 8192.";
        visit.key(
            &key("max_header_byte_size", header, None),
            &mut self.max_header_byte_size,
            &|size| match size.0 {
                0 | 1024..=1_048_576 => Ok(()),
                _ => Err("0 or from 1024 to 1048576 bytes".to_owned()),
            },
        );
        let max = "Requests in flight on one listener (deprecated). More are answered 429, connections above 1.1 times\n\
                   this number are closed; 0: by `max_agents`, negative: any number.";
        visit.key(
            &key("max_connections", max, Some("connections")),
            &mut self.max_connections,
            &any,
        );
        let file = "Largest file that an agent may send; unset: any, as far as `files` has room; 0: none, file transfer is off.";
        visit.key(
            &key("max_file_storage_size", file, None),
            &mut self.max_file_storage_size,
            &any,
        );
        for (row, bucket) in TABLE.iter().zip(&mut self.buckets) {
            visit.part(&key(row.name, row.about, None), bucket);
        }
    }
}

const fn key(name: &'static str, about: &'static str, unit: Option<&'static str>) -> Declared {
    Declared {
        name,
        about,
        unit,
        only: None,
    }
}

/// The check of a key that takes every value of its type.
fn any<T>(_: &T) -> Result<(), String> {
    Ok(())
}

/// A token bucket, a cap on requests in flight, and body limits.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Bucket {
    is_pace: bool,
    interval: Interval,
    burst: i64,
    max: i64,
    body: BodyLimit,
    decompressed: BodyLimit,
}

impl Section for Bucket {
    fn walk<V: Visit>(&mut self, visit: &mut V) {
        let interval = "Time in which one token comes back; 0: no bucket, or from the preset where `burst` is set; negative: no bucket.";
        visit.key(&key("interval", interval, None), &mut self.interval, &any);
        let burst = "Tokens at most; 0: from the preset, where there is a bucket.";
        visit.key(&key("burst", burst, Some("requests")), &mut self.burst, &any);
        if self.is_pace {
            return;
        }
        let max = "Requests in flight; 0: by `max_agents`, negative: none is served.";
        visit.key(&key("max", max, Some("requests")), &mut self.max, &any);
        let body = "Largest body on the wire; 0: the built-in size, negative: any.";
        visit.key(&key("max_body_byte_size", body, None), &mut self.body, &any);
        let body = "Largest body after decompression; 0: the built-in size, negative: any.";
        visit.key(
            &key("max_body_decompressed", body, None),
            &mut self.decompressed,
            &any,
        );
    }
}

/// The effective numbers of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effective {
    /// Time in which one token comes back; `None`: no token bucket.
    pub interval: Option<Duration>,
    /// Tokens at most.
    pub burst: u32,
    /// Requests in flight; `None`: any number, 0: none is served.
    pub in_flight: Option<u32>,
    /// Largest body on the wire; `None`: any.
    pub body: Option<u64>,
    /// Largest body after decompression; `None`: any.
    pub decompressed: Option<u64>,
}

impl Bucket {
    /// The effective numbers, from values that are no longer 0.
    pub(crate) fn numbers(&self) -> Effective {
        let positive = |value: i64| u64::try_from(value).ok().filter(|value| *value > 0);
        Effective {
            interval: positive(self.interval.0).map(Duration::from_nanos),
            burst: u32::try_from(self.burst.max(1)).unwrap_or(u32::MAX),
            in_flight: match self.max {
                ..0 => Some(0),
                max => u32::try_from(max).ok().filter(|max| *max > 0),
            },
            body: positive(self.body.0),
            decompressed: positive(self.decompressed.0),
        }
    }
}

/// How a number that limits nothing is shown.
const ANY: &str = "any";

fn origin(is_filled: bool) -> &'static str {
    if is_filled { "preset" } else { "measured" }
}

fn fill(value: &mut i64, preset: i64) {
    if *value == 0 {
        *value = preset;
    }
}

/// The original's preset by fleet size, else by memory; `None`: its built-in values.
fn preset(max_agents: i64, memory_mib: Option<u64>) -> Option<usize> {
    match max_agents {
        ..0 => None,
        0 => RECOMMENDED_MIB
            .iter()
            .rposition(|recommended| Some(*recommended) <= memory_mib),
        agents => Some(
            UP_TO
                .iter()
                .position(|most| agents <= *most)
                .unwrap_or(UP_TO.len()),
        ),
    }
}

impl Limits {
    /// Settles values of 0. The presets were sized for a server that serves a tenth of what this one does, so only
    /// `max_agents` above 0 takes their caps, and never one that would refuse an enrolled agent for its number; what is
    /// left at 0 is bounded by what the server measures. A token bucket that is set in part is completed as the original
    /// completes it.
    pub(crate) fn settle(&mut self, memory_mib: Option<u64>, notices: &mut Vec<Notice>) {
        let original = preset(self.max_agents, memory_mib);
        let sized = original.filter(|_| self.max_agents > 0);
        let recommended = sized.and_then(|preset| RECOMMENDED_MIB.get(preset).copied());
        if let (Some(available_mib), Some(recommended_mib)) = (memory_mib, recommended)
            && available_mib < recommended_mib
        {
            notices.push(Notice::LittleMemory {
                max_agents: self.max_agents,
                recommended_mib,
                available_mib,
            });
        }
        if self.max_header_byte_size.0 == 0 {
            self.max_header_byte_size = ByteSize(DEFAULT_HEADER);
        }
        let connections = sized.and_then(|preset| MAX_CONNECTIONS.get(preset));
        fill(&mut self.max_connections, connections.copied().unwrap_or(0));
        for (place, (row, bucket)) in TABLE.iter().zip(&mut self.buckets).enumerate() {
            let numbers = |preset: Option<usize>| preset.and_then(|preset| row.presets.get(preset));
            if bucket.interval.0 != 0 || bucket.burst != 0 {
                let (micros, burst, _) = *numbers(original).unwrap_or(&row.built_in);
                fill(&mut bucket.interval.0, micros * 1_000);
                fill(&mut bucket.burst, burst);
            }
            if let Some((_, _, max)) = numbers(sized)
                && place != Limit::Checkin as usize
            {
                fill(&mut bucket.max, *max);
            }
            fill(&mut bucket.body.0, row.bodies.0);
            fill(&mut bucket.decompressed.0, row.bodies.1);
        }
    }

    /// Each number with its key below `limits` and, if no source sets it, where it comes from.
    pub(crate) fn origins(&self) -> Vec<(String, String, &'static str)> {
        let file = self.max_file_storage_size;
        let mut rows = vec![
            (
                "max_connections".to_owned(),
                self.connections().map_or(ANY.to_owned(), |max| max.to_string()),
                origin(self.max_connections != 0),
            ),
            (
                "max_header_byte_size".to_owned(),
                self.max_header_byte_size.0.to_string(),
                "built in",
            ),
            (
                "max_file_storage_size".to_owned(),
                file.map_or(ANY.to_owned(), |file| file.0.to_string()),
                "built in",
            ),
        ];
        for (row, bucket) in TABLE.iter().zip(&self.buckets) {
            let numbers = bucket.numbers();
            let mut add = |key: &str, value: Option<String>, from: &'static str| {
                rows.push((
                    format!("{}.{key}", row.name),
                    value.unwrap_or(ANY.to_owned()),
                    from,
                ));
            };
            let interval = numbers.interval.map(|interval| format!("{interval:?}"));
            // Half a bucket was set, and the original's numbers are the other half.
            let rest = match interval {
                None => "measured",
                // No preset is asked for, or none says anything of it.
                Some(_) if self.max_agents < 0 || row.name == TABLE[Limit::OpAmp as usize].name => "built in",
                Some(_) => "preset",
            };
            let burst = interval.as_ref().map(|_| numbers.burst.to_string());
            add("interval", interval, rest);
            add("burst", burst, rest);
            if !row.is_pace {
                let max = numbers.in_flight.map(|max| max.to_string());
                add("max", max, origin(bucket.max != 0));
                add(
                    "max_body_byte_size",
                    numbers.body.map(|body| body.to_string()),
                    "built in",
                );
                let decompressed = numbers.decompressed.map(|body| body.to_string());
                add("max_body_decompressed", decompressed, "built in");
            }
        }
        rows
    }

    /// The effective numbers of a limit.
    pub fn of(&self, limit: Limit) -> Effective {
        self.buckets[limit as usize].numbers()
    }

    /// Requests in flight on one listener; `None`: any number.
    pub fn connections(&self) -> Option<u32> {
        u32::try_from(self.max_connections).ok().filter(|max| *max > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cfg_05_the_preset_by_fleet_size() {
        for (agents, expected) in [
            (1, Some(0)),
            (500, Some(0)),
            (512, Some(1)),
            (2_500, Some(2)),
            (10_000, Some(4)),
            (40_000, Some(6)),
            (40_001, Some(7)),
            (i64::MAX, Some(7)),
            (-1, None),
        ] {
            assert_eq!(preset(agents, Some(128)), expected, "{agents}");
        }
    }

    #[test]
    fn cfg_07_the_preset_by_memory() {
        for (memory, expected) in [
            (Some(128), None),
            (Some(255), None),
            (Some(256), Some(0)),
            (Some(4_047), Some(3)),
            (Some(4_048), Some(4)),
            (Some(1 << 40), Some(7)),
            (None, None),
        ] {
            assert_eq!(preset(0, memory), expected, "{memory:?}");
        }
    }
}
