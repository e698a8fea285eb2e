//! Why directories are not watched, with what an operator does about it.

use strum::{Display, FromRepr, IntoStaticStr, VariantArray};

/// Why directories are not watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Display, FromRepr, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "lowercase")]
#[repr(u8)]
pub enum WatchFailure {
    /// The user's inotify watches or instances are used up, or the process's or system's open files: the system
    /// tells instances and files by the same number.
    Limit = 1,
    /// The queue of events overflowed: some were lost, so everything is looked at again.
    Overflow,
    /// The directory went away in between.
    Missing,
    /// The system refused or failed.
    System,
    /// The watcher's thread ended or panicked.
    Died,
}

impl WatchFailure {
    /// What happened and what to do.
    #[must_use]
    pub fn explain(self) -> &'static str {
        match self {
            Self::Limit => {
                "inotify watches, inotify instances or open files are used up: raise fs.inotify.max_user_watches and fs.inotify.max_user_instances (sysctl), or the limit of open files (ulimit -n, LimitNOFILE)"
            }
            Self::Overflow => {
                "the queue of file-system events overflowed: raise fs.inotify.max_queued_events (sysctl)"
            }
            Self::Missing => "the directory went away",
            Self::System => "the system refused to watch the directories",
            Self::Died => "the watcher's thread ended",
        }
    }
}

impl From<notify::Error> for WatchFailure {
    fn from(error: notify::Error) -> Self {
        match error.kind {
            notify::ErrorKind::MaxFilesWatch => Self::Limit,
            notify::ErrorKind::PathNotFound => Self::Missing,
            notify::ErrorKind::Io(error) => match error.raw_os_error() {
                // EMFILE: inotify instances, or files of the process; ENFILE: files of the system; ENOSPC: watches.
                Some(24 | 23 | 28) => Self::Limit,
                _ if error.kind() == std::io::ErrorKind::NotFound => Self::Missing,
                _ => Self::System,
            },
            _ => Self::System,
        }
    }
}
