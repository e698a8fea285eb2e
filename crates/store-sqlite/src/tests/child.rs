//! A second process: this test binary again, running one test that does nothing unless it is told a role.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

/// A running child. It is killed when this is dropped.
pub(super) struct Second {
    pub(super) process: Child,
    pub(super) output: BufReader<ChildStdout>,
    /// Held open: a child that reads it waits for its end.
    _input: Option<ChildStdin>,
}

impl Second {
    /// Starts `test` (its path inside this crate) in a process of its own, with `directory` for its store.
    pub(super) fn start(test: &str, directory: &Path) -> Self {
        Self::start_through(Command::new(std::env::current_exe().unwrap()), test, directory)
    }

    /// The same with a command that ends in executing this binary with the arguments that follow.
    pub(super) fn start_through(mut command: Command, test: &str, directory: &Path) -> Self {
        let mut process = command
            .args([
                "--exact",
                test,
                "--nocapture",
                "--include-ignored",
                "--test-threads=1",
            ])
            .env(ROLE, directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let _input = process.stdin.take();
        Self {
            process,
            output,
            _input,
        }
    }

    /// The next line that the child said, without its mark. `None`: it ended. A line cut off by its death does
    /// not count.
    pub(super) fn hear(&mut self) -> Option<String> {
        let mut line = String::new();
        loop {
            line.clear();
            self.output.read_line(&mut line).unwrap();
            match line.strip_suffix('\n') {
                None => return None,
                Some(said) => {
                    if let Some((_, said)) = said.split_once(MARK) {
                        return Some(said.to_owned());
                    }
                }
            }
        }
    }

    /// Ends it without a word.
    pub(super) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill.
        if self.process.try_wait().unwrap().is_none() {
            self.kill();
        }
    }
}

/// The directory, if this process is a child.
pub(super) fn role() -> Option<PathBuf> {
    std::env::var_os(ROLE).map(PathBuf::from)
}

/// What the child tells its parent; durable in the pipe when this returns.
pub(super) fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{MARK}{text}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// Tells the run's output, from which docs/COMPATIBILITY.md is made, that this test has held nothing. `println!` would
/// tell the harness alone.
pub(super) fn not_run(test: &str, why: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\ntest {test} ... not run: {why}\n").as_bytes())
        .unwrap();
}

const ROLE: &str = "STORE_TEST_CHILD_DIRECTORY";
/// Tells what the child says from what the test harness prints.
const MARK: &str = "@@ ";
