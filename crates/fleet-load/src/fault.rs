//! Why there is no result, with the remedy.

use std::{io, net::SocketAddr, path::PathBuf, time::Duration};

/// Why a run gave no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("{url:?} is not the URL of an agents' listener: {reason}")]
    Url { url: String, reason: &'static str },
    #[error("{host}: {source}")]
    Name { host: String, source: io::Error },
    #[error("{0} is neither a loopback nor a private address")]
    ForeignAddress(SocketAddr),
    #[error("cannot read {}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{} holds no certificate that can be trusted: {reason}", path.display())]
    Ca { path: PathBuf, reason: String },
    #[error("{} is not what quickstart writes: {reason}", path.display())]
    Quickstart { path: PathBuf, reason: String },
    #[error("{option} is missing")]
    Missing { option: &'static str, why: &'static str },
    #[error("nobody answers at {url}: {reason}")]
    NoServer { url: String, reason: String },
    #[error("{url} answers, but not so that an agent would go on: {reason}")]
    Handshake { url: String, reason: String },
    #[error("the server does not take the enrollment token")]
    Token,
    #[error("the server refuses to enrol the first agent: {0}")]
    FirstEnrolment(String),
    #[error("{connections} connections need {processes} processes, for each may have {files} files open")]
    Files {
        connections: usize,
        processes: usize,
        files: u64,
    },
    #[error("{connections} connections need more ports than the {ports} of {addresses} source address(es)")]
    Ports {
        connections: usize,
        ports: usize,
        addresses: usize,
    },
    #[error("gave up after {:.0} s: {what}{}", after.as_secs_f64(), last.as_ref().map(|last| format!("; {last}")).unwrap_or_default())]
    GaveUp {
        after: Duration,
        what: String,
        last: Option<String>,
    },
    #[error("the server holds polls open, so this would measure its long poll")]
    HeldPolls,
    #[error("a part of the fleet ended: {0}")]
    Part(String),
    #[error("the command {command:?} {reason}")]
    Trigger { command: String, reason: String },
    #[error("the admin API: {0}")]
    Admin(String),
    #[error("the server that was started for the measurement ended: {0}")]
    OwnServer(String),
    #[error("process {0} is not there")]
    Process(i32),
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

impl Fault {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::HeldPolls => {
                "start it with -E inputs.0.server.timeouts.checkin_long_poll=1ms \
                 -E inputs.0.server.timeouts.checkin_jitter=0s"
            }
            Self::Url { .. } => "give --url as https://HOST:PORT, as agents get it",
            Self::Name { .. } => "check the host of --url",
            Self::ForeignAddress(_) => {
                "a load test of a machine that is not yours is an attack; if this one is yours: --i-own-this-server"
            }
            Self::File { .. } => "check the path and who may read it",
            Self::Ca { .. } => "--ca is a PEM file with the CA's certificate, as agents get it",
            Self::Quickstart { .. } => "--quickstart is DATA/quickstart.json of `fleet-server quickstart`",
            Self::Missing { why, .. } => why,
            Self::NoServer { .. } => "start the server, or correct --url",
            Self::Handshake { .. } => {
                "check --ca (it must have signed the server's certificate) and that the certificate is for the host of --url"
            }
            Self::Token => {
                "take a valid one: `fleet-server quickstart` prints one, the admin API creates them"
            }
            Self::FirstEnrolment(_) => {
                "read the server's log; 429 and 503 come from its limits, which `-E inputs.0.server.limits…` raises"
            }
            Self::Files { .. } => {
                "raise the hard limit of open files (ulimit -Hn, LimitNOFILE=) or take fewer --agents"
            }
            Self::Ports { .. } => {
                "give more addresses with --source, widen net.ipv4.ip_local_port_range, or take fewer --agents"
            }
            Self::GaveUp { .. } => {
                "this is no result; look at the server's log and limits, or give more time with --limit"
            }
            Self::Part(_) => "this is no result; memory or process limits may have ended it",
            Self::Trigger { .. } => "run the command by hand first; it must end with exit code 0",
            Self::Admin(_) => {
                "check --admin-url and --admin-key-file; or use --trigger COMMAND in their place"
            }
            Self::OwnServer(_) => "--server is the program fleet-server, of the same version",
            Self::Process(_) => "--pid is the process id of the server on this machine",
            Self::Output(_) => return None,
        })
    }
}
