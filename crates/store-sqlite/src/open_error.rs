//! Why the embedded store could not be opened, each with a remedy.

use std::{io, path::PathBuf};

use store::Cause;

/// The store was not opened; nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the texts and the fields' names say it")]
pub enum OpenError {
    #[error("the store in {} is in use by {}", directory.display(), holder(*pid))]
    InUse {
        directory: PathBuf,
        /// The holder as its lock file names it, if it does.
        pid: Option<u32>,
    },
    #[error("cannot write to {}", path.display())]
    NotWritable { path: PathBuf, source: io::Error },
    #[error("{} has version {file}, but this program reads at most version {ours}", path.display())]
    NewerVersion {
        path: PathBuf,
        file: i64,
        /// The newest version that this program knows.
        ours: i64,
    },
    #[error("{} was not made by this program", path.display())]
    Foreign { path: PathBuf },
    #[error("{} is there, but the store that it belongs to is not", path.display())]
    Orphan { path: PathBuf },
    /// The file has no content. A new store is never without: its file gets its name with a header in it.
    #[error("{} is empty: it held a store that is gone", path.display())]
    Empty { path: PathBuf },
    #[error("{} is damaged", path.display())]
    Damaged { path: PathBuf, source: Cause },
    #[error("{} could not be brought to version {to}", path.display())]
    Migration {
        path: PathBuf,
        to: i64,
        source: rusqlite::Error,
    },
    /// SQLite refused to work with the file for another reason (out of memory, locked by a foreign tool, …).
    #[error("cannot open {}", path.display())]
    Refused { path: PathBuf, source: rusqlite::Error },
    #[error("cannot start a thread for the store")]
    NoThread(#[source] io::Error),
}

impl OpenError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::InUse { pid: Some(pid), .. } => {
                format!("stop process {pid} or choose another data directory")
            }
            Self::InUse { pid: None, .. } => {
                "stop the other process or choose another data directory".to_owned()
            }
            Self::NotWritable { path, .. } => format!(
                "check owner, permissions and free space of {}, or choose another data directory",
                path.display()
            ),
            Self::NewerVersion { file, .. } => {
                format!("start the version that wrote it, or restore a backup made before version {file}")
            }
            Self::Foreign { path } => {
                format!("move {} away or choose another data directory", path.display())
            }
            Self::Orphan { path } => format!(
                "restore fleet.db from a backup; only if there is nothing to lose, move {} away to begin anew",
                path.display()
            ),
            Self::Empty { path } => format!(
                "restore {0} from a backup; only if there is nothing to lose, remove {0} and its -wal and -shm \
                 files to begin anew",
                path.display()
            ),
            Self::Damaged { path, .. } => format!(
                "stop the server, keep a copy of {0} and its -wal file, then restore a backup or salvage it \
                 with: sqlite3 {0} .recover | sqlite3 repaired.db",
                path.display()
            ),
            Self::Migration { path, .. } => format!(
                "the file is unchanged: free disk space if that was the cause, or go back to the version \
                 before; a copy made before the attempt stands beside {}",
                path.display()
            ),
            Self::Refused { path, .. } => {
                format!(
                    "close every other program that has {} open and try again",
                    path.display()
                )
            }
            Self::NoThread(_) => "raise the limit of threads for this user or service".to_owned(),
        }
    }
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}
