//! `fleet-server rotate-store-key`: encrypts the store's secrets with another key. The server must not run meanwhile.

use std::{io::Write, path::PathBuf};

use anyhow::{Result, anyhow};
use configuration::Config;
use fleet::Store;
use store::StoreMetrics;
use store_sqlite::{OpenOptions, SqliteStore};

use super::{Exit, GlobalArgs};
use crate::{lifecycle::block_on, planning};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RotateStoreKeyArgs {
    /// Take the key in this file (`openssl rand -base64 32`) instead of making one
    #[arg(long, value_name = "FILE")]
    new_key_path: Option<PathBuf>,
    /// Remove the secrets, because their key is lost; they have to be made anew
    #[arg(long, conflicts_with = "new_key_path")]
    discard_secrets: bool,
}

/// Rotates, and says which key is the one now.
///
/// # Errors
/// The server runs, the present key is missing or wrong, or the new one cannot be read or kept.
pub(crate) fn run(args: &RotateStoreKeyArgs, global: &GlobalArgs, out: &mut dyn Write) -> Result<Exit> {
    let config = global.load()?;
    let told = block_on(rotate(args, &config))?;
    writeln!(out, "{told}")?;
    Ok(Exit::Success)
}

async fn rotate(args: &RotateStoreKeyArgs, config: &Config) -> Result<String> {
    let file = planning::store_key(config);
    // Opening would make a store; there is nothing to rotate in a new one.
    let path = config.path.data.join("fleet.db");
    if !path.exists() {
        return Err(anyhow!(
            "there is no store in {}\nhint: name its directory with --data-dir or -c FILE",
            config.path.data.display()
        ));
    }
    let options = OpenOptions::new(config.path.data.clone());
    let store = SqliteStore::open(options, StoreMetrics::unregistered())
        .map_err(|error| anyhow!("{error}\nhint: {}", error.hint()))?;
    let done = work(args, &file, &store).await;
    let closed = store::Engine::close(&store).await;
    let told = done?;
    closed?;
    Ok(told)
}

async fn work(
    args: &RotateStoreKeyArgs,
    file: &crate::store_key::StoreKeyFile,
    store: &dyn Store,
) -> Result<String> {
    if args.discard_secrets {
        let count = file.discard(store).await?;
        return Ok(format!(
            "{count} secrets removed: make them anew, and the policies that refer to them get their values"
        ));
    }
    let rotated = file.rotate(store, args.new_key_path.as_deref()).await?;
    let (old, new, count) = (rotated.old.id(), rotated.new.id(), rotated.secrets);
    let place = match &args.new_key_path {
        Some(path) => format!(
            "start the server with store.encryption_key_path: {}",
            path.display()
        ),
        None => format!("it is in {}", file.path.display()),
    };
    Ok(format!(
        "{count} secrets encrypted anew: key {new} instead of {old}; {place}\nbackups made before need the key {old}"
    ))
}
