//! Health, sizes and metrics that an engine reports about itself.

use std::time::Duration;

use prometheus_client::{
    metrics::{gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

/// Whether the engine takes reads and writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreHealth {
    /// Whether reads succeed.
    pub readable: bool,
    /// `false` on a full disk, for example.
    pub writable: bool,
    /// Why reads or writes do not work, in one line.
    pub reason: Option<String>,
}

/// Sizes of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Bytes on disk.
    pub bytes: u64,
    /// Writes waiting for the writer.
    pub queue_length: u64,
    /// Agents on record, inactive ones included.
    pub agents: u64,
    /// Action documents on record.
    pub actions: u64,
    /// Policies on record.
    pub policies: u64,
}

/// Metrics that every engine keeps. The parent passes the prefix `fleet_server_store`.
#[derive(Clone, Debug)]
pub struct StoreMetrics {
    /// 1 while the engine takes writes.
    pub up: Gauge,
    /// Writes waiting for the writer.
    pub queue_length: Gauge,
    /// Seconds of one group commit.
    pub commit_duration: Histogram,
    /// Stored bodies.
    pub blobs: Gauge,
    /// Bytes of stored bodies.
    pub blob_bytes: Gauge,
}

impl StoreMetrics {
    /// Registers the metrics of an engine.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::unregistered();
        registry.register("up", "1 while the store takes writes, else 0", metrics.up.clone());
        registry.register(
            "queue_length",
            "Writes waiting for the store's writer",
            metrics.queue_length.clone(),
        );
        registry.register_with_unit(
            "commit_duration",
            "Time of one group commit of the store",
            Unit::Seconds,
            metrics.commit_duration.clone(),
        );
        registry.register(
            "blobs",
            "Stored files: chunks of uploads, artifacts, files for agents",
            metrics.blobs.clone(),
        );
        registry.register_with_unit(
            "blob_size",
            "Size of all stored files",
            Unit::Bytes,
            metrics.blob_bytes.clone(),
        );
        metrics
    }

    /// Metrics outside any registry, for command-line use and tests.
    #[must_use]
    pub fn unregistered() -> Self {
        let bounds = [
            0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
        ];
        Self {
            up: Gauge::default(),
            queue_length: Gauge::default(),
            commit_duration: Histogram::new(bounds),
            blobs: Gauge::default(),
            blob_bytes: Gauge::default(),
        }
    }

    /// Counts one group commit.
    pub fn committed(&self, took: Duration) {
        self.commit_duration.observe(took.as_secs_f64());
    }
}
