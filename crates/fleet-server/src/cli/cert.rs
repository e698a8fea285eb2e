//! `fleet-server cert`: what a running server serves, and whether files could be served.

mod check;
mod show;

use std::io::Write;

use anyhow::Result;

use super::{Exit, GlobalArgs};
use crate::client::ClientArgs;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CertArgs {
    #[command(subcommand)]
    command: CertCommand,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum CertCommand {
    /// Show what a running server serves and how its last reloads went; exits 1 if it is degraded
    Show {
        #[command(flatten)]
        client: ClientArgs,
        /// Print the server's answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Check files with the server's own validation, before deploying them; exits 1 for an error
    Check(check::CheckArgs),
}

/// Runs the command.
///
/// # Errors
/// The server cannot be asked, or there is nothing to check.
pub(crate) fn run(args: &CertArgs, global: &GlobalArgs, out: &mut dyn Write) -> Result<Exit> {
    match &args.command {
        CertCommand::Show { client, json } => show::run(client, *json, global, out),
        CertCommand::Check(check) => check::run(check, global, out),
    }
}
