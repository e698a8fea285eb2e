//! The command line: one declaration an option.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};

/// Simulates a fleet of Elastic Agents against a server of yours, and says what it saw.
///
/// Each agent speaks as a real one: HTTP/1.1 over TLS without ALPN, gzip, long polls, ack tokens, acknowledgements,
/// waits with jitter. What it is given is checked: a lost, doubled or reordered delivery makes the exit code 1.
/// Without a result (no server, wrong token, too few files) the exit code is 2.
#[derive(Clone, Debug, Parser)]
#[command(name = "fleet-load", version, after_help = EXAMPLES)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    pub(crate) scenario: Scenario,
}

/// What the fleet does.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Scenario {
    /// All agents enrol: how many in a second
    Enroll {
        #[command(flatten)]
        options: Options,
        /// Enrol over this number of connections that are kept: the cost of enrolments without their TLS handshakes
        #[arg(long, value_name = "N")]
        shared_connections: Option<usize>,
    },
    /// All agents wait in their polls: memory and processor time of each, and whether a poll breaks
    Idle(Options),
    /// Agents check in again and again: how many in a second. The server must end its polls at once
    /// (`-E inputs.0.server.timeouts.checkin_long_poll=1ms`)
    Checkin(Options),
    /// The policy of waiting agents changes: how long until each has it
    PolicyRollout {
        #[command(flatten)]
        options: Options,
        /// Changes
        #[arg(long, value_name = "N", default_value_t = 5)]
        rounds: usize,
        /// Make the policy this large first (and give it back its own content in the end)
        #[arg(long, value_name = "BYTES", value_parser = bytes)]
        policy: Option<u64>,
    },
    /// All agents lose their connections at one moment, or the server is restarted by --trigger: how long until all are back
    Storm(Options),
    /// Agents send files, one after the other: bytes in a second
    Upload {
        #[command(flatten)]
        options: Options,
        /// Bytes of each file
        #[arg(long, value_name = "BYTES", default_value = "4MiB", value_parser = bytes)]
        size: u64,
    },
    /// Each waiting agent is given an action (SETTINGS with the level it has): how long until each has it
    ActionRollout {
        #[command(flatten)]
        options: Options,
        /// Actions for each agent
        #[arg(long, value_name = "N", default_value_t = 3)]
        rounds: usize,
    },
    /// Agents break their connections and come back all the time: whether the server's memory stays as it is
    Churn {
        #[command(flatten)]
        options: Options,
        /// How long an agent stays, half as long to half as long again
        #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
        stay: Duration,
    },
    /// The certificate is replaced by --trigger while all agents wait: whether anything fails, and when it is served
    Rotate {
        #[command(flatten)]
        options: Options,
        /// All agents lose their connections at that moment
        #[arg(long)]
        storm: bool,
    },
    /// Most agents wait, one in ten comes and goes, one in ten uploads, and the policy changes
    Mix {
        #[command(flatten)]
        options: Options,
        /// Changes of the policy, spread over the duration
        #[arg(long, value_name = "N", default_value_t = 3)]
        rounds: usize,
        /// How long an agent that comes and goes stays
        #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
        stay: Duration,
        /// Bytes of each file
        #[arg(long, value_name = "BYTES", default_value = "4MiB", value_parser = bytes)]
        size: u64,
    },
    /// Say what machine a fleet needs, from a short run with a server that is started for it on this one
    Size {
        /// Number of agents
        #[arg(long, value_name = "N")]
        agents: u64,
        /// Size of their policy
        #[arg(long, value_name = "BYTES", default_value = "50KB", value_parser = bytes)]
        policy: u64,
        /// Agents of the short run
        #[arg(long, value_name = "N", default_value_t = 2000)]
        sample: u64,
        /// The program fleet-server [default: the one beside this program]
        #[arg(long, value_name = "FILE")]
        server: Option<PathBuf>,
        /// Print one JSON object in place of the table
        #[arg(long)]
        json: bool,
        /// Say nothing of the progress
        #[arg(long)]
        quiet: bool,
    },
    /// Run every scenario against a server that is started for it, and write a document with the figures
    Bench {
        /// The program fleet-server [default: the one beside this program]
        #[arg(long, value_name = "FILE")]
        server: Option<PathBuf>,
        /// Number of agents
        #[arg(long, value_name = "N", default_value_t = 10_000)]
        agents: usize,
        /// The document
        #[arg(long, value_name = "FILE", default_value = "BENCHMARKS.md")]
        output: PathBuf,
    },
    /// Write the man page to a directory
    #[command(hide = true)]
    Man { directory: PathBuf },
    /// A part of the fleet in a process of its own
    #[command(hide = true)]
    Part,
}

/// Options of every scenario.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// URL of the agents' listener
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// CA of the server's certificate (PEM)
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Enrollment token
    #[arg(long, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    /// DATA/quickstart.json of `fleet-server quickstart`: gives URL, CA, token and the admin API, unless they are given
    #[arg(long, value_name = "FILE")]
    pub(crate) quickstart: Option<PathBuf>,
    /// Number of agents
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) agents: usize,
    /// How long it is measured, once all agents are there (30s, 5m, 1h)
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub(crate) duration: Duration,
    /// Print one JSON object in place of the table
    #[arg(long)]
    pub(crate) json: bool,
    /// Say nothing of the progress
    #[arg(long)]
    pub(crate) quiet: bool,
    /// Leave out the agents' pauses: 1.0 to 1.5 s between an answer and the next poll, a minute and more after a failure
    #[arg(long)]
    pub(crate) eager: bool,
    /// Shortest wait after a failed check-in, other waits in proportion [default: the agents' 60s; 100ms if --eager]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) backoff: Option<Duration>,
    /// Agents that enrol at a time
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub(crate) concurrency: usize,
    /// How long the fleet may take to be there, and a change to arrive everywhere
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = duration)]
    pub(crate) limit: Duration,
    /// Process id of the server on this machine: its memory and processor time are read
    #[arg(long, value_name = "PID")]
    pub(crate) pid: Option<i32>,
    /// Threads that simulate agents [default: one for each core]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// Local address that agents connect from, may be repeated [default: several of 127.0.0.0/8 for a loopback server]
    #[arg(long = "source", value_name = "ADDRESS")]
    pub(crate) sources: Vec<IpAddr>,
    /// URL of the admin API, for scenarios that change a policy
    #[arg(long, value_name = "URL")]
    pub(crate) admin_url: Option<String>,
    /// File with the admin API's key (DATA/admin.key)
    #[arg(long, value_name = "FILE")]
    pub(crate) admin_key_file: Option<PathBuf>,
    /// Shell command that makes the change in place of the admin API: a new revision of the policy, a restart
    #[arg(long, value_name = "COMMAND")]
    pub(crate) trigger: Option<String>,
    /// The server is mine although its address is neither loopback nor private
    #[arg(long)]
    pub(crate) i_own_this_server: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err("a time is a number with ms, s, m or h".into()),
    };
    let number: f64 = digits
        .parse()
        .map_err(|_| format!("{digits:?} is not a number"))?;
    Duration::try_from_secs_f64(number * factor).map_err(|error| error.to_string())
}

fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "" | "B" => 1,
        "KB" | "kB" => 1_000,
        "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "GiB" => 1 << 30,
        _ => return Err("a size is a number with B, KB, KiB, MB, MiB, GB or GiB".into()),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| format!("{digits:?} is not a whole number"))?;
    number
        .checked_mul(factor)
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| "it is no size".into())
}

impl Scenario {
    /// Whether the result is for a program.
    pub(crate) const fn is_json(&self) -> bool {
        match self {
            Self::Idle(options) | Self::Checkin(options) | Self::Storm(options) => options.json,
            Self::Enroll { options, .. }
            | Self::PolicyRollout { options, .. }
            | Self::ActionRollout { options, .. }
            | Self::Churn { options, .. }
            | Self::Rotate { options, .. }
            | Self::Mix { options, .. }
            | Self::Upload { options, .. } => options.json,
            Self::Size { json, .. } => *json,
            Self::Bench { .. } | Self::Man { .. } | Self::Part => false,
        }
    }
}

const EXAMPLES: &str = "\
Examples:
  fleet-load idle --quickstart data/quickstart.json --agents 1000 --pid $(pidof fleet-server)
  fleet-load policy-rollout --quickstart data/quickstart.json --agents 5000 --policy 50KB --json
  fleet-load enroll --url https://fleet.example:8220 --ca ca.pem --token TOKEN --agents 500
  fleet-load size --agents 50000 --policy 80KB
  fleet-load storm --quickstart data/quickstart.json --agents 5000 --eager --trigger 'systemctl restart fleet-server'";

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn times_and_sizes() {
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(
            (bytes("80KB"), bytes("4MiB"), bytes("7")),
            (Ok(80_000), Ok(4 << 20), Ok(7))
        );
        for wrong in ["", "5", "s", "1d", "-1s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "x", "0", "1TB", "99999999999GB"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }
}
