//! `fleet-server token`: what agents enrol with.

use serde_json::json;

use crate::{
    connection::ConnectionArgs,
    fault::Fault,
    output::{Column, Output, OutputArgs, column, text},
    resolve::Policies,
    server::{Api, Query, segment},
};

#[derive(Clone, Debug, clap::Args)]
pub struct TokenArgs {
    #[command(subcommand)]
    pub(crate) command: TokenCommand,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum TokenCommand {
    /// List tokens, without their text
    List {
        /// Name or id of the policy that they enrol into
        #[arg(long, value_name = "POLICY")]
        policy: Option<String>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Make a token; its text (`api_key`) is shown only here
    Create {
        /// Name or id of the policy that it enrols into
        #[arg(long, value_name = "POLICY")]
        policy: String,
        /// What to call it
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// A time, or a duration from now, like 30d or 12h [default: never]
        #[arg(long, value_name = "WHEN")]
        expires: Option<String>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Revoke tokens: nobody enrols with them any more
    Revoke {
        /// Ids, as `token list` shows them
        #[arg(required = true)]
        tokens: Vec<String>,
    },
}

const PATH: &str = "/api/fleet/enrollment_api_keys";

pub(crate) fn run(command: &TokenCommand, api: &Api<'_>, out: &mut Output<'_>) -> Result<(), Fault> {
    match command {
        TokenCommand::List { policy, output } => {
            let policies = Policies::read(api)?;
            let mut items = api.all(PATH, &Query::default(), usize::MAX)?;
            if let Some(policy) = policy {
                let id = policies.id(policy)?;
                items.retain(|item| item["policy_id"] == id.as_str());
            }
            out.list(output.format, &items, &columns(&policies))?;
        }
        TokenCommand::Create {
            policy,
            name,
            expires,
            output,
        } => {
            let policies = Policies::read(api)?;
            let body = json!({"policy_id": policies.id(policy)?, "name": name, "expiration": expires});
            let item = api.post(PATH, &body)?["item"].take();
            let mut columns = columns(&policies);
            columns.push(column("TOKEN", |item| text(&item["api_key"])));
            out.one(output.format, &item, &columns)?;
        }
        TokenCommand::Revoke { tokens } => {
            for token in tokens {
                api.delete(&format!("{PATH}/{}", segment(token)))?;
                out.line(&format!("{token} is revoked"))?;
            }
        }
    }
    Ok(())
}

fn columns(policies: &Policies) -> Vec<Column<'_>> {
    vec![
        column("ID", |item| text(&item["id"])),
        column("NAME", |item| text(&item["name"])),
        column("POLICY", |item| {
            policies.name(&text(&item["policy_id"])).to_owned()
        }),
        column("ACTIVE", |item| text(&item["active"])),
        column("CREATED", |item| text(&item["created_at"])),
        column("EXPIRES", |item| text(&item["expire_at"])),
    ]
}
