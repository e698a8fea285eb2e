//! Every target gets every input of its corpus.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::Path};

use fuzz::{TARGETS, Target};

fn corpora() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/corpora"))
}

fn replay(name: &str) {
    let target = Target::named(name).unwrap();
    let mut files: Vec<_> = fs::read_dir(corpora().join(name))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{name} has no corpus");
    // Each by itself, cut in two, and nothing at all.
    target.run(b"");
    for file in files {
        let input = fs::read(&file).unwrap();
        target.run(&input);
        target.run(&input[..input.len() / 2]);
    }
}

macro_rules! replays {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            replay(stringify!($name));
        })*

        #[test]
        fn every_target_is_replayed_and_every_corpus_has_its_target() {
            let mut targets = TARGETS.map(|target| target.name);
            targets.sort_unstable();
            let mut replayed = [$(stringify!($name)),*];
            replayed.sort_unstable();
            assert_eq!(replayed[..], targets[..]);
            for entry in fs::read_dir(corpora()).unwrap() {
                let name = entry.unwrap().file_name();
                assert!(Target::named(name.to_str().unwrap()).is_some(), "{name:?}");
            }
        }
    };
}

replays! {
    pem certificate key revocation_list settings configuration flags enroll checkin acks audit upload_begin
    upload_chunk upload_complete byte_range artifact opamp policy_json policy_yaml kuery http1 http2
}
