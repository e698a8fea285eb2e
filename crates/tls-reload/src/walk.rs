//! From configured paths to open directories, one link at a time, so that nobody can swap a link in between.
//!
//! A [`Walk`] is one look at the disk: each name is looked up once, each directory opened once, and every file
//! of a directory is later opened through that handle (reload.md 4.1). It leaves a [`Snapshot`]: what was met on the
//! way, to compare with a later look (reload.md 4.2, the safety poll), and the directories to watch (reload.md 2.1).
//! Nothing is read here but links.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// One look at the disk.
#[derive(Default)]
pub(crate) struct Walk {
    seen: HashMap<PathBuf, Met>,
    snapshot: Snapshot,
}

/// What one look at the disk met.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    marks: BTreeMap<PathBuf, Mark>,
    watch: BTreeSet<PathBuf>,
}

/// A file, found behind all links.
pub(crate) struct Found {
    directory: Rc<Directory>,
    name: OsString,
    pub(crate) mark: Mark,
}

/// Why a path leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Dead {
    /// This component does not exist.
    Missing(PathBuf),
    /// This component is a file where a directory is due.
    NotADirectory(PathBuf),
    /// The server's user may not search the directory.
    Denied,
    /// A cycle of symbolic links.
    Loop,
    /// Another error of the system.
    System(Errno),
}

/// What tells a thing from what was there before. Directories carry no times: files of others come and go in
/// them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mark {
    Directory {
        id: Id,
        mode: u32,
    },
    Link {
        id: Id,
        target: PathBuf,
        changed: Stamp,
    },
    File {
        id: Id,
        size: u64,
        modified: Stamp,
        changed: Stamp,
        mode: u32,
        /// No name leads to it any more but the mount that was followed.
        is_unlinked: bool,
    },
    Special {
        id: Id,
        kind: &'static str,
    },
    Nothing(Dead),
}

/// Device and inode.
pub(crate) type Id = (u64, u64);

/// Nanoseconds since 1970.
pub(crate) type Stamp = i128;

struct Directory {
    handle: OwnedFd,
    path: PathBuf,
}

#[derive(Clone)]
enum Met {
    Directory(Rc<Directory>),
    Link(PathBuf),
    Leaf(Mark),
    Dead(Dead),
}

impl Walk {
    /// Follows `path` to its end. Links met by an earlier path are not read a second time.
    pub(crate) fn follow(&mut self, path: &Path) -> Result<Found, Dead> {
        let path = std::path::absolute(path)
            .map_err(|error| Dead::System(Errno::from_io_error(&error).unwrap_or(Errno::INVAL)))?;
        let mut rest: VecDeque<OsString> = names(&path);
        let mut current = self.root()?;
        let mut links = 0;
        while let Some(name) = rest.pop_front() {
            if name == OsStr::new("..") {
                let above = current.path.parent().unwrap_or(Path::new("/")).to_owned();
                current = self.opened(&above)?;
                continue;
            }
            match self.meet(&current, &name) {
                Met::Link(target) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Dead::Loop);
                    }
                    if target.is_absolute() {
                        current = self.root()?;
                    }
                    for name in names(&target).into_iter().rev() {
                        rest.push_front(name);
                    }
                }
                Met::Directory(directory) if !rest.is_empty() => current = directory,
                Met::Directory(directory) => {
                    self.snapshot.watch.insert(current.path.clone());
                    let mark = self.snapshot.marks.get(&directory.path).cloned();
                    let mark = mark.unwrap_or(Mark::Special {
                        id: (0, 0),
                        kind: "a directory",
                    });
                    return Ok(Found {
                        directory: current,
                        name,
                        mark,
                    });
                }
                Met::Leaf(mark) => {
                    self.snapshot.watch.insert(current.path.clone());
                    if !rest.is_empty() {
                        return Err(Dead::NotADirectory(current.path.join(name)));
                    }
                    return Ok(Found {
                        directory: current,
                        name,
                        mark,
                    });
                }
                Met::Dead(dead) => {
                    // reload.md 2.5: the nearest ancestor that exists tells when the rest comes back.
                    self.snapshot.watch.insert(current.path.clone());
                    return Err(dead);
                }
            }
        }
        // The path was `/`, or ended in `..`.
        Ok(Found {
            directory: current,
            name: OsString::from("."),
            mark: Mark::Special {
                id: (0, 0),
                kind: "a directory",
            },
        })
    }

    pub(crate) fn into_snapshot(self) -> Snapshot {
        self.snapshot
    }

    pub(crate) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    fn root(&mut self) -> Result<Rc<Directory>, Dead> {
        self.opened(Path::new("/"))
    }

    /// A directory met before; the root is opened when it is first needed.
    fn opened(&mut self, path: &Path) -> Result<Rc<Directory>, Dead> {
        if let Some(Met::Directory(directory)) = self.seen.get(path) {
            return Ok(directory.clone());
        }
        let handle = rustix::fs::openat(CWD, path, DIRECTORY, Mode::empty()).map_err(dead)?;
        let directory = Rc::new(Directory {
            handle,
            path: path.to_owned(),
        });
        self.seen
            .insert(path.to_owned(), Met::Directory(directory.clone()));
        Ok(directory)
    }

    fn meet(&mut self, directory: &Directory, name: &OsStr) -> Met {
        let path = directory.path.join(name);
        if let Some(met) = self.seen.get(&path) {
            return met.clone();
        }
        let (met, mark) = match look(directory.handle.as_fd(), name, &path) {
            Ok(both) => both,
            Err(dead) => (Met::Dead(dead.clone()), Mark::Nothing(dead)),
        };
        if matches!(mark, Mark::Link { .. }) {
            self.snapshot.watch.insert(directory.path.clone());
        }
        self.snapshot.marks.insert(path.clone(), mark);
        self.seen.insert(path, met.clone());
        met
    }
}

impl Snapshot {
    /// A look at every path, without reading any.
    pub(crate) fn of<'a>(paths: impl Iterator<Item = &'a Path>) -> Self {
        let mut walk = Walk::default();
        for path in paths {
            // A dead end is part of the picture: its mark stands in the snapshot.
            let _dead_or_found = walk.follow(path);
        }
        walk.into_snapshot()
    }

    /// The directories whose events concern the paths (reload.md 2.1).
    pub(crate) fn directories(&self) -> &BTreeSet<PathBuf> {
        &self.watch
    }

    /// Device and inode of a directory of [`directories`](Self::directories).
    pub(crate) fn directory_id(&self, path: &Path) -> Option<Id> {
        match self.marks.get(path) {
            Some(Mark::Directory { id, .. }) => Some(*id),
            _ => None,
        }
    }

    /// The files at the end of the paths, behind all links, and whether each still has a name of its own.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&Path, bool)> {
        self.marks.iter().filter_map(|(path, mark)| match mark {
            Mark::File { is_unlinked, .. } => Some((path.as_path(), !is_unlinked)),
            _ => None,
        })
    }

    /// The newest change time among what differs from `before`. `None` if anything differs without a newer
    /// time: a file in the middle of being truncated shows its new size before its new time.
    pub(crate) fn newest_change_since(&self, before: &Self) -> Option<SystemTime> {
        let differing = self
            .marks
            .iter()
            .filter(|(path, mark)| before.marks.get(*path) != Some(mark));
        let mut newest = None;
        for (path, mark) in differing {
            let Some(changed) = mark.changed() else { continue };
            if before.marks.get(path).and_then(Mark::changed) == Some(changed) {
                return None;
            }
            newest = newest.max(Some(changed));
        }
        newest.map(system_time)
    }

    /// Whether something changed so close to `looked_at` that a later change could bear the same times: file
    /// systems keep times as coarse as two seconds (reload.md 2.4, T33).
    pub(crate) fn is_too_fresh(&self, looked_at: SystemTime) -> bool {
        let at = stamp(looked_at);
        let window = i128::try_from(COARSE.as_nanos()).unwrap_or(i128::MAX);
        self.marks
            .values()
            .filter_map(Mark::changed)
            .any(|changed| (at - changed).abs() < window)
    }
}

impl Found {
    /// Opens the file through its directory's handle. Never blocks on a FIFO, never follows a link.
    pub(crate) fn open(&self) -> Result<(OwnedFd, Mark), Dead> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let file = rustix::fs::openat(self.directory.handle.as_fd(), &self.name, flags, Mode::empty())
            .map_err(dead)?;
        let mark = mark_of(&rustix::fs::fstat(&file).map_err(dead)?);
        Ok((file, mark))
    }
}

impl Mark {
    fn changed(&self) -> Option<Stamp> {
        match self {
            Self::Link { changed, .. } => Some(*changed),
            // A writer can set the modification time back (cp -p), never the change time.
            Self::File { changed, .. } => Some(*changed),
            Self::Directory { .. } | Self::Special { .. } | Self::Nothing(_) => None,
        }
    }
}

fn look(directory: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<(Met, Mark), Dead> {
    let stat = match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Err(Dead::Missing(path.to_owned())),
        Err(error) => return Err(dead(error)),
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(directory, name, Vec::new()).map_err(dead)?;
            let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
            let mark = Mark::Link {
                id: id(&stat),
                target: target.clone(),
                changed: changed(&stat),
            };
            Ok((Met::Link(target), mark))
        }
        FileType::Directory => {
            let handle =
                match rustix::fs::openat(directory, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
                    Ok(handle) => handle,
                    Err(Errno::NOENT) => return Err(Dead::Missing(path.to_owned())),
                    Err(error) => return Err(dead(error)),
                };
            let mark = mark_of(&rustix::fs::fstat(&handle).map_err(dead)?);
            Ok((
                Met::Directory(Rc::new(Directory {
                    handle,
                    path: path.to_owned(),
                })),
                mark,
            ))
        }
        _ => {
            let mark = mark_of(&stat);
            Ok((Met::Leaf(mark.clone()), mark))
        }
    }
}

fn mark_of(stat: &Stat) -> Mark {
    let id = id(stat);
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {
            return Mark::File {
                id,
                size: u64::try_from(stat.st_size).unwrap_or(u64::MAX),
                modified: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
                changed: changed(stat),
                mode: permissions(stat),
                is_unlinked: wide(stat.st_nlink) == 0,
            };
        }
        FileType::Directory => {
            return Mark::Directory {
                id,
                mode: permissions(stat),
            };
        }
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Symlink => "a symbolic link",
        FileType::Unknown => "of an unknown kind",
    };
    Mark::Special { id, kind }
}

/// The components below the root; `.` is dropped, `..` kept (it means the parent of where the links led).
fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

fn dead(error: Errno) -> Dead {
    match error {
        Errno::ACCESS | Errno::PERM => Dead::Denied,
        Errno::LOOP => Dead::Loop,
        other => Dead::System(other),
    }
}

fn id(stat: &Stat) -> Id {
    (wide(stat.st_dev), wide(stat.st_ino))
}

/// The types of these fields differ between systems.
fn wide(number: impl TryInto<u64>) -> u64 {
    number.try_into().unwrap_or(u64::MAX)
}

fn permissions(stat: &Stat) -> u32 {
    u32::try_from(wide(stat.st_mode)).unwrap_or(0) & 0o7777
}

fn changed(stat: &Stat) -> Stamp {
    nanoseconds(stat.st_ctime, stat.st_ctime_nsec)
}

fn nanoseconds(seconds: impl Into<i128>, nanoseconds: impl Into<i128>) -> Stamp {
    seconds.into() * 1_000_000_000 + nanoseconds.into()
}

fn stamp(at: SystemTime) -> Stamp {
    let nanos = |distance: Duration| i128::try_from(distance.as_nanos()).unwrap_or(i128::MAX);
    at.duration_since(UNIX_EPOCH)
        .map_or_else(|before| -nanos(before.duration()), nanos)
}

fn system_time(at: Stamp) -> SystemTime {
    u64::try_from(at).map_or(UNIX_EPOCH, |nanos| UNIX_EPOCH + Duration::from_nanos(nanos))
}

/// What Linux allows, too.
const MAX_LINKS: u32 = 40;

/// The coarsest times of file systems in use are two seconds apart; one more for the server's clock of a
/// network file system.
const COARSE: Duration = Duration::from_secs(3);

/// A handle to look things up in. `PATH` needs no permission to list the directory and raises no event.
#[cfg(any(target_os = "linux", target_os = "android"))]
const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
