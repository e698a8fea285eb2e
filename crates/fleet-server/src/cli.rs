//! The command line: one declaration an option, one file a sub-command.

pub(crate) mod backup;
pub(crate) mod cert;
pub(crate) mod config;
pub(crate) mod enrollment_token;
pub(crate) mod generate;
pub(crate) mod quickstart;
pub(crate) mod restart;
pub(crate) mod rotate_store_key;
pub(crate) mod run;
pub(crate) mod sleep;
pub(crate) mod status;

use std::{
    ffi::OsString,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::Result;
use clap::{
    CommandFactory as _, Parser, Subcommand as _,
    error::{ContextKind, ContextValue, ErrorKind},
};
use configuration::{Config, Notice, Overlay, Sources, load};
use fleet_cli::{Fault, Terminal};

use crate::{build, client::Client, signals};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// The command did what was asked, or the answer is yes.
    Success,
    /// The command failed, or the answer is no.
    Failure,
    /// Only warnings were found, and `--strict` was given.
    Warnings,
}

impl Exit {
    /// The process's exit code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Warnings => 2,
        }
    }
}

/// The control plane for Elastic Agents: enrolment, check-in, policies and actions, on one machine.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "fleet-server",
    disable_version_flag = true,
    args_conflicts_with_subcommands = false
)]
pub struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    /// Print version, commit and build time
    #[arg(short = 'v', long)]
    version: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Options of every sub-command.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct GlobalArgs {
    /// Configuration file; may be repeated, later files win [run: fleet-server.yml]
    #[arg(short = 'c', long = "config", value_name = "FILE", global = true)]
    files: Vec<PathBuf>,
    /// Set a configuration key, above all files; may be repeated
    #[arg(short = 'E', value_name = "KEY=VALUE", global = true)]
    settings: Vec<String>,
    /// Directory of the store and everything else the server keeps [default: ./data]
    #[arg(long, value_name = "DIR", global = true)]
    data_dir: Option<PathBuf>,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Run the server (also without any sub-command)
    Run,
    /// Run with certificates, store, policy and token of its own, and print how to begin
    Quickstart,
    /// Replace the running server by a new process, without a refused connection
    Restart,
    /// Ask a running server for its status; exits 0 only if it is healthy
    Status(status::StatusArgs),
    /// Print the token that new agents enrol with
    EnrollmentToken,
    #[command(flatten)]
    Fleet(fleet_cli::Command),
    /// Copy the store to a directory, also while the server runs
    Backup(backup::BackupArgs),
    /// Check the store and its files, also while the server runs
    Fsck(backup::FsckArgs),
    /// Encrypt the store's secrets with another key, while the server is stopped
    RotateStoreKey(rotate_store_key::RotateStoreKeyArgs),
    /// Show and check certificates
    Cert(cert::CertArgs),
    /// Check, show and explain the configuration
    Config(config::ConfigArgs),
    /// Print the description of the API (OpenAPI 3.1)
    Openapi,
    /// Wait, then end well: a pause for container hooks
    #[command(hide = true)]
    Sleep(sleep::SleepArgs),
    /// Print a shell's completion script
    #[command(hide = true)]
    Completions(generate::CompletionsArgs),
    /// Write the manual pages to a directory
    #[command(hide = true)]
    Man(generate::ManArgs),
}

impl Cli {
    /// Reads a command line, the program's name first.
    ///
    /// # Errors
    /// What is wrong with it, or the help that it asks for.
    pub fn from_words<W: Into<OsString> + Clone>(
        words: impl IntoIterator<Item = W>,
    ) -> Result<Self, clap::Error> {
        Self::try_parse_from(words).map_err(|error| {
            // An Elastic Agent starts its Fleet Server so.
            let agent_mode = ContextValue::String("--agent-mode".to_owned());
            match error.get(ContextKind::InvalidArg) == Some(&agent_mode) {
                true => Self::command().error(
                    ErrorKind::UnknownArgument,
                    "--agent-mode is not built in this version: run the server with -c FILE, or try quickstart",
                ),
                false => error,
            }
        })
    }

    /// Whether the command answers to signals; others end by them.
    fn serves(&self) -> bool {
        !self.version
            && matches!(
                self.command,
                None | Some(Command::Run | Command::Quickstart | Command::Sleep(_))
            )
    }
}

impl GlobalArgs {
    /// What the configuration is read from.
    #[must_use]
    pub fn sources(&self) -> Sources {
        Sources {
            files: self.files.clone(),
            flags: self.settings.clone(),
            data_dir: self.data_dir.clone(),
            ..Sources::default()
        }
    }

    /// The data directory as the command line names it: for commands that read no configuration.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(|| PathBuf::from("./data"))
    }

    /// Whether the command line names any configuration: a file, a setting or a data directory.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        !self.files.is_empty() || !self.settings.is_empty()
    }

    /// The configuration of the given files and flags; without a file the one that `run` would take, if it exists.
    pub fn load(&self) -> Result<Config> {
        let mut sources = self.sources();
        if sources.files.is_empty() && Path::new(run::DEFAULT_FILE).exists() {
            sources.files.push(PathBuf::from(run::DEFAULT_FILE));
        }
        Ok(load(&sources)?.0)
    }

    pub(crate) fn load_with(&self, files: Vec<PathBuf>, overlay: Overlay) -> Result<(Config, Vec<Notice>)> {
        Ok(load(&Sources {
            files,
            overlay,
            ..self.sources()
        })?)
    }
}

/// Runs the command that was given.
///
/// # Errors
/// Whatever stopped the command; the text is meant for the operator.
pub fn dispatch(cli: &Cli, out: &mut dyn Write) -> Result<Exit> {
    if !cli.serves() {
        signals::release()?;
    }
    if cli.version {
        writeln!(
            out,
            "{} [{} built {}] (FIPS-distribution: false)",
            build::VERSION,
            build::commit(),
            build::time()
        )?;
        return Ok(Exit::Success);
    }
    match &cli.command {
        None | Some(Command::Run) => run::run(&cli.global),
        Some(Command::Quickstart) => quickstart::run(&cli.global, out),
        Some(Command::Restart) => restart::run(&cli.global, out),
        Some(Command::Status(args)) => status::run(args, &cli.global, out),
        Some(Command::Fleet(command)) => fleet(command, &cli.global, out),
        Some(Command::Backup(args)) => backup::backup(args, &cli.global, out),
        Some(Command::Fsck(args)) => backup::fsck(args, &cli.global, out),
        Some(Command::Cert(args)) => cert::run(args, &cli.global, out),
        Some(Command::RotateStoreKey(args)) => rotate_store_key::run(args, &cli.global, out),
        Some(Command::EnrollmentToken) => enrollment_token::run(&cli.global, out),
        Some(Command::Config(args)) => config::run(args, &cli.global, out),
        Some(Command::Openapi) => openapi(out),
        Some(Command::Sleep(args)) => sleep::run(args),
        Some(Command::Completions(args)) => generate::completions(args, out),
        Some(Command::Man(args)) => generate::man(args),
    }
}

/// A client of the admin API. What went wrong keeps its kind, which is the exit code.
fn fleet(command: &fleet_cli::Command, global: &GlobalArgs, out: &mut dyn Write) -> Result<Exit> {
    let terminal = Terminal::of_stdout();
    match command.run_alone(terminal, out) {
        Some(done) => done?,
        None => {
            let client = Client::of_connection(command.connection(), global)?;
            command.run(&client, terminal, out)?;
        }
    }
    Ok(Exit::Success)
}

/// The exit code of a command that failed.
#[must_use]
pub fn code_of(error: &anyhow::Error) -> u8 {
    error
        .downcast_ref::<Fault>()
        .map_or(Exit::Failure.code(), Fault::exit_code)
}

/// The exit code of a command line that cannot be read: the clients of the admin API tell it from a refusal.
#[must_use]
pub fn usage_code<W: Into<OsString> + Clone>(words: impl IntoIterator<Item = W>) -> u8 {
    let lenient = Cli::command().ignore_errors(true).try_get_matches_from(words);
    let is_client = lenient.is_ok_and(|found| {
        found
            .subcommand_name()
            .is_some_and(fleet_cli::Command::has_subcommand)
    });
    if is_client {
        fleet_cli::USAGE
    } else {
        Exit::Failure.code()
    }
}

/// Prints what `GET /api/openapi.json` answers, with line breaks.
fn openapi(out: &mut dyn Write) -> Result<Exit> {
    writeln!(out, "{:#}", api::openapi())?;
    Ok(Exit::Success)
}

/// Says what stopped the command. In one write: the causes escape their text character by character, and standard error
/// has no buffer.
pub fn tell(error: &anyhow::Error, out: &mut dyn Write) {
    // Nowhere is left to report a closed standard error to.
    let _ = out.write_all(format!("error: {error:#}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_is_what_people_read() {
        let mut command = Cli::command();
        command.build();
        insta::assert_snapshot!(command.render_long_help(), @r"
    The control plane for Elastic Agents: enrolment, check-in, policies and actions, on one machine

    Usage: fleet-server [OPTIONS] [COMMAND]

    Commands:
      run               Run the server (also without any sub-command)
      quickstart        Run with certificates, store, policy and token of its own, and print how to begin
      restart           Replace the running server by a new process, without a refused connection
      status            Ask a running server for its status; exits 0 only if it is healthy
      enrollment-token  Print the token that new agents enrol with
      agents            List agents and change what they run
      policy            List policies, and keep them in files
      token             List, make and revoke enrollment tokens
      action            Show how far actions are, and take them back
      key               List, make and revoke operators' keys
      uploads           List, save and remove files that agents sent [alias: upload]
      diagnostics       Ask an agent for diagnostics and save them: the same as `agents diagnostics`
      backup            Copy the store to a directory, also while the server runs
      fsck              Check the store and its files, also while the server runs
      rotate-store-key  Encrypt the store's secrets with another key, while the server is stopped
      cert              Show and check certificates
      config            Check, show and explain the configuration
      openapi           Print the description of the API (OpenAPI 3.1)
      help              Print this message or the help of the given subcommand(s)

    Options:
      -c, --config <FILE>
              Configuration file; may be repeated, later files win [run: fleet-server.yml]

      -E <KEY=VALUE>
              Set a configuration key, above all files; may be repeated

          --data-dir <DIR>
              Directory of the store and everything else the server keeps [default: ./data]

      -v, --version
              Print version, commit and build time

      -h, --help
              Print help
    ");
        let config = command.find_subcommand_mut("config").unwrap();
        insta::assert_snapshot!(config.find_subcommand_mut("reference").unwrap().render_long_help(), @r"
    Write the reference file, in which every key stands with default, unit and effect

    Usage: fleet-server config reference [OPTIONS]

    Options:
      -c, --config <FILE>
              Configuration file; may be repeated, later files win [run: fleet-server.yml]

          --check
              Compare instead of writing; exits 1 if the file differs

      -E <KEY=VALUE>
              Set a configuration key, above all files; may be repeated

          --format <FORMAT>
              The commented YAML, or the table of the docs
              
              [default: yaml]
              [possible values: yaml, markdown]

          --data-dir <DIR>
              Directory of the store and everything else the server keeps [default: ./data]

          --output <FILE>
              The file; `-` prints [default: fleet-server.reference.yml, docs/CONFIGURATION.md]

      -h, --help
              Print help
    ");
    }

    #[test]
    fn options_stand_before_and_after_the_sub_command() {
        for line in [
            ["fleet-server", "-E", "a=b", "quickstart"].as_slice(),
            ["fleet-server", "quickstart", "-E", "a=b"].as_slice(),
            ["fleet-server", "-E", "a=b"].as_slice(),
        ] {
            let cli = Cli::try_parse_from(line).unwrap();
            assert_eq!(cli.global.settings, ["a=b"], "{line:?}");
        }
    }

    #[test]
    fn what_is_not_built_says_so() {
        for line in [
            ["fleet-server", "--agent-mode"].as_slice(),
            ["fleet-server", "run", "--agent-mode"].as_slice(),
            ["fleet-server", "--agent-mode", "run"].as_slice(),
        ] {
            let refused = Cli::from_words(line).unwrap_err().to_string();
            assert!(refused.contains("not built in this version"), "{refused}");
        }
        let refused = Cli::from_words(["fleet-server", "--agent-mod"])
            .unwrap_err()
            .to_string();
        assert!(refused.contains("unexpected argument"), "{refused}");
    }

    #[test]
    fn no_help_names_what_is_not_built() {
        fn check(command: &mut clap::Command) {
            let help = command.render_long_help().to_string();
            assert!(
                !help.contains("agent-mode") && !help.contains("not built"),
                "{help}"
            );
            command.get_subcommands_mut().for_each(check);
        }
        let mut command = Cli::command();
        command.build();
        check(&mut command);
    }

    #[test]
    fn attack_13d_an_error_is_one_write_however_many_keys_it_names() {
        struct Writes(Vec<usize>);
        impl Write for Writes {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.push(bytes.len());
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("many.yml");
        let keys: String = (0..1000).map(|number| format!("unknown_{number}: 1\n")).collect();
        std::fs::write(&file, keys).unwrap();
        let words = ["fleet-server", "config", "check", "-c", file.to_str().unwrap()];
        let error = dispatch(&Cli::try_parse_from(words).unwrap(), &mut Vec::new()).unwrap_err();
        let mut writes = Writes(Vec::new());
        tell(&error, &mut writes);
        assert!(
            writes.0.len() == 1 && writes.0[0] > 50_000,
            "{:?}",
            writes.0.len()
        );
    }

    #[test]
    fn version_has_the_originals_form() {
        let cli = Cli::try_parse_from(["fleet-server", "-v"]).unwrap();
        let mut out = Vec::new();
        assert_eq!(dispatch(&cli, &mut out).unwrap(), Exit::Success);
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.starts_with(build::VERSION) && text.ends_with("(FIPS-distribution: false)\n"),
            "{text}"
        );
    }
}
