//! Sections whose features are not built yet: they are checked, so that a file of the original starts.

use std::{path::PathBuf, time::Duration};

use super::{
    declare::{INERT, State, section},
    secret::Secret,
    setting::{Names, Refusal, Setting, Shown, must_be},
    size::ByteSize,
};

const COUNTS_AS_MEMORY: State = State::Partly("only counts as the memory that presets are chosen by");

section! {
    /// Profiles over HTTP.
    pub struct Profiler {
        keys {
            /// Whether they are served.
            enabled: bool = false => INERT;
            /// Address.
            bind: String = "localhost:6060".to_owned() => INERT;
        }
        sections {}
    }
}

section! {
    /// Tuning of the original's language runtime.
    pub struct Runtime {
        keys {
            /// Garbage collection target.
            gc_percent: i64 = 0 => INERT, unit "percent";
            /// Memory that presets are chosen by, instead of the memory found; 0: as found.
            memory_limit: i64 = 0 => COUNTS_AS_MEMORY, unit "bytes";
        }
        sections {}
    }
}

section! {
    /// Batches of requests to a cluster.
    pub struct Bulk {
        keys {
            /// Longest wait for a batch to fill.
            flush_interval: Duration = Duration::from_millis(250) => INERT;
            /// Requests in a batch.
            flush_threshold_cnt: u32 = 2048 => INERT, unit "requests";
            /// Size of a batch.
            flush_threshold_size: ByteSize = ByteSize(1_048_576) => INERT;
            /// Batches under way at once.
            flush_max_pending: u32 = 8 => INERT, unit "batches";
            /// Requests that wait for a batch; 0: any number.
            max_pending_bulk_dispatches: u32 = 0 => INERT, unit "requests";
        }
        sections {
            /// Batches of enrollment look-ups.
            enroll: BulkEnroll;
        }
    }
}

section! {
    /// Batches of enrollment look-ups.
    pub struct BulkEnroll {
        keys {
            /// Longest wait for a batch to fill.
            flush_interval: Duration = Duration::from_secs(1) => INERT;
            /// Look-ups in a batch.
            flush_threshold_cnt: u32 = 50 => INERT, unit "look-ups";
        }
        sections {}
    }
}

section! {
    /// Traces to an APM server.
    pub struct Instrumentation {
        keys {
            /// Whether traces are sent.
            enabled: bool = false => INERT;
            /// APM servers.
            hosts: Vec<String> = Vec::new() => INERT;
            /// Name of the environment.
            environment: Option<String> = None => INERT;
            /// API key.
            api_key: Option<Secret> = None => INERT;
            /// File that holds the API key.
            api_key_path: Option<PathBuf> = None => INERT;
            /// Secret token.
            secret_token: Option<Secret> = None => INERT;
            /// File that holds the secret token.
            secret_token_path: Option<PathBuf> = None => INERT;
            /// Labels of every trace: `name=value,…` or a map.
            global_labels: Option<Labels> = None => INERT;
            /// Share of transactions that are sampled, 0 to 1.
            transaction_sample_rate: Option<Share> = None => INERT;
        }
        sections {
            /// TLS towards the APM server.
            tls: InstrumentationTls;
        }
    }
}

section! {
    /// TLS towards the APM server.
    pub struct InstrumentationTls {
        keys {
            /// Do not verify the server.
            skip_verify: bool = false => INERT;
            /// The certificate that the server must show.
            server_certificate: Option<PathBuf> = None => INERT;
            /// The CA of the server.
            server_ca: Option<PathBuf> = None => INERT;
        }
        sections {}
    }
}

section! {
    /// Keys that signed agent upgrades are verified with.
    pub struct Pgp {
        keys {
            /// Where the key is fetched from if it is not in `dir`.
            upstream_url: String = "https://artifacts.elastic.co/GPG-KEY-elastic-agent".to_owned() => INERT;
            /// Directory of the keys; unset: elastic-agent-upgrade-keys beside the program.
            dir: Option<PathBuf> = None => INERT;
        }
        sections {}
    }
}

section! {
    /// The agent that runs this server.
    pub struct OwnAgent {
        keys {
            /// Its id.
            id: Option<String> = None => INERT;
            /// Its version.
            version: Option<String> = None => INERT;
        }
        sections {
            /// Its logging.
            logging: OwnAgentLogging;
        }
    }
}

section! {
    /// The logging of the agent that runs this server.
    pub struct OwnAgentLogging {
        keys {
            /// Deprecated: use logging.level.
            level: Option<super::logging::Level> = None => INERT;
        }
        sections {}
    }
}

section! {
    /// The machine.
    pub struct OwnHost {
        keys {
            /// Its id.
            id: Option<String> = None => INERT;
            /// Its name.
            name: Option<String> = None => INERT;
        }
        sections {}
    }
}

section! {
    /// What an Elastic Agent says about itself and its machine.
    pub struct Fleet {
        keys {}
        sections {
            /// The agent that runs this server.
            agent: OwnAgent;
            /// The machine.
            host: OwnHost;
        }
    }
}

/// A share from 0 to 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Share(String);

impl Setting for Share {
    fn allowed() -> String {
        "a number from 0 to 1".to_owned()
    }
    fn from_text(text: &str) -> Result<Self, Refusal> {
        let fits = text
            .parse::<f64>()
            .is_ok_and(|share| (0.0..=1.0).contains(&share));
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(must_be::<Self>())
        }
    }
    fn shown(&self) -> Option<Shown> {
        Some(Shown::Bare(self.0.clone()))
    }
}

/// Labels, as a map or as one text.
#[derive(Clone, Debug, PartialEq)]
pub enum Labels {
    /// `name=value,…`
    Text(String),
    /// A map.
    Map(Names),
}

impl Setting for Labels {
    const SHAPE: super::setting::Shape = super::setting::Shape::Map;
    fn allowed() -> String {
        "a map of names and texts, or `name=value,…`".to_owned()
    }
    fn from_text(text: &str) -> Result<Self, Refusal> {
        Ok(Self::Text(text.to_owned()))
    }
    fn from_value(value: &config::Value) -> Result<Self, Refusal> {
        match &value.kind {
            config::ValueKind::String(text) => Self::from_text(text),
            _ => Names::from_value(value).map(Self::Map),
        }
    }
    fn shown(&self) -> Option<Shown> {
        match self {
            Self::Text(text) => text.shown(),
            Self::Map(names) => names.shown(),
        }
    }
}
