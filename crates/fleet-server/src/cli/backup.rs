//! `fleet-server backup DIR` and `fleet-server fsck`: the store from outside, also while the server runs.

use std::{io::Write, path::PathBuf};

use anyhow::{Result, anyhow};
use store_sqlite::{OpenError, SqliteStore, holder_of};

use super::{Exit, GlobalArgs};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct BackupArgs {
    /// Directory for the copy; it is made, or must be empty
    directory: PathBuf,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct FsckArgs {
    /// Compare the lengths of files only, not their bytes
    #[arg(long)]
    quick: bool,
}

/// Copies database and files as they are at one moment.
///
/// # Errors
/// The store cannot be read, or the copy cannot be written.
pub(crate) fn backup(args: &BackupArgs, global: &GlobalArgs, out: &mut dyn Write) -> Result<Exit> {
    let copied = SqliteStore::backup(&data(global)?, &args.directory).map_err(explained)?;
    writeln!(
        out,
        "{}: the database and {} files, {} bytes",
        args.directory.display(),
        copied.blobs,
        copied.bytes
    )?;
    Ok(Exit::Success)
}

/// Prints what is wrong, a line for each; exits 0 only if nothing is.
pub(crate) fn fsck(args: &FsckArgs, global: &GlobalArgs, out: &mut dyn Write) -> Result<Exit> {
    let data = data(global)?;
    let checked = SqliteStore::examine(&data, args.quick).map_err(explained)?;
    for fault in &checked.faults {
        writeln!(out, "{fault}")?;
    }
    writeln!(
        out,
        "{} files, {} bytes; {} faults",
        checked.blobs,
        checked.bytes,
        checked.faults.len()
    )?;
    if checked.leftovers > 0 {
        let fate = match holder_of(&data) {
            Ok(Some(_)) => "under way, or left by a crash",
            _ => "left by a crash: the next start removes them",
        };
        writeln!(out, "{} files without a record: {fate}", checked.leftovers)?;
    }
    Ok(match checked.faults.is_empty() {
        true => Exit::Success,
        false => Exit::Failure,
    })
}

fn data(global: &GlobalArgs) -> Result<PathBuf> {
    match global.is_configured() {
        true => Ok(global.load()?.path.data),
        false => Ok(global.data_dir()),
    }
}

fn explained(error: OpenError) -> anyhow::Error {
    anyhow!("{}\nhint: {}", fleet::chain(&error), error.hint())
}
