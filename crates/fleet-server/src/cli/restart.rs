//! `fleet-server restart`: asks the running server to give its place to a new process, and waits for the outcome.

use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::mpsc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use notify::Watcher as _;
use rustix::process::{Pid, Signal, kill_process};

use super::{Exit, GlobalArgs};
use crate::restart_outcome::RestartOutcome;

/// Sends the signal and prints who serves now.
///
/// # Errors
/// No server has the data directory open, it may not or cannot be replaced (it goes on then), or says nothing in time.
pub(crate) fn run(global: &GlobalArgs, out: &mut dyn Write) -> Result<Exit> {
    let data = if global.is_configured() {
        global.load()?.path.data
    } else {
        global.data_dir()
    };
    let pid = server_of(&data)?;
    if pid == 1 {
        bail!(
            "the server is process 1, which cannot be replaced: in a container, roll the pod instead \
             (kubectl rollout restart statefulset/NAME, or restart the container)"
        );
    }
    let changes = Changes::watch(&data)?;
    let before = RestartOutcome::read(&data)?;
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let process = process.with_context(|| format!("{pid} in the store's lock file is not a process id"))?;
    kill_process(process, Signal::USR2).with_context(|| format!("cannot signal process {pid}"))?;
    let ended = Instant::now() + PATIENCE;
    loop {
        let outcome = RestartOutcome::read(&data)?.filter(|outcome| Some(outcome) != before.as_ref());
        if let Some(outcome) = outcome {
            return told(&outcome, out);
        }
        if Instant::now() >= ended {
            bail!(
                "process {pid} has not said for {} seconds how the restart went; its log does",
                PATIENCE.as_secs()
            );
        }
        let is_gone = rustix::process::test_kill_process(process).is_err();
        if is_gone && RestartOutcome::read(&data)? == before {
            bail!("the server ended instead; its log says why");
        }
        changes.wait();
    }
}

fn server_of(data: &Path) -> Result<u32> {
    let holder = store_sqlite::holder_of(data);
    match holder.with_context(|| format!("cannot read the store's lock in {}", data.display()))? {
        Some(pid) => Ok(pid),
        None => bail!(
            "no server has the store in {} open; give its --data-dir or -c FILE",
            data.display()
        ),
    }
}

fn told(outcome: &RestartOutcome, out: &mut dyn Write) -> Result<Exit> {
    match (outcome.to, &outcome.error) {
        (Some(to), None) => {
            let gap = outcome.gap_ms.unwrap_or_default();
            writeln!(
                out,
                "process {to} serves now, in place of {}; connections waited {gap} ms at most",
                outcome.from
            )?;
            Ok(Exit::Success)
        }
        (_, error) => bail!(
            "process {} goes on serving: {}",
            outcome.from,
            error.as_deref().unwrap_or("the restart failed; its log says why")
        ),
    }
}

/// Wakes when something in a directory changes.
struct Changes {
    changed: mpsc::Receiver<()>,
    _watcher: notify::RecommendedWatcher,
}

impl Changes {
    fn watch(directory: &Path) -> Result<Self> {
        let (told, changed) = mpsc::sync_channel(1);
        // One pending wake-up is enough: the outcome is read again after each.
        let mut watcher = notify::recommended_watcher(move |_| {
            let _ = told.try_send(());
        })?;
        let path: PathBuf = directory.to_owned();
        watcher
            .watch(&path, notify::RecursiveMode::NonRecursive)
            .with_context(|| format!("cannot watch {}", path.display()))?;
        Ok(Self {
            changed,
            _watcher: watcher,
        })
    }

    /// Also returns after a second without a change, since the end of a process changes no file.
    fn wait(&self) {
        let _ = self.changed.recv_timeout(Duration::from_secs(1));
    }
}

/// Long enough for a drain with slow clients and for opening a store with a migration.
const PATIENCE: Duration = Duration::from_secs(400);
