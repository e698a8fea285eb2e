//! Room for files: what the quota of all files and the disk leave, and what is promised to bodies that are on their way.
//!
//! In: how long a body will be, if that is known. Out: a [`Reservation`] that is held until the body has its record, or a
//! refusal. Who is admitted, is so in turn: two that come at once never get the same room. Keeps nothing on the disk: open
//! uploads are the store's records, and any other body that a restart cuts leaves nothing.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use futures_util::{StreamExt as _, TryStreamExt as _};
use store::{
    BODY_BLOCK_BYTES, BlobRoom, BlobSpace, BlobStream, BodyFault, Claims, NewUpload, Store, Timestamp,
    Upload, UploadTerms,
};
use tokio::sync::{Mutex, MutexGuard};

use crate::{
    FleetError,
    uploads::{FileLimits, UploadError},
};

/// What is promised, and the turn to promise more.
pub(crate) struct FileRoom {
    store: Arc<dyn Store>,
    limits: FileLimits,
    turn: Mutex<()>,
    promised: Promises,
}

/// Numbers of all reservations. They grow in turn only; who reads them too early sees too much promised, never too little.
#[derive(Debug, Default)]
struct Promises {
    bodies: AtomicU64,
    bytes: AtomicU64,
    /// Of these bytes, those that have not come to the disk yet.
    coming: AtomicU64,
}

impl Promises {
    fn in_quota(&self) -> BlobRoom {
        self.room(&self.bytes)
    }

    fn on_disk(&self) -> BlobRoom {
        self.room(&self.coming)
    }

    fn room(&self, bytes: &AtomicU64) -> BlobRoom {
        BlobRoom {
            bodies: self.bodies.load(Relaxed),
            bytes: bytes.load(Relaxed),
        }
    }
}

impl FileRoom {
    pub(crate) fn new(store: Arc<dyn Store>, limits: FileLimits) -> Arc<Self> {
        Arc::new(Self {
            store,
            limits,
            turn: Mutex::default(),
            promised: Promises::default(),
        })
    }

    /// Begins an upload, if there is room for all of it. The store's record is its reservation.
    pub(crate) async fn begin(&self, new: NewUpload) -> store::Result<Upload> {
        let _turn = self.turn.lock().await;
        let space = self.store.blob_space().await?;
        let promised = self.promised.in_quota().counted();
        let terms = UploadTerms {
            of_agent: self.limits.of_agent,
            open_of_agent: self.limits.open_of_agent,
            of_all: self.limits.of_all.map(|most| most.saturating_sub(promised)),
            on_disk: self.promised.on_disk().left_of(on_disk(&self.limits, &space)),
            stale_before: new.at.minus(self.limits.open_for),
        };
        self.store.begin_upload(new, terms).await
    }

    /// Refuses what the disk does not take, for a chunk whose upload has room in the quota.
    ///
    /// # Errors
    /// [`UploadError::StoreFull`], or the store's fault.
    pub(crate) async fn chunk(&self, bytes: u64) -> Result<(), FleetError> {
        let room = on_disk(&self.limits, &self.store.blob_space().await?);
        match BlobRoom::of(bytes).fits(room) {
            true => Ok(()),
            false => Err(full(room).into()),
        }
    }

    /// Room for one body of this length; for one whose length nobody knows, a first part, and more as it comes.
    ///
    /// # Errors
    /// [`UploadError::StoreFull`], or the store's fault.
    pub(crate) async fn reserve(
        self: &Arc<Self>,
        bytes: Option<u64>,
        now: Timestamp,
    ) -> Result<Arc<Reservation>, FleetError> {
        let (_turn, left) = self.left(now).await?;
        let (least, most) = bytes.map_or((1, STEP), |bytes| (bytes, bytes));
        let body = left.bytes.checked_sub(BODY_BLOCK_BYTES);
        let bytes = body
            .filter(|room| left.bodies > 0 && least <= *room)
            .ok_or_else(|| full(left))?
            .min(most);
        self.promised.bodies.fetch_add(1, Relaxed);
        self.promised.bytes.fetch_add(bytes, Relaxed);
        self.promised.coming.fetch_add(bytes, Relaxed);
        Ok(Arc::new(Reservation {
            room: Arc::clone(self),
            bytes: AtomicU64::new(bytes),
            coming: AtomicU64::new(bytes),
            at: now,
        }))
    }

    /// The turn to promise, and what there is.
    async fn left(&self, now: Timestamp) -> store::Result<(MutexGuard<'_, ()>, BlobRoom)> {
        let turn = self.turn.lock().await;
        let stale_before = now.minus(self.limits.open_for);
        let space = self.store.blob_space().await?;
        let claims = self.store.claims(stale_before).await?;
        Ok((turn, left(&self.limits, &space, claims, &self.promised)))
    }
}

/// Room for one body, free again when this and the body's stream are dropped.
pub(crate) struct Reservation {
    room: Arc<FileRoom>,
    bytes: AtomicU64,
    coming: AtomicU64,
    at: Timestamp,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let promised = &self.room.promised;
        promised.coming.fetch_sub(self.coming.load(Relaxed), Relaxed);
        promised.bytes.fetch_sub(self.bytes.load(Relaxed), Relaxed);
        promised.bodies.fetch_sub(1, Relaxed);
    }
}

impl Reservation {
    /// The body, which takes its room piece by piece and ends where there is none: as [`BodyFault::TooLong`].
    pub(crate) fn filled_by(self: &Arc<Self>, body: BlobStream) -> BlobStream {
        let reservation = Arc::clone(self);
        body.and_then(move |piece| {
            let reservation = Arc::clone(&reservation);
            async move {
                reservation.filled(piece.len() as u64).await?;
                Ok(piece)
            }
        })
        .boxed()
    }

    /// One at a time: a body is one stream.
    async fn filled(&self, bytes: u64) -> store::Result<()> {
        let lacking = bytes.saturating_sub(self.coming.load(Relaxed));
        if lacking > 0 {
            self.grow(lacking).await?;
        }
        self.coming.fetch_sub(bytes, Relaxed);
        self.room.promised.coming.fetch_sub(bytes, Relaxed);
        Ok(())
    }

    async fn grow(&self, least: u64) -> store::Result<()> {
        let (_turn, left) = self.room.left(self.at).await?;
        if left.bytes < least {
            let most_bytes = self.bytes.load(Relaxed).saturating_add(left.bytes);
            return Err(BodyFault::TooLong { most_bytes }.into());
        }
        let bytes = left.bytes.min(least.max(STEP));
        for counter in [
            &self.bytes,
            &self.coming,
            &self.room.promised.bytes,
            &self.room.promised.coming,
        ] {
            counter.fetch_add(bytes, Relaxed);
        }
        Ok(())
    }
}

/// What bodies, announcements and promises leave of quota and disk.
fn left(limits: &FileLimits, space: &BlobSpace, claims: Claims, promised: &Promises) -> BlobRoom {
    let on_disk = claims
        .coming
        .and(promised.on_disk())
        .left_of(on_disk(limits, space));
    let taken = space.taken().and(claims.coming).and(promised.in_quota());
    let taken = taken.counted().saturating_add(claims.record_bytes);
    let of_quota = limits.of_all.map_or(u64::MAX, |most| most.saturating_sub(taken));
    BlobRoom {
        bytes: on_disk.bytes.min(of_quota),
        ..on_disk
    }
}

/// What the disk takes, but for what must stay free.
fn on_disk(limits: &FileLimits, space: &BlobSpace) -> BlobRoom {
    let beyond = |free: Option<u64>, kept: u64| free.map_or(u64::MAX, |free| free.saturating_sub(kept));
    BlobRoom {
        bodies: beyond(space.free_files, FREE_FILES),
        bytes: beyond(space.free_bytes, limits.free),
    }
}

fn full(left: BlobRoom) -> UploadError {
    let reason = match left.bodies {
        0 => format!("the disk has no more than {FREE_FILES} inodes left, which stay free"),
        _ => format!("{} bytes are left for files", left.bytes),
    };
    UploadError::StoreFull { reason }
}

/// Inodes that stay free, for the store and for logs.
const FREE_FILES: u64 = 1024;
/// What a body of unknown length takes at once.
const STEP: u64 = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: u64 = BODY_BLOCK_BYTES;
    const SPACE: BlobSpace = BlobSpace {
        blobs: 2,
        bytes: 1000,
        free_bytes: Some(100_000),
        free_files: Some(FREE_FILES + 7),
    };
    const TAKEN: u64 = 1000 + 2 * BLOCK;

    fn limits(of_all: Option<u64>, free: u64) -> FileLimits {
        FileLimits {
            of_all,
            free,
            ..FileLimits::default()
        }
    }

    #[test]
    fn quota_and_disk_less_announcements_and_promises_are_left() {
        let claims = Claims {
            coming: BlobRoom {
                bodies: 2,
                bytes: 500,
            },
            record_bytes: 30,
        };
        let promised = || Promises {
            bodies: 1.into(),
            bytes: 700.into(),
            coming: 600.into(),
        };
        let none = Promises::default;
        let bodies = |bodies, bytes| BlobRoom { bodies, bytes };
        for (of_all, free, claims, promised, expected) in [
            (None, 10_000, Claims::default(), none(), bodies(7, 90_000)),
            (None, 10_000, claims, none(), bodies(5, 90_000 - 500 - 2 * BLOCK)),
            (
                None,
                10_000,
                claims,
                promised(),
                bodies(4, 90_000 - 1100 - 3 * BLOCK),
            ),
            (
                Some(TAKEN + 30_000),
                0,
                Claims::default(),
                none(),
                bodies(7, 30_000),
            ),
            (
                Some(TAKEN + 30_000),
                0,
                claims,
                none(),
                bodies(5, 30_000 - 530 - 2 * BLOCK),
            ),
            (
                Some(TAKEN + 30_000),
                0,
                claims,
                promised(),
                bodies(4, 30_000 - 1230 - 3 * BLOCK),
            ),
            (Some(10), 0, Claims::default(), none(), bodies(7, 0)),
            (None, u64::MAX, Claims::default(), none(), bodies(7, 0)),
        ] {
            let found = left(&limits(of_all, free), &SPACE, claims, &promised);
            assert_eq!(found, expected, "{of_all:?} {free} {claims:?} {promised:?}");
        }
    }

    #[test]
    fn a_disk_without_inodes_takes_no_file_and_one_that_does_not_count_them_does() {
        let of_files = |free_files| on_disk(&limits(None, 0), &BlobSpace { free_files, ..SPACE });
        let one = BlobRoom::of(1);
        assert!(one.fits(of_files(Some(FREE_FILES + 1))) && one.fits(of_files(None)));
        for free in [FREE_FILES, 0] {
            assert!(!one.fits(of_files(Some(free))));
            assert!(full(of_files(Some(free))).to_string().contains("inodes"));
        }
    }
}
