//! `fleet-server uploads`: files that agents sent: listed, saved, removed.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{
    connection::ConnectionArgs,
    fault::Fault,
    output::{Format, Output, OutputArgs, column, text},
    server::{Api, Query, segment},
};

#[derive(Clone, Debug, clap::Args)]
pub struct UploadsArgs {
    #[command(subcommand)]
    pub(crate) command: UploadsCommand,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum UploadsCommand {
    /// List the files of an agent, newest first
    List {
        /// The agent's id
        agent: String,
        /// The same as -o json
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Save a file
    Get {
        /// The file's id, as `uploads list` shows it
        file: String,
        /// Where to; `-` prints [default: the id and .zip in the working directory]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Remove a file from the server
    Delete {
        /// The file's id
        file: String,
    },
}

pub(crate) fn run(command: &UploadsCommand, api: &Api<'_>, out: &mut Output<'_>) -> Result<(), Fault> {
    match command {
        UploadsCommand::List { agent, json, output } => {
            let items = list(api, agent)?;
            let columns = [
                column("ID", |item| text(&item["id"])),
                column("CREATED", |item| text(&item["createTime"])),
                column("STATUS", |item| text(&item["status"])),
                column("BYTES", |item| text(&item["size"])),
                column("NAME", |item| text(&item["name"])),
                column("ACTION", |item| text(&item["actionId"])).wide(),
            ];
            let format = if *json { Format::Json } else { output.format };
            out.list(format, &items, &columns)?;
        }
        UploadsCommand::Get { file, output } => {
            let path = output
                .clone()
                .unwrap_or_else(|| PathBuf::from(format!("{}.zip", plain(file))));
            save(api, file, &path, out)?;
        }
        UploadsCommand::Delete { file } => {
            api.delete(&format!("/api/fleet/agents/files/{}", segment(file)))?;
            out.line(&format!("{file} is removed"))?;
        }
    }
    Ok(())
}

/// The files of an agent.
pub(crate) fn list(api: &Api<'_>, agent: &str) -> Result<Vec<Value>, Fault> {
    let path = format!("/api/fleet/agents/{}/uploads", segment(agent));
    api.all(&path, &Query::default(), usize::MAX)
}

/// Saves a file under a name that appears only when all of it is there; a file that exists is left alone.
pub(crate) fn save(api: &Api<'_>, file: &str, to: &Path, out: &mut Output<'_>) -> Result<(), Fault> {
    let path = format!("/api/fleet/agents/files/{}/file", segment(file));
    if to == Path::new("-") {
        return api.download(&path, out.writer()).map(drop);
    }
    let failed = |error| Fault::file(to, error);
    let exists = || failed(io::Error::other("it exists: give another name with --output"));
    if to.exists() {
        return Err(exists());
    }
    // Readable by its owner only: diagnostics may hold secrets of the host. Without a name until it is whole.
    let directory = to.parent().filter(|directory| !directory.as_os_str().is_empty());
    let mut into = tempfile::NamedTempFile::new_in(directory.unwrap_or(Path::new("."))).map_err(failed)?;
    let bytes = api.download(&path, into.as_file_mut())?;
    into.as_file().sync_all().map_err(failed)?;
    into.persist_noclobber(to)
        .map_err(|error| match error.error.kind() {
            io::ErrorKind::AlreadyExists => exists(),
            _ => failed(error.error),
        })?;
    Ok(out.line(&format!("{}: {bytes} bytes", to.display()))?)
}

/// An id as the name of a file.
pub(crate) fn plain(id: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    id.chars().map(|c| if is_plain(c) { c } else { '_' }).collect()
}
