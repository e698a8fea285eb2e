//! A server of our own for a measurement: the real program on an empty store in a temporary directory, its ports free,
//! its limits out of the way. It ends with the measurement.

use std::{
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{fault::Fault, room};

/// A started server.
pub(crate) struct OwnServer {
    child: Child,
    directory: TempDir,
}

/// Settings for every measurement: as the tables say, roll-outs are not paced and no limit refuses anybody.
pub(crate) const SETTINGS: [&str; 7] = [
    "inputs.0.server.timeouts.write=2h",
    "inputs.0.server.limits.max_agents=50000",
    "inputs.0.server.limits.enroll_limit.interval=-1",
    "inputs.0.server.limits.checkin_limit.interval=-1",
    "inputs.0.server.limits.ack_limit.interval=-1",
    "inputs.0.server.limits.policy_limit.interval=-1",
    "files.min_free_space=0",
];

impl OwnServer {
    /// Starts `program` with `settings` and waits until it listens.
    pub(crate) async fn start(program: &Path, settings: &[&str]) -> Result<Self, Fault> {
        // The server inherits this.
        room::raise_file_limit();
        let directory = tempfile::tempdir()?;
        let log = File::create(directory.path().join("log"))?;
        let mut command = Command::new(program);
        command
            .arg("quickstart")
            .arg("--data-dir")
            .arg(directory.path().join("data"));
        let ports = [
            "inputs.0.server.port",
            "inputs.0.server.internal_port",
            "admin.port",
            "http.port",
        ];
        for port in ports {
            command.arg("-E").arg(format!("{port}=0"));
        }
        for setting in SETTINGS.iter().chain(settings) {
            command.arg("-E").arg(setting);
        }
        let child = command
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|source| Fault::File {
                path: program.into(),
                source,
            })?;
        let mut server = Self { child, directory };
        server.until_listening().await?;
        Ok(server)
    }

    /// Process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What `--quickstart` takes.
    pub(crate) fn quickstart(&self) -> PathBuf {
        self.data().join("quickstart.json")
    }

    /// Bytes of the store's file and its log.
    pub(crate) fn store_bytes(&self) -> u64 {
        ["fleet.db", "fleet.db-wal"]
            .iter()
            .filter_map(|name| fs::metadata(self.data().join(name)).ok())
            .map(|file| file.len())
            .sum()
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    async fn until_listening(&mut self) -> Result<(), Fault> {
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        let begun = Instant::now();
        loop {
            ticks.tick().await;
            let ended = self.child.try_wait()?;
            // Four listeners, then the help of quickstart, which is last.
            if self.log().contains("Stop with Ctrl-C") {
                return Ok(());
            }
            if ended.is_some() || begun.elapsed() > START {
                let log = self.log();
                let last = log.lines().next_back().unwrap_or_default();
                return Err(Fault::OwnServer(last.to_owned()));
            }
        }
    }

    fn log(&self) -> String {
        let mut text = String::new();
        // What cannot be read yet is read a moment later.
        if let Ok(mut file) = File::open(self.directory.path().join("log")) {
            let _ = file.read_to_string(&mut text);
        }
        text
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        // It may have ended already; its data go with the directory.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The server's program: as given, or beside this one.
pub(crate) fn program(given: Option<&Path>) -> Result<PathBuf, Fault> {
    match given {
        Some(path) => Ok(std::path::absolute(path)?),
        None => Ok(std::env::current_exe()?.with_file_name("fleet-server")),
    }
}

const START: Duration = Duration::from_secs(60);
