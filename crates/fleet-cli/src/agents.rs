//! `fleet-server agents`: the fleet as it is, and what changes what agents run.

mod show;

use crate::{
    connection::ConnectionArgs,
    fault::Fault,
    output::{Output, OutputArgs},
    resolve::FilterArgs,
    server::Api,
};

#[derive(Clone, Debug, clap::Args)]
pub struct AgentsArgs {
    #[command(subcommand)]
    pub(crate) command: AgentsCommand,
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
    }
}
