//! reload.md 4.1, 4.2: whatever a writer does between any two steps of the reader, what is read is one state of the
//! disk.
//!
//! A writer is a list of steps, each atomic for the file system. The case runs any number of them at any point
//! of the reader's work, in any order that keeps a writer's own, and remembers what the paths led to after
//! each. The bytes that are read must be one of the states that were there while it read.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use proptest::prelude::*;

use super::Material;
use crate::error::LoadError;
use crate::source::{PemSource, Settings};

/// What each path led to, at one moment.
type Contents = Vec<Option<String>>;

/// One thing that happens at once.
#[derive(Debug, Clone)]
enum Step {
    Write(PathBuf, String),
    Rename(PathBuf, PathBuf),
    Link(PathBuf, PathBuf),
    Directory(PathBuf),
    Remove(PathBuf),
}

#[derive(Debug, Clone, Copy)]
enum Style {
    /// `..data` is swapped, the old directory removed.
    Kubelet,
    /// Each file is renamed into place.
    Rename,
    /// Each file is truncated, then written.
    Truncate,
    /// The links of the files are re-pointed.
    Links,
    /// Files vanish and come back.
    Recreate,
}

const FILES: [&str; 2] = ["tls.crt", "tls.key"];

fn content(file: &str, turn: usize) -> String {
    format!("{file} of turn {turn}")
}

/// The steps that bring turn number `turn`.
fn steps(style: Style, root: &Path, turn: usize) -> Vec<Step> {
    let at = |name: &str| root.join(name);
    let write = |path: PathBuf, file: &str| Step::Write(path, content(file, turn));
    match style {
        Style::Kubelet => {
            let next = format!("..{turn}");
            let mut steps = vec![Step::Directory(at(&next))];
            steps.extend(FILES.map(|file| write(at(&next).join(file), file)));
            steps.push(Step::Link(PathBuf::from(&next), at("..data_tmp")));
            steps.push(Step::Rename(at("..data_tmp"), at("..data")));
            steps.push(Step::Remove(at(&format!("..{}", turn - 1))));
            steps
        }
        Style::Rename => {
            let one = |file: &str| [write(at("tmp"), file), Step::Rename(at("tmp"), at(file))];
            FILES.into_iter().flat_map(one).collect()
        }
        Style::Truncate => {
            let one = |file: &str| [Step::Write(at(file), String::new()), write(at(file), file)];
            FILES.into_iter().flat_map(one).collect()
        }
        Style::Links => {
            let one = |file: &str| {
                let target = format!("{file}.{turn}");
                [
                    write(at(&target), file),
                    Step::Link(PathBuf::from(&target), at("tmp")),
                    Step::Rename(at("tmp"), at(file)),
                ]
            };
            FILES.into_iter().flat_map(one).collect()
        }
        Style::Recreate => {
            let gone = FILES.map(|file| Step::Remove(at(file)));
            gone.into_iter()
                .chain(FILES.map(|file| write(at(file), file)))
                .collect()
        }
    }
}

fn perform(step: &Step) {
    match step {
        Step::Write(path, text) => fs::write(path, text).unwrap(),
        Step::Rename(from, to) => fs::rename(from, to).unwrap(),
        Step::Link(target, link) => symlink(target, link).unwrap(),
        Step::Directory(path) => fs::create_dir(path).unwrap(),
        Step::Remove(path) if path.is_dir() => fs::remove_dir_all(path).unwrap(),
        Step::Remove(path) => fs::remove_file(path).unwrap(),
    }
}

/// What the paths lead to.
fn state(root: &Path) -> Contents {
    FILES
        .iter()
        .map(|file| fs::read_to_string(root.join(file)).ok())
        .collect()
}

/// Runs the orders; returns what was read and every state that was there meanwhile.
fn run(style: Style, before: usize, orders: &[usize]) -> (Option<Contents>, Vec<Contents>) {
    // In memory where there is such a place: a thousand orders of file operations in about a second.
    let root = tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap();
    if matches!(style, Style::Kubelet) {
        for file in FILES {
            symlink(Path::new("..data").join(file), root.path().join(file)).unwrap();
        }
        fs::create_dir(root.path().join("..0")).unwrap();
    } else {
        for file in FILES {
            fs::write(root.path().join(file), content(file, 0)).unwrap();
        }
    }
    let mut writer: VecDeque<Step> = (1..=6).flat_map(|turn| steps(style, root.path(), turn)).collect();
    for step in writer.drain(..before.min(writer.len())) {
        perform(&step);
    }
    let states = RefCell::new(vec![state(root.path())]);
    let mut orders = orders.iter();
    let mut between = || {
        for _ in 0..orders.next().copied().unwrap_or(0) {
            let Some(step) = writer.pop_front() else { return };
            perform(&step);
            states.borrow_mut().push(state(root.path()));
        }
    };
    let source = |file: &str| PemSource::Path(root.path().join(file));
    let settings = Settings::single(source(FILES[0]), Some(source(FILES[1])));
    let read = match Material::read_with(&settings, SystemTime::now(), &mut between) {
        Ok(material) => {
            let one = |file: &&str| match material.file("file", &root.path().join(file)) {
                Ok(content) => Some(String::from_utf8(content.bytes.to_vec()).unwrap()),
                Err(LoadError::NotFound { .. }) => None,
                Err(other) => panic!("{other}"),
            };
            Some(FILES.iter().map(one).collect())
        }
        Err(LoadError::Unsettled { .. }) => None,
        Err(other) => panic!("{other}"),
    };
    (read, states.into_inner())
}

fn styles() -> impl Strategy<Value = Style> {
    prop::sample::select(vec![
        Style::Kubelet,
        Style::Rename,
        Style::Truncate,
        Style::Links,
        Style::Recreate,
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn r13_r14_any_interleaving_reads_one_state_of_the_disk(
        style in styles(),
        before in 0usize..20,
        orders in prop::collection::vec(0usize..4, 0..24),
    ) {
        let (read, states) = run(style, before, &orders);
        if let Some(read) = read {
            prop_assert!(states.contains(&read), "{read:?} was never there: {states:?}");
        } else {
            prop_assert!(states.len() > 1, "a still disk settles");
        }
    }
}

#[test]
fn r14_a_disk_that_never_rests_is_put_off() {
    let (read, states) = run(Style::Kubelet, 5, &[1; 64]);
    assert!(read.is_none() || states.contains(&read.unwrap()));
    let (read, _) = run(Style::Truncate, 0, &[0; 64]);
    assert_eq!(read, Some(FILES.map(|file| Some(content(file, 0))).to_vec()));
}
