//! The blocking half of the reloader: looking at the disk, reading a set, arming the watch. Runs off the event
//! loops (reload.md 4.4); one job at a time.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::shared::Shared;
use crate::generation::{Generation, Reloaded};
use crate::mounted_file;
use crate::read::{Material, Picture};
use crate::signals::Signals;
use crate::walk::Snapshot;
use crate::watch::{Armed, Watches};

/// The result of a look at the disk.
pub(super) struct Looked {
    pub(super) armed: Armed,
    pub(super) found: Found,
    /// Mounted files that were replaced outside.
    pub(super) replaced: Vec<PathBuf>,
}

pub(super) enum Found<P = Picture> {
    /// The disk is as it was when it was last read.
    Same,
    /// As it was, proven by its content at this time.
    Confirmed(Box<P>),
    /// It differs; this much time has passed since, by the files' own times.
    Changed { age: Duration },
}

/// The result of a read.
pub(super) struct Read {
    pub(super) outcome: Reloaded,
    pub(super) took: Duration,
}

/// Which directories to arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arm {
    /// Those that are new or another.
    Differing,
    All,
    /// None: events are off.
    Nothing,
}

/// Arms the watch, then compares the disk with what was `seen` last.
pub(super) fn look(
    shared: &Shared,
    watches: &Mutex<Watches>,
    signals: &Arc<Signals>,
    seen: Option<Picture>,
    arm: Arm,
) -> Looked {
    let mut snapshot = Snapshot::of(shared.paths());
    let mut armed = Armed::default();
    if arm != Arm::Nothing {
        let mut watches = watches.lock().unwrap_or_else(PoisonError::into_inner);
        armed = watches.arm(&snapshot, arm == Arm::All, || signals.sink());
        if armed.is_anew {
            // What happened before the watch was there is seen by looking again.
            snapshot = Snapshot::of(shared.paths());
        }
    }
    Looked {
        armed,
        replaced: mounted_file::replaced_outside(&snapshot),
        found: compare(shared, snapshot, seen),
    }
}

fn compare(shared: &Shared, snapshot: Snapshot, seen: Option<Picture>) -> Found {
    let now = shared.clock.now();
    let Some(seen) = seen else {
        return Found::Changed { age: Duration::ZERO };
    };
    if snapshot != seen.snapshot {
        return Found::Changed {
            age: age(snapshot.newest_change_since(&seen.snapshot), now),
        };
    }
    if !snapshot.is_too_fresh(seen.taken_at) {
        return Found::Same;
    }
    // The file system's times may be too coarse to tell: let the bytes tell.
    match Material::read(&shared.settings, now) {
        Ok(material) if material.picture.digest == seen.digest => {
            Found::Confirmed(Box::new(material.picture))
        }
        Ok(_) | Err(_) => Found::Changed { age: Duration::ZERO },
    }
}

/// Reads the set and validates it against what is served.
pub(super) fn read(shared: &Shared) -> Read {
    let began = Instant::now();
    let served = shared.served.resolver.current();
    let outcome = Generation::reload(&shared.settings, shared.clock.now(), &served);
    Read {
        outcome,
        took: began.elapsed(),
    }
}

fn age(changed: Option<SystemTime>, now: SystemTime) -> Duration {
    changed
        .and_then(|at| now.duration_since(at).ok())
        .unwrap_or_default()
}
