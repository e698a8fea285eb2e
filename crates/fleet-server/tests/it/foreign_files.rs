//! Files that an operator owns: no command overwrites or deletes what was not made by this program.
//!
//! The commands are those that the command line declares, so a new one is missed here until it is listed; the paths
//! are all that a command may write.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use clap::CommandFactory as _;
use fleet_server::cli::Cli;
use rustix::process::{Pid, Signal, kill_process};
use test_support::server_command;
use time::{Duration, OffsetDateTime};

const MINE: &[u8] = b"an operator's own\n";

/// Below the data directory.
const DATA: &[&str] = &[
    "fleet.db",
    "fleet.db-wal",
    "fleet.db-shm",
    "fleet.db-journal",
    "fleet.db.partial",
    "fleet.db.partial-journal",
    "fleet.db.before-v2",
    "fleet.db.before-v2.partial",
    "fleet.lock",
    "admin.key",
    "enrollment_token",
    "quickstart.json",
    "restart.json",
    "store.key",
    "store.key.next",
    "certs/ca.crt",
    "certs/ca.key",
    "certs/server.crt",
    "certs/server.key",
    "certs/made-by-quickstart",
];

/// Each command with its arguments; `run` and `quickstart` serve if nothing is in the way.
const COMMANDS: &[(&str, &[&str])] = &[
    ("run", &[]),
    ("quickstart", &[]),
    ("restart", &[]),
    ("status", &[]),
    ("enrollment-token", &[]),
    ("openapi", &[]),
    ("rotate-store-key", &[]),
    ("rotate-store-key", &["--discard-secrets"]),
    ("cert show", &[]),
    (
        "cert check",
        &[
            "--certificate",
            "data/certs/server.crt",
            "--key",
            "data/certs/server.key",
        ],
    ),
    ("config check", &[]),
    ("config show", &[]),
    ("config reference", &[]),
    ("config reference", &["--format", "markdown"]),
    ("config reference", &["--check"]),
    ("sleep", &["1ms"]),
    ("completions", &["bash"]),
    ("man", &["man"]),
    ("agents list", &[]),
    ("agents get", &["agent"]),
    ("policy list", &[]),
    ("policy get", &["policy"]),
    ("policy export", &["--directory", "man"]),
    ("policy from-standalone", &["fleet-server.yml"]),
    ("policy diff", &["--file", "fleet-server.yml"]),
    ("policy apply", &["--file", "fleet-server.yml"]),
    ("agents watch", &[]),
    ("agents reassign", &["agent", "--to", "policy"]),
    ("agents upgrade", &["agent", "--to", "9.6.1"]),
    ("agents unenroll", &["agent"]),
    ("action get", &["action"]),
    ("action cancel", &["agent", "--action", "action"]),
    ("key list", &[]),
    ("key create", &["--name", "name", "--role", "viewer"]),
    ("key revoke", &["key"]),
    ("token list", &[]),
    ("token create", &["--policy", "policy"]),
    ("token revoke", &["token"]),
    ("agents diagnostics", &["agent", "--output", "man/fleet-server.1"]),
    ("diagnostics", &["agent", "--output", "man/fleet-server.1"]),
    ("uploads list", &["agent"]),
    ("uploads get", &["file", "--output", "man/fleet-server.1"]),
    ("uploads delete", &["file"]),
    ("backup", &["copy"]),
    ("fsck", &[]),
];

const SETTINGS: &[&str] = &[
    "inputs.0.server.host=127.0.0.1",
    "inputs.0.server.port=0",
    "admin.port=0",
    "http.enabled=true",
    "http.port=0",
    "logging.files.rotateonstartup=false",
    "logging.files.keepfiles=0",
    "logging.files.path=logs",
    "inputs.0.server.timeouts.drain=1s",
];

fn leaves(command: &clap::Command, outer: &str, found: &mut BTreeSet<String>) {
    let mut inside = command
        .get_subcommands()
        .filter(|inner| inner.get_name() != "help")
        .peekable();
    if inside.peek().is_none() {
        found.insert(outer.trim().to_owned());
    }
    for inner in inside {
        leaves(inner, &format!("{outer} {}", inner.get_name()), found);
    }
}

/// Runs a command in `directory` until it ends, or serves and is told to stop; gives what it said.
fn run(directory: &Path, command: &str, arguments: &[&str]) -> String {
    let to_stderr = matches!(command, "run" | "quickstart");
    let mut child = Command::new(env!("CARGO_BIN_EXE_fleet-server"))
        .args(command.split(' '))
        .args(arguments)
        .args(["--data-dir", "data"])
        .args(SETTINGS.iter().flat_map(|setting| ["-E", *setting]))
        .args(to_stderr.then_some("-Elogging.to_stderr=true"))
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut listening = 0;
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        listening += usize::from(line.contains("Listening on"));
        if listening == 4 && line.contains("Listening on") {
            kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        }
        said.push_str(&line);
        said.push('\n');
    }
    child.wait().unwrap();
    said
}

fn lay(directory: &Path, name: &str) -> PathBuf {
    let path = directory.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, MINE).unwrap();
    path
}

fn today() -> String {
    let today = OffsetDateTime::now_utc();
    format!("{}{:02}{:02}", today.year(), u8::from(today.month()), today.day())
}

fn scene() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("fleet-server.yml"), "").unwrap();
    for inside in ["docs", "man"] {
        fs::create_dir(directory.path().join(inside)).unwrap();
    }
    directory
}

#[test]
fn every_command_is_walked() {
    let mut declared = BTreeSet::new();
    leaves(&Cli::command(), "", &mut declared);
    let listed: BTreeSet<String> = COMMANDS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(listed, declared);
}

#[test]
fn no_command_touches_what_others_laid_where_it_writes() {
    let directory = scene();
    let path = directory.path();
    let mut mine: Vec<PathBuf> = DATA
        .iter()
        .map(|name| lay(path, &format!("data/{name}")))
        .collect();
    let day = today();
    for name in [
        format!("logs/fleet-server.log-{day}.ndjson"),
        format!("logs/fleet-server.log-{day}-1.ndjson"),
        "logs/fleet-server.log-20200101.ndjson".to_owned(),
        "fleet-server.reference.yml".to_owned(),
        "docs/CONFIGURATION.md".to_owned(),
    ] {
        mine.push(lay(path, &name));
    }
    // Every page that `man` writes.
    let pages = scene();
    run(pages.path(), "man", &["man"]);
    for page in fs::read_dir(pages.path().join("man")).unwrap() {
        let name = page.unwrap().file_name().into_string().unwrap();
        mine.push(lay(path, &format!("man/{name}")));
    }
    assert!(mine.len() > 30);
    for (command, arguments) in COMMANDS {
        let said = run(path, command, arguments);
        for file in &mine {
            assert_eq!(
                fs::read(file).unwrap(),
                MINE,
                "{command} wrote {}: {said}",
                file.display()
            );
        }
    }
}

/// One at a time, since one that is in the way of the others hides what would be done to them.
#[test]
fn a_start_touches_no_single_file_of_others() {
    for name in DATA {
        for command in ["run", "quickstart"] {
            let directory = scene();
            let file = lay(directory.path(), &format!("data/{name}"));
            let said = run(directory.path(), command, &[]);
            let found = fs::read(&file).unwrap();
            assert_eq!(found, MINE, "{command} wrote {name}: {said}");
            assert!(
                said.contains(name.rsplit('/').next().unwrap()) || said.contains("Listening on"),
                "{command} ended for another reason than {name}: {said}"
            );
        }
    }
    // Also where it is the store of another program.
    let directory = scene();
    let store = directory.path().join("data/fleet.db");
    fs::create_dir(directory.path().join("data")).unwrap();
    let mut before = vec![0; 4096];
    before[..16].copy_from_slice(b"SQLite format 3\0");
    before[71] = 7;
    fs::write(&store, &before).unwrap();
    let said = run(directory.path(), "run", &[]);
    assert!(said.contains("was not made by this program"), "{said}");
    assert_eq!(fs::read(&store).unwrap(), before);
}

#[test]
fn a_start_again_touches_no_file_that_came_between() {
    for name in [
        "quickstart.json",
        "restart.json",
        "fleet.db-journal",
        "fleet.db.partial",
        "fleet.lock",
    ] {
        let directory = scene();
        let first = run(directory.path(), "quickstart", &[]);
        assert!(first.contains("Listening on"), "{first}");
        let file = lay(directory.path(), &format!("data/{name}"));
        let said = run(directory.path(), "quickstart", &[]);
        assert_eq!(fs::read(&file).unwrap(), MINE, "{name}: {said}");
    }
}

#[test]
fn a_restart_keeps_a_file_that_it_did_not_write() {
    let server = server_command!().quickstart().start();
    let file = server.data().join("restart.json");
    fs::write(&file, MINE).unwrap();
    let (code, _, err) = server_command!()
        .sub_command("restart")
        .arg("--data-dir")
        .arg(server.data())
        .output();
    assert_eq!(code, 1, "{err}");
    assert!(
        err.contains("restart.json was not written by this program"),
        "{err}"
    );
    assert_eq!(fs::read(&file).unwrap(), MINE);
    server.stop();
}

#[test]
fn a_pair_of_the_operator_is_served_and_not_renewed() {
    let authority = test_support::CertificateAuthority::new("operator's CA");
    let directory = tempfile::tempdir().unwrap();
    let command = || server_command!().directory(directory.path()).quickstart();
    command().start().stop();
    let certs = directory.path().join("data/certs");
    let made = fs::read(certs.join("server.crt")).unwrap();
    let order = test_support::LeafOrder::new(&["localhost"])
        .valid(-Duration::days(1), Duration::days(12) + Duration::hours(1));
    let leaf = authority.issue_as(&order);
    let pair = [
        ("server.crt", leaf.chain_pem.as_bytes()),
        ("server.key", leaf.key_pem.as_bytes()),
    ];
    for (name, content) in pair {
        fs::write(certs.join(name), content).unwrap();
    }
    let server = command().allow_log("expires").start();
    let facts = server.quickstart_facts();
    for (name, content) in pair {
        assert_eq!(fs::read(certs.join(name)).unwrap(), content, "{name}");
    }
    assert_eq!(facts.ca_pem(), leaf.chain_pem, "the chain brings its CA");
    let started = std::time::Instant::now();
    while !server.stdout().contains("Stop with Ctrl-C") {
        assert!(
            started.elapsed() < test_support::LIMIT,
            "no help: {}",
            server.stdout()
        );
        std::thread::yield_now();
    }
    let said = server.stdout();
    assert!(
        said.contains("server.crt ends in 12 days; it was not made by quickstart, which leaves it alone"),
        "{said}"
    );
    server.stop();
    // Half of a pair, of which the other half was made here, is neither completed nor overwritten.
    fs::remove_file(certs.join("server.key")).unwrap();
    let (code, _, err) = command().output();
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("server.crt exists without its key"), "{err}");
    // What was made here is made anew.
    fs::write(certs.join("server.crt"), &made).unwrap();
    command().start().stop();
    assert_ne!(fs::read(certs.join("server.crt")).unwrap(), made);
}
