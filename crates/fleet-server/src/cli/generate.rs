//! `fleet-server completions` and `man`: what a package ships, written by the program that it describes.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Cli, Exit};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// Which shell's
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// Directory, which exists
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Writes the shell's completion script to `out`.
pub(crate) fn completions(args: &CompletionsArgs, out: &mut dyn Write) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "fleet-server", &mut script);
    out.write_all(&script)?;
    Ok(Exit::Success)
}

/// Writes `fleet-server.1` and one page a sub-command.
///
/// # Errors
/// The directory cannot be written, or a page of somebody else's has the name of one of these; nothing is written then.
pub(crate) fn man(args: &ManArgs) -> Result<Exit> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    render(&command, &mut pages)?;
    for (path, _) in &mut pages {
        *path = args.directory.join(&path);
        expect_page(path)?;
    }
    for (path, page) in &pages {
        fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(Exit::Success)
}

fn render(command: &clap::Command, pages: &mut Vec<(PathBuf, Vec<u8>)>) -> io::Result<()> {
    let seen = command.get_subcommands().filter(|command| !command.is_hide_set());
    for command in seen {
        render(command, pages)?;
    }
    let page = clap_mangen::Man::new(command.clone());
    let mut text = Vec::new();
    page.render(&mut text)?;
    pages.push((PathBuf::from(page.get_filename()), text));
    Ok(())
}

/// Refuses what is no page of this name: those that are written here have their title alike in every version.
fn expect_page(path: &Path) -> Result<()> {
    let found = match fs::read(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    if !String::from_utf8_lossy(&found).contains(&format!("\n.TH {name} 1 ")) {
        bail!("{} was not written by `man`: move it away", path.display());
    }
    Ok(())
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
            assert!(!script.contains("agent-mode"), "{shell}: what is not built");
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
        for page in fs::read_dir(directory.path()).unwrap() {
            let text = fs::read_to_string(page.unwrap().path()).unwrap();
            assert!(!text.replace('\\', "").contains("agent-mode"), "{text}");
        }
        // Again over its own.
        man(&pages).unwrap();
        let missing = ManArgs {
            directory: directory.path().join("missing"),
        };
        assert!(man(&missing).unwrap_err().to_string().contains("missing"));
    }
}
