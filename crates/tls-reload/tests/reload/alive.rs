//! T67 to T78: triggers, floods, clocks, leaks, the end.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant, SystemTime};

use prometheus_client::registry::Registry;
use tls_reload::{Clock, ReloadMetrics, ReloadResult, Reloader, StartError, Trigger, WatchMode};

use crate::authority::Authority;
use crate::records;
use crate::rotation::Lag;
use crate::site::{DEBOUNCE, LIMIT, Site, alone, directory, replace, settings, write};
use crate::told::{metric, scrape};

#[tokio::test]
async fn t67_r10_asking_reloads_at_once_and_answers() {
    let root = Authority::new("root");
    let (a, b) = (root.server(), root.server());
    let place = directory();
    write(place.path(), &a);
    let mut set = settings(place.path());
    set.reload.debounce = Duration::from_secs(600);
    let site = Site::serving(place, set);
    write(site.root.path(), &b);
    let outcome = site.handle.reload_now(Trigger::Signal).await;
    assert_eq!(
        (outcome.result, outcome.fingerprint.as_str()),
        (ReloadResult::Success, b.fingerprint.as_str()),
        "{outcome:?}"
    );
    assert_eq!(site.served(), b.fingerprint, "served before the answer");
    let outcome = site.handle.reload_now(Trigger::Api).await;
    assert_eq!(outcome.result, ReloadResult::Unchanged);
    replace(&site.path("tls.crt"), "");
    let outcome = site.handle.reload_now(Trigger::Api).await;
    assert_eq!(
        (outcome.result, outcome.fingerprint.as_str()),
        (ReloadResult::Failure, b.fingerprint.as_str())
    );
    assert!(
        outcome.message.contains("is empty") && outcome.message.contains("still serving"),
        "{outcome:?}"
    );
    assert!(outcome.hint.is_some());
    let asked: Vec<_> = (0..50)
        .map(|_| {
            let handle = site.handle.clone();
            tokio::spawn(async move { handle.reload_now(Trigger::Api).await.result })
        })
        .collect();
    for answer in asked {
        assert_eq!(
            answer.await.expect("joined"),
            ReloadResult::Failure,
            "everybody is answered"
        );
    }
}

#[tokio::test]
async fn t68_disabled_means_for_ever() {
    let root = Authority::new("root");
    let (a, b) = (root.server(), root.server());
    let place = directory();
    write(place.path(), &a);
    let mut set = settings(place.path());
    set.reload.enabled = false;
    set.reload.reload_interval = Duration::from_millis(50);
    let site = Site::serving(place, set);
    write(site.root.path(), &b);
    for trigger in [Trigger::Signal, Trigger::Api] {
        let outcome = site.handle.reload_now(trigger).await;
        assert_eq!(
            (outcome.result, outcome.message.as_str()),
            (ReloadResult::Disabled, "reload is disabled")
        );
        assert_eq!(outcome.fingerprint, a.fingerprint);
    }
    assert!(
        tokio::time::timeout(DEBOUNCE * 4, site.until("B", |state| state.generation.number > 1))
            .await
            .is_err()
    );
    assert_eq!(site.state().watch_mode, WatchMode::Off);
    assert_eq!(site.served(), a.fingerprint);
}

#[test]
fn t70_no_debounce() {
    let root = Authority::new("root");
    let place = directory();
    write(place.path(), &root.server());
    let mut set = settings(place.path());
    set.reload.debounce = Duration::ZERO;
    let site = Site::serving(place, set);
    for _ in 0..5 {
        let b = root.server();
        write(site.root.path(), &b);
        let last = Instant::now();
        assert!(site.wait_served(&b) - last < Duration::from_millis(1500));
    }
    site.wait("health", |state| state.healthy);
}

#[test]
fn t72_the_clock_jumps() {
    let day = 24 * 3600;
    let root = Authority::new("root");
    let (a, b) = (root.server(), root.server());
    let place = directory();
    write(place.path(), &a);
    // The distance, and how often the clock was asked since it was set.
    let offset = Arc::new((Mutex::new((0i64, 0u64)), Condvar::new()));
    let clock = {
        let offset = offset.clone();
        Clock::new(move || {
            let (offset, asked) = &*offset;
            let mut offset = offset.lock().expect("a lock");
            offset.1 += 1;
            asked.notify_all();
            let distance = Duration::from_secs(offset.0.unsigned_abs());
            if offset.0 < 0 {
                SystemTime::now() - distance
            } else {
                SystemTime::now() + distance
            }
        })
    };
    let mut set = settings(place.path());
    set.reload.reload_interval = Duration::from_millis(50);
    let site = Site::started(place, Reloader::new(set).clock(clock));
    let jump = |seconds: i64| {
        *offset.0.lock().expect("a lock") = (seconds, 0);
    };
    for seconds in [day, -day, 0] {
        jump(seconds);
        let (offset, asked) = &*offset;
        let polled = asked
            .wait_timeout_while(offset.lock().expect("a lock"), LIMIT, |(_, asked)| *asked < 20)
            .expect("a lock");
        assert!(!polled.1.timed_out(), "polls go on");
        drop(polled);
        assert_eq!(site.state().generation.number, 1, "no storm");
        assert!(site.state().attempts.len() == 1, "{:?}", site.state().attempts);
    }
    jump(91 * day);
    site.wait("the new clock judges", |state| {
        state.degraded.as_ref().is_some_and(|why| why.contains("expired"))
    });
    jump(-day);
    site.wait("and again", |state| state.healthy);
    write(site.root.path(), &b);
    site.wait_served(&b);
}

/// The actor's part of a flood is one message a burst, and one read when it is over.
#[test]
fn t73_a_flood_of_events_is_one_reload() {
    if !alone("alive::t73_a_flood_of_events_is_one_reload") {
        return;
    }
    let (events, reads, cpu) = flood(DEBOUNCE);
    println!("{events} events, {reads} reads, {cpu:?} of the actor");
    assert!((1..=3).contains(&reads), "{reads} reads");
    assert!(cpu <= Duration::from_millis(250), "{cpu:?}");
}

/// Without a debounce every burst is read at once, one read at a time: it neither starves nor piles up.
#[test]
fn t70_t73_a_flood_without_a_debounce() {
    if !alone("alive::t70_t73_a_flood_without_a_debounce") {
        return;
    }
    let (events, reads, cpu) = flood(Duration::ZERO);
    println!("{events} events, {reads} reads, {cpu:?} of the actor");
    assert!(u64::from(reads) < events / 4, "{reads} reads of {events} events");
    assert!(
        cpu <= Duration::from_millis(900),
        "the loop has time left: {cpu:?}"
    );
}

/// A second of events, then B. Returns the events, the reads, and the CPU time of the actor's thread.
fn flood(debounce: Duration) -> (u64, u32, Duration) {
    let root = Authority::new("root");
    let (a, b) = (root.server(), root.server());
    let place = directory();
    write(place.path(), &a);
    let mut set = settings(place.path());
    set.reload.debounce = debounce;
    let site = Site::serving(place, set);
    let reads = || {
        site.state()
            .attempts
            .iter()
            .map(|attempt| attempt.times)
            .sum::<u32>()
            - 1
    };
    let before = cpu_of("tls-reload");
    let began = Instant::now();
    let mut events = 0u64;
    while began.elapsed() < Duration::from_secs(1) {
        for _ in 0..100 {
            fs::write(site.path("noise"), "x").expect("write");
            events += 4;
        }
    }
    write(site.root.path(), &b);
    let last = Instant::now();
    assert!(site.wait_served(&b) - last < debounce + Duration::from_secs(2));
    site.wait("the attempt that served it", |state| {
        state.last_success.is_some()
            && state
                .attempts
                .iter()
                .any(|attempt| attempt.fingerprint == b.fingerprint)
    });
    (events, reads(), cpu_of("tls-reload") - before)
}

/// What threads of this name have used so far.
fn cpu_of(name: &str) -> Duration {
    let mut ticks = 0;
    for task in fs::read_dir("/proc/self/task").expect("proc").flatten() {
        // A thread may end meanwhile.
        let text = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        let Some((head, tail)) = text.rsplit_once(") ") else {
            continue;
        };
        if head.ends_with(&format!("({name}")) {
            let fields: Vec<u64> = tail.split(' ').filter_map(|field| field.parse().ok()).collect();
            // utime and stime; the state in front of them is no number.
            ticks += fields[10] + fields[11];
        }
    }
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}

#[tokio::test]
async fn t76_t77_neither_files_nor_memory_leak() {
    if alone("alive::t76_t77_neither_files_nor_memory_leak") {
        leaks(300).await;
    }
}

#[tokio::test]
#[ignore = "torture: make torture"]
async fn t76_t77_ten_thousand_reloads_leak_nothing() {
    if alone("alive::t76_t77_ten_thousand_reloads_leak_nothing") {
        leaks(10_000).await;
    }
}

async fn leaks(reloads: usize) {
    let root = Authority::new("root");
    let pairs = [root.server(), root.server()];
    let place = directory();
    write(place.path(), &pairs[0]);
    let mut set = settings(place.path());
    set.reload.debounce = Duration::from_secs(600);
    let site = Site::serving(place, set);
    let round = async |count: usize| {
        for turn in 0..count {
            write(site.root.path(), &pairs[(turn + 1) % 2]);
            assert_eq!(
                site.handle.reload_now(Trigger::Api).await.result,
                ReloadResult::Success
            );
        }
    };
    round(100).await;
    let (files, memory) = (open_files(&site).await, resident());
    round(reloads).await;
    assert_eq!(open_files(&site).await, files, "descriptors");
    let grown = resident().saturating_sub(memory);
    println!("{reloads} reloads: resident memory grew by {grown} KiB");
    // One generation kept for each reload, about 20 KiB, would break it; the test's own log takes 2 to 3 MiB.
    let bound = u64::try_from(reloads)
        .map_or(0, |reloads| reloads * 15)
        .min(10_240);
    assert!(grown < bound, "{grown} KiB of {bound}");
}

/// Every descriptor of the process by what it leads to: files, directories, inotify, sockets. Once the look that
/// follows a reload has ended, whose directory handles come and go.
async fn open_files(site: &Site) -> BTreeMap<String, usize> {
    let place = site.root.path().to_owned();
    let mut open = BTreeMap::new();
    let look = || {
        let mut open: BTreeMap<String, usize> = BTreeMap::new();
        for entry in fs::read_dir("/proc/self/fd").expect("proc").flatten() {
            let Ok(target) = fs::read_link(entry.path()) else {
                continue;
            };
            // The look's own, and numbers that differ from socket to socket.
            let target = target.display().to_string();
            if !target.starts_with("/proc/") {
                let kind = target.split(":[").next().unwrap_or_default().to_owned();
                *open.entry(kind).or_default() += 1;
            }
        }
        open
    };
    let settled = async {
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        loop {
            tick.tick().await;
            open = look();
            if !open.keys().any(|target| Path::new(target).starts_with(&place)) {
                break;
            }
        }
    };
    assert!(tokio::time::timeout(LIMIT, settled).await.is_ok(), "{open:?}");
    assert!(
        open.contains_key("anon_inode:inotify"),
        "the watch is counted: {open:?}"
    );
    open
}

fn resident() -> u64 {
    let text = fs::read_to_string("/proc/self/status").expect("proc");
    let line = text
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .expect("VmRSS");
    line.split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse().ok())
        .expect("KiB")
}

#[tokio::test]
async fn t78_r32_shutdown_is_quick_whatever_happens() {
    let root = Authority::new("root");
    let lag = Lag::start();
    for case in ["idle", "debounce", "retry", "read"] {
        let place = directory();
        write(place.path(), &root.server());
        let mut set = settings(place.path());
        set.reload.debounce = Duration::from_secs(60);
        let site = Site::serving(place, set);
        let mut asked = None;
        match case {
            "debounce" => write(site.root.path(), &root.server()),
            "retry" => {
                replace(&site.path("tls.crt"), "");
                assert_eq!(
                    site.handle.reload_now(Trigger::Api).await.result,
                    ReloadResult::Failure
                );
            }
            "read" => {
                write(site.root.path(), &root.server());
                let handle = site.handle.clone();
                asked = Some(tokio::spawn(async move { handle.reload_now(Trigger::Api).await }));
                tokio::task::yield_now().await;
            }
            _ => {}
        }
        lag.take();
        let began = Instant::now();
        site.handle.shutdown().await;
        // reload.md 7.4; what the machine itself withheld from every thread is nobody's delay.
        let took = began.elapsed();
        let net = took.saturating_sub(lag.take() * 3);
        assert!(net <= Duration::from_millis(100), "{case}: {net:?} of {took:?}");
        assert!(site.state().stopped);
        if let Some(asked) = asked {
            let outcome = tokio::time::timeout(LIMIT, asked)
                .await
                .expect("answered")
                .expect("joined");
            assert!(
                matches!(outcome.result, ReloadResult::Success | ReloadResult::Failure),
                "{outcome:?}"
            );
        }
        let outcome = site.handle.reload_now(Trigger::Api).await;
        assert_eq!(
            outcome.reason,
            Some(tls_reload::FailureReason::Stopped),
            "{outcome:?}"
        );
        assert!(!site.served().is_empty(), "still served");
    }
}

/// reload.md 2.8: reading is no event.
#[test]
fn r08_own_reads_trigger_nothing() {
    let root = Authority::new("root");
    let place = directory();
    write(place.path(), &root.server());
    let counted = Arc::new(AtomicU64::new(0));
    let clock = {
        let counted = counted.clone();
        Clock::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            SystemTime::now()
        })
    };
    let set = settings(place.path());
    let site = Site::started(place, Reloader::new(set).clock(clock));
    let b = root.server();
    write(site.root.path(), &b);
    site.wait_served(&b);
    site.wait("the attempt", |state| state.attempts.len() == 2);
    // That nothing happens has no event: only time can show it.
    let (_never, wait) = std::sync::mpsc::sync_channel::<()>(1);
    assert!(wait.recv_timeout(DEBOUNCE * 3).is_err());
    let before = counted.load(Ordering::Relaxed);
    assert!(wait.recv_timeout(DEBOUNCE * 5).is_err());
    assert_eq!(
        counted.load(Ordering::Relaxed),
        before,
        "idle is idle: nobody looked at the clock"
    );
    assert_eq!(site.state().attempts.len(), 2);
}

/// A failure that was asked for counts once for each asking, its retries not at all.
#[tokio::test]
async fn r11_retries_of_an_asked_reload_do_not_count() {
    let place = directory();
    write(place.path(), &Authority::new("root").server());
    let mut set = settings(place.path());
    set.reload.debounce = Duration::from_secs(600);
    let mut registry = Registry::default();
    let metrics = ReloadMetrics::register(&mut registry);
    let site = Site::started(place, Reloader::new(set).metrics(metrics));
    replace(&site.path("tls.crt"), "");
    for _ in 0..2 {
        assert_eq!(
            site.handle.reload_now(Trigger::Api).await.result,
            ReloadResult::Failure
        );
    }
    site.until("two retries", |state| {
        state.attempts.back().is_some_and(|last| last.times >= 3)
    })
    .await;
    let counted = metric(
        &scrape(&registry),
        "reload_total{result=\"failure\",reason=\"empty\"}",
    );
    assert_eq!(counted, Some(2.0));
}

/// The system ends first: whoever waits for the reloader does not wait for ever.
#[test]
fn r32_shutdown_after_the_system_has_ended() {
    let place = directory();
    write(place.path(), &Authority::new("root").server());
    let set = settings(place.path());
    let system = actix_rt::System::new();
    let handle = system.block_on(async { Reloader::new(set).start().expect("served") });
    drop(system);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let stopped = runtime.block_on(async { tokio::time::timeout(LIMIT, handle.shutdown()).await.is_ok() });
    assert!(stopped && handle.state().stopped);
}

/// On an actix system there is no second thread; outside of one `start` says so.
#[test]
fn start_needs_an_actix_system() {
    let root = Authority::new("root");
    let (a, b) = (root.server(), root.server());
    let place = directory();
    write(place.path(), &a);
    let set = settings(place.path());
    assert!(matches!(
        Reloader::new(set.clone()).start(),
        Err(StartError::NoSystem)
    ));
    records::keep();
    let directory = place.path().to_owned();
    actix_rt::System::new().block_on(async move {
        let handle = Reloader::new(set).start().expect("served");
        let mut states = handle.subscribe();
        let armed = async |states: &mut tokio::sync::watch::Receiver<_>| {
            let armed =
                states.wait_for(|state: &Arc<tls_reload::ReloadState>| !state.watched_directories.is_empty());
            tokio::time::timeout(LIMIT, armed).await.is_ok()
        };
        assert!(armed(&mut states).await);
        write(&directory, &b);
        let served = states.wait_for(|state| state.generation.fingerprint() == b.fingerprint);
        assert!(tokio::time::timeout(LIMIT, served).await.is_ok());
        handle.shutdown().await;
    });
}

#[test]
fn handles_may_be_dropped() {
    let root = Authority::new("root");
    let (a, b) = (root.server(), root.server());
    let place = directory();
    write(place.path(), &a);
    let handle = Reloader::new(settings(place.path()))
        .spawn_system()
        .expect("served");
    let (resolver, mut states) = (handle.resolver(), handle.subscribe());
    drop(handle);
    write(place.path(), &b);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let served = runtime.block_on(async {
        tokio::time::timeout(
            LIMIT,
            states.wait_for(|state| state.generation.fingerprint() == b.fingerprint),
        )
        .await
        .is_ok()
    });
    assert!(served);
    assert_eq!(resolver.current().info().fingerprint(), b.fingerprint);
}
