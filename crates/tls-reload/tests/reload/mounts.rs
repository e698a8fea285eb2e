//! Mounts of single files, and what every case with a mount needs.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tls_reload::{ReloadMetrics, Reloader, Warning};

use crate::authority::Authority;
use crate::records;
use crate::site::{Site, directory, replace, settings, write};
use crate::start::load;
use crate::told::{metric, scrape};

/// Runs the test `name` of this binary again in a mount namespace of its own, where it does `inner`. Prints why, if
/// there can be none.
pub(crate) fn in_a_mount_namespace(name: &str, inner: impl FnOnce()) {
    const INNER: &str = "TLS_RELOAD_TEST_INNER";
    if std::env::var_os(INNER).is_some() {
        return inner();
    }
    let this = std::env::current_exe().expect("this test");
    let outcome = Command::new("unshare")
        .arg("--mount")
        .arg(this)
        .args(["--exact", name, "--nocapture"])
        .env(INNER, "1")
        .output();
    match outcome {
        Ok(output) if output.status.success() => {
            assert!(
                String::from_utf8_lossy(&output.stdout).contains("1 passed"),
                "the inner case ran: {output:?}"
            );
        }
        Ok(output) if String::from_utf8_lossy(&output.stderr).contains("unshare failed") => {
            eprintln!("no mount namespace here: {output:?}");
        }
        Ok(output) => panic!(
            "{}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) => eprintln!("no mount namespace here: {error}"),
    }
}

pub(crate) fn bind(from: &Path, over: &Path) {
    run("mount", &["--bind".as_ref(), from, over]);
}

pub(crate) fn unmount(path: &Path) {
    run("umount", &["--lazy".as_ref(), path]);
}

fn run(command: &str, arguments: &[&Path]) {
    let status = Command::new(command).args(arguments).status();
    assert!(status.expect(command).success());
}

#[test]
fn r04_a_mounted_file_that_was_replaced_outside_is_told() {
    in_a_mount_namespace(
        "mounts::r04_a_mounted_file_that_was_replaced_outside_is_told",
        mounted,
    );
}

fn mounted() {
    let authority = Authority::new("root");
    let (a, b) = (authority.server(), authority.server());
    let root = directory();
    let (outside, inside) = (root.path().join("outside"), root.path().join("in side"));
    for place in [&outside, &inside] {
        fs::create_dir(place).expect("mkdir");
        write(place, &a);
    }
    for name in ["tls.crt", "tls.key"] {
        bind(&outside.join(name), &inside.join(name));
    }
    let mut set = settings(&inside);
    set.reload.reload_interval = Duration::from_millis(150);
    let mut registry = Registry::default();
    let metrics = ReloadMetrics::register(&mut registry);
    let site = Site::started(root, Reloader::new(set.clone()).metrics(metrics));
    let place = inside.display().to_string();
    let about = |words: &str| {
        let lines = records::about(&place).into_iter();
        lines
            .filter(|line| line.message.contains(words))
            .collect::<Vec<_>>()
    };
    let notes = about("is mounted as a single file: if it is replaced outside");
    assert_eq!(notes.len(), 2, "both files at the start: {notes:#?}");
    assert!(notes.iter().all(|line| line.level == log::Level::Info));
    let gauge = || metric(&scrape(&registry), "files_replaced_outside");
    assert_eq!((site.state().replaced_outside.len(), gauge()), (0, Some(0.0)));

    replace(&outside.join("tls.crt"), &b.certificate);
    let state = site.wait("the look", |state| state.replaced_outside.len() == 1);
    assert_eq!(state.replaced_outside, [inside.join("tls.crt")]);
    assert_eq!(gauge(), Some(1.0));
    // The state is published first.
    let since = std::time::Instant::now();
    let told = loop {
        let told = about("was replaced outside");
        if !told.is_empty() {
            break told;
        }
        assert!(
            since.elapsed() < std::time::Duration::from_secs(30),
            "it is not told"
        );
        std::thread::yield_now();
    };
    assert_eq!(told.len(), 1, "once, not at each poll: {told:#?}");
    assert_eq!(told[0].level, log::Level::Warn);
    assert!(
        told[0]
            .field("hint")
            .is_some_and(|hint| hint.contains("mount the file's directory"))
    );
    assert_eq!(site.served(), a.fingerprint, "nothing else can be served");

    // A start, and a check, see it at once.
    let generation = load(&set).expect("served");
    let seen = |warning: &&Warning| matches!(warning, Warning::ReplacedOutside { file } if file.ends_with("tls.crt"));
    assert_eq!(
        generation.warnings().iter().filter(seen).count(),
        1,
        "{:?}",
        generation.warnings()
    );

    // What is written into the file itself is seen.
    let c = authority.issue_for(
        &crate::authority::Order::new(&["localhost"]),
        &rcgen::KeyPair::from_pem(&a.key).expect("a key"),
    );
    fs::write(inside.join("tls.crt"), &c.certificate).expect("write");
    site.wait_served(&c);
}
