//! The configuration: from files, flags and the environment to one typed tree.
//!
//! ```text
//! file ── yaml ─┐                                              ┌─ read ── typed sections ── consistency
//! -E ──── flag ─┼─ node (dotted keys, known?) ── layers ── substitute ──┘                         │
//! overlay ──────┘        places of every value travel along                          Config, notices
//! ```
//!
//! Each key is declared once, in the section it belongs to (`declare`). Nothing stops at the first problem:
//! [`load`] returns all of them. Nothing here listens, opens a store or writes a log line.

pub(crate) mod choice;
pub mod consistency;
pub mod declare;
pub mod duration;
pub mod flag;
pub mod http_host;
pub mod later;
pub mod layers;
pub mod limits;
pub mod logging;
pub mod maintenance;
pub mod memory;
pub mod node;
pub mod ours;
pub mod output;
pub mod place;
pub mod presets;
pub mod problem;
pub mod read;
pub mod reference;
pub mod schema;
pub mod secret;
pub mod server;
pub mod setting;
pub mod show;
pub mod size;
pub mod ssl;
pub mod substitute;
pub mod tls;
pub mod tokens;
pub mod yaml;

use std::{env, fmt, path::PathBuf, sync::Arc};

use self::{
    declare::{Section as _, State, section},
    later::Fleet,
    layers::Layers,
    logging::Logging,
    ours::{Admin, Bootstrap, Http, Paths, Store},
    output::Output,
    read::{Reader, Reading},
    server::{Input, Inputs, Server},
    substitute::Substitution,
};
pub use self::{
    layers::Overlay,
    place::Place,
    problem::{ConfigErrors, Notice, Problem},
    schema::Schema,
};

section! {
    /// The whole configuration.
    pub struct Config {
        keys {}
        sections {
            /// Exactly one entry of the type fleet-server.
            inputs: Inputs;
            /// Where agents' data goes.
            output: Output;
            /// Where the server keeps its files.
            path: Paths;
            /// Where agents, policies and actions are kept.
            store: Store;
            /// The listener for operators.
            admin: Admin;
            /// What a store without policies begins with.
            bootstrap: Bootstrap;
            /// What is logged, and where to.
            logging: Logging;
            /// The listener for machines: /metrics, /livez, /readyz.
            http: Http;
            /// What an Elastic Agent says about itself and its machine.
            fleet: Fleet;
        }
    }
}

impl Config {
    /// The one input.
    pub fn input(&self) -> &Input {
        &self.inputs.input
    }

    /// What agents reach.
    pub fn server(&self) -> &Server {
        &self.inputs.input.server
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
    /// The machine.
    pub surroundings: Surroundings,
}

/// Looks up an environment variable.
pub type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What the machine says; tests say something else.
#[derive(Clone)]
pub struct Surroundings {
    /// Environment variables.
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

/// Reads everything and checks it.
///
/// # Errors
/// All problems, each with its place, in the order of the files and flags.
pub fn load(sources: &Sources) -> Result<(Config, Vec<Notice>), ConfigErrors> {
    let schema = Schema::of::<Config>();
    let mut layers = Layers::new(&schema);
    layers.overlay(&sources.overlay);
    sources.files.iter().for_each(|file| layers.file(file));
    sources.flags.iter().for_each(|flag| layers.flag(flag));
    if let Some(directory) = &sources.data_dir {
        layers.named_flag("--data-dir", "path.data", &directory.to_string_lossy());
    }
    let merged = match layers.merge() {
        Ok(merged) => merged,
        Err(error) => {
            layers.problems.push(Problem::Syntax {
                place: Place::BuiltIn,
                reason: error.to_string(),
            });
            return Err(in_order(layers.problems, &layers.places));
        }
    };
    let Layers {
        mut places,
        mut problems,
        ..
    } = layers;
    let environment = &*sources.surroundings.environment;
    let substituted = Substitution {
        root: &merged,
        environment,
        schema: &schema,
    }
    .run(&mut places, &mut problems);

    let mut reading = Reading::new(&places);
    let mut config = Config::read(&mut Reader::new(&substituted, &mut reading));
    let mut notices = inert(&schema, &reading);
    consistency::check(&config, &mut reading, &mut notices);
    let memory_mib = match u64::try_from(config.server().runtime.memory_limit) {
        Ok(limit) if limit > 0 => Some(limit >> 20),
        _ => sources.surroundings.memory_mib,
    };
    config
        .inputs
        .input
        .server
        .limits
        .apply_preset(memory_mib, &mut notices);

    problems.append(&mut reading.problems);
    if problems.is_empty() {
        Ok((config, notices))
    } else {
        Err(in_order(problems, &places))
    }
}

/// One notice for every key that was set and does nothing yet.
fn inert(schema: &Schema, reading: &Reading<'_>) -> Vec<Notice> {
    let names: Vec<String> = reading
        .set
        .keys()
        .filter_map(|path| match schema.find(path)?.state {
            State::Effective => None,
            State::Inert => Some(path.clone()),
            State::Partly(use_) => Some(format!("{path} ({use_})")),
        })
        .collect();
    if names.is_empty() {
        Vec::new()
    } else {
        vec![Notice::NoEffect(names)]
    }
}

fn in_order(mut problems: Vec<Problem>, places: &place::Places) -> ConfigErrors {
    problems.sort_by_key(|problem| problem.place().map_or((0, 0), |place| places.rank(place)));
    ConfigErrors::new(problems)
}

#[cfg(test)]
mod tests;
