//! The files of large bodies, in `DIR/blobs`: written under a temporary name, synced, renamed, the directory synced; then
//! the caller records them. A file without a record is a leftover of a crash and is removed at the next start.
//! All work on the disk is done on the pool for blocking work, a few pieces at a time; a body holds one small buffer.
//! Knows no ids and no SQL: which file belongs to what stands in the records.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Write as _},
    ops::Range,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use futures_util::{StreamExt as _, stream};
use sha2::{Digest as _, Sha256};
use store::{Blob, BlobStream, BlobTerms, BodyFault, Cause, Digest, Result, StoreError};
use tokio::{runtime::Handle, sync::Semaphore, task::spawn_blocking};

use super::{
    OpenError,
    connection::create_directory,
    fault::{closed, failed, panicked},
};

/// The directory and the turns on its disk.
#[derive(Clone, Debug)]
pub(super) struct BlobFiles {
    directory: Arc<Path>,
    turns: Arc<Semaphore>,
}

/// A body on the disk under its final name, without a record yet.
#[derive(Clone, Debug)]
pub(super) struct Staged {
    pub(super) file: String,
    pub(super) blob: Blob,
}

impl BlobFiles {
    /// The directory as it is.
    pub(super) fn of(store: &Path) -> Self {
        Self {
            directory: store.join(DIRECTORY).into(),
            turns: Arc::new(Semaphore::new(TURNS)),
        }
    }

    /// Makes the directory if it is missing.
    pub(super) fn open(store: &Path) -> std::result::Result<Self, OpenError> {
        let directory = store.join(DIRECTORY);
        if !directory.is_dir() {
            create_directory(&directory)?;
            sync_directory(store).map_err(|source| OpenError::NotWritable {
                path: directory.clone(),
                source,
            })?;
        }
        Ok(Self::of(store))
    }

    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.directory.join(file)
    }

    /// The names of all files of ours, unfinished ones included. Blocks.
    pub(super) fn names(&self) -> io::Result<impl Iterator<Item = io::Result<String>> + use<>> {
        let entries = fs::read_dir(&self.directory)?;
        Ok(entries.filter_map(|entry| match entry {
            Ok(entry) => own_name(&entry.file_name()).map(Ok),
            Err(error) => Some(Err(error)),
        }))
    }

    /// Writes the body to the disk. When this returns an error, nothing of the body is there any more: its room is free
    /// again. If the caller goes away, it goes soon after.
    pub(super) async fn stage(&self, mut body: BlobStream, terms: BlobTerms) -> Result<Staged> {
        let most_bytes = terms.bytes.unwrap_or(u64::MAX).min(terms.most_bytes);
        let directory = Arc::clone(&self.directory);
        let mut partial = self.run(move || Partial::create(&directory)).await?;
        let mut gathered = Vec::with_capacity(PIECE);
        let mut bytes = 0_u64;
        while let Some(piece) = body.next().await {
            let admitted = piece.and_then(|piece| {
                bytes = bytes.saturating_add(piece.len() as u64);
                match bytes > most_bytes {
                    true => Err(BodyFault::TooLong { most_bytes }.into()),
                    false => Ok(piece),
                }
            });
            let mut piece = match admitted {
                Ok(piece) => piece,
                Err(fault) => {
                    self.run(move || {
                        partial.discard();
                        Ok(())
                    })
                    .await?;
                    return Err(fault);
                }
            };
            while !piece.is_empty() {
                // Copied: a piece is a slice of its connection's buffer and would keep all of it.
                let part = piece.split_to(piece.len().min(PIECE - gathered.len()));
                gathered.extend_from_slice(&part);
                if gathered.len() == PIECE {
                    (partial, gathered) = self.run(move || partial.append(gathered)).await?;
                }
            }
        }
        let directory = Arc::clone(&self.directory);
        self.run(move || partial.append(gathered)?.0.finish(&directory, &terms))
            .await
    }

    /// The bytes of `range`, as far as the body reaches.
    pub(super) async fn read(&self, file: &str, blob: Blob, range: Range<u64>) -> Result<BlobStream> {
        let path = self.path(file);
        let file = self
            .run(move || {
                let file = File::open(&path).map_err(|error| damaged(&path, error))?;
                let found = file.metadata().map_err(|error| damaged(&path, error))?.len();
                match found == blob.bytes {
                    true => Ok(Arc::new(file)),
                    false => Err(StoreError::corrupt(format!(
                        "{} has {found} bytes, not {}",
                        path.display(),
                        blob.bytes
                    ))),
                }
            })
            .await?;
        let (files, end) = (self.clone(), range.end.min(blob.bytes));
        // A whole body is examined on its way; of a part, nothing is known.
        let whole = (range.start == 0 && end == blob.bytes).then(Sha256::new);
        let pieces = stream::try_unfold((range.start, whole), move |(at, mut whole)| {
            let (files, file) = (files.clone(), Arc::clone(&file));
            async move {
                if at >= end {
                    return Ok(None);
                }
                let bytes = usize::try_from(end - at).unwrap_or(usize::MAX).min(PIECE);
                let next = at + bytes as u64;
                let read = move || {
                    let mut piece = vec![0; bytes];
                    file.read_exact_at(&mut piece, at)
                        .map_err(|error| failed("reading a stored body failed", error))?;
                    if let Some(digest) = &mut whole {
                        digest.update(&piece);
                    }
                    // Before the last piece goes: without it, nobody takes the body for whole.
                    match whole.take_if(|_| next == end).map(finished) {
                        Some(found) if found != blob.digest => Err(StoreError::corrupt(format!(
                            "a stored body has the SHA-256 {found}, not {}",
                            blob.digest
                        ))),
                        _ => Ok((piece, whole)),
                    }
                };
                let (piece, whole) = files.run(read).await?;
                Ok(Some((piece.into(), (next, whole))))
            }
        });
        Ok(pieces.boxed())
    }

    /// Removes files whose records are gone. One that cannot be removed is told and removed at the next start.
    pub(super) async fn remove(&self, names: Vec<String>) {
        if names.is_empty() {
            return;
        }
        let files = self.clone();
        let removed = self
            .run(move || {
                names.iter().for_each(|name| remove(&files.path(name)));
                Ok(())
            })
            .await;
        if let Err(error) = removed {
            log::warn!("error.message":% = error; "files of removed bodies stay until the next start: {error}");
        }
    }

    /// Bytes that the disk still takes from this user, and files, if it counts them.
    pub(super) async fn free(&self) -> Result<(u64, Option<u64>)> {
        let directory = Arc::clone(&self.directory);
        self.run(move || {
            let disk = rustix::fs::statvfs(&*directory).map_err(|error| disk_fault(error.into()))?;
            let bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
            Ok((bytes, (disk.f_files > 0).then_some(disk.f_favail)))
        })
        .await
    }

    /// Does the work on a thread that may block, in its turn.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let working = spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        working.await.unwrap_or_else(|error| match error.is_panic() {
            true => Err(panicked()),
            false => Err(closed()),
        })
    }
}

fn finished(digest: Sha256) -> Digest {
    Digest::from(<[u8; 32]>::from(digest.finalize()))
}

/// A file that is being written. Dropped before its end, it is removed.
struct Partial {
    file: File,
    name: String,
    path: PathBuf,
    bytes: u64,
    digest: Sha256,
    is_finished: bool,
}

impl Partial {
    fn create(directory: &Path) -> Result<Self> {
        let mut random = [0; 16];
        getrandom::fill(&mut random)
            .map_err(|error| failed("the operating system has no random numbers", error))?;
        let name = format!("{:032x}", u128::from_be_bytes(random));
        let path = directory.join(format!("{name}{PARTIAL}"));
        let file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(disk_fault)?;
        Ok(Self {
            file,
            name,
            path,
            bytes: 0,
            digest: Sha256::new(),
            is_finished: false,
        })
    }

    /// Gives the emptied buffer back.
    fn append(mut self, mut gathered: Vec<u8>) -> Result<(Self, Vec<u8>)> {
        if let Err(error) = self.file.write_all(&gathered) {
            self.discard();
            return Err(disk_fault(error));
        }
        self.digest.update(&gathered);
        self.bytes += gathered.len() as u64;
        gathered.clear();
        Ok((self, gathered))
    }

    fn finish(mut self, directory: &Path, terms: &BlobTerms) -> Result<Staged> {
        let staged = self.place(directory, terms);
        match staged {
            Ok(_) => self.is_finished = true,
            Err(_) => self.discard(),
        }
        staged
    }

    /// Checks it, and gives it its final name.
    fn place(&mut self, directory: &Path, terms: &BlobTerms) -> Result<Staged> {
        let blob = Blob {
            bytes: self.bytes,
            digest: finished(self.digest.clone()),
        };
        match *terms {
            BlobTerms {
                bytes: Some(expected),
                ..
            } if expected != blob.bytes => {
                let bytes = blob.bytes;
                return Err(BodyFault::WrongLength { expected, bytes }.into());
            }
            BlobTerms {
                digest: Some(expected),
                ..
            } if expected != blob.digest => {
                let digest = blob.digest;
                return Err(BodyFault::WrongDigest { expected, digest }.into());
            }
            _ => {}
        }
        let path = directory.join(&self.name);
        self.file
            .sync_all()
            .and_then(|()| fs::rename(&self.path, &path))
            .map_err(disk_fault)?;
        self.path = path;
        sync_directory(directory).map_err(disk_fault)?;
        Ok(Staged {
            file: self.name.clone(),
            blob,
        })
    }

    /// Removes the file and closes it, so that its room is free when this returns. Blocks.
    fn discard(mut self) {
        remove(&self.path);
        self.is_finished = true;
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        let path = std::mem::take(&mut self.path);
        // The caller may have gone away on an event loop.
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || remove(&path))),
            Err(_) => remove(&path),
        }
    }
}

pub(super) fn remove(path: &Path) {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            log::warn!(path:% = path.display(), "error.message":% = error; "a file without a record stays until the next start: {error}");
        }
    }
}

/// A name that this program gives; what else lies in the directory is left alone.
fn own_name(name: &OsStr) -> Option<String> {
    let name = name.to_str()?;
    let digits = name.strip_suffix(PARTIAL).unwrap_or(name);
    let is_own = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_own.then(|| name.to_owned())
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Why the disk did not take a body.
fn disk_fault(error: io::Error) -> StoreError {
    use io::ErrorKind as E;
    match error.kind() {
        E::StorageFull | E::QuotaExceeded | E::FileTooLarge => StoreError::Full {
            source: Cause::new(error),
        },
        _ => failed("writing a body to the disk failed", error),
    }
}

fn damaged(path: &Path, error: io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::NotFound => StoreError::Corrupt {
            detail: format!("{} is missing", path.display()),
            source: Some(Cause::new(error)),
        },
        _ => failed("reading a stored body failed", error),
    }
}

const DIRECTORY: &str = "blobs";
/// Ends the name of a file that is being written.
const PARTIAL: &str = ".partial";
/// Bytes that a body holds, and that are written or read at once.
const PIECE: usize = 64 * 1024;
/// Pieces of work on the disk at the same time.
const TURNS: usize = 32;
