//! What a watcher sees of each writer. The sequences were compared with those of real writers' system calls; a
//! program that plays them (`KUBELET_SIM=path`) is compared again where it is given.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![cfg(target_os = "linux")]

use std::{
    collections::HashMap,
    fs,
    mem::MaybeUninit,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::{
    fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags},
    io::Errno,
};
use test_support::{CertificateAuthority, Leaf, Writer, WriterStyle};

/// Watches the directories of a layout, as they are before the update.
struct Recorder {
    inotify: OwnedFd,
    names: HashMap<i32, &'static str>,
}

impl Recorder {
    fn on(style: WriterStyle, root: &Path) -> Self {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        let mut directories = match style {
            WriterStyle::Certbot => vec![
                ("archive", root.join("archive/fleet")),
                ("live", root.join("live/fleet")),
            ],
            _ => vec![
                ("UP", root.parent().unwrap().to_owned()),
                ("DIR", root.to_owned()),
            ],
        };
        if style == WriterStyle::Kubelet {
            directories.push(("TS", root.join(fs::read_link(root.join("..data")).unwrap())));
        }
        let watch = |(name, path): (&'static str, PathBuf)| {
            // Reading is not an event of a writer.
            let reading = WatchFlags::ACCESS | WatchFlags::OPEN | WatchFlags::CLOSE_NOWRITE;
            let flags = WatchFlags::ALL_EVENTS.difference(reading);
            (inotify::add_watch(&inotify, path, flags).unwrap(), name)
        };
        let names = directories.into_iter().map(watch).collect();
        Self { inotify, names }
    }

    /// What happened, one event a line; names that differ each time are `..TS` and `TMP`.
    fn seen(self) -> Vec<String> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut seen = Vec::new();
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::WOULDBLOCK) => break,
                Err(error) => panic!("{error}"),
            };
            let mut words: Vec<&str> = KINDS
                .iter()
                .filter(|(flag, _)| event.events().contains(*flag))
                .map(|(_, word)| *word)
                .collect();
            let name = event
                .file_name()
                .map(|name| plain(name.to_str().unwrap()))
                .unwrap_or_default();
            words.push(&name);
            let line = format!("{}: {}", self.names[&event.wd()], words.join(" "));
            seen.push(line.trim_end().to_owned());
        }
        sort_deletions(&mut seen);
        seen
    }
}

const KINDS: [(ReadFlags, &str); 11] = [
    (ReadFlags::CREATE, "CREATE"),
    (ReadFlags::MODIFY, "MODIFY"),
    (ReadFlags::ATTRIB, "ATTRIB"),
    (ReadFlags::CLOSE_WRITE, "CLOSE_WRITE"),
    (ReadFlags::MOVED_FROM, "MOVED_FROM"),
    (ReadFlags::MOVED_TO, "MOVED_TO"),
    (ReadFlags::MOVE_SELF, "MOVE_SELF"),
    (ReadFlags::DELETE, "DELETE"),
    (ReadFlags::DELETE_SELF, "DELETE_SELF"),
    (ReadFlags::IGNORED, "IGNORED"),
    (ReadFlags::ISDIR, "ISDIR"),
];

fn plain(name: &str) -> String {
    let is_old = name.starts_with("tls.old");
    match name {
        "..data" | "..data_tmp" => name.to_owned(),
        stamped if stamped.starts_with("..") => "..TS".to_owned(),
        temporary if temporary.ends_with(".tmp") => "TMP".to_owned(),
        new if new.starts_with("tls.new") => "NEW".to_owned(),
        _ if is_old => "OLD".to_owned(),
        name => name.to_owned(),
    }
}

/// The order in which the files of a directory go is that of the file system.
fn sort_deletions(seen: &mut [String]) {
    for run in seen.chunk_by_mut(|one, next| {
        let is_file = |line: &String| line.contains(": DELETE ") && !line.contains("ISDIR");
        is_file(one) && is_file(next)
    }) {
        run.sort();
    }
}

fn two() -> (Leaf, Leaf) {
    let authority = CertificateAuthority::new("ca");
    (authority.issue(&["localhost"]), authority.issue(&["localhost"]))
}

fn ours(style: WriterStyle) -> Vec<String> {
    let place = tempfile::tempdir().unwrap();
    let (old, new) = two();
    let mut writer = Writer::create(style, &place.path().join("tls"), &old);
    let recorder = Recorder::on(style, &place.path().join("tls"));
    writer.update(&new);
    assert_eq!(fs::read_to_string(writer.certificate()).unwrap(), new.chain_pem);
    assert_eq!(fs::read_to_string(writer.key()).unwrap(), new.key_pem);
    recorder.seen()
}

fn expected(style: WriterStyle) -> Vec<String> {
    let each = |lines: &[&str]| {
        let of = |name: &str| {
            lines
                .iter()
                .map(|line| line.replace("FILE", name))
                .collect::<Vec<_>>()
        };
        ["tls.crt", "tls.key"].map(of).concat()
    };
    let written: &[&str] = &["DIR: MODIFY FILE", "DIR: CLOSE_WRITE FILE"];
    let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    match style {
        WriterStyle::Kubelet => lines(&[
            "DIR: CREATE ISDIR ..TS",
            "DIR: ATTRIB ISDIR ..TS",
            "DIR: CREATE ..data_tmp",
            "DIR: MOVED_FROM ..data_tmp",
            "DIR: MOVED_TO ..data",
            "TS: DELETE tls.crt",
            "TS: DELETE tls.key",
            "TS: DELETE_SELF",
            "TS: IGNORED",
            "DIR: DELETE ISDIR ..TS",
        ]),
        WriterStyle::InPlace | WriterStyle::Partial => each(written),
        WriterStyle::Rename => each(&[
            "DIR: CREATE TMP",
            "DIR: MODIFY TMP",
            "DIR: ATTRIB TMP",
            "DIR: CLOSE_WRITE TMP",
            "DIR: MOVED_FROM TMP",
            "DIR: MOVED_TO FILE",
        ]),
        WriterStyle::Certbot => {
            let mut all = Vec::new();
            for kind in ["privkey2.pem", "fullchain2.pem"] {
                for event in ["CREATE", "MODIFY", "CLOSE_WRITE", "ATTRIB"] {
                    all.push(format!("archive: {event} {kind}"));
                }
            }
            for kind in ["privkey.pem", "fullchain.pem"] {
                for event in ["DELETE", "CREATE"] {
                    all.push(format!("live: {event} {kind}"));
                }
            }
            all
        }
        WriterStyle::Empty => [each(written), each(written)].concat(),
        WriterStyle::Remove => [
            each(&["DIR: DELETE FILE"]),
            each(&[
                "DIR: CREATE FILE",
                "DIR: MODIFY FILE",
                "DIR: CLOSE_WRITE FILE",
                "DIR: ATTRIB FILE",
            ]),
        ]
        .concat(),
        WriterStyle::DirectorySwap => lines(&[
            "UP: CREATE ISDIR NEW",
            "UP: ATTRIB ISDIR NEW",
            "UP: MOVED_FROM ISDIR tls",
            "UP: MOVED_TO ISDIR OLD",
            "DIR: MOVE_SELF",
            "UP: MOVED_FROM ISDIR NEW",
            "UP: MOVED_TO ISDIR tls",
            "DIR: DELETE tls.crt",
            "DIR: DELETE tls.key",
            "DIR: DELETE_SELF",
            "DIR: IGNORED",
            "UP: DELETE ISDIR OLD",
        ]),
        WriterStyle::DirectoryExchange => lines(&[
            "UP: CREATE ISDIR NEW",
            "UP: ATTRIB ISDIR NEW",
            "UP: MOVED_FROM ISDIR NEW",
            "UP: MOVED_TO ISDIR tls",
            "UP: MOVED_FROM ISDIR tls",
            "UP: MOVED_TO ISDIR NEW",
            "DIR: MOVE_SELF",
            "DIR: DELETE tls.crt",
            "DIR: DELETE tls.key",
            "DIR: DELETE_SELF",
            "DIR: IGNORED",
            "UP: DELETE ISDIR NEW",
        ]),
    }
}

#[test]
fn each_writer_leaves_the_events_of_the_real_one() {
    for style in WriterStyle::ALL {
        assert_eq!(ours(style), expected(style), "{style:?}");
    }
}

/// What KUBELET_SIM names, else the one beside the workspace, where it and Python are.
fn simulation() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("KUBELET_SIM") {
        return Some(named.into());
    }
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/tools/kubelet_sim.py");
    let has_python = || {
        let version = Command::new("python3").arg("--version").output();
        version.is_ok_and(|output| output.status.success())
    };
    (beside.is_file() && has_python()).then_some(beside)
}

#[test]
fn each_writer_is_like_its_simulation() {
    let Some(simulation) = simulation() else {
        eprintln!(
            "not compared: neither KUBELET_SIM nor ../shared/tools has the simulation, or there is no python3"
        );
        return;
    };
    for style in WriterStyle::ALL {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("tls");
        let files = tempfile::tempdir().unwrap();
        let (old, new) = two();
        let (layout, words): (_, &[&str]) = match style {
            WriterStyle::Kubelet => ("kubelet", &["kubelet"]),
            WriterStyle::InPlace => ("plain", &["inplace"]),
            WriterStyle::Rename => ("plain", &["rename"]),
            WriterStyle::Certbot => ("certbot", &["certbot"]),
            WriterStyle::Partial => ("plain", &["partial"]),
            WriterStyle::Empty => ("plain", &["empty", "--refill"]),
            WriterStyle::Remove => ("plain", &["remove", "--refill"]),
            WriterStyle::DirectorySwap => ("plain", &["dirswap"]),
            WriterStyle::DirectoryExchange => ("plain", &["dirswap", "--exchange"]),
        };
        let run = |leaf: &Leaf, sub_command: &str, more: &[&str]| {
            let mut command = Command::new("python3");
            command.arg(&simulation).arg(sub_command).arg(&root).args(more);
            for (name, text) in match style {
                WriterStyle::Certbot => [("privkey.pem", &leaf.key_pem), ("fullchain.pem", &leaf.chain_pem)],
                _ => [("tls.crt", &leaf.chain_pem), ("tls.key", &leaf.key_pem)],
            } {
                let file = files.path().join(name);
                fs::write(&file, text).unwrap();
                command.arg("--file").arg(format!("{name}={}", file.display()));
            }
            let output = command.output().expect("python3");
            assert!(output.status.success(), "{output:?}");
        };
        run(&old, "init", &["--layout", layout]);
        let recorder = Recorder::on(style, &root);
        run(&new, "rotate", &[&["--style"], words].concat());
        let mut theirs = recorder.seen();
        // Names of the same kind, made up in another way.
        for line in &mut theirs {
            for (made_up, plain) in [(".tls.crt.", "TMP"), (".tls.key.", "TMP")] {
                if let Some(at) = line.find(made_up) {
                    line.replace_range(at.., plain);
                }
            }
        }
        assert_eq!(ours(style), theirs, "{style:?}");
    }
}
