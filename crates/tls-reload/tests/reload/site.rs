//! A directory of certificate files and a reloader that serves them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tls_reload::{PemSource, ReloadHandle, ReloadResult, ReloadSettings, ReloadState, Reloader, Settings};

use crate::authority::Pair;
use crate::records;

/// The debounce of most cases: short, and long enough to be told from none.
pub(crate) const DEBOUNCE: Duration = Duration::from_millis(120);
/// How long anything may take on a busy machine before a case fails.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

pub(crate) struct Site {
    pub(crate) root: TempDir,
    pub(crate) handle: ReloadHandle,
}

/// Events only: what they miss is a failure of the case.
pub(crate) fn by_events() -> ReloadSettings {
    ReloadSettings {
        debounce: DEBOUNCE,
        reload_interval: Duration::ZERO,
        ..ReloadSettings::default()
    }
}

/// `tls.crt` and `tls.key` in `directory`.
pub(crate) fn settings(directory: &Path) -> Settings {
    let source = |name: &str| PemSource::Path(directory.join(name));
    Settings {
        reload: by_events(),
        ..Settings::single(source("tls.crt"), Some(source("tls.key")))
    }
}

pub(crate) fn write(directory: &Path, pair: &Pair) {
    fs::write(directory.join("tls.crt"), &pair.certificate).expect("write");
    fs::write(directory.join("tls.key"), &pair.key).expect("write");
}

/// Writes to another name, then renames.
pub(crate) fn replace(path: &Path, content: &str) {
    let temporary = path.with_extension("tmp");
    fs::write(&temporary, content).expect("write");
    fs::rename(&temporary, path).expect("rename");
}

impl Site {
    /// `tls.crt` and `tls.key` of `pair`, served with short times.
    pub(crate) fn with(pair: &Pair) -> Self {
        let root = directory();
        write(root.path(), pair);
        let settings = settings(root.path());
        Self::serving(root, settings)
    }

    pub(crate) fn serving(root: TempDir, settings: Settings) -> Self {
        Self::started(root, Reloader::new(settings))
    }

    pub(crate) fn started(root: TempDir, reloader: Reloader) -> Self {
        records::keep();
        let handle = reloader.spawn_system().expect("served");
        let site = Self { root, handle };
        site.wait_armed();
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn served(&self) -> String {
        self.handle.resolver().current().info().fingerprint().to_owned()
    }

    pub(crate) fn state(&self) -> Arc<ReloadState> {
        self.handle.state()
    }

    /// Waits until the state is as asked, and returns it. Blocks, wherever it is called.
    pub(crate) fn wait(&self, what: &str, is_so: impl Fn(&ReloadState) -> bool + Sync) -> Arc<ReloadState> {
        let wait = || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .expect("a runtime");
            runtime.block_on(self.until(what, &is_so))
        };
        let outcome = std::thread::scope(|scope| scope.spawn(wait).join());
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    pub(crate) async fn until(&self, what: &str, is_so: impl Fn(&ReloadState) -> bool) -> Arc<ReloadState> {
        let mut states = self.handle.subscribe();
        let found = tokio::time::timeout(LIMIT, states.wait_for(|state| is_so(state))).await;
        match found {
            Ok(Ok(state)) => state.clone(),
            _ => panic!("never came: {what}; the state is {:#?}", self.state()),
        }
    }

    /// Waits for `pair` to be served, by the clock of the test.
    pub(crate) fn wait_served(&self, pair: &Pair) -> Instant {
        self.wait("the new pair", |state| {
            state.generation.fingerprint() == pair.fingerprint
        });
        Instant::now()
    }

    /// How often an attempt ended so; repeats of the same count once.
    pub(crate) fn count(&self, result: ReloadResult) -> usize {
        self.state()
            .attempts
            .iter()
            .filter(|attempt| attempt.result == result)
            .count()
    }

    /// Waits for the first look at the disk, after which the watch is armed or has failed.
    fn wait_armed(&self) {
        if !self.state().reload_enabled {
            return;
        }
        self.wait("a watch", |state| {
            !state.watched_directories.is_empty() || state.watch_problem.is_some()
        });
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let handle = self.handle.clone();
        let stopped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .expect("a runtime");
            runtime.block_on(async { tokio::time::timeout(LIMIT, handle.shutdown()).await.is_ok() })
        })
        .join();
        if !std::thread::panicking() {
            assert!(stopped.expect("joined"), "the reloader stops");
        }
    }
}

pub(crate) fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

/// Whether this process runs nothing but the case `name`; if not, such a process has run it now. For cases that
/// measure the process: descriptors, memory, CPU time.
pub(crate) fn alone(name: &str) -> bool {
    const ALONE: &str = "TLS_RELOAD_TEST_ALONE";
    if std::env::var_os(ALONE).is_some_and(|case| case == name) {
        return true;
    }
    let this = std::env::current_exe().expect("this test");
    let output = std::process::Command::new(this)
        .args(["--exact", name, "--include-ignored", "--nocapture"])
        .env(ALONE, name)
        .output()
        .expect("a process");
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success() && out.contains("1 passed"),
        "{out}\n{err}"
    );
    print!("{out}");
    false
}
