//! File-system events without their content: which directories are watched, and the one bit that they moved.
//!
//! Events arrive on a foreign thread. All that happens there is a time stamp and at most one `try_send`, so it
//! can neither block nor fill a mailbox (a burst of 100,000 events is one message). File names are never
//! looked at (reload.md 2.2): the actor reads everything again anyway.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecursiveMode, Watcher};
use strum::{Display, FromRepr, IntoStaticStr, VariantArray};

use crate::walk::{Id, Snapshot};

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

/// Why directories are not watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Display, FromRepr, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "lowercase")]
#[repr(u8)]
pub enum WatchFailure {
    /// The user's inotify watches or instances are used up, or the process's or system's open files: the system
    /// tells instances and files by the same number.
    Limit = 1,
    /// The queue of events overflowed: some were lost, so everything is looked at again.
    Overflow,
    /// The directory went away in between.
    Missing,
    /// The system refused or failed.
    System,
    /// The watcher's thread ended or panicked.
    Died,
}

/// Where a watcher reports. Dropping it means that the watcher is gone.
pub struct EventSink {
    signals: Arc<Signals>,
    /// Its watcher is ended on purpose: that is no failure.
    is_retired: Arc<AtomicBool>,
}

/// What the foreign thread leaves for the actor.
pub(crate) struct Signals {
    base: Instant,
    pending: AtomicBool,
    first: AtomicU64,
    last: AtomicU64,
    failure: AtomicU8,
    /// Set once the watch is armed: a watcher that fails before tells it by its result.
    is_live: AtomicBool,
    wake: Box<dyn Fn() -> bool + Send + Sync>,
}

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

impl EventSink {
    /// Something in a watched directory was created, modified, moved or deleted, or its attributes changed.
    pub fn changed(&self) {
        let signals = &*self.signals;
        let now = signals.nanos(Instant::now());
        signals.last.store(now, Ordering::Release);
        if !signals.pending.swap(true, Ordering::AcqRel) {
            signals.first.store(now, Ordering::Release);
            if !(signals.wake)() {
                // The mailbox is full or gone: let the next event try again. The safety poll is there, too.
                signals.pending.store(false, Ordering::Release);
            }
        }
    }

    /// The watcher failed. Only an overflow lets it go on.
    pub fn failed(&self, failure: WatchFailure) {
        if !self.is_retired.load(Ordering::Acquire) {
            self.signals.failed(failure);
        }
    }
}

impl Drop for EventSink {
    fn drop(&mut self) {
        self.failed(WatchFailure::Died);
    }
}

impl fmt::Debug for EventSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventSink")
    }
}

impl Signals {
    /// `wake` must not block; it returns whether the actor will look.
    pub(crate) fn new(wake: impl Fn() -> bool + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            base: Instant::now(),
            pending: AtomicBool::new(false),
            first: AtomicU64::new(0),
            last: AtomicU64::new(0),
            failure: AtomicU8::new(0),
            is_live: AtomicBool::new(false),
            wake: Box::new(wake),
        })
    }

    pub(crate) fn sink(self: &Arc<Self>) -> EventSink {
        EventSink {
            signals: self.clone(),
            is_retired: Arc::default(),
        }
    }

    /// The first and the last event since the last [`rest`](Self::rest), if there were any.
    pub(crate) fn burst(&self) -> Option<(Instant, Instant)> {
        let at = |nanos: &AtomicU64| self.base + Duration::from_nanos(nanos.load(Ordering::Acquire));
        self.pending
            .load(Ordering::Acquire)
            .then(|| (at(&self.first), at(&self.last)))
    }

    /// The next event sends a message again.
    pub(crate) fn rest(&self) {
        self.pending.store(false, Ordering::Release);
    }

    /// From now on failures are told; one that came before is found by the next [`take_failure`](Self::take_failure).
    pub(crate) fn go_live(&self) {
        self.is_live.store(true, Ordering::Release);
    }

    pub(crate) fn take_failure(&self) -> Option<WatchFailure> {
        if !self.is_live.load(Ordering::Acquire) {
            return None;
        }
        WatchFailure::from_repr(self.failure.swap(0, Ordering::AcqRel))
    }

    fn failed(&self, failure: WatchFailure) {
        self.failure.store(failure as u8, Ordering::Release);
        if self.is_live.load(Ordering::Acquire) {
            // If nobody hears it now, the next tick of the poll finds it.
            let _heard = (self.wake)();
        }
    }

    fn nanos(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.base).as_nanos()).unwrap_or(u64::MAX)
    }
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

impl WatchFailure {
    /// What happened and what to do.
    #[must_use]
    pub fn explain(self) -> &'static str {
        match self {
            Self::Limit => {
                "inotify watches, inotify instances or open files are used up: raise fs.inotify.max_user_watches and fs.inotify.max_user_instances (sysctl), or the limit of open files (ulimit -n, LimitNOFILE)"
            }
            Self::Overflow => {
                "the queue of file-system events overflowed: raise fs.inotify.max_queued_events (sysctl)"
            }
            Self::Missing => "the directory went away",
            Self::System => "the system refused to watch the directories",
            Self::Died => "the watcher's thread ended",
        }
    }
}

impl From<notify::Error> for WatchFailure {
    fn from(error: notify::Error) -> Self {
        match error.kind {
            notify::ErrorKind::MaxFilesWatch => Self::Limit,
            notify::ErrorKind::PathNotFound => Self::Missing,
            notify::ErrorKind::Io(error) => match error.raw_os_error() {
                // EMFILE: inotify instances, or files of the process; ENFILE: files of the system; ENOSPC: watches.
                Some(24 | 23 | 28) => Self::Limit,
                _ if error.kind() == std::io::ErrorKind::NotFound => Self::Missing,
                _ => Self::System,
            },
            _ => Self::System,
        }
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
    use notify::event::{CreateKind, Flag, MetadataKind, ModifyKind};

    use super::*;

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

    #[test]
    fn t73_a_burst_is_one_message() {
        let sent = Arc::new(AtomicU64::new(0));
        let counter = sent.clone();
        let signals = Signals::new(move || {
            counter.fetch_add(1, Ordering::Relaxed);
            true
        });
        let sink = signals.sink();
        for _ in 0..100_000 {
            sink.changed();
        }
        assert_eq!(sent.load(Ordering::Relaxed), 1);
        let (first, last) = signals.burst().unwrap();
        assert!(first <= last);
        signals.rest();
        assert!(signals.burst().is_none());
        sink.changed();
        assert_eq!(sent.load(Ordering::Relaxed), 2);
        drop(sink);
        assert_eq!(
            signals.take_failure(),
            None,
            "not armed yet: the result of arming tells"
        );
        signals.go_live();
        assert_eq!(signals.take_failure(), Some(WatchFailure::Died));
        assert_eq!(signals.take_failure(), None);
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

    #[test]
    fn a_full_mailbox_loses_no_later_event() {
        let signals = Signals::new(|| false);
        signals.sink().changed();
        assert!(
            signals.burst().is_none(),
            "nobody was told, so the next event must try again"
        );
    }
}
