//! `fleet-server config`: is it right, what does it say, what could it say.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::{Exit, GlobalArgs, run::DEFAULT_FILE};
use crate::{
    config::{Notice, Sources, load, reference, show},
    planning,
};

/// Options of `config`.
#[derive(Clone, Debug, clap::Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum ConfigCommand {
    /// Say everything that is wrong with files and flags; exits 1 if something is
    Check,
    /// Print the effective configuration, secrets redacted
    Show,
    /// Write the reference file, in which every key stands with default, unit and effect
    Reference {
        /// Compare instead of writing; exits 1 if the file differs
        #[arg(long)]
        check: bool,
        /// The file; `-` prints
        #[arg(long, value_name = "FILE", default_value = "fleet-server.reference.yml")]
        output: PathBuf,
    },
}

/// Runs the command.
///
/// # Errors
/// The configuration is wrong, or the reference file can not be read or written.
pub fn run(args: &ConfigArgs, global: &GlobalArgs, out: &mut dyn Write) -> Result<Exit> {
    match &args.command {
        ConfigCommand::Check => {
            let (config, notices) = load(&sources(global))?;
            planning::plan(&config)?;
            notices_for_people(&notices, out)?;
            writeln!(out, "the configuration is good")?;
            Ok(Exit::Success)
        }
        ConfigCommand::Show => {
            let (config, _) = load(&sources(global))?;
            write!(out, "{}", show::effective(&config))?;
            Ok(Exit::Success)
        }
        ConfigCommand::Reference { check, output } => reference_file(*check, output, out),
    }
}

/// What `run` would read.
fn sources(global: &GlobalArgs) -> Sources {
    let mut sources = global.sources();
    if sources.files.is_empty() && Path::new(DEFAULT_FILE).exists() {
        sources.files.push(PathBuf::from(DEFAULT_FILE));
    }
    sources
}

fn notices_for_people(notices: &[Notice], out: &mut dyn Write) -> Result<()> {
    for notice in notices {
        writeln!(out, "note: {notice}")?;
    }
    Ok(())
}

fn reference_file(check: bool, output: &Path, out: &mut dyn Write) -> Result<Exit> {
    let text = reference::yaml();
    if output == Path::new("-") {
        write!(out, "{text}")?;
        return Ok(Exit::Success);
    }
    if check {
        let found =
            fs::read_to_string(output).with_context(|| format!("cannot read {}", output.display()))?;
        if found == text {
            return Ok(Exit::Success);
        }
        writeln!(
            out,
            "{} is not what the declarations say: run `fleet-server config reference`",
            output.display()
        )?;
        return Ok(Exit::Failure);
    }
    fs::write(output, text).with_context(|| format!("cannot write {}", output.display()))?;
    Ok(Exit::Success)
}
