//! How a server is started: which sub-command, with what, in which directory.

use std::{
    ffi::OsString,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use command_fds::{CommandFdExt as _, FdMapping};

use crate::server_process::{Directory, ServerProcess};

/// Builds the command line of the real binary. Made by [`server_command!`](crate::server_command).
#[derive(Debug)]
pub struct ServerCommand {
    binary: PathBuf,
    sub_command: Option<String>,
    arguments: Vec<OsString>,
    environment: Vec<(String, String)>,
    directory: Directory,
    log_directory: Option<PathBuf>,
    listeners: usize,
    allowed: Vec<String>,
    sockets: Vec<(String, TcpListener)>,
    descriptors: Option<u32>,
}

/// A [`ServerCommand`] for the binary of this workspace; works in the integration tests of crate `fleet-server`
/// only, where cargo tells its path.
#[macro_export]
macro_rules! server_command {
    () => {
        $crate::ServerCommand::new(env!("CARGO_BIN_EXE_fleet-server"))
    };
}

impl ServerCommand {
    /// A command for the binary at `binary`, in a temporary directory of its own.
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        Self {
            binary: binary.into(),
            sub_command: None,
            arguments: Vec::new(),
            environment: Vec::new(),
            directory: Directory::Temporary(tempfile::tempdir().expect("a temporary directory")),
            log_directory: None,
            listeners: 1,
            allowed: Vec::new(),
            sockets: Vec::new(),
            descriptors: None,
        }
    }

    /// `quickstart` with its data in `data` of the directory and every port free (agents, internal, admin, http).
    pub fn quickstart(self) -> Self {
        let data = self.directory.path().join("data");
        let mut command = self.sub_command("quickstart").arg("--data-dir").arg(data);
        for key in [
            "inputs.0.server.port",
            "inputs.0.server.internal_port",
            "admin.port",
            "http.port",
        ] {
            command = command.set(key, "0");
        }
        command.listeners(4)
    }

    /// Sets the sub-command; without it the binary runs.
    pub fn sub_command(mut self, name: &str) -> Self {
        self.sub_command = Some(name.to_owned());
        self
    }

    /// Writes `yaml` to `fleet-server.yml` of the directory and passes it with `-c`.
    pub fn config(self, yaml: &str) -> Self {
        let file = self.directory.path().join("fleet-server.yml");
        fs::write(&file, yaml).expect("a configuration file");
        self.arg("-c").arg(file)
    }

    /// One more argument.
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// `-E key=value`.
    pub fn set(self, key: &str, value: &str) -> Self {
        self.arg("-E").arg(format!("{key}={value}"))
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Uses (and keeps) this directory instead of a temporary one: for a second start on the same data.
    pub fn directory(mut self, path: &Path) -> Self {
        self.directory = Directory::Kept(path.to_owned());
        self
    }

    /// Where the server writes its log files; their lines count like those of stderr.
    pub fn log_directory(mut self, path: &Path) -> Self {
        self.log_directory = Some(path.to_owned());
        self
    }

    /// How many `Listening on` lines make the server ready.
    pub fn listeners(mut self, count: usize) -> Self {
        self.listeners = count;
        self
    }

    /// Passes a listening socket, as a service manager does (`LISTEN_FDS`).
    pub fn socket(mut self, name: &str, socket: &TcpListener) -> Self {
        let socket = socket.try_clone().expect("a second handle of a socket");
        self.sockets.push((name.to_owned(), socket));
        self
    }

    /// Lets the process have so many file descriptors.
    pub fn descriptors(mut self, most: u32) -> Self {
        self.descriptors = Some(most);
        self
    }

    /// Lets error lines pass that contain `text`.
    pub fn allow_log(mut self, text: &str) -> Self {
        self.allowed.push(text.to_owned());
        self
    }

    /// The directory the process will run in.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Starts the server and waits until it listens.
    ///
    /// # Panics
    /// If it ends before, or does not listen within [`LIMIT`](crate::LIMIT).
    pub fn start(self) -> ServerProcess {
        let listeners = self.listeners;
        let process = self.spawn();
        process.wait_until_listening(listeners);
        process
    }

    /// Starts the process and does not wait for anything.
    pub fn spawn(self) -> ServerProcess {
        // A process that takes a server's place becomes this one's child when the server ends: its end can be waited for.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .expect("a process that inherits");
        let child = self
            .command()
            .spawn()
            .expect("the server's binary can be started");
        ServerProcess::new(child, self.directory, self.log_directory.as_deref(), self.allowed)
    }

    /// Runs a command that ends by itself; gives exit code, stdout and stderr.
    pub fn output(&self) -> (i32, String, String) {
        let output = self
            .command()
            .output()
            .expect("the server's binary can be started");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code().unwrap_or(-1),
            text(&output.stdout),
            text(&output.stderr),
        )
    }

    fn command(&self) -> Command {
        let mut command = match self.descriptors {
            None => Command::new(&self.binary),
            Some(most) => {
                let mut shell = Command::new("sh");
                let script = format!("ulimit -n {most} && exec \"$0\" \"$@\"");
                shell.args(["-c", script.as_str()]).arg(&self.binary);
                shell
            }
        };
        command
            .args(&self.sub_command)
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if !self.sockets.is_empty() {
            let names: Vec<_> = self.sockets.iter().map(|(name, _)| name.as_str()).collect();
            let mappings = self
                .sockets
                .iter()
                .zip(3..)
                .map(|((_, socket), child_fd)| FdMapping {
                    parent_fd: socket.try_clone().expect("a second handle of a socket").into(),
                    child_fd,
                });
            command
                .env("LISTEN_FDS", names.len().to_string())
                .env("LISTEN_FDNAMES", names.join(":"))
                .fd_mappings(mappings.collect())
                .expect("one place for each socket");
        }
        command
    }
}
