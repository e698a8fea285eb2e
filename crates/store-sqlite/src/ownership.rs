//! Which files beside the store are this program's.
//!
//! SQLite and the store write and remove files of fixed names. Before they do, one that somebody else laid there is
//! told apart by how it begins; it is refused with its name, and stays as it is.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use super::OpenError;

/// "FltS": tells our file from another SQLite database.
pub(super) const APPLICATION_ID: i64 = 0x466c_7453;

/// Files that a store may have, by what is added to `fleet.db`, and how they begin.
const FORMS: &[(&str, &[&[u8]])] = &[
    ("-wal", &[b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83"]),
    ("-shm", &[&SHARED_MEMORY_VERSION.to_ne_bytes()]),
    ("-journal", JOURNAL),
    (".partial", &[SQLITE]),
    (".partial-journal", JOURNAL),
];

/// Looks at the store's file in `path` and at those beside it.
///
/// # Errors
/// One of them is somebody else's, or the store itself is gone and its log is not.
pub(super) fn check(path: &Path) -> Result<(), OpenError> {
    if is_of_another_application(path)? {
        return Err(OpenError::Foreign {
            path: path.to_owned(),
        });
    }
    for (suffix, begins) in FORMS {
        expect(&beside(path, suffix), begins)?;
    }
    // SQLite would take what the log of a store that is gone holds into the new one.
    let log = beside(path, "-wal");
    if !path.exists() && log.metadata().is_ok_and(|log| log.len() > 0) {
        return Err(OpenError::Orphan { path: log });
    }
    Ok(())
}

/// Refuses a file at `path` that is no SQLite database, nor the beginning of one.
pub(super) fn expect_database(path: &Path) -> Result<(), OpenError> {
    expect(path, &[SQLITE])?;
    expect(&beside(path, "-journal"), JOURNAL)
}

/// `path` with something behind it.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// What a crash leaves may be empty, or not have its first page yet.
fn expect(path: &Path, begins: &[&[u8]]) -> Result<(), OpenError> {
    let head = head(path, 16)?;
    let is_ours = head.iter().all(|byte| *byte == 0) || begins.iter().any(|begin| head.starts_with(begin));
    match is_ours {
        true => Ok(()),
        false => Err(OpenError::Foreign {
            path: path.to_owned(),
        }),
    }
}

/// The header names its application from the moment on at which the file gets its name.
fn is_of_another_application(path: &Path) -> Result<bool, OpenError> {
    let head = head(path, 72)?;
    let named = head
        .get(68..72)
        .map(|id| i64::from(u32::from_be_bytes([id[0], id[1], id[2], id[3]])));
    Ok(head.starts_with(SQLITE) && named.is_some_and(|id| id != APPLICATION_ID))
}

/// The first bytes; nothing, if there is no file.
fn head(path: &Path, length: u64) -> Result<Vec<u8>, OpenError> {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(length).read_to_end(&mut head));
    match read {
        Ok(_) => Ok(head),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(OpenError::NotWritable {
            path: path.to_owned(),
            source,
        }),
    }
}

const SQLITE: &[u8] = b"SQLite format 3\0";
/// Magic and number of records, which are zero until the journal is synced; what follows them never is.
const JOURNAL: &[&[u8]] = &[b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7", &[0; 12]];
/// The first number in a `-shm` file, in the order of this machine (WALINDEX_MAX_VERSION).
const SHARED_MEMORY_VERSION: u32 = 3_007_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s21_a_journal_that_was_not_synced_is_ours() {
        let directory = tempfile::tempdir().unwrap();
        let store = directory.path().join("fleet.db");
        for suffix in ["-journal", ".partial-journal"] {
            let journal = beside(&store, suffix);
            for (zeros, is_ours) in [(12, true), (11, false)] {
                let mut head = vec![0; zeros];
                head.extend_from_slice(b"\x5a\x01\x02\x03and more");
                std::fs::write(&journal, head).unwrap();
                let checked = check(&store);
                let is_foreign = matches!(&checked, Err(OpenError::Foreign { path }) if *path == journal);
                assert_eq!(
                    (checked.is_ok(), is_foreign),
                    (is_ours, !is_ours),
                    "{zeros} before {suffix}"
                );
            }
            std::fs::remove_file(journal).unwrap();
        }
    }
}
