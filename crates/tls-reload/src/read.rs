//! One generation of bytes: every file of a set, read from one state of the disk (reload.md 4.1 to 4.3).
//!
//! Paths go in; bytes, a digest over all of them and a snapshot come out. What a file means is not known here.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::error::LoadError;
use crate::mounted_volume;
use crate::source::Settings;
use crate::walk::{Dead, Found, Mark, Snapshot, Walk};

/// PEM files larger than this are refused.
pub(crate) const MAX_PEM: u64 = 1024 * 1024;
/// CRLs larger than this are refused.
pub(crate) const MAX_CRL: u64 = 64 * 1024 * 1024;
/// How often a set that moves while it is read is read again.
const ATTEMPTS: u32 = 5;

/// Every file of a set, of one moment.
pub(crate) struct Material {
    files: HashMap<PathBuf, Result<Content, Trouble>>,
    pub(crate) picture: Picture,
}

/// What identifies the state of the disk that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Picture {
    /// What was met on the way.
    pub(crate) snapshot: Snapshot,
    /// SHA-256 over all bytes, or over what went wrong.
    pub(crate) digest: [u8; 32],
    /// When the look was taken.
    pub(crate) taken_at: SystemTime,
}

/// The bytes of one file; wiped on drop, since any of them may be a key.
#[derive(Clone)]
pub(crate) struct Content {
    pub(crate) bytes: Zeroizing<Vec<u8>>,
    /// Permission bits.
    pub(crate) mode: u32,
}

/// Why one file has no bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Trouble {
    Dead(Dead),
    NotRegular(&'static str),
    TooLarge(u64),
    /// It changed between two looks.
    Moved,
}

impl Material {
    /// Reads all files of `settings`.
    ///
    /// A file that cannot be read is no error here: it becomes one when it is asked for, so that a check can
    /// name every problem of a set at once.
    pub(crate) fn read(settings: &Settings, now: SystemTime) -> Result<Self, LoadError> {
        Self::read_with(settings, now, &mut || {})
    }

    /// `read`, with something that happens between any two of its steps.
    fn read_with(settings: &Settings, now: SystemTime, between: &mut dyn FnMut()) -> Result<Self, LoadError> {
        let wanted = wanted(settings);
        for _ in 0..ATTEMPTS {
            if let Some(material) = attempt(&wanted, now, between) {
                return Ok(material);
            }
        }
        Err(LoadError::Unsettled { attempts: ATTEMPTS })
    }

    /// The bytes of one configured path.
    pub(crate) fn file(&self, role: &'static str, path: &Path) -> Result<&Content, LoadError> {
        match self.files.get(path) {
            Some(Ok(content)) => Ok(content),
            Some(Err(trouble)) => Err(trouble.describe(role, path)),
            None => Err(Trouble::Dead(Dead::Missing(path.to_owned())).describe(role, path)),
        }
    }
}

/// Each path once, with its limit. A path that is both a CRL and something else gets the smaller one.
fn wanted(settings: &Settings) -> Vec<(&Path, u64)> {
    let mut wanted: Vec<(&Path, u64)> = Vec::new();
    let mut known: HashMap<&Path, usize> = HashMap::new();
    let lists: usize = settings.revocation_lists.len();
    let total = settings.paths().count();
    for (place, path) in settings.paths().enumerate() {
        let limit = if place >= total - lists { MAX_CRL } else { MAX_PEM };
        match known.get(path).and_then(|place| wanted.get_mut(*place)) {
            Some((_, smallest)) => *smallest = limit.min(*smallest),
            None => {
                known.insert(path, wanted.len());
                wanted.push((path, limit));
            }
        }
    }
    wanted
}

/// One look, one read, a second look: `None` if anything moved in between.
fn attempt(wanted: &[(&Path, u64)], now: SystemTime, between: &mut dyn FnMut()) -> Option<Material> {
    let mut walk = Walk::default();
    let mut follow = |path: &Path| {
        between();
        walk.follow(path)
    };
    let found: Vec<Result<Found, Dead>> = wanted.iter().map(|(path, _)| follow(path)).collect();
    let mut digest = Sha256::new();
    let mut files = HashMap::with_capacity(wanted.len());
    for ((path, limit), found) in wanted.iter().zip(found) {
        between();
        let content = found
            .map_err(Trouble::Dead)
            .and_then(|found| read_one(&found, *limit));
        match &content {
            Ok(content) => {
                digest.update(b"+");
                digest.update(
                    u64::try_from(content.bytes.len())
                        .unwrap_or(u64::MAX)
                        .to_be_bytes(),
                );
                digest.update(&content.bytes);
            }
            Err(Trouble::Moved) => return None,
            Err(trouble) => digest.update(format!("-{trouble:?}")),
        }
        files.insert((*path).to_owned(), content);
    }
    between();
    let again = Snapshot::of(wanted.iter().map(|(path, _)| *path));
    if again != *walk.snapshot() {
        return None;
    }
    let picture = Picture {
        snapshot: again,
        digest: digest.finalize().into(),
        taken_at: now,
    };
    Some(Material { files, picture })
}

fn read_one(found: &Found, limit: u64) -> Result<Content, Trouble> {
    let (size, mode) = match &found.mark {
        Mark::File { size, mode, .. } => (*size, *mode),
        Mark::Directory { .. } => return Err(Trouble::NotRegular("a directory")),
        Mark::Special { kind, .. } => return Err(Trouble::NotRegular(kind)),
        Mark::Link { .. } | Mark::Nothing(_) => return Err(Trouble::Moved),
    };
    if size > limit {
        return Err(Trouble::TooLarge(limit));
    }
    let (file, mark) = match found.open() {
        Ok(opened) => opened,
        Err(Dead::Denied) => return Err(Trouble::Dead(Dead::Denied)),
        // It was there a moment ago.
        Err(_) => return Err(Trouble::Moved),
    };
    if mark != found.mark {
        return Err(Trouble::Moved);
    }
    // Room for all of it at once: growing would leave copies of a key in freed memory.
    let mut bytes = Zeroizing::new(Vec::with_capacity(
        usize::try_from(size).unwrap_or(0).saturating_add(1),
    ));
    match File::from(file).take(limit + 1).read_to_end(&mut bytes) {
        Ok(_) if u64::try_from(bytes.len()).is_ok_and(|read| read == size) => Ok(Content { bytes, mode }),
        Ok(_) => Err(Trouble::Moved),
        Err(error) => Err(Trouble::Dead(Dead::System(
            rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO),
        ))),
    }
}

impl Trouble {
    fn describe(&self, role: &'static str, path: &Path) -> LoadError {
        let file = path.display().to_string();
        match self {
            Self::Dead(Dead::Missing(missing)) => LoadError::NotFound {
                role,
                file,
                missing: missing.clone(),
                volume: path.parent().and_then(mounted_volume::keys),
            },
            Self::Dead(Dead::NotADirectory(at)) => LoadError::Unreadable {
                role,
                file,
                reason: format!("{} is not a directory", at.display()),
            },
            Self::Dead(Dead::Denied) => LoadError::PermissionDenied { role, file },
            Self::Dead(Dead::Loop) => LoadError::LinkLoop { role, file },
            Self::Dead(Dead::System(error)) => LoadError::Unreadable {
                role,
                file,
                reason: error.to_string(),
            },
            Self::NotRegular(found) => LoadError::NotRegular { role, file, found },
            Self::TooLarge(limit) => LoadError::TooLarge {
                role,
                file,
                limit: *limit,
            },
            Self::Moved => LoadError::Unsettled { attempts: ATTEMPTS },
        }
    }
}

#[cfg(test)]
mod tests;
