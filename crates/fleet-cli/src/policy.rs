//! `fleet-server policy`: what agents run, on the server and in files.

use crate::{
    connection::ConnectionArgs,
    fault::Fault,
    output::{Column, Output, OutputArgs, column, text},
    resolve::Policies,
    server::{Api, segment},
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
                    crate::output::Format::Json => out.one(output.format, &full, &[])?,
                    _ => out.yaml(&full)?,
                }
            } else {
                out.one(output.format, found, &columns())?;
            }
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
