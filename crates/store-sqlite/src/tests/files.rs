//! Rights of the files, and what stands in the way of making them.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use store::{Engine as _, conformance::samples::*};

use super::{super::OpenError, open};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn files_are_private_to_their_owner() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("data/store");
    let store = open(&directory).unwrap();
    enrolled(&store, "a").await;
    assert_eq!(mode(&directory), 0o700);
    for file in ["fleet.db", "fleet.db-wal", "fleet.db-shm", "fleet.lock"] {
        assert_eq!(mode(&directory.join(file)), 0o600, "{file}");
    }
    store.close().await.unwrap();
    // The log is folded in; one file is the whole store.
    assert!(fs::metadata(directory.join("fleet.db-wal")).map_or(true, |log| log.len() == 0));
    // Rights that somebody gave to others are taken back; a directory that exists is left as it is.
    fs::set_permissions(directory.join("fleet.db"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o750)).unwrap();
    open(&directory).unwrap();
    assert_eq!(mode(&directory.join("fleet.db")), 0o600);
    assert_eq!(mode(&directory), 0o750);
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let parent = tempfile::tempdir().unwrap();
    let file = parent.path().join("file");
    fs::write(&file, "in the way").unwrap();
    for directory in [file.clone(), file.join("below")] {
        let error = open(&directory).unwrap_err();
        assert!(matches!(error, OpenError::NotWritable { .. }), "{error:?}");
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("cannot write to {}", directory.display())),
            "{text}"
        );
        assert!(!text.contains('\n') && error.hint().contains("permissions"));
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "in the way");
}

#[test]
fn an_empty_file_is_a_loss_and_no_new_store() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("fleet.db");
    fs::write(&file, "").unwrap();
    let error = open(directory.path()).unwrap_err();
    assert!(matches!(error, OpenError::Empty { .. }), "{error:?}");
    assert!(error.hint().contains("backup"), "{}", error.hint());
    assert_eq!(fs::metadata(&file).unwrap().len(), 0, "it is left as it is");
    fs::remove_file(&file).unwrap();
    assert!(open(directory.path()).unwrap().is_new());
    assert!(!open(directory.path()).unwrap().is_new());
}

#[test]
fn a_first_opening_that_was_cut_short_is_made_whole() {
    let directory = tempfile::tempdir().unwrap();
    // Before the file has its name.
    fs::write(directory.path().join("fleet.db.partial"), "").unwrap();
    assert!(open(directory.path()).unwrap().is_new());
    assert!(!directory.path().join("fleet.db.partial").exists());
    // Between the name and the first migration.
    let directory = tempfile::tempdir().unwrap();
    assert!(super::super::connection::ensure_file(&directory.path().join("fleet.db")).unwrap());
    let store = open(directory.path()).unwrap();
    assert!(!store.is_new());
    assert!(
        !directory.path().join("fleet.db.before-v1").exists(),
        "nothing was there to be kept"
    );
}
