//! The watch fails: limits, panics, overflows, silence (T69, T71, reload.md 2.2, 2.7). The poll and a new watcher
//! take over.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use prometheus_client::registry::Registry;
use tls_reload::{
    DirectoryWatcher, EventSink, ReloadMetrics, Reloader, WatchFailure, WatchMode, WatcherFactory,
    system_events,
};

use crate::authority::Authority;
use crate::site::{DEBOUNCE, Site, directory, settings, write};
use crate::told::{metric, scrape};

/// A watcher that works and never tells anything, as on a network file system.
pub(crate) fn deaf() -> WatcherFactory {
    struct Deaf(#[expect(dead_code, reason = "dropping it would tell that the watcher died")] EventSink);
    impl DirectoryWatcher for Deaf {
        fn watch(&mut self, _: &Path) -> Result<(), WatchFailure> {
            Ok(())
        }
        fn unwatch(&mut self, _: &Path) {}
    }
    Arc::new(|sink| Ok(Box::new(Deaf(sink))))
}

/// The limit itself, in a user namespace of its own.
#[test]
fn t69_r06_no_watches_left() {
    if std::env::var_os(INNER).is_some() {
        return without_watches();
    }
    let this = std::env::current_exe().expect("this test");
    let script = "echo 0 > /proc/sys/user/max_inotify_watches && exec \"$0\" --exact watching::t69_r06_no_watches_left --nocapture";
    let outcome = Command::new("unshare")
        .args(["--user", "--map-root-user", "sh", "-c", script])
        .arg(this)
        .env(INNER, "1")
        .output();
    match outcome {
        Ok(output) if output.status.success() => {
            assert!(
                String::from_utf8_lossy(&output.stdout).contains("1 passed"),
                "the inner case ran: {output:?}"
            );
        }
        Ok(output) if output.stdout.is_empty() => {
            eprintln!("no user namespace here, t69_r06_injected covers it: {output:?}")
        }
        Ok(output) => panic!(
            "{}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) => eprintln!("no unshare here ({error}), t69_r06_injected covers it"),
    }
}

const INNER: &str = "TLS_RELOAD_TEST_INNER";

fn without_watches() {
    poll_only(system_events());
}

#[test]
fn t69_r06_injected() {
    poll_only(Arc::new(|_| Err(WatchFailure::Limit)));
}

fn poll_only(factory: WatcherFactory) {
    let root = Authority::new("root");
    let (a, b) = (root.server(), root.server());
    let place = directory();
    write(place.path(), &a);
    let mut set = settings(place.path());
    let interval = Duration::from_millis(300);
    set.reload.reload_interval = interval;
    let mut registry = Registry::default();
    let metrics = ReloadMetrics::register(&mut registry);
    let site = Site::started(place, Reloader::new(set).watcher(factory).metrics(metrics));
    let state = site.state();
    assert_eq!(state.watch_mode, WatchMode::Poll);
    assert!(
        state
            .watch_problem
            .as_ref()
            .is_some_and(|why| why.contains("fs.inotify.max_user_watches")),
        "reload.md 2.6: {state:?}"
    );
    assert!(state.healthy, "reload.md 2.6: a warning");
    write(site.root.path(), &b);
    let last = Instant::now();
    let took = site.wait_served(&b) - last;
    assert!(took <= interval + DEBOUNCE + Duration::from_secs(1), "{took:?}");
    let text = scrape(&registry);
    assert_eq!(metric(&text, "watch_mode{mode=\"poll\"}"), Some(1.0));
    assert!(
        metric(&text, "watch_errors_total{reason=\"limit\"}").is_some_and(|count| count >= 1.0),
        "{text}"
    );
}

/// T69: the limit is reached while a watcher runs. The one that is given up then did not die (reload.md 2.6, 8.1).
#[test]
fn t69_r06_the_limit_is_reached_later() {
    struct Full(Box<dyn DirectoryWatcher>, Arc<AtomicBool>);
    impl DirectoryWatcher for Full {
        fn watch(&mut self, directory: &Path) -> Result<(), WatchFailure> {
            if self.1.load(Ordering::Acquire) {
                return Err(WatchFailure::Limit);
            }
            self.0.watch(directory)
        }
        fn unwatch(&mut self, directory: &Path) {
            self.0.unwatch(directory);
        }
    }
    let root = Authority::new("root");
    let (a, b, c, d) = (root.server(), root.server(), root.server(), root.server());
    let place = directory();
    write(place.path(), &a);
    let mut set = settings(place.path());
    set.reload.reload_interval = Duration::from_millis(300);
    let mut registry = Registry::default();
    let metrics = ReloadMetrics::register(&mut registry);
    let is_full = Arc::new(AtomicBool::new(false));
    let (full, real) = (is_full.clone(), system_events());
    let factory: WatcherFactory =
        Arc::new(move |sink| Ok(Box::new(Full(real(sink)?, full.clone())) as Box<dyn DirectoryWatcher>));
    let site = Site::started(place, Reloader::new(set).watcher(factory).metrics(metrics));
    is_full.store(true, Ordering::Release);
    write(site.root.path(), &b);
    site.wait_served(&b);
    // The look after the read arms all directories anew, and may not.
    let state = site.wait("the limit", |state| state.watch_mode == WatchMode::Poll);
    assert!(
        state
            .watch_problem
            .as_ref()
            .is_some_and(|why| why.contains("fs.inotify.max_user_watches")),
        "{state:?}"
    );
    write(site.root.path(), &c);
    site.wait_served(&c);
    is_full.store(false, Ordering::Release);
    site.wait("events", |state| state.watch_mode == WatchMode::Events);
    write(site.root.path(), &d);
    site.wait_served(&d);
    let text = scrape(&registry);
    assert!(
        metric(&text, "watch_errors_total{reason=\"limit\"}").is_some_and(|count| count >= 1.0),
        "{text}"
    );
    assert_eq!(
        metric(&text, "watch_errors_total{reason=\"died\"}"),
        Some(0.0),
        "nothing died"
    );
}

/// A watcher over the system's own whose thread panics on demand.
fn fragile(panic_now: Arc<AtomicBool>) -> WatcherFactory {
    Arc::new(move |sink: EventSink| {
        let panic_now = panic_now.clone();
        struct Fragile(notify::RecommendedWatcher);
        impl DirectoryWatcher for Fragile {
            fn watch(&mut self, directory: &Path) -> Result<(), WatchFailure> {
                use notify::Watcher as _;
                Ok(self.0.watch(directory, notify::RecursiveMode::NonRecursive)?)
            }
            fn unwatch(&mut self, directory: &Path) {
                use notify::Watcher as _;
                let _forgotten = self.0.unwatch(directory);
            }
        }
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            assert!(
                !panic_now.swap(false, Ordering::AcqRel),
                "the watcher's thread panics, as the case wants"
            );
            if event.is_ok_and(|event| !event.kind.is_access()) {
                sink.changed();
            }
        })?;
        Ok(Box::new(Fragile(watcher)))
    })
}

#[test]
fn t71_the_watchers_thread_panics_and_is_replaced() {
    let root = Authority::new("root");
    let (a, b, c) = (root.server(), root.server(), root.server());
    let place = directory();
    write(place.path(), &a);
    let panic_now = Arc::new(AtomicBool::new(false));
    let mut registry = Registry::default();
    let metrics = ReloadMetrics::register(&mut registry);
    let set = settings(place.path());
    let site = Site::started(
        place,
        Reloader::new(set)
            .watcher(fragile(panic_now.clone()))
            .metrics(metrics),
    );
    panic_now.store(true, Ordering::Release);
    write(site.root.path(), &b);
    site.wait("the end of the watcher", |state| state.watcher_restarts == 1);
    site.wait_served(&b);
    site.wait("a new watcher", |state| state.watch_mode == WatchMode::Events);
    write(site.root.path(), &c);
    site.wait_served(&c);
    assert_eq!(
        metric(&scrape(&registry), "watch_errors_total{reason=\"died\"}"),
        Some(1.0)
    );
    assert!(site.state().watch_problem.is_none());
}

/// reload.md 2.7: tries again after 1, 2, … seconds, until it works.
#[test]
fn r07_a_watcher_that_fails_at_first() {
    let root = Authority::new("root");
    let (a, b) = (root.server(), root.server());
    let place = directory();
    write(place.path(), &a);
    let tries = Arc::new(Mutex::new(Vec::new()));
    let (seen, real) = (tries.clone(), system_events());
    let set = settings(place.path());
    let site = Site::started(
        place,
        Reloader::new(set).watcher(Arc::new(move |sink| {
            let mut seen = seen.lock().expect("a lock");
            seen.push(Instant::now());
            if seen.len() < 3 {
                Err(WatchFailure::System)
            } else {
                real(sink)
            }
        })),
    );
    site.wait("events", |state| state.watch_mode == WatchMode::Events);
    let tries = tries.lock().expect("a lock");
    let waits: Vec<u64> = tries
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).as_secs())
        .collect();
    assert_eq!(waits, [1, 2]);
    write(site.root.path(), &b);
    site.wait_served(&b);
}

/// The overflow is there before the watch is armed: it is counted, and the mode is told all the same.
#[test]
fn r02_r33_an_overflow_while_the_watch_is_armed() {
    struct Early(EventSink);
    impl DirectoryWatcher for Early {
        fn watch(&mut self, _: &Path) -> Result<(), WatchFailure> {
            self.0.failed(WatchFailure::Overflow);
            Ok(())
        }
        fn unwatch(&mut self, _: &Path) {}
    }
    let place = directory();
    write(place.path(), &Authority::new("root").server());
    let mut registry = Registry::default();
    let metrics = ReloadMetrics::register(&mut registry);
    let set = settings(place.path());
    let site = Site::started(
        place,
        Reloader::new(set)
            .watcher(Arc::new(|sink| Ok(Box::new(Early(sink)))))
            .metrics(metrics),
    );
    let state = site.state();
    assert_eq!(state.watch_mode, WatchMode::Events, "{state:?}");
    assert!(state.watch_problem.is_none(), "{state:?}");
    assert_eq!(
        metric(&scrape(&registry), "watch_errors_total{reason=\"overflow\"}"),
        Some(1.0)
    );
}

/// A queue that overflowed lost events: look at everything again.
#[test]
fn r02_overflow_is_a_change() {
    let root = Authority::new("root");
    let (a, b) = (root.server(), root.server());
    let place = directory();
    write(place.path(), &a);
    let kept: Arc<Mutex<Option<Arc<EventSink>>>> = Arc::default();
    struct Hand(#[expect(dead_code, reason = "the watcher keeps its sink")] Arc<EventSink>);
    impl DirectoryWatcher for Hand {
        fn watch(&mut self, _: &Path) -> Result<(), WatchFailure> {
            Ok(())
        }
        fn unwatch(&mut self, _: &Path) {}
    }
    let keep = kept.clone();
    let set = settings(place.path());
    let site = Site::started(
        place,
        Reloader::new(set).watcher(Arc::new(move |sink| {
            let sink = Arc::new(sink);
            *keep.lock().expect("a lock") = Some(sink.clone());
            Ok(Box::new(Hand(sink)))
        })),
    );
    write(site.root.path(), &b);
    let sink = kept.lock().expect("a lock").take().expect("a sink");
    sink.failed(WatchFailure::Overflow);
    sink.changed();
    drop(sink);
    site.wait_served(&b);
    assert_eq!(site.state().watch_mode, WatchMode::Events, "the watcher goes on");
}
