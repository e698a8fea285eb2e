//! `fleet-server agents`: the fleet as it is, and what changes what agents run.

mod change;
mod diagnostics;
mod show;
mod targets;
mod watch;

use std::time::Duration;

use serde_json::{Value, json};

pub(crate) use change::act;
pub(crate) use diagnostics::run as diagnostics;
pub(crate) use targets::TargetArgs;

use crate::{
    connection::ConnectionArgs,
    fault::Fault,
    output::{Output, OutputArgs},
    resolve::{FilterArgs, Policies},
    server::Api,
};

#[derive(Clone, Debug, clap::Args)]
pub struct AgentsArgs {
    #[command(subcommand)]
    pub(crate) command: AgentsCommand,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// `fleet-server diagnostics`.
#[derive(Clone, Debug, clap::Args)]
pub struct DiagnosticsCommand {
    #[command(flatten)]
    pub(crate) args: diagnostics::DiagnosticsArgs,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum AgentsCommand {
    /// List agents, the last enrolled first
    List {
        #[command(flatten)]
        filter: FilterArgs,
        /// Those whose id or host name begins so
        #[arg(long, value_name = "PREFIX")]
        search: Option<String>,
        /// Also those that are inactive or unenrolled
        #[arg(long)]
        inactive: bool,
        /// Order: enrolled_at, last_checkin, id, policy_id or version
        #[arg(long, value_name = "FIELD")]
        sort: Option<String>,
        /// The first N only
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Show one agent
    Get {
        /// The agent's id
        agent: String,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Show agents as they change: a live table on a terminal, a line for each change elsewhere
    Watch {
        #[command(flatten)]
        filter: FilterArgs,
        /// The N that enrolled last [on a terminal: as many as fit]
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        /// Seconds between two looks
        #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
        interval: u64,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Give agents another policy at once, all of them or none
    Reassign {
        #[command(flatten)]
        targets: TargetArgs,
        /// Name or id of the policy
        #[arg(long, value_name = "POLICY")]
        to: String,
    },
    /// Ask agents to upgrade
    Upgrade {
        #[command(flatten)]
        targets: TargetArgs,
        /// Version to upgrade to
        #[arg(long, value_name = "VERSION")]
        to: String,
        /// Where agents get it from [default: what their policy says]
        #[arg(long, value_name = "URL")]
        source_uri: Option<String>,
        /// Spread the start of each over so many seconds
        #[arg(long, value_name = "SECONDS")]
        rollout: Option<u32>,
        /// Begin then: a time, or a duration from now
        #[arg(long, value_name = "WHEN")]
        start: Option<String>,
    },
    /// Ask agents to leave the fleet, or make them
    Unenroll {
        #[command(flatten)]
        targets: TargetArgs,
        /// At once, without asking them: their keys are dead
        #[arg(long)]
        force: bool,
    },
    /// Ask an agent for diagnostics, wait for them and save them
    Diagnostics(diagnostics::DiagnosticsArgs),
}

pub(crate) fn run(command: &AgentsCommand, api: &Api<'_>, out: &mut Output<'_>) -> Result<(), Fault> {
    match command {
        AgentsCommand::List {
            filter,
            search,
            inactive,
            sort,
            limit,
            output,
        } => {
            let order = show::Order {
                search: search.as_deref(),
                inactive: *inactive,
                sort: sort.as_deref(),
            };
            show::list(
                filter,
                &order,
                limit.unwrap_or(usize::MAX),
                output.format,
                api,
                out,
            )
        }
        AgentsCommand::Get { agent, output } => show::get(agent, output.format, api, out),
        AgentsCommand::Watch {
            filter,
            limit,
            interval,
            output,
        } => watch::watch(
            filter,
            *limit,
            Duration::from_secs(*interval),
            output.format,
            api,
            out,
        ),
        AgentsCommand::Reassign { targets, to } => {
            let policies = Policies::read(api)?;
            let policy = policies.id(to)?;
            let chosen = targets.choose("reassign", &policies, api)?;
            change::reassign(&chosen, (&policy, policies.name(&policy)), api, out)
        }
        AgentsCommand::Upgrade {
            targets,
            to,
            source_uri,
            rollout,
            start,
        } => {
            let chosen = targets.choose("upgrade", &Policies::read(api)?, api)?;
            let mut data = json!({"version": to});
            if let Some(uri) = source_uri {
                data["source_uri"] = Value::from(uri.as_str());
            }
            let action = json!({
                "type": "UPGRADE", "data": data, "start_time": start, "rollout_duration_seconds": rollout,
            });
            act(chosen, &action, "asked to upgrade", api, out)
        }
        AgentsCommand::Unenroll { targets, force } => {
            let chosen = targets.choose("unenroll", &Policies::read(api)?, api)?;
            change::unenroll(chosen, *force, api, out)
        }
        AgentsCommand::Diagnostics(args) => diagnostics::run(args, api, out),
    }
}
