//! The exclusive lock on a store's directory (M10). The system drops it with its holder, so a lock file that
//! a dead process left behind never blocks.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustix::fs::{FlockOperation, flock};

use super::OpenError;

/// Held while the store is open.
#[derive(Debug)]
pub(super) struct DirectoryLock {
    /// Closing it releases the lock. The file stays: removing it would let two processes lock two files.
    _file: File,
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
        write_pid(&mut file).map_err(fails)?;
        Ok(Self { _file: file })
    }
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    writeln!(file, "{}", std::process::id())?;
    file.sync_all()
}

/// The process that has the store in this directory open, if one has.
///
/// # Errors
/// The lock file cannot be read.
pub fn holder_of(directory: &Path) -> io::Result<Option<u32>> {
    let mut file = match File::open(directory.join(NAME)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(None),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(holder(&mut file)),
        Err(error) => Err(error.into()),
    }
}

/// The pid in the file. `None` if its holder has not come to write it yet.
fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

const NAME: &str = "fleet.lock";
