//! `fleet-server config`: checks, shows and documents the configuration.

use std::{
    fs,
    io::{self, Write},
    num::NonZero,
    path::{Path, PathBuf},
    thread::available_parallelism,
};

use anyhow::{Context as _, Result, bail};
use configuration::{Sources, limits_shown, load, reference_markdown, reference_yaml};

use super::{Exit, GlobalArgs, run::DEFAULT_FILE};
use crate::{connection_shares::ConnectionShares, planning};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum ConfigCommand {
    /// Say everything that is wrong with files and flags; exits 1 if something is
    Check,
    /// Print the effective configuration, secrets redacted
    Show(ShowArgs),
    /// Write the reference file, in which every key stands with default, unit and effect
    Reference(ReferenceArgs),
}

#[derive(Clone, Debug, clap::Args)]
struct ShowArgs {
    /// Print the limits instead, each number with where it comes from
    #[arg(long)]
    limits: bool,
}

#[derive(Clone, Debug, clap::Args)]
struct ReferenceArgs {
    /// Compare instead of writing; exits 1 if the file differs
    #[arg(long)]
    check: bool,
    /// The commented YAML, or the table of the docs
    #[arg(long, value_enum, default_value_t = Format::Yaml)]
    format: Format,
    /// The file; `-` prints [default: fleet-server.reference.yml, docs/CONFIGURATION.md]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    Yaml,
    Markdown,
}

impl Format {
    fn text(self) -> String {
        match self {
            Self::Yaml => reference_yaml(),
            Self::Markdown => reference_markdown(),
        }
    }

    fn file(self) -> &'static str {
        match self {
            Self::Yaml => "fleet-server.reference.yml",
            Self::Markdown => "docs/CONFIGURATION.md",
        }
    }

    fn repair(self) -> &'static str {
        match self {
            Self::Yaml => "fleet-server config reference",
            Self::Markdown => "fleet-server config reference --format markdown",
        }
    }
}

/// Runs the command.
///
/// # Errors
/// The configuration is wrong, or the reference file cannot be read or written.
pub(crate) fn run(args: &ConfigArgs, global: &GlobalArgs, out: &mut dyn Write) -> Result<Exit> {
    match &args.command {
        ConfigCommand::Check => {
            let sources = sources(global);
            let (config, notices) = load(&sources)?;
            planning::plan(&config)?;
            for notice in &notices {
                writeln!(out, "note: {notice}")?;
            }
            if sources.files.is_empty() {
                writeln!(
                    out,
                    "defaults and flags are good; no file was checked, since there is no {DEFAULT_FILE} here and no \
                     -c FILE (`fleet-server run` needs one of them)"
                )?;
            } else {
                writeln!(out, "the configuration is good")?;
            }
            Ok(Exit::Success)
        }
        ConfigCommand::Show(ShowArgs { limits: true }) => {
            let mut row =
                |key: &str, value: &str, origin: &str| writeln!(out, "{key:40} {value:>12}  {origin}");
            for shown in limits_shown(&sources(global))? {
                row(&shown.key, &shown.value, &shown.origin)?;
            }
            for (key, value) in of_this_machine() {
                row(key, &value.to_string(), "measured")?;
            }
            writeln!(
                out,
                "\nmeasured: `any` is not limited by a number, the server refuses what it could not begin in time; a number is \
                 what this machine has, for a process started as this one"
            )?;
            Ok(Exit::Success)
        }
        ConfigCommand::Show(ShowArgs { limits: false }) => {
            let (config, _) = load(&sources(global))?;
            write!(out, "{}", config.to_yaml())?;
            Ok(Exit::Success)
        }
        ConfigCommand::Reference(args) => args.run(out),
    }
}

/// Numbers that the server derives from the machine: the cores that share its work, and the connections that the limit
/// of open files leaves for each listener.
fn of_this_machine() -> [(&'static str, usize); 5] {
    let ConnectionShares {
        agents,
        internal,
        admin,
        http,
    } = ConnectionShares::of_this_process();
    [
        ("cores", available_parallelism().map_or(1, NonZero::get)),
        ("connections of agents", agents),
        ("connections of the internal listener", internal),
        ("connections of operators", admin),
        ("connections of probes", http),
    ]
}

/// The same sources that `run` reads.
fn sources(global: &GlobalArgs) -> Sources {
    let mut sources = global.sources();
    if sources.files.is_empty() && Path::new(DEFAULT_FILE).exists() {
        sources.files.push(PathBuf::from(DEFAULT_FILE));
    }
    sources
}

impl ReferenceArgs {
    fn run(&self, out: &mut dyn Write) -> Result<Exit> {
        let text = self.format.text();
        let output = self
            .output
            .clone()
            .unwrap_or_else(|| PathBuf::from(self.format.file()));
        if output == Path::new("-") {
            write!(out, "{text}")?;
            return Ok(Exit::Success);
        }
        if !self.check {
            expect_reference(&output, &text)?;
            fs::write(&output, text).with_context(|| format!("cannot write {}", output.display()))?;
            return Ok(Exit::Success);
        }
        let found =
            fs::read_to_string(&output).with_context(|| format!("cannot read {}", output.display()))?;
        if found == text {
            return Ok(Exit::Success);
        }
        let (shown, repair) = (output.display(), self.format.repair());
        let flag = self
            .output
            .as_ref()
            .map(|file| format!(" --output {}", file.display()))
            .unwrap_or_default();
        writeln!(
            out,
            "{shown} is not what the declarations say: run `{repair}{flag}`"
        )?;
        Ok(Exit::Failure)
    }
}

/// Refuses to overwrite what this command has not written: its files begin alike in every version.
fn expect_reference(output: &Path, text: &str) -> Result<()> {
    let found = match fs::read(output) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", output.display())),
    };
    let beginning = text.lines().next().unwrap_or_default();
    if !found.starts_with(beginning.as_bytes()) {
        bail!(
            "{} was not written by `config reference`: move it away, or name another file with --output",
            output.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, dispatch};

    fn command(words: &[&str]) -> (Result<Exit>, String) {
        let cli = Cli::try_parse_from(["fleet-server", "config"].iter().chain(words)).unwrap();
        let mut out = Vec::new();
        let exit = dispatch(&cli, &mut out);
        (exit, String::from_utf8(out).unwrap())
    }

    fn file(yaml: &str) -> (tempfile::TempDir, String) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fleet.yml");
        fs::write(&path, yaml).unwrap();
        (directory, path.display().to_string())
    }

    #[test]
    fn check_names_every_problem_or_says_good() {
        let (_directory, path) = file("logging.level: loud\nnobody.knows: 1\n");
        let (exit, _) = command(&["check", "-c", &path]);
        let errors = exit.unwrap_err().to_string();
        assert!(
            errors.contains("fleet.yml:1: logging.level") && errors.contains("fleet.yml:2: unknown key"),
            "{errors}"
        );

        let (_directory, path) = file("inputs.0.cache.ttl_action: 1m\n");
        let (exit, out) = command(&["check", "-c", &path]);
        assert_eq!(exit.unwrap(), Exit::Success);
        assert!(
            out.contains("note: has no effect in this version: inputs.0.cache.ttl_action\n"),
            "{out}"
        );
        assert!(out.ends_with("the configuration is good\n"), "{out}");
    }

    #[test]
    fn show_limits_says_where_each_number_comes_from() {
        let (_directory, path) =
            file("inputs.0.server.limits:\n  max_agents: 2500\n  checkin_limit.interval: 1ms\n");
        let (exit, out) = command(&[
            "show",
            "--limits",
            "-c",
            &path,
            "-E",
            "inputs.0.server.limits.ack_limit.max=7",
        ]);
        assert_eq!(exit.unwrap(), Exit::Success);
        let row = |key: &str| {
            let line = out.lines().find(|line| line.starts_with(key)).unwrap();
            line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
        };
        assert!(row("checkin_limit.interval").ends_with("fleet.yml:3"), "{out}");
        assert_eq!(row("checkin_limit.burst"), "500 preset");
        assert_eq!(row("checkin_limit.max "), "any measured");
        assert_eq!(row("enroll_limit.max "), "100 preset");
        assert_eq!(row("enroll_limit.max_body_byte_size"), "524288 built in");
        assert!(row("ack_limit.max ").starts_with("7 -E"), "{out}");
        assert_eq!(row("files.max_open_uploads"), "16 built in");
        for machine in ["memory", "cores"] {
            assert!(row(machine).ends_with(" measured"), "{out}");
        }
        assert!(out.contains("\nconnections of agents "), "{out}");
    }

    #[test]
    fn show_takes_flags_and_the_data_directory_and_redacts() {
        let (_directory, path) = file("admin.ssl: {certificate: /c, key_passphrase: hush}\n");
        let (exit, out) = command(&[
            "show",
            "-c",
            &path,
            "-E",
            "inputs.0.server.port=0",
            "--data-dir",
            "/somewhere",
        ]);
        assert_eq!(exit.unwrap(), Exit::Success);
        assert!(
            out.contains("  data: /somewhere\n") && out.contains("port: 0\n"),
            "{out}"
        );
        assert!(
            out.contains("key_passphrase: \"[redacted]\"") && !out.contains("hush"),
            "{out}"
        );
    }

    #[test]
    fn reference_is_written_compared_and_repaired() {
        let directory = tempfile::tempdir().unwrap();
        for format in ["yaml", "markdown"] {
            let path = directory.path().join(format).display().to_string();
            let words = ["reference", "--format", format, "--output", &path];
            let check = [&words[..], &["--check"]].concat();
            assert_eq!(command(&words).0.unwrap(), Exit::Success);
            assert_eq!(command(&check).0.unwrap(), Exit::Success);
            // As an older version may have written it.
            let written = fs::read_to_string(&path).unwrap();
            fs::write(&path, &written[..written.len() / 2]).unwrap();
            let (exit, out) = command(&check);
            assert_eq!(exit.unwrap(), Exit::Failure);
            // The command that the message names does repair it.
            let repair = out.split('`').nth(1).unwrap().to_owned();
            let words: Vec<&str> = repair.split_whitespace().skip(2).collect();
            assert_eq!(command(&words).0.unwrap(), Exit::Success);
            assert_eq!(command(&check).0.unwrap(), Exit::Success);
        }
    }
}
