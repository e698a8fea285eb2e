//! What happens to files and directories while a set is served (reload.md 2.5, 4.3, 7.2): things in place of other
//! things, rights that come and go, sizes no list has, and sources that never change at all.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant, SystemTime};

use tls_reload::{Clock, FailureReason, Reloader, Settings};

use crate::authority::Authority;
use crate::refusals::Watched;
use crate::site::{LIMIT, Site, directory, settings, write};
use crate::start::as_nobody;

#[test]
fn t56_r05_the_directory_is_replaced_by_a_file() {
    let watched = Watched::configured(|root, set| {
        fs::create_dir(root.join("tls")).expect("mkdir");
        for name in ["tls.crt", "tls.key"] {
            fs::copy(root.join(name), root.join("tls").join(name)).expect("copy");
        }
        set.pairs = settings(&root.join("tls")).pairs;
    });
    let tls = watched.site.path("tls");
    fs::rename(&tls, watched.site.path("aside")).expect("rename");
    fs::write(&tls, "a file").expect("write");
    watched.refused(FailureReason::Unreadable, "is not a directory");
    let b = watched.authority.server();
    fs::remove_file(&tls).expect("remove");
    fs::create_dir(&tls).expect("mkdir");
    write(&tls, &b);
    watched.site.wait_served(&b);
    let c = watched.authority.server();
    write(&tls, &c);
    watched.site.wait_served(&c);
}

#[test]
fn t08_r15_a_fifo_comes_while_running() {
    let watched = Watched::new();
    let key = watched.site.path("tls.key");
    fs::remove_file(&key).expect("remove");
    rustix::fs::mknodat(rustix::fs::CWD, &key, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("a FIFO");
    let began = Instant::now();
    watched.refused(FailureReason::NotRegular, "is a FIFO");
    assert!(began.elapsed() < LIMIT, "nobody waits for its writer");
    watched.heals();
}

/// As a user whose rights matter: each flip is seen, and the last word is the disk's.
#[test]
fn t48_permissions_flip_and_flip() {
    as_nobody(|| {
        let watched = Watched::new();
        let key = watched.site.path("tls.key");
        let allow = |mode: u32| fs::set_permissions(&key, fs::Permissions::from_mode(mode)).expect("chmod");
        for _ in 0..5 {
            allow(0o000);
            watched.site.wait("the refusal", |state| {
                state
                    .failure
                    .as_ref()
                    .is_some_and(|failure| failure.reason == FailureReason::Unreadable)
            });
            allow(0o600);
            watched
                .site
                .wait("health", |state| state.healthy && state.pending_retry.is_none());
        }
        // Faster than the debounce: whatever was met on the way, the last one counts.
        let attempts =
            |state: &tls_reload::ReloadState| state.attempts.iter().map(|one| one.times).sum::<u32>();
        let before = attempts(&watched.site.state());
        for turn in 0..101 {
            allow(if turn % 2 == 0 { 0o600 } else { 0o000 });
        }
        let state = watched.site.wait("another look, and health", |state| {
            state.healthy && attempts(state) > before
        });
        assert_eq!(state.generation.number, 1, "the same bytes are no reload");
        watched.heals();
    });
}

/// reload.md 4.3: a list may be large, but not larger than 64 MiB. The file has no bytes: its size is enough.
#[test]
fn t55_r15_a_list_of_more_than_64_mebibytes() {
    let ca = Authority::new("clients");
    let list = ca.revoke(&[], time::Duration::days(9));
    let watched = Watched::configured(|root, set| {
        fs::write(root.join("ca.crt"), &ca.pem).expect("write");
        fs::write(root.join("list"), &list).expect("write");
        set.client_authorities = vec![tls_reload::PemSource::Path(root.join("ca.crt"))];
        set.revocation_lists = vec![root.join("list")];
    });
    let huge = fs::File::create(watched.site.path("list")).expect("create");
    huge.set_len(64 * 1024 * 1024 + 1).expect("a size");
    watched.refused(FailureReason::TooLarge, "larger than 67108864 bytes");
    fs::write(watched.site.path("list"), &list).expect("write");
    watched.heals();
}

/// Secrets of Docker, Podman and systemd: read-only, and they never change while the server runs.
#[test]
fn r04_r08_read_only_sources_are_watched_in_peace() {
    as_nobody(|| {
        let root = directory();
        let secrets = root.path().join("secrets");
        fs::create_dir(&secrets).expect("mkdir");
        write(&secrets, &Authority::new("root").server());
        let mode = |path: &std::path::Path, mode: u32| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
        };
        for name in ["tls.crt", "tls.key"] {
            mode(&secrets.join(name), 0o400);
        }
        mode(&secrets, 0o500);
        // Two clock readings a poll at least.
        let asked = Arc::new((Mutex::new(0u64), Condvar::new()));
        let counted = asked.clone();
        let clock = Clock::new(move || {
            *counted.0.lock().expect("a lock") += 1;
            counted.1.notify_all();
            SystemTime::now()
        });
        let mut set: Settings = settings(&secrets);
        set.reload.reload_interval = Duration::from_millis(50);
        let site = Site::started(root, Reloader::new(set).clock(clock));
        let polls = asked
            .1
            .wait_timeout_while(asked.0.lock().expect("a lock"), LIMIT, |asked| *asked < 40)
            .expect("a lock");
        assert!(!polls.1.timed_out(), "polls go on");
        drop(polls);
        let state = site.state();
        assert!(state.healthy && state.generation.warnings.is_empty(), "{state:?}");
        assert_eq!(
            (state.attempts.len(), state.attempts[0].times),
            (1, 1),
            "{state:?}"
        );
        assert_eq!(state.watched_directories.len(), 1);
        // So that the directory can be removed.
        mode(&secrets, 0o700);
    });
}
