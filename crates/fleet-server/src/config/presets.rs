//! The presets of http-api 3.4: facts in tables, and the rule that chooses one.

use super::{duration::Interval, limits::BucketNumbers};

/// A preset: the built-in values, or the n-th column of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// For a fleet of any size, or a machine too small for any preset.
    BuiltIn,
    /// A column.
    Column(usize),
}

/// What a preset says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the buckets of the configuration")]
pub struct Numbers {
    pub max_connections: i64,
    pub action: BucketNumbers,
    pub policy: BucketNumbers,
    pub checkin: BucketNumbers,
    pub artifact: BucketNumbers,
    pub enroll: BucketNumbers,
    pub ack: BucketNumbers,
    pub status: BucketNumbers,
    pub opamp: BucketNumbers,
    pub upload_start: BucketNumbers,
    pub upload_end: BucketNumbers,
    pub upload_chunk: BucketNumbers,
    pub file_delivery: BucketNumbers,
    pub pgp_retrieval: BucketNumbers,
    pub audit_unenroll: BucketNumbers,
}

/// Largest fleet of each column; the last has none.
const UP_TO: [i64; 7] = [500, 1_000, 2_500, 5_000, 10_000, 20_000, 40_000];
const RECOMMENDED_MIB: [u64; 8] = [256, 512, 1_024, 2_048, 4_048, 8_096, 16_192, 32_384];
const MAX_CONNECTIONS: [i64; 8] = [1_500, 3_000, 7_000, 12_000, 22_000, 42_000, 0, 0];

/// Microseconds, burst, in flight.
type Row = [(i64, i64, i64); 8];

const ACTION: Row = [
    (5_000, 1, 0),
    (5_000, 1, 0),
    (5_000, 1, 0),
    (5_000, 5, 0),
    (1_000, 10, 0),
    (1_000, 100, 0),
    (500, 100, 0),
    (250, 100, 0),
];
const POLICY: Row = [
    (5_000, 1, 0),
    (5_000, 1, 0),
    (5_000, 1, 0),
    (5_000, 1, 0),
    (5_000, 1, 0),
    (5_000, 1, 0),
    (2_000, 1, 0),
    (250, 1, 0),
];
const CHECKIN: Row = [
    (5_000, 100, 500),
    (5_000, 200, 1_000),
    (5_000, 500, 2_500),
    (2_000, 1_000, 5_000),
    (1_000, 2_000, 10_000),
    (500, 4_000, 20_000),
    (500, 4_000, 40_000),
    (250, 8_000, 80_000),
];
/// Artifacts and PGP keys.
const ARTIFACT: Row = [
    (5_000, 100, 200),
    (5_000, 200, 400),
    (5_000, 500, 1_000),
    (2_000, 1_000, 2_000),
    (1_000, 2_000, 4_000),
    (500, 4_000, 8_000),
    (500, 4_000, 8_000),
    (250, 8_000, 16_000),
];
const ENROLL: Row = [
    (10_000, 10, 20),
    (10_000, 20, 40),
    (10_000, 50, 100),
    (10_000, 100, 200),
    (10_000, 100, 200),
    (10_000, 100, 200),
    (10_000, 100, 200),
    (10_000, 200, 400),
];
/// Acks and audits.
const ACK: Row = [
    (4_000, 100, 200),
    (4_000, 200, 400),
    (4_000, 500, 1_000),
    (2_000, 1_000, 2_000),
    (1_000, 2_000, 4_000),
    (500, 4_000, 8_000),
    (500, 4_000, 8_000),
    (250, 8_000, 16_000),
];
const STATUS: Row = [
    (5_000, 10, 20),
    (5_000, 20, 40),
    (5_000, 50, 100),
    (5_000, 100, 200),
    (5_000, 200, 400),
    (5_000, 200, 400),
    (5_000, 200, 400),
    (5_000, 200, 400),
];
/// Bursts and requests in flight of uploads and file deliveries; only the interval differs.
const FILES: [(i64, i64); 8] = [
    (5, 5),
    (5, 10),
    (10, 20),
    (20, 40),
    (40, 80),
    (40, 80),
    (40, 80),
    (40, 80),
];

const UPLOAD_MICROS: i64 = 2_000_000;
const CHUNK_MICROS: i64 = 3_000;
const DELIVERY_MICROS: i64 = 100_000;

impl Preset {
    /// By fleet size, else by memory.
    pub fn choose(max_agents: i64, memory_mib: Option<u64>) -> Self {
        match max_agents {
            ..0 => Self::BuiltIn,
            0 => memory_mib
                .and_then(|memory| {
                    RECOMMENDED_MIB
                        .iter()
                        .rposition(|recommended| *recommended <= memory)
                })
                .map_or(Self::BuiltIn, Self::Column),
            agents => Self::Column(
                UP_TO
                    .iter()
                    .position(|most| agents <= *most)
                    .unwrap_or(UP_TO.len()),
            ),
        }
    }

    /// Memory that it is made for.
    pub fn recommended_mib(self) -> Option<u64> {
        match self {
            Self::BuiltIn => None,
            Self::Column(column) => RECOMMENDED_MIB.get(column).copied(),
        }
    }

    /// Its values; what a preset does not name keeps the built-in one.
    pub fn numbers(self) -> Numbers {
        let built_in = built_in();
        let Self::Column(column) = self else {
            return built_in;
        };
        let row = |row: &Row, base: BucketNumbers| match row.get(column) {
            Some((micros, burst, max)) => rate(*micros, *burst, *max, base),
            None => base,
        };
        let files = |micros, base: BucketNumbers| match FILES.get(column) {
            Some((burst, max)) => rate(micros, *burst, *max, base),
            None => base,
        };
        Numbers {
            max_connections: MAX_CONNECTIONS.get(column).copied().unwrap_or(0),
            action: row(&ACTION, built_in.action),
            policy: row(&POLICY, built_in.policy),
            checkin: row(&CHECKIN, built_in.checkin),
            artifact: row(&ARTIFACT, built_in.artifact),
            enroll: row(&ENROLL, built_in.enroll),
            ack: row(&ACK, built_in.ack),
            status: row(&STATUS, built_in.status),
            opamp: built_in.opamp,
            upload_start: files(UPLOAD_MICROS, built_in.upload_start),
            upload_end: files(UPLOAD_MICROS, built_in.upload_end),
            upload_chunk: files(CHUNK_MICROS, built_in.upload_chunk),
            file_delivery: files(DELIVERY_MICROS, built_in.file_delivery),
            pgp_retrieval: row(&ARTIFACT, built_in.pgp_retrieval),
            audit_unenroll: row(&ACK, built_in.audit_unenroll),
        }
    }
}

/// The values without a preset, and the body limits of http-api 1.9.
fn built_in() -> Numbers {
    let bucket = |micros, burst, max, body, decompressed| BucketNumbers {
        interval: Interval::micros(micros),
        burst,
        max,
        body,
        decompressed,
    };
    Numbers {
        max_connections: 0,
        action: bucket(0, 5, 0, 0, 0),
        policy: bucket(5_000, 1, 0, 0, 0),
        checkin: bucket(1_000, 1_000, 0, 1_048_576, 20_971_520),
        artifact: bucket(5_000, 25, 50, 0, 0),
        enroll: bucket(10_000, 50, 100, 524_288, 0),
        ack: bucket(10_000, 50, 100, 2_097_152, 0),
        status: bucket(5_000, 25, 50, 0, 0),
        opamp: bucket(1_000, 1_000, 0, 3_145_728, 0),
        upload_start: bucket(2_000_000, 5, 10, 5_242_880, 0),
        upload_end: bucket(2_000_000, 5, 10, 1_024, 0),
        upload_chunk: bucket(3_000, 5, 10, 4_194_304, 0),
        file_delivery: bucket(100_000, 5, 10, 0, 0),
        pgp_retrieval: bucket(5_000, 25, 50, 0, 0),
        audit_unenroll: bucket(10_000, 50, 100, 1_024, 0),
    }
}

fn rate(micros: i64, burst: i64, max: i64, base: BucketNumbers) -> BucketNumbers {
    BucketNumbers {
        interval: Interval::micros(micros),
        burst,
        max,
        ..base
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cfg_05_the_preset_by_fleet_size() {
        for (agents, preset) in [
            (1, Preset::Column(0)),
            (500, Preset::Column(0)),
            (512, Preset::Column(1)),
            (2_500, Preset::Column(2)),
            (10_000, Preset::Column(4)),
            (40_000, Preset::Column(6)),
            (40_001, Preset::Column(7)),
            (i64::MAX, Preset::Column(7)),
            (-1, Preset::BuiltIn),
        ] {
            assert_eq!(Preset::choose(agents, Some(128)), preset, "{agents}");
        }
    }

    #[test]
    fn cfg_07_the_preset_by_memory() {
        for (memory, preset) in [
            (Some(128), Preset::BuiltIn),
            (Some(255), Preset::BuiltIn),
            (Some(256), Preset::Column(0)),
            (Some(4_047), Preset::Column(3)),
            (Some(4_048), Preset::Column(4)),
            (Some(1 << 40), Preset::Column(7)),
            (None, Preset::BuiltIn),
        ] {
            assert_eq!(Preset::choose(0, memory), preset, "{memory:?}");
        }
    }
}
