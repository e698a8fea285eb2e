//! `fleet-server status`: asks a running server, for people and for health checks.

use std::io::Write;

use anyhow::{Context as _, Result};

use super::{Exit, GlobalArgs};
use crate::client::{Client, ClientArgs, Target};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// Show the server's certificate without verifying it: for health checks on the same host; no key is sent
    #[arg(long, conflicts_with = "ca")]
    insecure: bool,
}

/// Prints the status, then the certificate that was served, and exits 0 only if the server answered 200.
///
/// # Errors
/// The server cannot be reached, or its answer is not a status.
pub(crate) fn run(args: &StatusArgs, global: &GlobalArgs, out: &mut dyn Write) -> Result<Exit> {
    let data = global.data_dir();
    let client = if args.insecure {
        Client::unverified(&args.client, &data, Target::Agents)?
    } else {
        Client::new(&args.client, &data, Target::Agents)?
    };
    let answer = client.get("/api/status", false)?;
    let status = serde_json::from_str::<serde_json::Value>(&answer.body)
        .ok()
        .and_then(|body| Some(body.get("status")?.as_str()?.to_owned()))
        .with_context(|| {
            format!(
                "{} is not a Fleet Server: it answered {} without a status",
                client.url(),
                answer.status
            )
        })?;
    writeln!(out, "{status}")?;
    if let Some(leaf) = answer.leaf {
        writeln!(out, "{leaf}")?;
    }
    Ok(if answer.status == 200 {
        Exit::Success
    } else {
        Exit::Failure
    })
}
