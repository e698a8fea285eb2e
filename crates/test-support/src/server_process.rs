//! The real binary as a process: its ports, its log, its end.
//!
//! Dropping it stops it with SIGTERM and fails the test unless it ended with exit code 0 and said nothing in its
//! log that is an error or a panic (other than what [`ServerCommand::allow_log`] lets pass).
//!
//! [`ServerCommand::allow_log`]: crate::ServerCommand::allow_log

use std::{
    fs,
    io::{BufRead as _, BufReader, Read},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, ExitStatus},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    LIMIT,
    http_client::HttpClient,
    server_log::{LogLine, ServerLog},
};

/// A started server.
pub struct ServerProcess {
    pid: Pid,
    directory: Directory,
    log: Arc<ServerLog>,
    stdout: Arc<Mutex<String>>,
    exit: Arc<Mutex<Option<ExitStatus>>>,
    threads: Vec<JoinHandle<()>>,
    allowed: Vec<String>,
    is_judged: bool,
}

/// Where the process lives; a temporary one goes with the last process that uses it.
#[derive(Debug)]
pub(crate) enum Directory {
    Temporary(TempDir),
    Kept(PathBuf),
}

impl Directory {
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Temporary(directory) => directory.path(),
            Self::Kept(path) => path,
        }
    }
}

/// One `Listening on HOST:PORT` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listening {
    /// Host as configured.
    pub host: String,
    /// The real port.
    pub port: u16,
}

/// What `DATA/quickstart.json` says.
#[derive(Clone, Debug)]
pub struct QuickstartFacts {
    json: Value,
}

impl QuickstartFacts {
    /// Those of a server that was started by other means.
    ///
    /// # Panics
    /// If the file is none.
    pub fn read(file: &Path) -> Self {
        let text = fs::read_to_string(file).expect("quickstart.json");
        Self {
            json: serde_json::from_str(&text).expect("JSON"),
        }
    }

    /// A member, empty if it is missing or `null`.
    pub fn get(&self, member: &str) -> &str {
        self.json[member].as_str().unwrap_or_default()
    }

    /// The agents' URL.
    pub fn url(&self) -> &str {
        self.get("url")
    }

    pub fn enrollment_token(&self) -> &str {
        self.get("enrollment_token")
    }

    /// The operator's key.
    pub fn admin_api_key(&self) -> &str {
        self.get("admin_api_key")
    }

    /// The default policy.
    pub fn policy_id(&self) -> &str {
        self.get("policy_id")
    }

    /// The CA certificate as PEM.
    pub fn ca_pem(&self) -> String {
        fs::read_to_string(self.get("ca_file")).expect("the CA file of quickstart.json")
    }

    /// A client for one of the URLs (`url`, `internal_url`, `admin_url`, `http_url`) that trusts the CA.
    pub fn client(&self, url: &str) -> HttpClient {
        HttpClient::for_url(self.get(url), &self.ca_pem())
    }
}

impl ServerProcess {
    pub(crate) fn new(
        mut child: Child,
        directory: Directory,
        log_directory: Option<&Path>,
        allowed: Vec<String>,
    ) -> Self {
        let pid = Pid::from_child(&child);
        let log: Arc<ServerLog> = Arc::default();
        if let Some(directory) = log_directory {
            log.follow_directory(directory);
        }
        let stdout: Arc<Mutex<String>> = Arc::default();
        let exit: Arc<Mutex<Option<ExitStatus>>> = Arc::default();
        let err = child.stderr.take().expect("a piped stderr");
        let out = child.stdout.take().expect("a piped stdout");
        let threads = vec![
            std::thread::spawn({
                let log = Arc::clone(&log);
                move || each_line(err, |line| log.push(line))
            }),
            std::thread::spawn({
                let (log, stdout) = (Arc::clone(&log), Arc::clone(&stdout));
                move || {
                    each_line(out, |line| {
                        let mut stdout = stdout.lock().unwrap();
                        stdout.push_str(line);
                        stdout.push('\n');
                        log.wake();
                    });
                }
            }),
            std::thread::spawn({
                let (log, exit) = (Arc::clone(&log), Arc::clone(&exit));
                move || {
                    let status = child.wait().expect("the end of the server");
                    *exit.lock().unwrap() = Some(status);
                    log.wake();
                }
            }),
        ];
        Self {
            pid,
            directory,
            log,
            stdout,
            exit,
            threads,
            allowed,
            is_judged: false,
        }
    }

    /// From now on this is the process that took the server's place, once the old one has ended well: its log goes on
    /// in the same streams.
    ///
    /// # Panics
    /// If the old process does not end with exit code 0.
    pub fn follow(&mut self, pid: u32) {
        assert_eq!(
            self.wait_exit(),
            Some(0),
            "the replaced process:\n{}",
            self.told()
        );
        self.pid = i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .expect("a process id");
        *self.exit.lock().unwrap() = None;
        let (log, exit, pid) = (Arc::clone(&self.log), Arc::clone(&self.exit), self.pid);
        self.threads.push(std::thread::spawn(move || {
            // It was inherited when its parent ended (see ServerCommand::spawn).
            let ended = waitpid(Some(pid), WaitOptions::empty()).expect("the end of the server");
            let (_, status) = ended.expect("a wait that blocks gives a status");
            *exit.lock().unwrap() = Some(ExitStatus::from_raw(status.as_raw()));
            log.wake();
        }));
    }

    /// The process id.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_pid()
    }

    /// The directory it runs in.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// `data` of its directory: where `quickstart` keeps everything.
    pub fn data(&self) -> PathBuf {
        self.directory().join("data")
    }

    /// What it wrote to stdout so far.
    pub fn stdout(&self) -> String {
        self.stdout.lock().unwrap().clone()
    }

    /// What it logged so far, stderr first, then log files.
    pub fn log(&self) -> Vec<LogLine> {
        self.log.lines()
    }

    /// The listeners, in the order in which they were logged.
    pub fn listening(&self) -> Vec<Listening> {
        listening(&self.log())
    }

    /// Waits for `count` listeners.
    ///
    /// # Panics
    /// If the server ends before or takes longer than [`LIMIT`].
    pub fn wait_until_listening(&self, count: usize) -> Vec<Listening> {
        self.log
            .wait_for(
                LIMIT,
                |lines| Some(listening(lines)).filter(|found| found.len() >= count),
                || self.has_ended(),
            )
            .unwrap_or_else(|| panic!("the server does not listen {count} times:\n{}", self.told()))
    }

    /// Waits until a line's message contains `text`; gives that line.
    pub fn wait_for_log(&self, text: &str) -> LogLine {
        self.wait_for_lines(text, 1).remove(0)
    }

    /// Waits until `count` lines contain `text`; gives them all.
    pub fn wait_for_lines(&self, text: &str, count: usize) -> Vec<LogLine> {
        self.log
            .wait_for(
                LIMIT,
                |lines| {
                    let found: Vec<_> = lines
                        .iter()
                        .filter(|line| line.message().contains(text))
                        .cloned()
                        .collect();
                    (found.len() >= count).then_some(found)
                },
                || self.has_ended(),
            )
            .unwrap_or_else(|| panic!("{text:?} was not logged {count} times:\n{}", self.told()))
    }

    /// Waits for `quickstart.json` of this run and reads it.
    pub fn quickstart_facts(&self) -> QuickstartFacts {
        let file = self.data().join("quickstart.json");
        let ports: Vec<u16> = self.listening().iter().map(|listening| listening.port).collect();
        let read = |_: &[LogLine]| {
            let json: Value = serde_json::from_str(&fs::read_to_string(&file).ok()?).ok()?;
            let port: u16 = json["url"]
                .as_str()?
                .trim_end_matches('/')
                .rsplit(':')
                .next()?
                .parse()
                .ok()?;
            // A file of an earlier run names other ports.
            ports.contains(&port).then_some(QuickstartFacts { json })
        };
        self.log
            .wait_for(LIMIT, read, || self.has_ended())
            .unwrap_or_else(|| panic!("no {} for this run:\n{}", file.display(), self.told()))
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).expect("a running server");
    }

    /// SIGHUP: reload the certificates now.
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// Waits for the end; gives the exit code, `None` after a signal.
    pub fn wait_exit(&self) -> Option<i32> {
        self.wait_exit_within(LIMIT)
            .unwrap_or_else(|| panic!("the server does not end:\n{}", self.told()))
            .code()
    }

    fn wait_exit_within(&self, limit: Duration) -> Option<ExitStatus> {
        let ended = |_: &[LogLine]| *self.exit.lock().unwrap();
        self.log.wait_for(limit, ended, || false)
    }

    fn has_ended(&self) -> bool {
        self.exit.lock().unwrap().is_some()
    }

    /// SIGTERM, then the judgement that dropping passes as well.
    pub fn stop(mut self) {
        self.judge();
    }

    /// SIGKILL, as a crash; nothing is judged but what was logged before. Gives the directory for the next start;
    /// a temporary one is kept until the value is dropped.
    pub fn kill(mut self) -> KilledServer {
        self.signal(Signal::KILL);
        self.wait_exit();
        self.join();
        self.check_log();
        self.is_judged = true;
        let directory = std::mem::replace(&mut self.directory, Directory::Kept(PathBuf::new()));
        KilledServer { directory }
    }

    /// Waits for an end that the server comes to by itself, and takes `code` for the right one.
    pub fn expect_exit(mut self, code: i32) {
        let ended = self.wait_exit();
        self.join();
        self.is_judged = true;
        assert_eq!(ended, Some(code), "exit code; the server said:\n{}", self.told());
        self.check_log();
    }

    fn judge(&mut self) {
        self.is_judged = true;
        if !self.has_ended() {
            self.signal(Signal::TERM);
        }
        let code = self.wait_exit();
        self.join();
        assert_eq!(
            code,
            Some(0),
            "exit code after SIGTERM; the server said:\n{}",
            self.told()
        );
        self.check_log();
    }

    fn check_log(&self) {
        let lines = self.log();
        let trouble: Vec<&str> = lines
            .iter()
            .filter(|line| {
                line.is_trouble() && !self.allowed.iter().any(|allowed| line.text.contains(allowed))
            })
            .map(|line| line.text.as_str())
            .collect();
        assert!(
            trouble.is_empty(),
            "the server logged errors:\n{}",
            trouble.join("\n")
        );
    }

    /// After this, everything it said has been read.
    fn join(&mut self) {
        for thread in self.threads.drain(..) {
            // A reader that panicked has said so itself.
            let _ = thread.join();
        }
    }

    fn told(&self) -> String {
        let lines = self.log();
        let from = lines.len().saturating_sub(60);
        let mut told: Vec<&str> = lines.iter().skip(from).map(|line| line.text.as_str()).collect();
        let stdout = self.stdout();
        told.push(&stdout);
        told.join("\n")
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        if self.is_judged {
            return;
        }
        if std::thread::panicking() {
            // The test has failed already: only leave nothing running.
            for pid in processes_in(self.directory.path()) {
                // It may end between the look and the signal.
                let _ = kill_process(pid, Signal::KILL);
            }
            self.wait_exit_within(LIMIT);
            self.join();
            return;
        }
        self.judge();
    }
}

/// The processes that run in this directory: the server, and one that was to take its place.
fn processes_in(directory: &Path) -> Vec<Pid> {
    let directory = directory.canonicalize().unwrap_or_default();
    let runs_there = |entry: fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw)?;
        (fs::read_link(entry.path().join("cwd")).ok()? == directory).then_some(pid)
    };
    let processes = fs::read_dir("/proc").expect("the list of processes");
    processes.flatten().filter_map(runs_there).collect()
}

/// What a killed server leaves behind.
#[derive(Debug)]
pub struct KilledServer {
    directory: Directory,
}

impl KilledServer {
    /// Its directory: pass it to [`ServerCommand::directory`](crate::ServerCommand::directory).
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

fn listening(lines: &[LogLine]) -> Vec<Listening> {
    let mut found: Vec<Listening> = Vec::new();
    for address in lines.iter().filter_map(LogLine::listening_on) {
        let Some((host, port)) = address.rsplit_once(':') else {
            continue;
        };
        let Ok(port) = port.parse() else { continue };
        let listening = Listening {
            host: host.to_owned(),
            port,
        };
        // The same line may stand in stderr and in a file.
        if !found.contains(&listening) {
            found.push(listening);
        }
    }
    found
}

fn each_line(stream: impl Read, mut take: impl FnMut(&str)) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    // An error ends the reading as the end of the process does.
    while matches!(reader.read_until(b'\n', &mut line), Ok(read) if read > 0) {
        take(String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
}

#[cfg(test)]
mod tests {
    use crate::ServerCommand;

    fn shell(script: &str) -> ServerCommand {
        ServerCommand::new("/bin/sh").arg("-c").arg(script)
    }

    const SAYS_TWO: &str = r#"echo '{"log.level":"info","message":"Listening on localhost:41"}' >&2
        echo '{"log.level":"info","message":"Listening on [::1]:42"}' >&2
        echo help"#;

    #[test]
    fn a_server_that_listens_and_ends_well_passes() {
        let server = shell(&format!(
            "trap 'exit 0' TERM; {SAYS_TWO}; while :; do sleep 0.05; done"
        ))
        .listeners(2)
        .start();
        let ports: Vec<_> = server
            .listening()
            .iter()
            .map(|listening| listening.port)
            .collect();
        assert_eq!(ports, [41, 42]);
        assert_eq!(server.listening()[1].host, "[::1]");
        server.stop();
    }

    #[test]
    #[should_panic(expected = "exit code after SIGTERM")]
    fn an_exit_code_fails_the_test() {
        let server = shell("exit 3").spawn();
        server.wait_exit();
        drop(server);
    }

    #[test]
    #[should_panic(expected = "the server logged errors")]
    fn an_error_line_fails_the_test() {
        let server = shell(r#"echo '{"log.level":"error","message":"the store is gone"}' >&2"#).spawn();
        server.wait_exit();
        drop(server);
    }

    #[test]
    fn an_allowed_error_line_passes() {
        shell(r#"echo '{"log.level":"error","message":"the store is gone"}' >&2; exit 1"#)
            .allow_log("store is gone")
            .spawn()
            .expect_exit(1);
    }

    #[test]
    #[should_panic(expected = "the server does not listen 1 times")]
    fn a_server_that_ends_early_fails_at_once() {
        shell("echo 'cannot bind' >&2; exit 1").start();
    }

    #[test]
    fn a_killed_server_leaves_its_directory() {
        let killed = shell("touch kept; exec sleep 1000").spawn();
        killed
            .log
            .wait_for(
                crate::LIMIT,
                |_| killed.directory().join("kept").exists().then_some(()),
                || false,
            )
            .unwrap();
        let killed = killed.kill();
        assert!(killed.directory().join("kept").exists());
    }
}
