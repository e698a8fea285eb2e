//! A running server hands over to a new process of the same program without refusing a connection.
//!
//! ```text
//! predecessor                            successor: same arguments, sockets as LISTEN_FDS, channel as stdin
//!   spawns it ─────────────────────────► reads configuration and certificates, looks at the store
//!             ◄───────────── prepared ──
//!   answers polls, closes the store        (connections queue in the kernel)
//!             ── go ───────────────────► opens the store, accepts
//!             ◄──────────────── ready ──
//!   tells the service manager who serves
//!             ── serve ────────────────► tells it that it is ready
//! ```
//!
//! Before `go` a successor that fails changes nothing; after it the predecessor opens its store again and goes on.
//! Either side's end is seen by the other as the end of the channel.

use std::{
    env,
    ffi::OsString,
    io,
    net::TcpListener,
    os::{fd::AsFd as _, fd::OwnedFd, unix::net::UnixStream as StdStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use command_fds::{CommandFdExt as _, FdMapping};
use listener::PassedSockets;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
    time::timeout,
};

/// The process that is to serve next, as this one sees it.
pub(crate) struct Successor {
    child: Child,
    channel: Channel,
    serves: bool,
}

impl Successor {
    /// Starts this program anew with the sockets and waits until it is prepared.
    ///
    /// # Errors
    /// Why it did not get ready; the process has ended.
    pub(crate) async fn prepare(sockets: &PassedSockets) -> Result<Self> {
        let (mine, theirs) = StdStream::pair()?;
        mine.set_nonblocking(true)?;
        let channel = Channel::new(UnixStream::from_std(mine)?);
        let child = spawn(sockets, theirs).context("the new process cannot be started")?;
        let mut successor = Self {
            child,
            channel,
            serves: false,
        };
        successor.channel.expect(PREPARED, PREPARING).await?;
        Ok(successor)
    }

    /// Lets it serve; the caller has closed everything that it needs. Returns its process id.
    ///
    /// # Errors
    /// Why it does not serve.
    pub(crate) async fn take_over(&mut self) -> Result<u32> {
        self.channel.send(GO).await?;
        self.channel.expect(READY, OPENING).await?;
        self.serves = true;
        Ok(self.child.id())
    }

    /// Tells it that the service manager knows its process id.
    pub(crate) async fn serve(&mut self) -> io::Result<()> {
        self.channel.send(SERVE).await
    }
}

impl Drop for Successor {
    /// Ends a process that does not serve, and waits for its end, so that it holds nothing any more.
    fn drop(&mut self) {
        if self.serves {
            return;
        }
        // Killed, so the wait is short; one that has ended by itself is only waited for.
        let ended = self.child.kill().and_then(|()| self.child.wait());
        if let Err(error) = ended {
            log::warn!("process.pid" = self.child.id(), "error.message":% = error; "the new process cannot be ended: {error}");
        }
    }
}

/// The process that served before, as this one sees it.
pub(crate) struct Predecessor {
    channel: Channel,
}

impl Predecessor {
    /// The predecessor, if there is one.
    ///
    /// # Errors
    /// The channel that it left cannot be used.
    pub(crate) fn from_environment() -> Result<Option<Self>> {
        if env::var_os(IS_SUCCESSOR).is_none() {
            return Ok(None);
        }
        let channel = StdStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        channel.set_nonblocking(true).with_context(|| {
            format!("{IS_SUCCESSOR} is set, but standard input is not a channel to a predecessor")
        })?;
        Ok(Some(Self {
            channel: Channel::new(UnixStream::from_std(channel)?),
        }))
    }

    /// Says that this process could serve, and waits until it may.
    ///
    /// # Errors
    /// The predecessor goes on without this process, or is gone.
    pub(crate) async fn await_turn(&mut self) -> Result<()> {
        self.channel.send(PREPARED).await?;
        self.channel.expect(GO, DRAINING).await
    }

    /// Says that this process serves, and waits until the service manager knows.
    ///
    /// # Errors
    /// The predecessor is gone; this process serves all the same.
    pub(crate) async fn serving(&mut self) -> Result<()> {
        self.channel.send(READY).await?;
        self.channel.expect(SERVE, PREPARING).await
    }

    /// Says why this process cannot serve.
    pub(crate) async fn failed(&mut self, error: &anyhow::Error) {
        let reason = format!("{error:#}").replace('\n', "; ");
        // One that is gone needs no reason.
        let _ = self.channel.send(&format!("{FAILED}{reason}")).await;
    }
}

/// Lines in both directions.
struct Channel {
    stream: BufReader<UnixStream>,
}

impl Channel {
    fn new(stream: UnixStream) -> Self {
        Self {
            stream: BufReader::new(stream),
        }
    }

    async fn send(&mut self, line: &str) -> io::Result<()> {
        self.stream
            .get_mut()
            .write_all(format!("{line}\n").as_bytes())
            .await
    }

    /// Waits for this one line.
    async fn expect(&mut self, wanted: &str, limit: Duration) -> Result<()> {
        let mut line = String::new();
        let mut bounded = (&mut self.stream).take(LONGEST_LINE);
        match timeout(limit, bounded.read_line(&mut line)).await {
            Err(_) => bail!("the other process did not answer for {} seconds", limit.as_secs()),
            Ok(Err(error)) => Err(error.into()),
            Ok(Ok(0)) => bail!("the other process ended"),
            Ok(Ok(_)) => match line.trim_end() {
                line if line == wanted => Ok(()),
                line => Err(anyhow!(
                    "{}",
                    line.strip_prefix(FAILED).unwrap_or(line).to_owned()
                )),
            },
        }
    }
}

fn spawn(sockets: &PassedSockets, channel: StdStream) -> Result<Child> {
    let mut arguments = env::args_os();
    // The path that this program was started by, so that a program replaced on the disk is picked up.
    let program = arguments.next().unwrap_or_else(|| OsString::from("fleet-server"));
    let (mut names, mut mappings) = (Vec::new(), Vec::new());
    for ((name, socket), child_fd) in sockets.iter().zip(FIRST_FD..) {
        names.push(name);
        mappings.push(FdMapping {
            parent_fd: OwnedFd::from(TcpListener::try_clone(socket)?),
            child_fd,
        });
    }
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("LISTEN_FDS", mappings.len().to_string())
        .env("LISTEN_FDNAMES", names.join(":"))
        .env(IS_SUCCESSOR, "1")
        // Both hold this process's id.
        .env_remove("LISTEN_PID")
        .env_remove("WATCHDOG_PID")
        .stdin(Stdio::from(OwnedFd::from(channel)))
        .fd_mappings(mappings)
        .map_err(|error| anyhow!("{error}"))?;
    Ok(command.spawn()?)
}

/// Listening sockets that this process was started with, under `LISTEN_FDS`: the service manager's or a
/// predecessor's. Call it once, before there are other threads: it changes the environment.
///
/// # Errors
/// One of them is not a listening TCP socket.
pub(crate) fn passed_sockets() -> Result<PassedSockets> {
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut descriptors = listenfd::ListenFd::from_env();
    let mut passed = PassedSockets::default();
    for place in 0..descriptors.len() {
        let name = names.next().unwrap_or_default();
        let socket = descriptors.take_tcp_listener(place).with_context(|| {
            format!("the socket \"{name}\" that was passed to this process cannot be used")
        })?;
        if let Some(socket) = socket {
            passed.add(name, socket)?;
        }
    }
    Ok(passed)
}

const IS_SUCCESSOR: &str = "FLEET_SERVER_SUCCESSOR";
/// The first descriptor that systemd passes (`SD_LISTEN_FDS_START`).
const FIRST_FD: i32 = 3;

const PREPARED: &str = "prepared";
const GO: &str = "go";
const READY: &str = "ready";
const SERVE: &str = "serve";
const FAILED: &str = "failed: ";
const LONGEST_LINE: u64 = 16 * 1024;

/// Limit for reading configuration and certificates and checking the store.
const PREPARING: Duration = Duration::from_secs(60);
/// Limit for opening the store, which may include a migration.
const OPENING: Duration = Duration::from_secs(300);
/// Limit for the predecessor's drain and its last writes.
const DRAINING: Duration = Duration::from_secs(600);
