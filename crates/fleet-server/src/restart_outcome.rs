//! How the last attempt to give a server's place to a new process ended: `DATA/restart.json`.
//!
//! The server writes it, whole or not at all; `fleet-server restart` waits for it.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::private_file;

/// The outcome of one attempt to replace the process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RestartOutcome {
    /// When it ended, RFC 3339.
    pub(crate) at: String,
    /// Id of the process that was to be replaced.
    pub(crate) from: u32,
    /// Id of the process that serves now; absent: the old one still serves.
    pub(crate) to: Option<u32>,
    /// Milliseconds during which no process accepted; connections queued in the kernel.
    pub(crate) gap_ms: Option<u64>,
    pub(crate) error: Option<String>,
}

impl RestartOutcome {
    /// The last attempt, if there was one.
    ///
    /// # Errors
    /// The file cannot be read, or holds something else.
    pub(crate) fn read(data: &Path) -> io::Result<Option<Self>> {
        let text = private_file::read_text(&file(data), 64 * 1024)?;
        text.map(|text| {
            serde_json::from_str(&text).map_err(|error| {
                let path = file(data);
                io::Error::other(format!(
                    "{} was not written by this program ({error}): move it away",
                    path.display()
                ))
            })
        })
        .transpose()
    }

    /// Writes it, replacing the outcome before.
    ///
    /// # Errors
    /// The operating system's, or another file is there.
    pub(crate) fn write(&self, data: &Path) -> io::Result<()> {
        Self::read(data)?;
        private_file::replace(&file(data), serde_json::to_string(self)?.as_bytes())
    }
}

fn file(data: &Path) -> PathBuf {
    data.join("restart.json")
}
