//! What the server said, line by line, from stderr and from its log files; which lines no test may ignore.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Condvar, Mutex},
    time::{Duration, Instant},
};

use serde_json::Value;

/// One line of the log.
#[derive(Clone, Debug)]
pub struct LogLine {
    /// The line as written.
    pub text: String,
    /// Its JSON, `Null` if it is not JSON.
    pub json: Value,
}

impl LogLine {
    fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            json: serde_json::from_str(text).unwrap_or(Value::Null),
        }
    }

    /// The message, or the whole line if it is not JSON.
    pub fn message(&self) -> &str {
        self.json["message"].as_str().unwrap_or(&self.text)
    }

    /// The level, empty where there is none.
    pub fn level(&self) -> &str {
        // Both spellings of ECS: the dotted key and the nested object.
        self.json["log.level"]
            .as_str()
            .or_else(|| self.json["log"]["level"].as_str())
            .unwrap_or_default()
    }

    /// `HOST:PORT` of a `Listening on` line.
    pub fn listening_on(&self) -> Option<&str> {
        self.message().strip_prefix("Listening on ")
    }

    /// An error or a panic: fails the test unless it is allowed.
    pub fn is_trouble(&self) -> bool {
        matches!(self.level(), "error" | "fatal" | "critical") || self.text.contains("panicked at")
    }
}

/// All lines of one process so far.
#[derive(Default)]
pub(crate) struct ServerLog {
    stderr: Mutex<Vec<LogLine>>,
    more: Condvar,
    directory: Mutex<Option<PathBuf>>,
}

impl ServerLog {
    /// Also reads the log files of this directory.
    pub(crate) fn follow_directory(&self, directory: &Path) {
        *self.directory.lock().unwrap() = Some(directory.to_owned());
    }

    pub(crate) fn push(&self, line: &str) {
        self.stderr.lock().unwrap().push(LogLine::new(line));
        self.more.notify_all();
    }

    /// Wakes the waiting reader, for instance because the process has ended.
    pub(crate) fn wake(&self) {
        self.more.notify_all();
    }

    pub(crate) fn lines(&self) -> Vec<LogLine> {
        let mut lines = self.stderr.lock().unwrap().clone();
        if let Some(directory) = &*self.directory.lock().unwrap() {
            lines.extend(read_files(directory));
        }
        lines
    }

    /// Looks again whenever a line arrives (log files: every [`LOOK_AGAIN`]) until `found` finds something;
    /// `None` after `limit`, or once `is_over` says that nothing more will come.
    pub(crate) fn wait_for<T>(
        &self,
        limit: Duration,
        mut found: impl FnMut(&[LogLine]) -> Option<T>,
        is_over: impl Fn() -> bool,
    ) -> Option<T> {
        let end = Instant::now() + limit;
        loop {
            let over = is_over();
            if let Some(found) = found(&self.lines()) {
                return Some(found);
            }
            if over || Instant::now() >= end {
                return None;
            }
            let guard = self.stderr.lock().unwrap();
            drop(self.more.wait_timeout(guard, LOOK_AGAIN).unwrap());
        }
    }
}

fn read_files(directory: &Path) -> Vec<LogLine> {
    let mut files: Vec<PathBuf> = match fs::read_dir(directory) {
        Ok(entries) => entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.is_file())
            .collect(),
        Err(_) => Vec::new(),
    };
    files.sort();
    let text = |path: &PathBuf| fs::read_to_string(path).unwrap_or_default();
    files
        .iter()
        .flat_map(|path| text(path).lines().map(LogLine::new).collect::<Vec<_>>())
        .collect()
}

/// Log files bring no event here, so they are read again this often.
const LOOK_AGAIN: Duration = Duration::from_millis(25);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_tell_what_they_are() {
        let line = LogLine::new(r#"{"log.level":"info","message":"Listening on localhost:8220"}"#);
        assert_eq!(line.listening_on(), Some("localhost:8220"));
        assert!(!line.is_trouble());
        assert!(LogLine::new(r#"{"log.level":"error","message":"x"}"#).is_trouble());
        assert!(LogLine::new(r#"{"log":{"level":"error"},"message":"x"}"#).is_trouble());
        assert!(LogLine::new("thread 'x' (7) panicked at src/a.rs:1:2:").is_trouble());
        assert_eq!(LogLine::new("plain").message(), "plain");
    }

    #[test]
    fn files_are_read_beside_stderr() {
        let directory = tempfile::tempdir().unwrap();
        let log = ServerLog::default();
        log.follow_directory(directory.path());
        log.push("first");
        fs::write(
            directory.path().join("fleet-server-20260101.ndjson"),
            "{\"message\":\"second\"}\n",
        )
        .unwrap();
        let found = log.wait_for(
            crate::LIMIT,
            |lines| lines.iter().position(|line| line.message() == "second"),
            || false,
        );
        assert_eq!(found, Some(1));
        assert_eq!(log.wait_for(Duration::ZERO, |_| None::<()>, || false), None);
    }
}
