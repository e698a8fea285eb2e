//! The exclusive lock on a store's directory (M10). The system drops it with its holder, so a lock file that
//! a dead process left behind never blocks.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use rustix::fs::{FlockOperation, flock};

use super::OpenError;

/// Held while the store is open.
#[derive(Debug)]
pub(super) struct DirectoryLock {
    /// It stays when the lock goes: removing it would let two processes lock two files.
    file: File,
}

impl DirectoryLock {
    /// Takes the lock and writes this process's id into the file.
    pub(super) fn take(directory: &Path) -> Result<Self, OpenError> {
        let path = directory.join(NAME);
        let fails = |source: io::Error| OpenError::NotWritable {
            path: path.clone(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(fails)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(OpenError::InUse {
                    directory: directory.to_owned(),
                    pid: holder(&mut file),
                });
            }
            Err(error) => return Err(fails(error.into())),
        }
        // It is only ever a number, or nothing after a crash.
        let mut head = String::new();
        let read = (&mut file).take(32).read_to_string(&mut head);
        if read.is_err() || !head.trim().bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(OpenError::Foreign { path });
        }
        write_pid(&mut file).map_err(fails)?;
        Ok(Self { file })
    }
}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // Closing the file is not enough: a process that another thread has just forked holds it too until it executes its
        // program. An error leaves the lock to that end.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    writeln!(file, "{}", std::process::id())?;
    file.sync_all()
}

/// The process that has the store in this directory open, if one has. Takes no lock, not even for a moment: a server that
/// starts would be refused.
///
/// # Errors
/// The lock file or the system's list of locks cannot be read.
pub fn holder_of(directory: &Path) -> io::Result<Option<u32>> {
    let mut file = match File::open(directory.join(NAME)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let inode = format!(":{}", file.metadata()?.ino());
    let Some(pid) = holder(&mut file) else {
        return Ok(None);
    };
    // `1: FLOCK  ADVISORY  WRITE PID MAJOR:MINOR:INODE 0 EOF`
    let is_ours = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.contains(&"FLOCK")
            && fields.contains(&pid.to_string().as_str())
            && fields.iter().any(|field| field.ends_with(&inode))
    };
    // The list is read in pieces. A lock of anybody's that goes meanwhile moves the others up, and one of them may be missed.
    for _ in 0..LOOKS {
        if fs::read_to_string("/proc/locks")?.lines().any(is_ours) {
            return Ok(Some(pid));
        }
    }
    Ok(None)
}

const LOOKS: usize = 5;

/// The pid in the file. `None` if its holder has not come to write it yet.
fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

const NAME: &str = "fleet.lock";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_found_while_it_holds() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(holder_of(directory.path()).unwrap(), None);
        let lock = DirectoryLock::take(directory.path()).unwrap();
        assert_eq!(holder_of(directory.path()).unwrap(), Some(std::process::id()));
        drop(lock);
        assert_eq!(holder_of(directory.path()).unwrap(), None);
    }

    #[test]
    fn a_lock_goes_with_its_holder_also_while_a_forked_process_has_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let lock = DirectoryLock::take(directory.path()).unwrap();
        let forked = lock.file.try_clone().unwrap();
        drop(lock);
        drop(DirectoryLock::take(directory.path()).unwrap());
        drop(forked);
    }
}
