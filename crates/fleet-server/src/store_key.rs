//! The file of the key that secrets are encrypted with: found, made once, replaced when the key is rotated.
//!
//! In: its place, and the keys that the store's secrets were encrypted with. Out: the key, or one sentence with the
//! remedy. Never makes a key over encrypted secrets: they would be lost for good.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use fleet::{Store, StoreKey};

use crate::private_file;

/// Where the key lies.
#[derive(Clone, Debug)]
pub(crate) struct StoreKeyFile {
    pub path: PathBuf,
    /// The operator named it: it is never made.
    pub is_given: bool,
}

impl StoreKeyFile {
    /// The key of the store; made if nothing was encrypted yet. Blocking file work: a small file, before anything listens.
    ///
    /// # Errors
    /// It is missing, cannot be read, or is another key than the one that the secrets were encrypted with.
    pub(crate) async fn key(&self, store: &dyn Store) -> Result<StoreKey> {
        let used = store.secret_keys().await?;
        let fits = |key: &StoreKey| used.iter().all(|id| id == key.id());
        let found = read(&self.path)?;
        if let Some(key) = found.as_ref().filter(|key| fits(key)) {
            return Ok(key.clone());
        }
        // A rotation that ended between the store and this file.
        if let Some(next) = read(&self.next())?.filter(|next| !used.is_empty() && fits(next)) {
            self.take_next()?;
            log::info!("file.path":% = self.path.display(); "completed the rotation of {}", self.path.display());
            return Ok(next);
        }
        let path = self.path.display();
        match found {
            Some(key) => bail!(
                "the key {} in {path} is not the one that the store's secrets were encrypted with ({}): nothing was \
                 changed\nhint: put the right key there, from the backup that the store is from; if it is lost, \
                 `fleet-server rotate-store-key --discard-secrets` removes the secrets, which have to be made anew then",
                key.id(),
                used.join(", ")
            ),
            None if !used.is_empty() => bail!(
                "the key that the store's secrets were encrypted with ({}) is missing: there is no {path}, and a new one \
                 is not made, for the secrets would be lost\nhint: restore it from the backup that the store is from; if \
                 it is lost, `fleet-server rotate-store-key --discard-secrets` removes the secrets, which have to be made \
                 anew then",
                used.join(", ")
            ),
            None if self.is_given => bail!(
                "there is no key in {path} (store.encryption_key_path)\nhint: (umask 077; openssl rand -base64 32 > {path})"
            ),
            None => {
                let key = StoreKey::generate()?;
                create(&self.path, &key)?;
                log::info!(
                    "file.path":% = path;
                    "made the key that secrets are encrypted with: {path}; a backup of the store needs it too"
                );
                Ok(key)
            }
        }
    }

    /// Encrypts the store's secrets with another key: a new one, which takes the file's place, or the given one, which
    /// stays where it is. Answers both ids and how many secrets there were.
    ///
    /// # Errors
    /// Nothing is changed then, or the next start or rotation completes it.
    pub(crate) async fn rotate(&self, store: &dyn Store, given: Option<&Path>) -> Result<Rotated> {
        let old = self.key(store).await?;
        let new = match given {
            Some(path) => {
                let key = read(path)?;
                key.with_context(|| format!("there is no key in {}", path.display()))?
            }
            None => self.make_next(&old)?,
        };
        let secrets = fleet::secrets::rotate(store, &old, &new).await?;
        if given.is_none() {
            self.take_next()?;
        }
        Ok(Rotated { old, new, secrets })
    }

    /// Removes the secrets, whose key is lost; answers how many. The next start makes a key.
    ///
    /// # Errors
    /// The key is there, or may be: a file in its place that cannot be read is not taken for a lost key. Or the store's
    /// fault. No secret is removed then.
    pub(crate) async fn discard(&self, store: &dyn Store) -> Result<usize> {
        let used = store.secret_keys().await?;
        for path in [&self.path, &self.next()] {
            let found = read(path).context(
                "no secret was removed, for the key may not be lost\nhint: mend the file, or move it away if it \
                 never was the key",
            )?;
            if found.is_some_and(|key| used.iter().all(|id| id == key.id())) {
                bail!("the key in {} fits: no secret was removed", path.display());
            }
        }
        Ok(fleet::secrets::discard(store).await?)
    }

    /// Where a new key waits until the store is encrypted with it.
    fn next(&self) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(".next");
        name.into()
    }

    /// The key that a rotation made which was cut before it reached the store, else a new one.
    fn make_next(&self, old: &StoreKey) -> Result<StoreKey> {
        let next = self.next();
        match read(&next)? {
            Some(left) if left.id() != old.id() => return Ok(left),
            Some(_) => {
                std::fs::remove_file(&next).with_context(|| format!("cannot remove {}", next.display()))?
            }
            None => {}
        }
        let key = StoreKey::generate()?;
        create(&next, &key)?;
        Ok(key)
    }

    fn take_next(&self) -> Result<()> {
        let next = self.next();
        let text = private_file::read_text(&next, MOST_BYTES)?.unwrap_or_default();
        private_file::replace(&self.path, text.as_bytes())
            .and_then(|()| std::fs::remove_file(&next))
            .with_context(|| {
                format!(
                    "the secrets are encrypted with the key in {}, which could not take the place of {}: put it there",
                    next.display(),
                    self.path.display()
                )
            })
    }
}

pub(crate) struct Rotated {
    pub(crate) old: StoreKey,
    pub(crate) new: StoreKey,
    pub(crate) secrets: usize,
}

fn read(path: &Path) -> Result<Option<StoreKey>> {
    let text = private_file::read_text(path, MOST_BYTES)
        .with_context(|| format!("cannot read the key in {}", path.display()))?;
    text.map(|text| {
        StoreKey::from_text(&text).with_context(|| format!("{} holds no key of the store", path.display()))
    })
    .transpose()
}

fn create(path: &Path, key: &StoreKey) -> Result<()> {
    private_file::create(path, key.to_text().reveal().as_bytes())
        .with_context(|| format!("cannot write the key {}", path.display()))
}

const MOST_BYTES: u64 = 4096;
