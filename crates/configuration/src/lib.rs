//! The configuration: from files, flags and the environment to one typed tree.
//!
//! ```text
//! file ── notation::yaml ─┐                     ┌─ places of all values ─────────► errors name file and line
//! -E, overlay ────────────┴─ layers (declared?) ┴─ `config` merges ─ substitute ─ reader ─ typed sections
//!                                                                                    │
//!                                     inert (names and types), consistency, limits ──┴─ Config, notices
//! ```
//!
//! Each key is declared once: in its section (`sections`, `limits`), or as a name and a type while it has no effect
//! (`inert`). [`load`] reports all problems, not only the first. Nothing here listens, opens a store or
//! writes a log line; the binary translates the values for the other crates.

mod addresses;
mod consistency;
mod engine;
mod inert;
mod limits;
mod memory;
mod sections;

use std::{env, fmt, path::PathBuf, sync::Arc};

use engine::{
    layers::Layers,
    place::Place,
    problem::{Problem, Report},
    reader::Reader,
    schema::Schema,
    section::{One, Section as _, section},
    substitute::{Substitution, find},
};
use sections::{
    admin::Admin,
    bootstrap::Bootstrap,
    files::Files as AgentFiles,
    http::Http,
    output::Output,
    server::{Input, Server},
    store::{Paths, Store},
};

pub use engine::{
    layers::Overlay,
    problem::{ConfigErrors, Notice},
    quantity::ByteSize,
    reference::{markdown as reference_markdown, yaml as reference_yaml},
    secret::Secret,
};
pub use limits::{Effective, Limit};
pub use sections::{
    logging::{Files, Logging},
    ssl::{PathOrPem, Ssl},
};

section! {
    /// The whole configuration.
    pub struct Config {
        sections {
            /// Exactly one entry of the type fleet-server.
            inputs: One<Input>;
            /// Where agents' data goes.
            output: Output;
            /// Where the server keeps its files.
            path: Paths;
            /// Where agents, policies and actions are kept.
            store: Store;
            /// What agents' files take, and how long they stay.
            files: AgentFiles;
            /// The listener for operators.
            admin: Admin;
            /// What a store without policies begins with.
            bootstrap: Bootstrap;
            /// What is logged, and where to.
            logging: Logging;
            /// The listener for machines: /metrics, /livez, /readyz.
            http: Http;
        }
    }
}

impl Config {
    /// What agents reach.
    pub fn server(&self) -> &Server {
        &self.inputs.0.server
    }

    /// The effective configuration as YAML, secrets redacted.
    pub fn to_yaml(&self) -> String {
        engine::show::yaml(self)
    }

    /// Where the key of upgrades lies.
    pub fn pgp_directory(&self) -> PathBuf {
        let own = self.server().pgp.dir.clone();
        own.unwrap_or_else(|| self.path.data.join("elastic-agent-upgrade-keys"))
    }

    /// The admin key's file.
    pub fn admin_key_path(&self) -> PathBuf {
        self.admin
            .api_key_path
            .clone()
            .unwrap_or_else(|| self.path.data.join("admin.key"))
    }
}

/// What the configuration is read from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `-c`, each over the one before.
    pub files: Vec<PathBuf>,
    /// `-E`, each over the one before and over the files.
    pub flags: Vec<String>,
    /// `--data-dir`, over everything.
    pub data_dir: Option<PathBuf>,
    /// A sub-command's own defaults, below the files.
    pub overlay: Overlay,
    /// Environment and memory of the machine.
    pub surroundings: Surroundings,
}

/// Looks up an environment variable.
pub type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Facts about the machine, replaced in tests.
#[derive(Clone)]
pub struct Surroundings {
    /// Looks up environment variables.
    pub environment: Environment,
    /// Memory that this process may use.
    pub memory_mib: Option<u64>,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self {
            environment: Arc::new(|name| env::var(name).ok()),
            memory_mib: memory::available_mib(std::path::Path::new("/")),
        }
    }
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings")
            .field("memory_mib", &self.memory_mib)
            .finish_non_exhaustive()
    }
}

/// Reads all sources and checks the result.
///
/// # Errors
/// All problems, each with its place, in the order of the files and flags.
pub fn load(sources: &Sources) -> Result<(Config, Vec<Notice>), ConfigErrors> {
    let (config, report) = read(sources);
    let notices = report.end()?;
    Ok((config, notices))
}

/// A number that bounds what the server does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitShown {
    /// Its key, below `inputs.0.server.limits`, or a key of `files`; `memory` has none.
    pub key: String,
    /// The number, or `any`.
    pub value: String,
    /// A place (`file:line` with the variables of the environment that are in it, a flag), `preset`, `built in`, or
    /// `measured` where the server decides by what it can do.
    pub origin: String,
}

/// The limits that hold, with their origins.
pub fn limits_shown(sources: &Sources) -> Result<Vec<LimitShown>, ConfigErrors> {
    let (config, report, root) = read_values(sources);
    let row = |(key, path, value, otherwise): (&str, String, String, &str)| LimitShown {
        key: key.to_owned(),
        value,
        origin: report.origin(&path).unwrap_or_else(|| otherwise.to_owned()),
    };
    let limits = config.server().limits.origins();
    let limits = limits.iter().map(|(key, value, otherwise)| {
        let path = format!("inputs.0.server.limits.{key}");
        let mut shown = row((key, path.clone(), value.clone(), otherwise));
        // A 0 asks for the number of the preset or the built-in one; of this key it is the number.
        if key != "max_file_storage_size" && is_zero(&root, &path) {
            shown.origin = (*otherwise).to_owned();
        }
        shown
    });
    let files = config.files.shown();
    let files = files
        .iter()
        .map(|(key, value)| row((key, (*key).to_owned(), value.clone(), "built in")));
    let memory = memory_mib(&config, sources).map(|mib| format!("{mib}MiB"));
    let memory = row((
        "memory",
        "inputs.0.server.runtime.memory_limit".to_owned(),
        memory.unwrap_or("unknown".to_owned()),
        "measured",
    ));
    let shown = limits.chain(files).chain([memory]).collect();
    report.end()?;
    Ok(shown)
}

/// Whether a number or a time of 0 is given, in any notation.
fn is_zero(root: &config::Value, path: &str) -> bool {
    let text = find(root, path).and_then(|value| value.clone().into_string().ok());
    text.is_some_and(|text| {
        let number = text.trim_end_matches(|letter: char| letter.is_alphabetic());
        number.parse::<f64>().is_ok_and(|number| number == 0.0)
    })
}

fn read(sources: &Sources) -> (Config, Report) {
    let (config, report, _) = read_values(sources);
    (config, report)
}

/// With the values as they were given.
fn read_values(sources: &Sources) -> (Config, Report, config::Value) {
    let schema = Schema::of::<Config>(inert::keys());
    let mut report = Report::default();
    let mut layers = Layers::new(&schema, &mut report);
    layers.overlay(&sources.overlay);
    sources.files.iter().for_each(|file| layers.file(file));
    sources.flags.iter().for_each(|flag| layers.flag(flag));
    if let Some(directory) = &sources.data_dir {
        layers.named_flag("--data-dir", "path.data", &directory.to_string_lossy());
    }
    let merged = layers.merge().unwrap_or_else(|error| {
        let reason = error.to_string();
        report.add(Place::built_in(), Problem::Syntax { reason });
        config::Value::from(config::Map::<String, config::Value>::new())
    });
    let root = Substitution {
        root: &merged,
        environment: &*sources.surroundings.environment,
        schema: &schema,
        lookups: 0,
        variables: Vec::new(),
    }
    .run(&mut report);

    let mut config = Config::default();
    config.walk(&mut Reader::new(&root, &mut report));
    let mut without_effect = inert::check(&root, &mut report);
    let partly = schema.partly().filter(|(path, _)| find(&root, path).is_some());
    without_effect.extend(partly.map(|(path, only)| format!("{path} (only {only})")));
    if !without_effect.is_empty() {
        without_effect.sort();
        report.notices.push(Notice::NoEffect(without_effect));
    }
    consistency::check(&config, &mut report);
    let memory_mib = memory_mib(&config, sources);
    config
        .inputs
        .0
        .server
        .limits
        .settle(memory_mib, &mut report.notices);
    (config, report, root)
}

/// Memory that this process may use, as the configuration or the machine says.
fn memory_mib(config: &Config, sources: &Sources) -> Option<u64> {
    match u64::try_from(config.server().runtime.memory_limit) {
        Ok(limit) if limit > 0 => Some(limit >> 20),
        _ => sources.surroundings.memory_mib,
    }
}

#[cfg(test)]
mod tests;
