//! `fleet-server policy`: what agents run, on the server and in files.

mod apply;
mod file;
mod standalone;

use std::{
    fs::OpenOptions,
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use serde_json::Value;

use file::PolicyFile;

use crate::{
    connection::ConnectionArgs,
    fault::Fault,
    output::{Column, Format, Output, OutputArgs, column, text},
    resolve::Policies,
    server::{Api, segment},
    uploads::plain,
};

#[derive(Clone, Debug, clap::Args)]
pub struct PolicyArgs {
    #[command(subcommand)]
    pub(crate) command: PolicyCommand,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum PolicyCommand {
    /// List policies with their agents counted
    List {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Show a policy's settings, or with --full what its agents get
    Get {
        /// Name or id
        policy: String,
        /// What agents get, before secrets are filled in
        #[arg(long)]
        full: bool,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Write policies as files that `policy apply` reads back as unchanged
    Export {
        /// Names or ids [default: all of them]
        policies: Vec<String>,
        /// Directory to write ID.yml into; files that are there stay as they are [default: print]
        #[arg(short, long, value_name = "DIR")]
        directory: Option<PathBuf>,
    },
    /// Print a standalone agent's YAML as a policy file, with where each of its ${…} comes from; needs no server
    FromStandalone {
        /// The agent's YAML
        file: PathBuf,
        /// The policy's name [default: the file's, without its ending]
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// The policy's id [default: the server makes one]
        #[arg(long, value_name = "ID")]
        id: Option<String>,
    },
    /// Show what `policy apply` would change
    Diff {
        #[command(flatten)]
        files: FilesArgs,
        /// Exit with 6 if something differs
        #[arg(long)]
        exit_code: bool,
    },
    /// Make the server's policies what the files say; all files are good, or nothing changes
    Apply {
        #[command(flatten)]
        files: FilesArgs,
        /// Delete policies that a file made, that none of these files names, and that no agent has
        #[arg(long)]
        prune: bool,
        /// Only say what would be done; the server checks the files all the same
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        output: OutputArgs,
    },
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct FilesArgs {
    /// A policy file, or a directory of them; may be repeated
    #[arg(short = 'f', long = "file", value_name = "FILE|DIR", required = true)]
    paths: Vec<PathBuf>,
}

const PATH: &str = "/api/fleet/agent_policies";

pub(crate) fn run(command: &PolicyCommand, api: &Api<'_>, out: &mut Output<'_>) -> Result<(), Fault> {
    match command {
        PolicyCommand::List { output } => {
            let policies = Policies::counted(api)?;
            out.list(output.format, &policies.items, &columns())?;
        }
        PolicyCommand::Get { policy, full, output } => {
            let policies = Policies::counted(api)?;
            let found = policies.find(policy)?;
            if *full {
                let path = format!("{PATH}/{}/full", segment(&text(&found["id"])));
                let full = api.item(&path)?;
                match output.format {
                    Format::Json => out.one(output.format, &full, &[])?,
                    _ => out.yaml(&full)?,
                }
            } else {
                out.one(output.format, found, &columns())?;
            }
        }
        PolicyCommand::Export { policies, directory } => {
            let all = Policies::read(api)?;
            let mut chosen = Vec::new();
            for policy in policies {
                chosen.push(all.find(policy)?);
            }
            if policies.is_empty() {
                chosen.extend(&all.items);
            }
            export(&chosen, directory.as_deref(), out)?;
        }
        PolicyCommand::FromStandalone { .. } => run_alone(command, out).unwrap_or(Ok(()))?,
        PolicyCommand::Diff { files, exit_code } => {
            let differs = apply::diff(&PolicyFile::read_all(&files.paths)?, api, out)?;
            if differs && *exit_code {
                return Err(Fault::Differs);
            }
        }
        PolicyCommand::Apply {
            files,
            prune,
            dry_run,
            output,
        } => {
            let options = apply::Options {
                prune: *prune,
                dry_run: *dry_run,
                format: output.format,
            };
            apply::apply(&PolicyFile::read_all(&files.paths)?, &options, api, out)?;
        }
    }
    Ok(())
}

/// Runs what needs no server.
pub(crate) fn run_alone(command: &PolicyCommand, out: &mut Output<'_>) -> Option<Result<(), Fault>> {
    let PolicyCommand::FromStandalone { file, name, id } = command else {
        return None;
    };
    let stem = file.file_stem().unwrap_or(file.as_os_str()).to_string_lossy();
    let converted = standalone::convert(file, name.as_deref().unwrap_or(&stem), id.as_deref());
    Some(converted.and_then(|text| Ok(out.raw(&text)?)))
}

fn export(policies: &[&Value], directory: Option<&Path>, out: &mut Output<'_>) -> Result<(), Fault> {
    for (index, item) in policies.iter().enumerate() {
        let id = text(&item["id"]);
        let file = file::write(Some(&id), &apply::of_item(item));
        let Some(directory) = directory else {
            // One document after the other: what one file of many documents would be.
            let separator = if index > 0 { "---\n" } else { "" };
            out.raw(&format!("{separator}{file}"))?;
            continue;
        };
        let path = directory.join(format!("{}.yml", plain(&id)));
        let made = OpenOptions::new().write(true).create_new(true).open(&path);
        match made.and_then(|mut made| made.write_all(file.as_bytes())) {
            Ok(()) => out.line(&path.display().to_string())?,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let reason =
                    std::io::Error::other("it exists: see `policy diff -f`, or name another directory");
                return Err(Fault::file(path, reason));
            }
            Err(error) => return Err(Fault::file(path, error)),
        }
    }
    Ok(())
}

fn columns() -> Vec<Column<'static>> {
    vec![
        column("ID", |item| text(&item["id"])),
        column("NAME", |item| text(&item["name"])),
        column("REV", |item| text(&item["revision"])),
        column("AGENTS", |item| text(&item["agents"])),
        column("PENDING", |item| text(&item["agents_pending"])),
        column("UPDATED", |item| text(&item["updated_at"])),
        column("NAMESPACE", |item| text(&item["namespace"])).wide(),
        column("DESCRIPTION", |item| text(&item["description"])).wide(),
    ]
}
