//! `fleet-server key`: operators' keys, each with a role.

use serde_json::json;

use crate::{
    connection::ConnectionArgs,
    fault::Fault,
    output::{Column, Output, OutputArgs, column, text},
    server::{Api, Query, segment},
};

#[derive(Clone, Debug, clap::Args)]
pub struct KeyArgs {
    #[command(subcommand)]
    pub(crate) command: KeyCommand,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum KeyCommand {
    /// List keys, without their text
    List {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Make a key; its text (`api_key`) is shown only here
    Create {
        /// Who or what it is for
        #[arg(long, value_name = "NAME")]
        name: String,
        /// viewer (reads), operator (also changes the fleet) or admin (also makes keys)
        #[arg(long, value_name = "ROLE")]
        role: String,
        /// A time, or a duration from now, like 30d or 12h [default: never]
        #[arg(long, value_name = "WHEN")]
        expires: Option<String>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Revoke keys: they open nothing any more
    Revoke {
        /// Ids, as `key list` shows them
        #[arg(required = true)]
        keys: Vec<String>,
    },
}

const PATH: &str = "/api/fleet/operator_keys";

pub(crate) fn run(command: &KeyCommand, api: &Api<'_>, out: &mut Output<'_>) -> Result<(), Fault> {
    match command {
        KeyCommand::List { output } => {
            let items = api.all(PATH, &Query::default(), usize::MAX)?;
            out.list(output.format, &items, &columns())?;
        }
        KeyCommand::Create {
            name,
            role,
            expires,
            output,
        } => {
            let body = json!({"name": name, "role": role, "expiration": expires});
            let item = api.post(PATH, &body)?["item"].take();
            let mut columns = columns();
            columns.push(column("KEY", |item| text(&item["api_key"])));
            out.one(output.format, &item, &columns)?;
        }
        KeyCommand::Revoke { keys } => {
            for key in keys {
                api.delete(&format!("{PATH}/{}", segment(key)))?;
                out.line(&format!("{key} is revoked"))?;
            }
        }
    }
    Ok(())
}

fn columns() -> Vec<Column<'static>> {
    vec![
        column("ID", |item| text(&item["id"])),
        column("NAME", |item| text(&item["name"])),
        column("ROLE", |item| text(&item["role"])),
        column("ACTIVE", |item| text(&item["active"])),
        column("CREATED", |item| text(&item["created_at"])),
        column("EXPIRES", |item| text(&item["expire_at"])),
    ]
}
