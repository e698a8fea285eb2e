//! `fleet-server action`: what agents were asked to do, and how far they are.

use serde_json::json;

use crate::{
    agents::{TargetArgs, act},
    connection::ConnectionArgs,
    fault::Fault,
    output::{Format, Output, OutputArgs, column, text},
    resolve::Policies,
    server::{Api, segment},
};

#[derive(Clone, Debug, clap::Args)]
pub struct ActionArgs {
    #[command(subcommand)]
    pub(crate) command: ActionCommand,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum ActionCommand {
    /// Show how far an action is, and the agents' answers
    Get {
        /// The action's id
        action: String,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Take an action back from agents that have not got it yet
    Cancel {
        /// The action's id
        #[arg(long, value_name = "ACTION")]
        action: String,
        #[command(flatten)]
        targets: TargetArgs,
    },
}

pub(crate) fn run(command: &ActionCommand, api: &Api<'_>, out: &mut Output<'_>) -> Result<(), Fault> {
    match command {
        ActionCommand::Get { action, output } => {
            let item = api.item(&format!(
                "/api/fleet/agents/actions/{}?perPage=1000",
                segment(action)
            ))?;
            let columns = [
                column("ID", |item| text(&item["actionId"])),
                column("STATUS", |item| text(&item["status"])),
                column("AGENTS", |item| text(&item["nbAgentsActioned"])),
                column("THROUGH", |item| text(&item["nbAgentsAck"])),
                column("FAILED", |item| text(&item["nbAgentsFailed"])),
                column("CANCELLED", |item| text(&item["nbAgentsCancelled"])),
            ];
            out.one(output.format, &item, &columns)?;
            let answers = item["results"]["items"].as_array();
            if let (Format::Table | Format::Wide, Some(answers)) = (output.format, answers) {
                let columns = [
                    column("AGENT", |item| text(&item["agent_id"])),
                    column("OUTCOME", |item| text(&item["outcome"])),
                    column("AT", |item| text(&item["received_at"])),
                    column("ERROR", |item| text(&item["error"])),
                ];
                out.line("")?;
                out.list(output.format, answers, &columns)?;
            }
            Ok(())
        }
        ActionCommand::Cancel { action, targets } => {
            let policies = Policies::read(api)?;
            let chosen = targets.choose("cancel an action of", &policies, api)?;
            let cancel = json!({"type": "CANCEL", "data": {"target_id": action}});
            act(chosen, &cancel, "asked", api, out)
        }
    }
}
