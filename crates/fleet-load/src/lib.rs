//! `fleet-load`: simulates a fleet of Elastic Agents against a server, and says what it saw.
//!
//! It uses nothing but the agents' protocol (docs/protocol/agents.md), and the admin API or a command of the operator's
//! where a scenario changes something; so it works against any Fleet Server.
//!
//! ```text
//! command_line → run (server, room, first agent) → scenario → report
//!                                                     ↓ orders ↑ counts, figures
//!                                       fleet → parts (threads or processes): shard → agents
//!                                                     agent → wire, connection, answer, ledger
//! ```
//! Each part runs its agents on one thread without locks. The library exists for tests and benchmarks; [`wire`] is
//! what `test-support` builds its requests from.

mod admin;
mod agent;
mod answer;
mod bench;
mod change;
mod command_line;
mod connection;
mod enrolments;
mod fault;
mod figures;
mod fleet;
mod ledger;
mod own_server;
mod part_process;
mod pauses;
mod plan;
mod progress;
mod report;
mod room;
mod run;
mod scenario;
mod server_process;
mod shard;
mod target;
mod uploads;
pub mod wire;

use std::{ffi::OsString, io::Write};

use clap::{CommandFactory as _, Parser as _};

use crate::{
    command_line::{CommandLine, Scenario},
    fault::Fault,
};

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// There is a result, and every agent saw what it should.
    Right,
    /// There is a result, and deliveries were lost, doubled or reordered, or polls broke.
    Wrong,
    /// There is no result.
    NoResult,
}

impl Exit {
    /// The process's exit code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Right => 0,
            Self::Wrong => 1,
            Self::NoResult => 2,
        }
    }
}

/// Runs the program; the first of `words` is its name.
pub fn run(words: impl IntoIterator<Item = OsString>, out: &mut impl Write, err: &mut impl Write) -> Exit {
    let line = match CommandLine::try_parse_from(words) {
        Ok(line) => line,
        Err(error) => {
            let words = error.render();
            // Help is no error. Nowhere is left to report a closed output to.
            return if error.use_stderr() {
                let _ = write!(err, "{words}");
                Exit::NoResult
            } else {
                let _ = write!(out, "{words}");
                Exit::Right
            };
        }
    };
    match run_scenario(&line.scenario, out) {
        Ok(exit) => exit,
        Err(fault) => {
            let _ = writeln!(err, "error: {fault}");
            if let Some(hint) = fault.hint() {
                let _ = writeln!(err, "hint: {hint}");
            }
            Exit::NoResult
        }
    }
}

fn run_scenario(scenario: &Scenario, out: &mut impl Write) -> Result<Exit, Fault> {
    if matches!(scenario, Scenario::Part) {
        part_process::run(out)?;
        return Ok(Exit::Right);
    }
    if let Scenario::Man { directory } = scenario {
        clap_mangen::generate_to(CommandLine::command(), directory)?;
        return Ok(Exit::Right);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    if let Scenario::Bench {
        server,
        agents,
        output,
    } = scenario
    {
        let program = own_server::program(server.as_deref())?;
        let is_right = runtime.block_on(bench::run(&program, *agents, output))?;
        return Ok(if is_right { Exit::Right } else { Exit::Wrong });
    }
    let report = runtime.block_on(scenario::run(scenario))?;
    if scenario.is_json() {
        writeln!(out, "{}", report.to_json())?;
    } else {
        report.write(out)?;
    }
    Ok(if report.is_right() {
        Exit::Right
    } else {
        Exit::Wrong
    })
}
