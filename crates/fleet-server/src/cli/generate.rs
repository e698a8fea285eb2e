//! `fleet-server completions` and `man`: what a package ships, written by the program that it describes.

use std::{io::Write, path::PathBuf};

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Cli, Exit};

/// Options of `completions`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// Which shell's
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Options of `man`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// Directory, which exists
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Writes the shell's completion script to `out`.
///
/// # Errors
/// `out` cannot be written.
pub(crate) fn completions(args: &CompletionsArgs, out: &mut dyn Write) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "fleet-server", &mut script);
    out.write_all(&script)?;
    Ok(Exit::Success)
}

/// Writes `fleet-server.1` and one page a sub-command.
///
/// # Errors
/// The directory cannot be written.
pub(crate) fn man(args: &ManArgs) -> Result<Exit> {
    clap_mangen::generate_to(Cli::command(), &args.directory)
        .with_context(|| format!("cannot write the pages to {}", args.directory.display()))?;
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_gets_a_script_with_the_sub_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut out = Vec::new();
            completions(&CompletionsArgs { shell }, &mut out).unwrap();
            let script = String::from_utf8(out).unwrap();
            for word in ["quickstart", "enrollment-token", "data-dir"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }

    #[test]
    fn there_is_a_page_for_each_sub_command_that_people_see() {
        let directory = tempfile::tempdir().unwrap();
        let pages = ManArgs {
            directory: directory.path().to_owned(),
        };
        man(&pages).unwrap();
        for page in [
            "fleet-server.1",
            "fleet-server-status.1",
            "fleet-server-cert-check.1",
        ] {
            assert!(directory.path().join(page).exists(), "{page}");
        }
        assert!(!directory.path().join("fleet-server-sleep.1").exists(), "hidden");
        let missing = ManArgs {
            directory: directory.path().join("missing"),
        };
        assert!(man(&missing).unwrap_err().to_string().contains("missing"));
    }
}
