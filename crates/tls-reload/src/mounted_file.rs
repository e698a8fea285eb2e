//! Files that are mounted one by one: a replacement outside the container is never seen here.
//!
//! A bind mount of a file (`docker run -v tls.crt:…`, a `subPath` of Kubernetes) holds the inode. When the file is
//! replaced outside, the old inode stays here, without a name: its link count is 0. A snapshot goes in, paths come out.

use std::collections::HashSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use crate::walk::Snapshot;

/// The files of `snapshot` that are mounted here and were replaced outside.
pub(crate) fn replaced_outside(snapshot: &Snapshot) -> Vec<PathBuf> {
    let nameless: Vec<&Path> = snapshot
        .files()
        .filter_map(|(path, has_name)| (!has_name).then_some(path))
        .collect();
    if nameless.is_empty() {
        return Vec::new(); // the usual case costs nothing
    }
    // Some network file systems count no links at all: only a mount makes it what it looks like.
    let mounts = mount_points();
    let is_mount = |path: &&Path| mounts.as_ref().is_none_or(|mounts| mounts.contains(*path));
    nameless
        .into_iter()
        .filter(is_mount)
        .map(Path::to_owned)
        .collect()
}

/// The files of `snapshot` that are mounts themselves.
pub(crate) fn mounted(snapshot: &Snapshot) -> Vec<PathBuf> {
    let Some(mounts) = mount_points() else {
        return Vec::new();
    };
    let files = snapshot.files().map(|(path, _)| path);
    files
        .filter(|path| mounts.contains(*path))
        .map(Path::to_owned)
        .collect()
}

/// The mount points; `None` if this system does not list them.
fn mount_points() -> Option<HashSet<PathBuf>> {
    let table = std::fs::read("/proc/self/mountinfo").ok()?;
    let points = table.split(|b| *b == b'\n').filter_map(|line| {
        // 36 35 98:0 /root /mount/point options …
        line.split(|b| *b == b' ').nth(4).map(unescaped)
    });
    Some(points.collect())
}

/// Blanks, tabs, line ends and backslashes stand there as `\040` and the like.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| *first == b'\\');
        let escaped = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        path.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() {
            after.get(3..).unwrap_or_default()
        } else {
            after
        };
    }
    PathBuf::from(OsString::from_vec(path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    #[test]
    fn mount_points_are_read_as_the_kernel_writes_them() {
        assert_eq!(unescaped(br"/a\040b\134c"), Path::new(r"/a b\c"));
        assert_eq!(unescaped(br"/a\04"), Path::new(r"/a\04"));
        assert_eq!(unescaped("/ä".as_bytes()).as_os_str().as_bytes(), "/ä".as_bytes());
        assert!(mount_points().is_some_and(|points| points.contains(Path::new("/"))));
    }
}
