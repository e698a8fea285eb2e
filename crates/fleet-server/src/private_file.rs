//! Files that only the server's user may read: written whole or not at all, never wider than 0600.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// Creates the directory (0700) with its parents if it is missing.
///
/// # Errors
/// The operating system's, when it cannot be made.
pub(crate) fn ensure_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Replaces the file with `content` atomically: readers see the old or the new content, also after a crash.
///
/// # Errors
/// The operating system's; the old file stays then.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = sibling(path);
    let written = write_new(&temporary, content).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // Best-effort clean-up: the error to report is the one above.
        let _ = fs::remove_file(&temporary);
    }
    written.and_then(|()| sync_parent(path))
}

/// Creates the file with `content`, refusing to touch one that exists.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if there is one; otherwise the operating system's.
pub(crate) fn create(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = sibling(path);
    let written = write_new(&temporary, content).and_then(|()| fs::hard_link(&temporary, path));
    let _ = fs::remove_file(&temporary);
    written.and_then(|()| sync_parent(path))
}

/// Reads a small text file, or `None` if there is none; surrounding white space is cut.
///
/// # Errors
/// The operating system's, or [`io::ErrorKind::InvalidData`] if it is larger than `limit` bytes or not UTF-8.
pub(crate) fn read_text(path: &Path, limit: u64) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    file.take(limit + 1).read_to_string(&mut text)?;
    if text.len() as u64 > limit {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("larger than {limit} bytes"),
        ));
    }
    Ok(Some(text.trim().to_owned()))
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// A name beside `path` that no other process uses now.
fn sibling(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(
        ".{}.{}.tmp",
        std::process::id(),
        uuid::Uuid::new_v4().simple()
    ));
    path.with_file_name(name)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn replaces_whole_and_keeps_others_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        replace(&path, b"one").unwrap();
        replace(&path, b"two\n").unwrap();
        assert_eq!(read_text(&path, 100).unwrap().as_deref(), Some("two"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "no temporary file is left"
        );
    }

    #[test]
    fn creates_only_what_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.key");
        create(&path, b"mine").unwrap();
        assert_eq!(
            create(&path, b"other").unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!(read_text(&path, 100).unwrap().as_deref(), Some("mine"));
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "no temporary file is left"
        );
    }

    #[test]
    fn absent_and_oversized_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read_text(&dir.path().join("none"), 10).unwrap(), None);
        fs::write(dir.path().join("big"), "x".repeat(11)).unwrap();
        assert_eq!(
            read_text(&dir.path().join("big"), 10).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }
}
