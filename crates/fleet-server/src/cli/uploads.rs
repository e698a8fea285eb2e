//! `fleet-server uploads`: files that agents sent, on a running server: listed, saved, removed.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow, bail};
use hyper::Method;
use notation::terminal::harmless;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::{Exit, GlobalArgs};
use crate::client::{Answer, Client, ClientArgs, Download};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct UploadsArgs {
    #[command(subcommand)]
    command: UploadsCommand,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum UploadsCommand {
    /// List the files of an agent, newest first
    List {
        /// The agent's id
        agent: String,
        /// Print the server's answer as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Save a file
    Get {
        /// The file's id, as `uploads list` shows it
        file: String,
        /// Where to; `-` prints [default: the id and .zip in the working directory]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Remove a file from the server
    Delete {
        /// The file's id
        file: String,
        #[command(flatten)]
        client: ClientArgs,
    },
}

/// Runs the sub-command.
///
/// # Errors
/// The server cannot be reached or refuses, or the file cannot be written.
pub(crate) fn run(args: &UploadsArgs, global: &GlobalArgs, out: &mut dyn Write) -> Result<Exit> {
    match &args.command {
        UploadsCommand::List { agent, json, client } => {
            let listed = list(&Client::of_operator(client, global)?, agent)?;
            if *json {
                writeln!(out, "{listed:#}")?;
            } else {
                for item in listed["items"].as_array().into_iter().flatten() {
                    // Agents name their files.
                    let text = |name: &str| harmless(item[name].as_str().unwrap_or_default());
                    let (id, size) = (text("id"), item["size"].as_u64().unwrap_or_default());
                    writeln!(
                        out,
                        "{id}  {}  {}  {size} bytes  {}",
                        text("createTime"),
                        text("status"),
                        text("name")
                    )?;
                }
            }
        }
        UploadsCommand::Get { file, output, client } => {
            let path = output
                .clone()
                .unwrap_or_else(|| PathBuf::from(format!("{}.zip", plain(file))));
            save(&Client::of_operator(client, global)?, file, &path, out)?;
        }
        UploadsCommand::Delete { file, client } => {
            let client = Client::of_operator(client, global)?;
            let path = format!("/api/fleet/agents/files/{}", in_path(file));
            succeeded(&client, client.call(Method::DELETE, &path, None)?)?;
            writeln!(out, "{file} is removed")?;
        }
    }
    Ok(Exit::Success)
}

/// The newest files of an agent.
pub(super) fn list(client: &Client, agent: &str) -> Result<Value> {
    let path = format!("/api/fleet/agents/{}/uploads?perPage=1000", in_path(agent));
    succeeded(client, client.call(Method::GET, &path, None)?)
}

/// Saves a file under a name that appears only when all of it is there; a file that exists is left alone.
pub(super) fn save(client: &Client, file: &str, to: &Path, out: &mut dyn Write) -> Result<()> {
    let path = format!("/api/fleet/agents/files/{}/file", in_path(file));
    if to == Path::new("-") {
        return done(client, client.download(&path, out)?).map(drop);
    }
    let exists = || format!("{} exists: give another name with --output", to.display());
    if to.exists() {
        bail!(exists());
    }
    // Readable by its owner only: diagnostics may hold secrets of the host. Without a name until it is whole.
    let directory = to.parent().filter(|directory| !directory.as_os_str().is_empty());
    let mut into = tempfile::NamedTempFile::new_in(directory.unwrap_or(Path::new(".")))
        .with_context(|| format!("cannot write {}", to.display()))?;
    let bytes = done(client, client.download(&path, into.as_file_mut())?)?;
    into.as_file().sync_all()?;
    into.persist_noclobber(to)
        .map_err(|error| match error.error.kind() {
            io::ErrorKind::AlreadyExists => anyhow!(exists()),
            _ => anyhow!(error.error).context(format!("cannot write {}", to.display())),
        })?;
    writeln!(out, "{}: {bytes} bytes", to.display())?;
    Ok(())
}

fn done(client: &Client, download: Download) -> Result<u64> {
    match download {
        Download::Done { bytes } => Ok(bytes),
        Download::Refused { status, body } => Err(refused(client, status, &body)),
    }
}

pub(super) fn succeeded(client: &Client, answer: Answer) -> Result<Value> {
    if answer.status != 200 {
        return Err(refused(client, answer.status, &answer.body));
    }
    serde_json::from_str(&answer.body).with_context(|| format!("{} is not a Fleet Server", client.url()))
}

fn refused(client: &Client, status: u16, body: &str) -> anyhow::Error {
    let said = serde_json::from_str::<Value>(body).ok();
    let said = said
        .as_ref()
        .and_then(|body| body["message"].as_str())
        .unwrap_or(body);
    anyhow::anyhow!("{} answered {status}: {}", client.url(), harmless(said))
}

/// An id as a segment of a path.
pub(super) fn in_path(id: &str) -> String {
    utf8_percent_encode(id, NON_ALPHANUMERIC).to_string()
}

/// An id as a name of a file.
pub(super) fn plain(id: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    id.chars().map(|c| if is_plain(c) { c } else { '_' }).collect()
}
