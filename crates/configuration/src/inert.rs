//! Keys of the original that have no effect in this version: names and types, so that its files load, slips in them
//! are found, and a note names keys without effect. A key moves from this list to a section with its feature.

use std::{path::PathBuf, time::Duration};

use config::{Value, ValueKind};
use log::LevelFilter;

use crate::{
    engine::{
        kind::Kind,
        problem::Report,
        quantity::{BodyLimit, ByteSize, Interval},
        reader::unfit,
        schema::join,
        secret::Secret,
        setting::{Refusal, Setting, Shape, Shown, choice, setting},
        substitute::find,
    },
    limits,
    sections::ssl::PathOrPem,
};

const fn of<T: Setting>() -> Kind {
    Kind::of::<T>()
}

const TEXT: Kind = of::<String>();
const TEXTS: Kind = of::<Vec<String>>();
const SWITCH: Kind = of::<bool>();
const COUNT: Kind = of::<u32>();
const NUMBER: Kind = of::<i64>();
const TIME: Kind = of::<Duration>();
const SIZE: Kind = of::<ByteSize>();
const FILE: Kind = of::<Option<PathBuf>>();
const SECRET: Kind = of::<Option<Secret>>();
const NAMES: Kind = of::<Names<false>>();
const PEM: Kind = of::<Option<PathOrPem>>();

/// Sections, each with the names and types of its keys.
macro_rules! inert {
    ($( $section:literal { $( $name:ident $kind:expr ),* } )*) => {
        const KEYS: &[(&str, &[(&str, Kind)])] = &[$( ($section, &[$( (stringify!($name), $kind) ),*]) ),*];
    };
}

inert! {
    "inputs.0.policy" { id TEXT }
    "inputs.0.server.profiler" { enabled SWITCH, bind TEXT }
    "inputs.0.server.runtime" { gc_percent NUMBER }
    "inputs.0.server.bulk" {
        flush_interval TIME, flush_threshold_cnt COUNT, flush_threshold_size SIZE, flush_max_pending COUNT,
        max_pending_bulk_dispatches COUNT
    }
    "inputs.0.server.bulk.enroll" { flush_interval TIME, flush_threshold_cnt COUNT }
    "inputs.0.server.instrumentation" {
        enabled SWITCH, hosts TEXTS, environment TEXT, api_key SECRET, api_key_path FILE,
        secret_token SECRET, secret_token_path FILE, global_labels of::<Names<true>>(),
        transaction_sample_rate of::<Share>()
    }
    "inputs.0.server.instrumentation.tls" { skip_verify SWITCH, server_certificate FILE, server_ca FILE }
    "inputs.0.cache" {
        num_counters of::<u64>(), max_cost SIZE, ttl_action TIME, ttl_enroll_key TIME, ttl_artifact TIME,
        ttl_api_key TIME, jitter_api_key TIME
    }
    "inputs.0.monitor" { fetch_size COUNT, poll_timeout TIME, policy_debounce_time TIME }
    "output.elasticsearch" {
        headers NAMES, service_token SECRET, service_token_path FILE, proxy_url TEXT, proxy_disable SWITCH,
        proxy_headers NAMES, max_retries COUNT, max_conn_per_host COUNT, timeout TIME,
        max_content_length SIZE
    }
    "output.elasticsearch.ssl" {
        enabled SWITCH, verification_mode of::<tls_reload::VerificationMode>(), supported_protocols TEXTS,
        cipher_suites TEXTS, curve_types TEXTS, certificate_authorities of::<Vec<PathOrPem>>(),
        certificate PEM, key PEM, key_passphrase SECRET, key_passphrase_path FILE,
        renegotiation of::<Option<Renegotiation>>(), ca_sha256 TEXTS, ca_trusted_fingerprint TEXT
    }
    "logging.files" { redirect_stderr SWITCH }
    "http.named_pipe" { user TEXT, security_descriptor TEXT }
    "fleet.agent" { id TEXT, version TEXT }
    "fleet.agent.logging" { level of::<Option<LevelFilter>>() }
    "fleet.host" { id TEXT, name TEXT }
}

/// Keys of a bucket of `limits`.
static BUCKET: [(&str, Kind); 5] = [
    ("interval", of::<Interval>()),
    ("burst", NUMBER),
    ("max", NUMBER),
    ("max_body_byte_size", of::<BodyLimit>()),
    ("max_body_decompressed", of::<BodyLimit>()),
];

/// Sections with their keys.
fn sections() -> impl Iterator<Item = (String, &'static [(&'static str, Kind)])> {
    let buckets = limits::inert().map(|(name, used)| {
        let keys = BUCKET.get(used..).unwrap_or_default();
        (format!("inputs.0.server.limits.{name}"), keys)
    });
    KEYS.iter()
        .map(|(section, keys)| ((*section).to_owned(), *keys))
        .chain(buckets)
}

/// Every key by its dotted path.
pub(crate) fn keys() -> impl Iterator<Item = (String, Kind)> {
    sections().flat_map(|(section, keys)| keys.iter().map(move |(name, kind)| (join(&section, name), *kind)))
}

/// Each section with the names in it, for the reference.
pub(crate) fn by_section() -> impl Iterator<Item = (String, Vec<&'static str>)> {
    sections().map(|(section, keys)| (section, keys.iter().map(|(name, _)| *name).collect()))
}

/// Checks the keys that are set, and returns their paths.
pub(crate) fn check(root: &Value, report: &mut Report) -> Vec<String> {
    let mut set = Vec::new();
    for (path, kind) in keys() {
        let Some(value) = find(root, &path) else {
            continue;
        };
        if let Err(refusal) = (kind.check)(value) {
            unfit(report, &path, value, refusal, (kind.allowed)(), kind.is_secret);
        }
        set.push(path);
    }
    set
}

/// Whether a cluster may renegotiate.
#[derive(Clone, Copy, Debug)]
enum Renegotiation {
    Never,
    Once,
    Freely,
}

choice!(Renegotiation, Never = "never", Once = "once", Freely = "freely");

/// A share from 0 to 1.
#[derive(Clone, Debug)]
struct Share(String);

setting!(
    Share,
    "a number from 0 to 1",
    |text| {
        let share = text.parse::<f64>().ok()?;
        (0.0..=1.0).contains(&share).then(|| Self(text.to_owned()))
    },
    |share| Shown::Bare(share.0.clone())
);

/// Names and texts that belong to the operator, and may be secrets: HTTP headers; for labels also `name=value,…`.
#[derive(Clone, Debug)]
struct Names<const OR_TEXT: bool>;

impl<const OR_TEXT: bool> Setting for Names<OR_TEXT> {
    const SHAPE: Shape = Shape::Map;
    const IS_SECRET: bool = true;
    fn allowed() -> String {
        format!(
            "a map of names and texts{}",
            if OR_TEXT { ", or `name=value,…`" } else { "" }
        )
    }
    fn from_text(text: &str) -> Result<Self, Refusal> {
        (OR_TEXT || text.is_empty()).then_some(Self).ok_or(Refusal::Unfit)
    }
    fn from_value(value: &Value) -> Result<Self, Refusal> {
        match &value.kind {
            ValueKind::String(text) => Self::from_text(text),
            ValueKind::Table(names) => names
                .values()
                .try_for_each(|text| String::from_value(text).map(drop))
                .map(|()| Self),
            _ => Err(Refusal::Unfit),
        }
    }
    fn shown(&self) -> Option<Shown> {
        None
    }
}
