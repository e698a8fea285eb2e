//! File-system events without their content: which directories are watched, and the one bit that they moved.
//!
//! In: a look at the disk. Out: what is watched now, or why not; events go to [`EventSink`]. File names are never
//! looked at (reload.md 2.2): the actor reads everything again anyway.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecursiveMode, Watcher};

use crate::signals::EventSink;
use crate::walk::{Id, Snapshot};
use crate::watch_failure::WatchFailure;

/// Something that watches directories and tells an [`EventSink`]; replaced in tests.
pub trait DirectoryWatcher: Send {
    /// Begins to watch one directory, not what is below it.
    fn watch(&mut self, directory: &Path) -> Result<(), WatchFailure>;

    /// Ends it; one that is not watched is no error.
    fn unwatch(&mut self, directory: &Path);
}

/// Makes a watcher that tells the sink.
pub type WatcherFactory =
    Arc<dyn Fn(EventSink) -> Result<Box<dyn DirectoryWatcher>, WatchFailure> + Send + Sync>;

pub(crate) struct Watches {
    factory: WatcherFactory,
    running: Option<Running>,
    is_closed: bool,
}

struct Running {
    watcher: Box<dyn DirectoryWatcher>,
    is_retired: Arc<AtomicBool>,
    armed: BTreeMap<PathBuf, Option<Id>>,
}

/// The result of arming the watch.
#[derive(Debug, Default)]
pub(crate) struct Armed {
    /// Some directory is watched anew: what happened before may have been missed.
    pub(crate) is_anew: bool,
    pub(crate) directories: Vec<PathBuf>,
    pub(crate) failure: Option<WatchFailure>,
}

impl Watches {
    pub(crate) fn new(factory: WatcherFactory) -> Self {
        Self {
            factory,
            running: None,
            is_closed: false,
        }
    }

    /// Ends the running watcher; the next [`arm`](Self::arm) makes a new one.
    pub(crate) fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            // The cause of the stop is told already: the end of the thread is not a second one (reload.md 8.1).
            running.is_retired.store(true, Ordering::Release);
            // notify's handle panics when it is dropped after its thread died.
            let _ = catch_unwind(AssertUnwindSafe(move || drop(running)));
        }
    }

    /// Ends the watcher for good.
    pub(crate) fn close(&mut self) {
        self.is_closed = true;
        self.stop();
    }

    /// Watches exactly the directories of `snapshot` (reload.md 2.3). With `all`, also those that seem watched already:
    /// the system drops a watch in silence when its directory is moved or deleted. Blocking.
    pub(crate) fn arm(&mut self, snapshot: &Snapshot, all: bool, sink: impl FnOnce() -> EventSink) -> Armed {
        if self.is_closed {
            return Armed::default();
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| self.arm_unguarded(snapshot, all, sink)));
        let armed = outcome.unwrap_or_else(|_| Armed {
            failure: Some(WatchFailure::Died),
            ..Armed::default()
        });
        if armed.failure.is_some() {
            self.stop();
        }
        armed
    }

    fn arm_unguarded(&mut self, snapshot: &Snapshot, all: bool, sink: impl FnOnce() -> EventSink) -> Armed {
        let wanted: BTreeMap<PathBuf, Option<Id>> = snapshot
            .directories()
            .iter()
            .map(|path| (path.clone(), snapshot.directory_id(path)))
            .collect();
        if wanted.is_empty() {
            self.stop();
            return Armed::default();
        }
        let running = match self.running.take() {
            Some(running) => self.running.insert(running),
            None => {
                let sink = sink();
                let is_retired = sink.is_retired.clone();
                match (self.factory)(sink) {
                    Ok(watcher) => self.running.insert(Running {
                        watcher,
                        is_retired,
                        armed: BTreeMap::new(),
                    }),
                    Err(failure) => {
                        return Armed {
                            failure: Some(failure),
                            ..Armed::default()
                        };
                    }
                }
            }
        };
        let stale: Vec<PathBuf> = running
            .armed
            .iter()
            .filter(|(path, id)| all || wanted.get(*path) != Some(id))
            .map(|(path, _)| path.clone())
            .collect();
        for path in &stale {
            running.watcher.unwatch(path);
            running.armed.remove(path);
        }
        let mut is_anew = false;
        for (path, id) in wanted {
            if running.armed.contains_key(&path) {
                continue;
            }
            match running.watcher.watch(&path) {
                Ok(()) => {
                    running.armed.insert(path, id);
                    is_anew = true;
                }
                // It went away since the look; the look after this one sees that.
                Err(WatchFailure::Missing) => is_anew = true,
                Err(failure) => {
                    return Armed {
                        failure: Some(failure),
                        ..Armed::default()
                    };
                }
            }
        }
        Armed {
            is_anew,
            directories: running.armed.keys().cloned().collect(),
            failure: None,
        }
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The system's own events.
#[must_use]
pub fn system_events() -> WatcherFactory {
    Arc::new(|sink: EventSink| {
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| match event {
            Ok(event) if event.need_rescan() => {
                sink.failed(WatchFailure::Overflow);
                sink.changed();
            }
            Ok(event) if is_relevant(&event.kind) => sink.changed(),
            Ok(_) => {}
            Err(error) => sink.failed(error.into()),
        })?;
        Ok(Box::new(Notify(watcher)))
    })
}

struct Notify(notify::RecommendedWatcher);

impl DirectoryWatcher for Notify {
    fn watch(&mut self, directory: &Path) -> Result<(), WatchFailure> {
        Ok(self.0.watch(directory, RecursiveMode::NonRecursive)?)
    }

    fn unwatch(&mut self, directory: &Path) {
        // notify forgets a directory by itself when it is moved or deleted: nothing is lost if it has.
        let _forgotten = self.0.unwatch(directory);
    }
}

/// reload.md 2.2, 2.8: reading is silent, everything else counts.
fn is_relevant(kind: &EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use notify::event::{CreateKind, Flag, MetadataKind, ModifyKind};

    use super::*;
    use crate::signals::Signals;

    #[test]
    fn r02_r08_reading_is_silent_writing_is_not() {
        assert!(!is_relevant(&EventKind::Access(AccessKind::Open(
            AccessMode::Any
        ))));
        assert!(!is_relevant(&EventKind::Access(AccessKind::Close(
            AccessMode::Read
        ))));
        assert!(!is_relevant(&EventKind::Access(AccessKind::Read)));
        assert!(is_relevant(&EventKind::Access(AccessKind::Close(
            AccessMode::Write
        ))));
        assert!(is_relevant(&EventKind::Create(CreateKind::File)));
        assert!(is_relevant(&EventKind::Modify(ModifyKind::Metadata(
            MetadataKind::Any
        ))));
        assert!(is_relevant(&EventKind::Any));
        let overflow = notify::Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert!(overflow.need_rescan());
    }

    /// The system's own queue, run over while the watcher's thread is held up.
    #[cfg(target_os = "linux")]
    #[test]
    fn r02_a_queue_that_overflows_is_told() {
        let limit = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
        let limit: usize = limit.trim().parse().unwrap();
        let place = tempfile::tempdir_in("/dev/shm")
            .or_else(|_| tempfile::tempdir())
            .unwrap();
        let (open, gate) = std::sync::mpsc::sync_channel::<()>(0);
        let (heard, hears) = std::sync::mpsc::sync_channel::<()>(1);
        let (gate, is_first) = (std::sync::Mutex::new(gate), AtomicBool::new(true));
        let signals = Signals::new(move || {
            if is_first.swap(false, Ordering::AcqRel) {
                // Until the test lets go.
                let _open = gate.lock().unwrap().recv();
            }
            let _full = heard.try_send(());
            true
        });
        signals.go_live();
        let mut watcher = system_events()(signals.sink()).unwrap();
        watcher.watch(place.path()).unwrap();
        // Each rename is two events, and no event equals the one before it.
        let names = ["a", "b"].map(|name| place.path().join(name));
        std::fs::write(&names[0], "x").unwrap();
        for turn in 0..limit + 1000 {
            std::fs::rename(&names[turn % 2], &names[(turn + 1) % 2]).unwrap();
        }
        drop(open);
        // The burst is told once, so whatever wakes after that is the failure.
        let told = (0..3).find_map(|_| {
            hears.recv_timeout(Duration::from_secs(20)).unwrap();
            signals.take_failure()
        });
        assert_eq!(told, Some(WatchFailure::Overflow));
    }

    /// The sink is dropped within the stop here, so that the order is certain: no end of the thread is told.
    #[test]
    fn r06_a_watcher_that_is_given_up_did_not_die() {
        struct Full(EventSink, u32);
        impl DirectoryWatcher for Full {
            fn watch(&mut self, _: &Path) -> Result<(), WatchFailure> {
                self.1 += 1;
                if self.1 > 1 {
                    Err(WatchFailure::Limit)
                } else {
                    Ok(())
                }
            }
            fn unwatch(&mut self, _: &Path) {
                self.0.changed();
            }
        }
        let place = tempfile::tempdir().unwrap();
        let snapshot = Snapshot::of(std::iter::once(place.path().join("tls.crt").as_path()));
        let signals = Signals::new(|| true);
        let mut watches = Watches::new(Arc::new(|sink| Ok(Box::new(Full(sink, 0)))));
        let first = watches.arm(&snapshot, false, || signals.sink());
        assert_eq!((first.failure, first.is_anew), (None, true));
        signals.go_live();
        let again = watches.arm(&snapshot, true, || signals.sink());
        assert_eq!(again.failure, Some(WatchFailure::Limit));
        assert_eq!(signals.take_failure(), None);
        drop(signals.sink());
        assert_eq!(signals.take_failure(), Some(WatchFailure::Died), "others may die");
    }
}
