//! The sub-commands of `fleet-server` that are clients of the admin API.
//!
//! In: a parsed command and a [`Server`] to talk to, which the program connects (TLS, keys and data directories are its
//! own). Out: data on `out`, and a [`Fault`] whose sentence says what to do and whose kind is the exit code. Nothing
//! here opens a socket, knows a configuration key or imports a crate of the server's.

mod action;
mod agents;
mod connection;
mod fault;
mod key;
mod output;
mod policy;
mod resolve;
mod server;
mod token;
mod uploads;

use std::io::Write;

pub use connection::{ConnectionArgs, Profile};
pub use fault::{Fault, USAGE};
pub use output::Terminal;
pub use server::{Answer, Method, Server, Unreachable};

use output::Output;
use server::Api;

/// A sub-command about the fleet.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// List agents and change what they run
    Agents(agents::AgentsArgs),
    /// List policies, and keep them in files
    Policy(policy::PolicyArgs),
    /// List, make and revoke enrollment tokens
    Token(token::TokenArgs),
    /// Show how far actions are, and take them back
    Action(action::ActionArgs),
    /// List, make and revoke operators' keys
    Key(key::KeyArgs),
    /// List, save and remove files that agents sent
    #[command(visible_alias = "upload")]
    Uploads(uploads::UploadsArgs),
    /// Ask an agent for diagnostics and save them: the same as `agents diagnostics`
    Diagnostics(agents::DiagnosticsCommand),
}

impl Command {
    /// Where the server is that the command is about.
    #[must_use]
    pub fn connection(&self) -> &ConnectionArgs {
        match self {
            Self::Agents(args) => &args.connection,
            Self::Policy(args) => &args.connection,
            Self::Token(args) => &args.connection,
            Self::Action(args) => &args.connection,
            Self::Key(args) => &args.connection,
            Self::Uploads(args) => &args.connection,
            Self::Diagnostics(args) => &args.connection,
        }
    }

    /// Runs a command that needs no server; `None`: this one needs one.
    pub fn run_alone(&self, terminal: Terminal, out: &mut dyn Write) -> Option<Result<(), Fault>> {
        match self {
            Self::Policy(args) => policy::run_alone(&args.command, &mut Output::new(out, terminal)),
            _ => None,
        }
    }

    /// Runs the command against `server`.
    ///
    /// # Errors
    /// The server refused or cannot be reached, or what was given cannot be used.
    pub fn run(&self, server: &dyn Server, terminal: Terminal, out: &mut dyn Write) -> Result<(), Fault> {
        let api = Api::new(server);
        let mut output = Output::new(out, terminal);
        match self {
            Self::Agents(args) => agents::run(&args.command, &api, &mut output),
            Self::Policy(args) => policy::run(&args.command, &api, &mut output),
            Self::Token(args) => token::run(&args.command, &api, &mut output),
            Self::Action(args) => action::run(&args.command, &api, &mut output),
            Self::Key(args) => key::run(&args.command, &api, &mut output),
            Self::Uploads(args) => uploads::run(&args.command, &api, &mut output),
            Self::Diagnostics(args) => agents::diagnostics(&args.args, &api, &mut output),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};

    use super::*;

    #[derive(Parser)]
    #[command(name = "fleet-server", disable_help_subcommand = true)]
    struct Whole {
        #[command(subcommand)]
        _command: Command,
    }

    #[test]
    fn the_help_of_every_sub_command_is_what_people_read() {
        fn write(command: &mut clap::Command, all: &mut String) {
            if !command.has_subcommands() {
                // The options of the connection are the same everywhere: once is enough.
                let hides = !all.is_empty();
                let mut shown = command.clone().mut_args(|arg| {
                    let hidden = hides && arg.get_help_heading() == Some(connection::SERVER);
                    if hidden { arg.hide(true) } else { arg }
                });
                all.push_str(&format!("{}\n", shown.render_help()));
            }
            command.get_subcommands_mut().for_each(|inner| write(inner, all));
        }
        let mut command = Whole::command();
        command.build();
        command.clone().debug_assert();
        let mut all = String::new();
        write(&mut command, &mut all);
        insta::assert_snapshot!(all);
    }
}
