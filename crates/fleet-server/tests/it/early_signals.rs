//! A signal in the first moments of a process: a server stops in good order, any other command ends by it.

use std::{
    fs, io,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, kill_process};
use test_support::{LIMIT, Signal};

/// A process that is asked to stop before anybody waits for it.
struct Early(Child);

impl Early {
    fn start(directory: &Path, words: &[&str]) -> Self {
        let log = fs::File::create(directory.join("stderr")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_fleet-server"))
            .args(words)
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        Self(child.unwrap())
    }

    fn server(directory: &Path) -> Self {
        Self::start(
            directory,
            &[
                "quickstart",
                "-E",
                "inputs.0.server.port=0",
                "-E",
                "inputs.0.server.internal_port=0",
                "-E",
                "admin.port=0",
                "-E",
                "http.port=0",
            ],
        )
    }

    /// Whether SIGTERM no longer has its default effect: it is held back, or has a handler. The kernel's word.
    fn is_safe(&self) -> bool {
        let status = match fs::read_to_string(format!("/proc/{}/status", self.0.id())) {
            Ok(status) => status,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return false,
            Err(error) => panic!("{error}"),
        };
        let has = |name, signal: Signal| {
            let set = status
                .lines()
                .find_map(|line: &str| line.strip_prefix(name))
                .unwrap();
            u64::from_str_radix(set.trim(), 16).unwrap() >> (signal.as_raw() - 1) & 1 == 1
        };
        // Who makes a thread holds back all signals for a moment; `main` holds back those that it answers to.
        let is_held = has("SigBlk:", Signal::TERM) && !has("SigBlk:", Signal::USR1);
        is_held || has("SigCgt:", Signal::TERM)
    }

    fn terminate(mut self) -> ExitStatus {
        let pid = Pid::from_child(&self.0);
        kill_process(pid, Signal::TERM).unwrap();
        self.0.wait().unwrap()
    }
}

#[test]
fn sigterm_as_soon_as_main_runs_ends_a_server_with_0() {
    for _ in 0..10 {
        let directory = tempfile::tempdir().unwrap();
        let server = Early::server(directory.path());
        let since = Instant::now();
        while !server.is_safe() {
            assert!(since.elapsed() < LIMIT, "main has not begun");
            std::hint::spin_loop();
        }
        let ended = server.terminate();
        let said = fs::read_to_string(directory.path().join("stderr")).unwrap();
        assert_eq!(ended.code(), Some(0), "{ended}: {said}");
        assert!(said.contains("SIGTERM: stop"), "{said}");
    }
}

#[test]
fn sigterm_at_any_moment_of_a_start_ends_a_server_with_0() {
    // Spread over the first 200 ms, closer together where it is early: 0, 0.3, 1.2, 2.7 ms …
    for turn in 0..26_u64 {
        let directory = tempfile::tempdir().unwrap();
        let server = Early::server(directory.path());
        let (since, moment) = (Instant::now(), Duration::from_micros(turn * turn * 300));
        while since.elapsed() < moment {
            std::hint::spin_loop();
        }
        let was_safe = server.is_safe();
        let ended = server.terminate();
        let said = fs::read_to_string(directory.path().join("stderr")).unwrap();
        // Before `main` the signal has its default effect: the loader's time is the kernel's.
        let is_well = ended.code() == Some(0) || (!was_safe && ended.signal() == Some(Signal::TERM.as_raw()));
        assert!(is_well, "after {moment:?}, safe {was_safe}: {ended}: {said}");
    }
}

#[test]
fn other_commands_end_by_their_signal() {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..5 {
        let ended = Early::start(directory.path(), &["sleep", "10m"]).terminate();
        assert_eq!(ended.signal(), Some(Signal::TERM.as_raw()), "{ended}");
    }
}
