//! A run from options to a fleet: where everything is, whether there is room, whether the server takes the first
//! agent. Only then anything else begins, so that no half of a run is taken for a result.

use std::{fs, path::Path, time::Duration};

use serde_json::Value;

use crate::{
    admin::Admin,
    answer::{self, Credentials},
    change::PolicyChange,
    command_line::Options,
    connection::{CallError, Way},
    enrolments,
    fault::Fault,
    fleet::Fleet,
    pauses::Pauses,
    plan::{Plan, Server, Work},
    progress::Progress,
    room,
    server_process::ServerProcess,
};

/// A run whose server took its first agent.
pub(crate) struct Run {
    pub(crate) options: Options,
    pub(crate) process: ServerProcess,
    server: Server,
    token: String,
    first: Credentials,
    admin: Option<(Server, String)>,
    processes: usize,
}

/// What a scenario needs beside the agents' listener.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Needs {
    /// Connections, if it is not one for each agent.
    pub(crate) connections: Option<usize>,
    /// Somebody who changes the policy or posts actions.
    pub(crate) change: bool,
}

impl Run {
    /// Reads, checks, and enrols the first agent.
    pub(crate) async fn prepare(options: &Options, needs: Needs) -> Result<Self, Fault> {
        let options = options.clone();
        let known = options.quickstart.as_deref().map(Quickstart::read).transpose()?;
        let known = known.unwrap_or_default();
        let url = options.url.clone().or_else(|| known.text("url"));
        let url = url.ok_or(Fault::Missing {
            option: "--url",
            why: "say which server: --url https://HOST:8220, or --quickstart DATA/quickstart.json",
        })?;
        let token = options.token.clone().or_else(|| known.text("enrollment_token"));
        let token = token.ok_or(Fault::Missing {
            option: "--token",
            why: "agents need an enrollment token: --token TOKEN, or --quickstart DATA/quickstart.json",
        })?;
        let ca = options
            .ca
            .clone()
            .or_else(|| known.text("ca_file").map(Into::into));
        let owned = options.i_own_this_server;
        let mut server = Server::find(&url, ca.as_deref(), owned)?;
        let admin = admin(&options, &known, ca.as_deref())?;
        if needs.change && admin.is_none() && options.trigger.is_none() {
            return Err(Fault::Missing {
                option: "--trigger",
                why: "somebody must make the change: --quickstart, --admin-url with --admin-key-file, or --trigger COMMAND",
            });
        }
        let process = ServerProcess(options.pid);
        process.taken()?;

        let connections = needs.connections.unwrap_or(options.agents).max(1);
        let processes = room::processes(connections, room::raise_file_limit())?;
        server.sources = room::sources(connections, server.address.ip(), &options.sources)?;
        let first = first_agent(&url, &server, &token).await?;
        Ok(Self {
            options,
            process,
            server,
            token,
            first,
            admin,
            processes,
        })
    }

    /// Starts the fleet.
    pub(crate) fn fleet(&self, work: Work, file_bytes: u64) -> Result<Fleet, Fault> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = self.options.threads.unwrap_or(cores).max(self.processes);
        let parts = threads.clamp(1, self.options.agents.max(1));
        let share = |of: usize, part: usize| of * (part + 1) / parts - of * part / parts;
        let mut first = 0;
        let mut plans = Vec::with_capacity(parts);
        for part in 0..parts {
            let agents = share(self.options.agents, part);
            plans.push(Plan {
                server: self.server.clone(),
                token: self.token.clone(),
                first,
                agents,
                enrolled: (part == 0).then(|| self.first.clone()),
                work: match work {
                    Work::Enroll {
                        connections: Some(all),
                    } => Work::Enroll {
                        connections: Some(share(all.max(parts), part)),
                    },
                    other => other,
                },
                pauses: self.pauses(),
                concurrency: share(self.options.concurrency.max(parts), part),
                file_bytes,
            });
            first += agents;
        }
        Fleet::start(plans, self.processes > 1, Progress::new(self.options.quiet))
    }

    /// Who changes the policy of the fleet.
    pub(crate) async fn policy_change(&self, bytes: Option<u64>) -> Result<PolicyChange, Fault> {
        if let Some(command) = &self.options.trigger {
            return Ok(PolicyChange::Command(command.clone()));
        }
        PolicyChange::by_admin(self.admin()?, &self.first.id, bytes).await
    }

    /// The way to the server, for connections that no agent makes.
    pub(crate) fn way(&self) -> Result<Way, Fault> {
        self.server.way().map_err(Fault::Part)
    }

    /// The admin API.
    pub(crate) fn admin(&self) -> Result<Admin, Fault> {
        let (server, key) = self.admin.as_ref().ok_or(Fault::Missing {
            option: "--admin-url",
            why: "this scenario needs the admin API: --quickstart, or --admin-url with --admin-key-file",
        })?;
        Ok(Admin::new(server.way().map_err(Fault::Part)?, key.clone()))
    }

    fn pauses(&self) -> Pauses {
        let usual = if self.options.eager {
            Duration::from_millis(100)
        } else {
            Duration::from_secs(60)
        };
        Pauses {
            eager: self.options.eager,
            backoff: self.options.backoff.unwrap_or(usual),
        }
    }
}

/// What `quickstart.json` says.
#[derive(Default)]
struct Quickstart(Value);

impl Quickstart {
    fn read(path: &Path) -> Result<Self, Fault> {
        let text = fs::read_to_string(path).map_err(|source| Fault::File {
            path: path.into(),
            source,
        })?;
        let json = serde_json::from_str(&text).map_err(|error| Fault::Quickstart {
            path: path.into(),
            reason: error.to_string(),
        })?;
        Ok(Self(json))
    }

    fn text(&self, member: &str) -> Option<String> {
        self.0[member].as_str().map(str::to_owned)
    }
}

fn admin(
    options: &Options,
    known: &Quickstart,
    ca: Option<&Path>,
) -> Result<Option<(Server, String)>, Fault> {
    let Some(url) = options.admin_url.clone().or_else(|| known.text("admin_url")) else {
        return Ok(None);
    };
    let key = match &options.admin_key_file {
        Some(path) => fs::read_to_string(path).map_err(|source| Fault::File {
            path: path.clone(),
            source,
        })?,
        None => known.text("admin_api_key").unwrap_or_default(),
    };
    if key.trim().is_empty() {
        return Err(Fault::Missing {
            option: "--admin-key-file",
            why: "the admin API needs its key: DATA/admin.key",
        });
    }
    let server = Server::find(&url, ca, options.i_own_this_server)?;
    Ok(Some((server, key.trim().to_owned())))
}

/// Enrols one agent and tells people what is wrong if that does not work.
async fn first_agent(url: &str, server: &Server, token: &str) -> Result<Credentials, Fault> {
    let way = server.way().map_err(|reason| Fault::Handshake {
        url: url.into(),
        reason,
    })?;
    let request = enrolments::request(&server.authority, token, 0);
    let enrolling = async {
        let mut connection = way.connect(0).await?;
        answer::enrolment(connection.call(request.bytes()).await?)
    };
    enrolling.await.map_err(|error| match error {
        CallError::Connect(error) => Fault::NoServer {
            url: url.into(),
            reason: error.to_string(),
        },
        CallError::Refused { status: 401, .. } => Fault::Token,
        CallError::Refused { .. } => Fault::FirstEnrolment(error.to_string()),
        _ => Fault::Handshake {
            url: url.into(),
            reason: error.to_string(),
        },
    })
}
