//! What `quickstart` made in `DATA/certs`, by fingerprint: only such a file is ever replaced.
//!
//! `certs/made-by-quickstart` holds one SHA-256 a line. It is written before the files are, so that after a crash a
//! file of ours is never taken for an operator's.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::private_file;

/// Fingerprints of files.
#[derive(Debug)]
pub(crate) struct MadeFiles {
    file: PathBuf,
    fingerprints: Vec<String>,
}

impl MadeFiles {
    /// What is remembered in a directory; nothing, if nothing was made there.
    ///
    /// # Errors
    /// The memory cannot be read, or is something else.
    pub(crate) fn read(directory: &Path) -> Result<Self> {
        let file = directory.join("made-by-quickstart");
        let text = private_file::read_text(&file, 64 * 1024)
            .with_context(|| format!("cannot read {}", file.display()))?
            .unwrap_or_default();
        let fingerprints: Vec<String> = text.lines().map(str::to_owned).collect();
        let is_fingerprint =
            |line: &String| line.len() == 64 && line.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !fingerprints.iter().all(is_fingerprint) {
            bail!("{} was not written by quickstart: move it away", file.display());
        }
        Ok(Self { file, fingerprints })
    }

    /// Whether the file at `path` is one that was made here, unchanged.
    pub(crate) fn contain(&self, path: &Path) -> Result<bool> {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(self.fingerprints.contains(&fingerprint(&bytes)))
    }

    /// Remembers contents that are about to be written, and forgets all but those and what `kept` hold now.
    pub(crate) fn remember(&mut self, contents: &[&[u8]], kept: &[&Path]) -> Result<()> {
        let now = kept.iter().filter_map(|path| fs::read(path).ok());
        let now: Vec<String> = now.map(|bytes| fingerprint(&bytes)).collect();
        self.fingerprints.retain(|known| now.contains(known));
        self.fingerprints
            .extend(contents.iter().map(|content| fingerprint(content)));
        let text = self.fingerprints.join("\n") + "\n";
        private_file::replace(&self.file, text.as_bytes())
            .with_context(|| format!("cannot write {}", self.file.display()))
    }
}

fn fingerprint(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
