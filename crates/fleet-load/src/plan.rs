//! What a part of the fleet is to do, and what it and the conductor say to each other: plain data, so that a part
//! can be a thread or a process.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    answer::Credentials,
    figures::{Counts, Figures},
    pauses::Pauses,
};

/// The work of one part of the fleet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) server: Server,
    pub(crate) token: String,
    /// Number of the first agent; numbers run through all parts.
    pub(crate) first: usize,
    pub(crate) agents: usize,
    /// The first agent enrolled already, as a trial.
    pub(crate) enrolled: Option<Credentials>,
    pub(crate) work: Work,
    pub(crate) pauses: Pauses,
    /// Agents that enrol and take their first policy at a time.
    pub(crate) concurrency: usize,
    /// Bytes of a file that is uploaded.
    pub(crate) file_bytes: u64,
}

/// How to reach the server, as it can be sent to a process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// What the certificate must be for.
    pub(crate) host: String,
    pub(crate) authority: String,
    /// Certificates of the CAs; `None`: no TLS.
    pub(crate) ca: Option<Vec<Vec<u8>>>,
    pub(crate) sources: Vec<IpAddr>,
}

/// What the agents do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Work {
    /// Enrol, nothing else. `Some`: all over so many connections that are kept.
    Enroll { connections: Option<usize> },
    /// Enrol, then check in for ever.
    CheckIn,
    /// The same, and leave and come back all the time, after about so long.
    Churn { stay: Duration },
    /// The same as `CheckIn`, and upload one file after the other once it is said.
    Upload,
    /// Of ten agents one churns and one uploads.
    Mix { stay: Duration },
}

/// From the conductor to a part.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Send what was counted and timed since the last such order.
    Report,
    /// Send the agents' ids.
    Names,
    /// The server was or will be away from this moment on; or all agents break their connections themselves.
    Outage { at: u64, breaks: bool },
    /// Begin with the uploads.
    Upload,
    /// End.
    Stop,
}

/// From a part to the conductor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum News {
    /// How far it is; comes whenever it changed, some times a second.
    Counts(Counts),
    /// The answer to [`Order::Report`].
    Figures(Box<Figures>),
    /// The answer to [`Order::Names`]: number and id.
    Names(Vec<(usize, String)>),
    /// It cannot go on.
    Failed(String),
}
