//! T21 to T40: A is served, a writer brings B in its own way, B is served a debounce after its last event.
//!
//! The writers here are this crate's own, although the workspace has others: the crate stands alone, and its
//! tests go with it.
//!
//! The poll is off unless a case is about it: what events miss fails here.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use tls_reload::{PemSource, ReloadResult, ReloadSettings, Reloader, Settings};

use crate::authority::{Authority, Pair};
use crate::mounts::{bind, in_a_mount_namespace, unmount};
use crate::site::{DEBOUNCE, LIMIT, Site, by_events, directory, replace, settings, write};

/// Room for a busy machine; the torture run holds the promised 100 ms.
const SLACK: Duration = Duration::from_millis(1500);

/// B is served not before its quiet time and not long after it.
fn in_time(site: &Site, b: &Pair, last_event: Instant) {
    let served = site.wait_served(b);
    let took = served - last_event;
    assert!(
        took + Duration::from_millis(20) >= DEBOUNCE,
        "served in the middle of the writing: {took:?}"
    );
    assert!(took <= DEBOUNCE + SLACK, "{took:?}");
    assert_eq!(site.count(ReloadResult::Failure), 0, "{:#?}", site.state());
    assert!(site.state().healthy);
}

/// Waits on the clock where the case is about time that passes.
fn pass(time: Duration) {
    let (_never, wait) = std::sync::mpsc::sync_channel::<()>(1);
    assert!(wait.recv_timeout(time).is_err());
}

fn two() -> (Pair, Pair) {
    let authority = Authority::new("root");
    (authority.server(), authority.server())
}

/// A kubelet's volume: files behind `..data`, which a rename moves to the next directory.
pub(crate) struct Kubelet {
    volume: PathBuf,
    turn: u32,
}

impl Kubelet {
    pub(crate) fn new(volume: &Path, files: &[(&str, &str)]) -> Self {
        let mut kubelet = Self {
            volume: volume.to_owned(),
            turn: 0,
        };
        kubelet.swap(files);
        for (name, _) in files {
            symlink(Path::new("..data").join(name), volume.join(name)).expect("link");
        }
        kubelet
    }

    pub(crate) fn swap(&mut self, files: &[(&str, &str)]) {
        let old = fs::read_link(self.volume.join("..data")).ok();
        self.turn += 1;
        let next = format!("..2026_{}", self.turn);
        fs::create_dir(self.volume.join(&next)).expect("mkdir");
        for (name, content) in files {
            fs::write(self.volume.join(&next).join(name), content).expect("write");
        }
        symlink(&next, self.volume.join("..data_tmp")).expect("link");
        fs::rename(self.volume.join("..data_tmp"), self.volume.join("..data")).expect("rename");
        if let Some(old) = old {
            fs::remove_dir_all(self.volume.join(old)).expect("remove");
        }
    }

    pub(crate) fn swap_pair(&mut self, pair: &Pair) {
        self.swap(&[("tls.crt", &pair.certificate), ("tls.key", &pair.key)]);
    }
}

#[test]
fn t21_kubelet_swap() {
    let (a, b) = two();
    let root = directory();
    let mut kubelet = Kubelet::new(root.path(), &[("tls.crt", &a.certificate), ("tls.key", &a.key)]);
    let place = settings(root.path());
    let site = Site::serving(root, place);
    kubelet.swap_pair(&b);
    in_time(&site, &b, Instant::now());
    kubelet.swap_pair(&a);
    in_time(&site, &a, Instant::now());
    kubelet.swap_pair(&b);
    in_time(&site, &b, Instant::now());
}

#[test]
fn t22_rename_per_file() {
    let (a, b) = two();
    let site = Site::with(&a);
    replace(&site.path("tls.crt"), &b.certificate);
    replace(&site.path("tls.key"), &b.key);
    in_time(&site, &b, Instant::now());
}

#[test]
fn t23_rename_with_a_gap_longer_than_the_debounce() {
    let (a, b) = two();
    let site = Site::with(&a);
    replace(&site.path("tls.crt"), &b.certificate);
    let state = site.wait("the half pair is refused", |state| state.failure.is_some());
    assert_eq!(state.generation.fingerprint(), a.fingerprint, "A stays");
    assert!(state.pending_retry.is_some(), "reload.md 3.3");
    replace(&site.path("tls.key"), &b.key);
    let last = Instant::now();
    let took = site.wait_served(&b) - last;
    assert!(
        took <= DEBOUNCE + SLACK,
        "the event, not the retry, brings it: {took:?}"
    );
    let state = site.wait("health", |state| state.healthy);
    assert!(state.failure.is_none() && state.pending_retry.is_none());
}

#[test]
fn r11_a_retry_brings_what_no_event_told() {
    // The watch is on another inode's directory: only the retry can see the key arrive.
    let (a, b) = two();
    let root = directory();
    write(root.path(), &a);
    let set = settings(root.path());
    let site = Site::started(root, Reloader::new(set).watcher(crate::watching::deaf()));
    replace(&site.path("tls.crt"), &b.certificate);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let outcome = runtime.block_on(site.handle.reload_now(tls_reload::Trigger::Signal));
    assert_eq!(outcome.result, ReloadResult::Failure);
    replace(&site.path("tls.key"), &b.key);
    site.wait_served(&b);
}

#[test]
fn t24_truncate_and_write() {
    let (a, b) = two();
    let site = Site::with(&a);
    write(site.root.path(), &b);
    in_time(&site, &b, Instant::now());
}

#[test]
fn t25_partial_writes() {
    use std::io::Write as _;
    let (a, b) = two();
    let root = directory();
    write(root.path(), &a);
    let mut set = settings(root.path());
    set.reload.max_debounce = Some(LIMIT);
    let site = Site::serving(root, set);
    let began = Instant::now();
    for (name, content) in [("tls.crt", &b.certificate), ("tls.key", &b.key)] {
        let mut file = fs::File::create(site.path(name)).expect("create");
        for part in content.as_bytes().chunks(content.len() / 25) {
            file.write_all(part).expect("write");
            pass(DEBOUNCE / 3);
        }
    }
    assert!(began.elapsed() >= Duration::from_secs(2), "as T25 has it");
    in_time(&site, &b, Instant::now());
}

/// certbot's `live/NAME/*.pem → ../../archive/NAME/*N.pem`.
#[test]
fn t26_r01_certbot_links() {
    let (a, b) = two();
    let root = directory();
    let (live, archive) = (root.path().join("live/x"), root.path().join("archive/x"));
    fs::create_dir_all(&live).expect("mkdir");
    fs::create_dir_all(&archive).expect("mkdir");
    let bring = |pair: &Pair, number: u32| {
        for (name, content) in [("fullchain", &pair.certificate), ("privkey", &pair.key)] {
            fs::write(archive.join(format!("{name}{number}.pem")), content).expect("write");
            let link = live.join(format!("{name}.pem"));
            if number > 1 {
                fs::remove_file(&link).expect("unlink");
            }
            symlink(format!("../../archive/x/{name}{number}.pem"), &link).expect("link");
        }
    };
    bring(&a, 1);
    let source = |name: &str| PemSource::Path(live.join(name));
    let set = Settings {
        reload: by_events(),
        ..Settings::single(source("fullchain.pem"), Some(source("privkey.pem")))
    };
    let site = Site::serving(root, set);
    assert_eq!(
        site.state().watched_directories.len(),
        2,
        "reload.md 2.1: the links' and the files' directories"
    );
    bring(&b, 2);
    in_time(&site, &b, Instant::now());
}

#[test]
fn t27_r03_a_parent_link_is_swapped() {
    let (a, b) = two();
    let root = directory();
    for (name, pair) in [("one", &a), ("two", &b)] {
        fs::create_dir(root.path().join(name)).expect("mkdir");
        write(&root.path().join(name), pair);
    }
    symlink("one", root.path().join("current")).expect("link");
    let set = settings(&root.path().join("current"));
    let site = Site::serving(root, set);
    symlink("two", site.path("next")).expect("link");
    fs::rename(site.path("next"), site.path("current")).expect("rename");
    in_time(&site, &b, Instant::now());
    // reload.md 2.3: the watch follows.
    write(&site.path("two"), &a);
    in_time(&site, &a, Instant::now());
}

/// reload.md 2.4: no link and no watched directory is touched; only the poll can see it.
#[test]
fn r04_a_directory_above_is_swapped() {
    let (a, b) = two();
    let root = directory();
    for (name, pair) in [("one/deep", &a), ("two/deep", &b)] {
        fs::create_dir_all(root.path().join(name)).expect("mkdir");
        write(&root.path().join(name), pair);
    }
    let mut set = settings(&root.path().join("one/deep"));
    set.reload.reload_interval = Duration::from_millis(150);
    let site = Site::serving(root, set);
    fs::rename(site.path("one"), site.path("old")).expect("rename");
    fs::rename(site.path("two"), site.path("one")).expect("rename");
    site.wait_served(&b);
    write(&site.path("one/deep"), &a);
    let last = Instant::now();
    assert!(site.wait_served(&a) - last <= DEBOUNCE + SLACK);
}

#[test]
fn t28_t29_files_and_links_in_different_places() {
    let (a, b) = two();
    let root = directory();
    for name in ["certs", "keys", "etc"] {
        fs::create_dir(root.path().join(name)).expect("mkdir");
    }
    let (certificate, key) = (root.path().join("certs/c"), root.path().join("keys/k"));
    fs::write(&certificate, &a.certificate).expect("write");
    fs::write(&key, &a.key).expect("write");
    symlink(&certificate, root.path().join("etc/tls.crt")).expect("link");
    symlink(&key, root.path().join("etc/tls.key")).expect("link");
    let direct = Settings {
        reload: by_events(),
        ..Settings::single(
            PemSource::Path(certificate.clone()),
            Some(PemSource::Path(key.clone())),
        )
    };
    let linked = settings(&root.path().join("etc"));
    let site = Site::serving(root, direct);
    let other = Site::serving(directory(), linked);
    replace(&certificate, &b.certificate);
    replace(&key, &b.key);
    in_time(&site, &b, Instant::now());
    other.wait_served(&b);
    // Links re-pointed, the old files untouched.
    fs::write(site.path("certs/c2"), &a.certificate).expect("write");
    fs::write(site.path("keys/k2"), &a.key).expect("write");
    for (target, link) in [("certs/c2", "etc/tls.crt"), ("keys/k2", "etc/tls.key")] {
        symlink(site.path(target), site.path("etc/next")).expect("link");
        fs::rename(site.path("etc/next"), site.path(link)).expect("rename");
    }
    in_time(&other, &a, Instant::now());
    assert_eq!(site.served(), b.fingerprint);
}

#[test]
fn t30_deleted_and_created_later() {
    let (a, b) = two();
    let site = Site::with(&a);
    fs::remove_file(site.path("tls.crt")).expect("remove");
    fs::remove_file(site.path("tls.key")).expect("remove");
    let state = site.wait("the absence", |state| state.failure.is_some());
    assert_eq!(state.generation.fingerprint(), a.fingerprint);
    // The retries after 1 and 2 s: three seconds after the first refusal.
    site.wait("the second retry", |state| {
        state.attempts.back().is_some_and(|last| last.times >= 3)
    });
    write(site.root.path(), &b);
    let last = Instant::now();
    assert!(site.wait_served(&b) - last <= DEBOUNCE + SLACK);
}

/// The mount needs a namespace of its own, so the case runs itself there.
#[test]
fn t31_a_mount_over_the_directory() {
    in_a_mount_namespace("writers::t31_a_mount_over_the_directory", mounted);
}

fn mounted() {
    let (a, b) = two();
    let root = directory();
    for (name, pair) in [("tls", &a), ("other", &b)] {
        fs::create_dir(root.path().join(name)).expect("mkdir");
        write(&root.path().join(name), pair);
    }
    let mut set = settings(&root.path().join("tls"));
    set.reload.reload_interval = Duration::from_millis(150);
    let site = Site::serving(root, set);
    bind(&site.path("other"), &site.path("tls"));
    site.wait_served(&b);
    unmount(&site.path("tls"));
    site.wait_served(&a);
}

#[test]
fn t32_copies_that_keep_an_old_time() {
    let (a, b) = two();
    let site = Site::with(&a);
    let old = SystemTime::now() - Duration::from_secs(90 * 24 * 3600);
    for (name, content) in [("tls.crt", &b.certificate), ("tls.key", &b.key)] {
        fs::write(site.path(name), content).expect("write");
        fs::File::options()
            .write(true)
            .open(site.path(name))
            .and_then(|file| file.set_modified(old))
            .expect("touch");
    }
    in_time(&site, &b, Instant::now());
}

/// Nothing but the content and the change time differs, and no event tells: the poll must see it.
#[test]
fn t33_same_size_and_time() {
    let authority = Authority::new("root");
    let a = authority.server();
    // A certificate of the same length: only the key and the signature differ, whose lengths vary by a byte.
    let b = (0..500)
        .map(|_| authority.server())
        .find(|b| b.certificate.len() == a.certificate.len() && b.key.len() == a.key.len())
        .expect("one in a few has the same length");
    let root = directory();
    write(root.path(), &a);
    let mut set = settings(root.path());
    set.reload.reload_interval = Duration::from_millis(150);
    let times = ["tls.crt", "tls.key"].map(|name| {
        fs::metadata(root.path().join(name))
            .and_then(|meta| meta.modified())
            .expect("time")
    });
    let site = Site::started(root, Reloader::new(set).watcher(crate::watching::deaf()));
    for ((name, content), time) in [("tls.crt", &b.certificate), ("tls.key", &b.key)]
        .into_iter()
        .zip(times)
    {
        fs::write(site.path(name), content).expect("write");
        fs::File::options()
            .write(true)
            .open(site.path(name))
            .and_then(|file| file.set_modified(time))
            .expect("touch");
    }
    site.wait_served(&b);
}

#[test]
fn t34_t35_r12_touched_or_chmodded_is_unchanged() {
    let (a, _) = two();
    let site = Site::with(&a);
    for round in 0..2 {
        if round == 0 {
            fs::write(site.path("tls.crt"), &a.certificate).expect("write");
        } else {
            fs::set_permissions(site.path("tls.key"), fs::Permissions::from_mode(0o600)).expect("chmod");
        }
        let unchanged = |state: &tls_reload::ReloadState| {
            let times = state
                .attempts
                .iter()
                .filter(|attempt| attempt.result == ReloadResult::Unchanged);
            times.map(|attempt| attempt.times).sum::<u32>()
        };
        site.wait("unchanged", |state| unchanged(state) == round + 1);
    }
    let state = site.state();
    assert_eq!(state.generation.number, 1, "reload.md 3.4: no reload");
    assert!(state.healthy);
}

#[test]
fn t36_hard_links_swapped() {
    let (a, b) = two();
    let site = Site::with(&a);
    fs::create_dir(site.path("store")).expect("mkdir");
    for (name, content) in [("tls.crt", &b.certificate), ("tls.key", &b.key)] {
        fs::write(site.path("store").join(name), content).expect("write");
        fs::hard_link(site.path("store").join(name), site.path("next")).expect("link");
        fs::rename(site.path("next"), site.path(name)).expect("rename");
    }
    in_time(&site, &b, Instant::now());
}

#[test]
fn t37_t38_editors_and_temporary_names() {
    let (a, b) = two();
    let site = Site::with(&a);
    for (name, content) in [("tls.crt", &b.certificate), ("tls.key", &b.key)] {
        fs::rename(site.path(name), site.path(&format!("{name}~"))).expect("rename");
        fs::write(site.path(name), content).expect("write");
    }
    in_time(&site, &b, Instant::now());
    for (name, content) in [("tls.crt", &a.certificate), ("tls.key", &a.key)] {
        let temporary = site.path(&format!(".{name}.Xy12Z"));
        fs::write(&temporary, content).expect("write");
        fs::rename(&temporary, site.path(name)).expect("rename");
    }
    in_time(&site, &a, Instant::now());
}

#[test]
fn t39_there_and_back_within_the_debounce() {
    let (a, b) = two();
    let site = Site::with(&a);
    write(site.root.path(), &b);
    write(site.root.path(), &a);
    site.wait("unchanged", |state| {
        state
            .attempts
            .iter()
            .any(|attempt| attempt.result == ReloadResult::Unchanged)
    });
    let state = site.state();
    assert_eq!(
        (state.generation.number, state.generation.fingerprint()),
        (1, a.fingerprint.as_str())
    );
}

#[test]
fn t40_a_burst_that_never_ends_is_served_at_the_ceiling() {
    let (a, b) = two();
    let root = directory();
    write(root.path(), &a);
    let mut set = settings(root.path());
    let ceiling = Duration::from_millis(900);
    set.reload.max_debounce = Some(ceiling);
    let site = Site::serving(root, set);
    write(site.root.path(), &b);
    let first = Instant::now();
    let mut number = 0;
    while site.served() == a.fingerprint {
        number += 1;
        fs::write(site.path(&format!("noise{number}")), "x").expect("write");
        pass(DEBOUNCE / 4);
        assert!(first.elapsed() < LIMIT, "starved");
    }
    let took = first.elapsed();
    assert!(
        took + Duration::from_millis(50) >= ceiling && took <= ceiling + SLACK,
        "{took:?}"
    );
}

/// reload.md 1.4: without any event, the quiet time counts from the file's own time.
#[test]
fn a_change_found_by_the_poll_is_not_made_to_wait_twice() {
    let (a, b) = two();
    let root = directory();
    write(root.path(), &a);
    let mut set = settings(root.path());
    set.reload = ReloadSettings {
        debounce: Duration::from_secs(2),
        reload_interval: Duration::from_secs(1),
        ..by_events()
    };
    let site = Site::started(root, Reloader::new(set).watcher(crate::watching::deaf()));
    write(site.root.path(), &b);
    let last = Instant::now();
    let took = site.wait_served(&b) - last;
    assert!(
        took >= Duration::from_millis(1900),
        "the quiet time holds: {took:?}"
    );
    assert!(
        took < Duration::from_millis(2900),
        "poll and debounce do not add up: {took:?}"
    );
}
