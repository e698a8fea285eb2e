//! Metrics of reloads and handshakes (reload.md 8.1), named relative to the prefix of the registry they go into.
//!
//! Counters and histograms are bumped where the event is known. What is a state (served certificates, health,
//! times, watch mode) is not kept twice: a collector reads it from the reloader at each scrape, so that it
//! agrees with what a handshake sees at that moment. One registration serves several TLS sets: a second set
//! gets a label through [`ReloadMetrics::for_set`].

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabel as _, EncodeLabelSet, EncodeMetric, LabelSetEncoder, MetricEncoder,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use rustls::ProtocolVersion;
use strum::{IntoStaticStr, VariantArray as _};

use crate::moment::unix_seconds;
use crate::served::Served;
use crate::state::{CertificateInfo, FailureReason, ReloadResult, ReloadState, Trigger, WatchMode};
use crate::watch_failure::WatchFailure;

/// The metrics of every TLS set of a process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ReloadMetrics {
    set: Option<&'static str>,
    families: Arc<Families>,
}

/// What a listener counts about its handshakes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct HandshakeMetrics {
    set: Option<&'static str>,
    families: Arc<Families>,
}

/// How a handshake ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum HandshakeResult {
    /// The connection is established.
    Success,
    /// Either side refused.
    Failure,
    /// The client closed before it had sent a ClientHello: a TCP probe of a load balancer, a port scan.
    Closed,
    /// The deadline passed first.
    Timeout,
}

#[derive(Debug)]
struct Families {
    reloads: Family<ReloadLabels, Counter>,
    reload_duration: Family<SetLabel, Histogram, fn() -> Histogram>,
    change_to_served: Family<SetLabel, Histogram, fn() -> Histogram>,
    watch_errors: Family<WatchLabels, Counter>,
    expiry_warnings: Family<SetLabel, Counter>,
    restarts: Family<SetLabel, Counter>,
    handshakes: Family<HandshakeLabels, Counter>,
    handshake_duration: Family<SetLabel, Histogram, fn() -> Histogram>,
    sets: Mutex<Vec<(SetLabel, Weak<Served>)>>,
}

/// Reads the state of every set at a scrape.
#[derive(Debug)]
struct StateCollector(Arc<Families>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct SetLabel(Option<&'static str>);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    result: &'static str,
    reason: &'static str,
    #[prometheus(flatten)]
    set: SetLabel,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WatchLabels {
    reason: &'static str,
    #[prometheus(flatten)]
    set: SetLabel,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HandshakeLabels {
    result: &'static str,
    version: &'static str,
    #[prometheus(flatten)]
    set: SetLabel,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WatchModeLabels {
    mode: &'static str,
    #[prometheus(flatten)]
    set: SetLabel,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CertificateLabels {
    kind: &'static str,
    fingerprint: String,
    serial: String,
    sni: String,
    issuer_cn: String,
    #[prometheus(flatten)]
    set: SetLabel,
}

impl ReloadMetrics {
    /// Declares every metric of this crate in `registry`; the caller has set the prefix.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::unregistered();
        metrics.register_in(registry);
        metrics
    }

    /// Declares the same metrics, with their values, in another registry: reloaders may outlive one.
    pub fn register_in(&self, registry: &mut Registry) {
        let f = &*self.families;
        registry.register(
            "reload",
            "Reloads by result, and by what asked for them (success, unchanged) or the cause (failure)",
            f.reloads.clone(),
        );
        registry.register(
            "reload_duration_seconds",
            "From the start of a read to the swap",
            f.reload_duration.clone(),
        );
        registry.register(
            "change_to_served_seconds",
            "From the first sign of a change to the swap",
            f.change_to_served.clone(),
        );
        registry.register(
            "watch_errors",
            "Failures of the file-system watch",
            f.watch_errors.clone(),
        );
        registry.register(
            "expiry_warnings",
            "Thresholds of expiry_warning that served leaves have crossed",
            f.expiry_warnings.clone(),
        );
        registry.register(
            "reloader_restarts",
            "Times the reloader was rebuilt after a panic",
            f.restarts.clone(),
        );
        registry.register(
            "handshakes",
            "TLS handshakes by result and protocol version",
            f.handshakes.clone(),
        );
        registry.register(
            "handshake_duration_seconds",
            "From the accepted connection to the end of its handshake",
            f.handshake_duration.clone(),
        );
        registry.register_collector(Box::new(StateCollector(self.families.clone())));
    }

    /// The same metrics with a label `set`, for a second TLS set in the same process.
    #[must_use]
    pub fn for_set(&self, set: &'static str) -> Self {
        Self {
            set: Some(set),
            families: self.families.clone(),
        }
    }

    /// What a listener of this set counts.
    #[must_use]
    pub fn handshakes(&self) -> HandshakeMetrics {
        HandshakeMetrics {
            set: self.set,
            families: self.families.clone(),
        }
    }

    /// Metrics outside any registry, until they are [registered](Self::register_in).
    #[must_use]
    pub fn unregistered() -> Self {
        Self {
            set: None,
            families: Arc::new(Families::new()),
        }
    }

    /// From now on scrapes show this set's state. Series exist from the start, at zero.
    pub(crate) fn observe(&self, served: &Arc<Served>) {
        let set = SetLabel(self.set);
        {
            let mut sets = self.families.sets.lock().unwrap_or_else(PoisonError::into_inner);
            sets.retain(|(label, other)| *label != set && other.strong_count() > 0);
            sets.push((set, Arc::downgrade(served)));
        }
        let f = &*self.families;
        drop(f.restarts.get_or_create(&set));
        drop(f.expiry_warnings.get_or_create(&set));
        drop(f.reload_duration.get_or_create(&set));
        drop(f.change_to_served.get_or_create(&set));
        // A counter that appears with its first event has no increase to alert on.
        for reason in WatchFailure::VARIANTS {
            drop(f.watch_errors.get_or_create(&self.watch_labels(*reason)));
        }
        // No reload ends as stopped: the request found no reloader.
        let reasons = FailureReason::VARIANTS
            .iter()
            .filter(|reason| **reason != FailureReason::Stopped);
        for reason in reasons {
            drop(
                f.reloads
                    .get_or_create(&self.reload_labels(ReloadResult::Failure, reason.into())),
            );
        }
        for trigger in [Trigger::Event, Trigger::Poll, Trigger::Signal, Trigger::Api] {
            for result in [ReloadResult::Success, ReloadResult::Unchanged] {
                drop(
                    f.reloads
                        .get_or_create(&self.reload_labels(result, trigger.into())),
                );
            }
        }
    }

    fn reload_labels(&self, result: ReloadResult, reason: &'static str) -> ReloadLabels {
        let (result, set) = (result.into(), SetLabel(self.set));
        ReloadLabels { result, reason, set }
    }

    fn watch_labels(&self, failure: WatchFailure) -> WatchLabels {
        let (reason, set) = (failure.into(), SetLabel(self.set));
        WatchLabels { reason, set }
    }

    pub(crate) fn taken(&self, trigger: Trigger, result: ReloadResult) {
        let labels = self.reload_labels(result, trigger.into());
        self.families.reloads.get_or_create(&labels).inc();
    }

    pub(crate) fn refused(&self, reason: FailureReason) {
        let labels = self.reload_labels(ReloadResult::Failure, reason.into());
        self.families.reloads.get_or_create(&labels).inc();
    }

    pub(crate) fn swapped(&self, read_to_swap: Duration, change_to_swap: Option<Duration>) {
        let (set, f) = (SetLabel(self.set), &*self.families);
        let read_to_swap = read_to_swap.as_secs_f64();
        f.reload_duration.get_or_create(&set).observe(read_to_swap);
        if let Some(since) = change_to_swap {
            f.change_to_served
                .get_or_create(&set)
                .observe(since.as_secs_f64());
        }
    }

    pub(crate) fn watch_failed(&self, failure: WatchFailure) {
        let labels = self.watch_labels(failure);
        self.families.watch_errors.get_or_create(&labels).inc();
    }

    pub(crate) fn expiry_crossed(&self) {
        let set = SetLabel(self.set);
        self.families.expiry_warnings.get_or_create(&set).inc();
    }

    pub(crate) fn restarted(&self) {
        self.families.restarts.get_or_create(&SetLabel(self.set)).inc();
    }
}

impl HandshakeMetrics {
    /// One handshake ended after `took`. `version` is what was agreed, if anything was.
    pub fn ended(&self, result: HandshakeResult, version: Option<ProtocolVersion>, took: Duration) {
        let version = match version {
            Some(ProtocolVersion::TLSv1_3) => "1.3",
            Some(ProtocolVersion::TLSv1_2) => "1.2",
            Some(_) | None => "unknown",
        };
        let (set, f) = (SetLabel(self.set), &*self.families);
        f.handshake_duration
            .get_or_create(&set)
            .observe(took.as_secs_f64());
        let result = result.into();
        let labels = HandshakeLabels { result, version, set };
        f.handshakes.get_or_create(&labels).inc();
    }
}

impl Families {
    fn new() -> Self {
        Self {
            reloads: Family::default(),
            reload_duration: Family::new_with_constructor(sub_second_histogram),
            change_to_served: Family::new_with_constructor(waiting_histogram),
            watch_errors: Family::default(),
            expiry_warnings: Family::default(),
            restarts: Family::default(),
            handshakes: Family::default(),
            handshake_duration: Family::new_with_constructor(sub_second_histogram),
            sets: Mutex::default(),
        }
    }
}

impl Collector for StateCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let sets: Vec<(SetLabel, Arc<Served>, Arc<ReloadState>)> = {
            let sets = self.0.sets.lock().unwrap_or_else(PoisonError::into_inner);
            sets.iter()
                .filter_map(|(label, served)| {
                    served
                        .upgrade()
                        .map(|served| (*label, served.clone(), served.state()))
                })
                .collect()
        };
        let mut gauge = |name: &str, help: &str, value: fn(&ReloadState) -> Option<i64>| -> fmt::Result {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (label, _, state) in &sets {
                if let Some(value) = value(state) {
                    put(&mut metric, label, value)?;
                }
            }
            Ok(())
        };
        gauge(
            "reload_healthy",
            "1 while the last attempt succeeded and no served leaf is near its end",
            |state| Some(i64::from(state.healthy)),
        )?;
        gauge(
            "reload_last_success_timestamp_seconds",
            "When a generation was last taken or confirmed, in seconds since 1970",
            |state| state.last_success.map(unix_seconds),
        )?;
        gauge(
            "reload_last_failure_timestamp_seconds",
            "When an attempt last failed, in seconds since 1970 (0: never)",
            |state| Some(state.last_failure.map_or(0, unix_seconds)),
        )?;
        gauge(
            "watched_directories",
            "Directories under file-system watch",
            |state| i64::try_from(state.watched_directories.len()).ok(),
        )?;
        gauge(
            "files_replaced_outside",
            "Mounted files whose originals were replaced outside, so that the new ones are never seen",
            |state| i64::try_from(state.replaced_outside.len()).ok(),
        )?;
        let mut metric = encoder.encode_descriptor(
            "watch_mode",
            "1 for the way changes are noticed: events (with the safety poll), poll, off",
            None,
            MetricType::Gauge,
        )?;
        for (set, _, state) in &sets {
            for mode in WatchMode::VARIANTS {
                let is_mode = i64::from(*mode == state.watch_mode);
                let (mode, set) = (mode.into(), *set);
                put(&mut metric, &WatchModeLabels { mode, set }, is_mode)?;
            }
        }
        let mut metric = encoder.encode_descriptor(
            "certificate_not_after_timestamp_seconds",
            "End of validity in seconds since 1970 (kind leaf; chain: what ends first of it; client_ca), or the next update due (kind crl)",
            None,
            MetricType::Gauge,
        )?;
        for (set, served, _) in &sets {
            encode_ends(&mut metric, *set, served)?;
        }
        Ok(())
    }
}

/// One series for each SNI name of a leaf (at most [`NAMES_PER_LEAF`]), each chain, each client CA and each CRL.
fn encode_ends(metric: &mut MetricEncoder<'_>, set: SetLabel, served: &Served) -> fmt::Result {
    let generation = served.resolver.current();
    let info = generation.info();
    // The same CA in two files, or the same leaf in two pairs, is one series: twice the same is no valid scrape.
    let mut told = HashSet::new();
    let mut certificate = |metric: &mut MetricEncoder<'_>, kind, one: &CertificateInfo, sni: &str| {
        if !told.insert((kind, one.fingerprint.clone(), sni.to_owned())) {
            return Ok(());
        }
        let labels = CertificateLabels {
            kind,
            fingerprint: one.fingerprint.clone(),
            serial: one.serial.clone(),
            sni: sni.to_owned(),
            issuer_cn: one.issuer_common_name.clone(),
            set,
        };
        put(metric, &labels, unix_seconds(one.not_after))
    };
    for pair in &info.pairs {
        if pair.sni.is_empty() {
            certificate(metric, "leaf", &pair.leaf, "")?;
        }
        for name in pair.sni.iter().take(NAMES_PER_LEAF) {
            certificate(metric, "leaf", &pair.leaf, name)?;
        }
        certificate(metric, "chain", pair.ends_first(), "")?;
    }
    for authority in &info.client_authorities {
        certificate(metric, "client_ca", authority, "")?;
    }
    let mut lists = HashSet::new();
    for list in &info.revocation_lists {
        let Some(next_update) = list.next_update.filter(|_| lists.insert(&list.fingerprint)) else {
            continue;
        };
        let labels = CertificateLabels {
            kind: "crl",
            fingerprint: list.fingerprint.clone(),
            serial: String::new(),
            sni: String::new(),
            issuer_cn: list.issuer_common_name.clone(),
            set,
        };
        put(metric, &labels, unix_seconds(next_update))?;
    }
    Ok(())
}

fn put(metric: &mut MetricEncoder<'_>, labels: &impl EncodeLabelSet, value: i64) -> fmt::Result {
    ConstGauge::new(value).encode(metric.encode_family(labels)?)
}

impl EncodeLabelSet for SetLabel {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        match self.0 {
            Some(set) => ("set", set).encode(encoder.encode_label()),
            None => Ok(()),
        }
    }
}

fn sub_second_histogram() -> Histogram {
    Histogram::new([
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    ])
}

fn waiting_histogram() -> Histogram {
    Histogram::new([
        0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 5.5, 6.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0,
    ])
}

/// A certificate with hundreds of names must not flood the time-series store.
const NAMES_PER_LEAF: usize = 32;
