//! What the first start creates so that the server can be used: the operator's key, the first policy and
//! its enrollment token. Later starts find and keep it; nothing that exists is overwritten.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use fleet::{ApiKey, Fleet, FleetError, Timestamp, policies::DEFAULT_POLICY};

use crate::private_file;

/// Where the secrets of the first start are stored and which of them the operator preset.
#[derive(Clone, Debug)]
pub(crate) struct FirstStart {
    /// File of the operator's key; made if missing.
    pub admin_key: PathBuf,
    /// Whether a store without policies gets one, with a token.
    pub bootstraps: bool,
    /// File of a token that the operator chose, if any; it is never written.
    pub preset_token: Option<PathBuf>,
    /// File that keeps the token that the server made.
    pub made_token: PathBuf,
    /// Whether the store was made by this start.
    pub store_is_new: bool,
}

/// The secrets that exist after the start.
#[derive(Clone, Debug)]
pub(crate) struct Secrets {
    pub admin_key: ApiKey,
    /// The first policy's token with the policy it enrols into, while it is still good.
    pub enrollment: Option<(String, ApiKey)>,
}

impl FirstStart {
    /// Makes what is missing. Blocking file work: a few small files, once, before anything listens.
    ///
    /// # Errors
    /// A file that cannot be read or written, a text in it that is not a key, or a store error.
    pub(crate) async fn ensure(&self, fleet: &Fleet, now: Timestamp) -> Result<Secrets> {
        self.report_lost_store();
        let admin_key = self.ensure_admin_key(fleet, now).await?;
        let preset = self.preset_token.as_deref().map(read_preset).transpose()?;
        if self.bootstraps {
            self.bootstrap(fleet, preset.clone(), now).await?;
        }
        let enrollment = match (&self.preset_token, preset) {
            (Some(file), Some(token)) => self.admit_preset(fleet, file, token, now).await?,
            _ => self.admit_made(fleet).await?,
        };
        Ok(Secrets {
            admin_key,
            enrollment,
        })
    }

    /// The store is created before these files, so files beside a new store belong to a store that was lost.
    fn report_lost_store(&self) {
        // Elsewhere the operator may have put a key of their own.
        let has_made_key = self.admin_key.parent() == self.made_token.parent() && self.admin_key.exists();
        let witness = if has_made_key {
            &self.admin_key
        } else {
            &self.made_token
        };
        if self.store_is_new && witness.exists() {
            log::error!(
                "event.action" = "store-lost", "file.path":% = witness.display();
                "{} is of an earlier start, but its store was missing: this one is new and knows none of its agents, \
                 policies and tokens; if that is not meant, stop the server and restore fleet.db from a backup",
                witness.display()
            );
        }
    }

    /// The operator's token. One that the store does not know was rotated (a Kubernetes Secret): what the file says
    /// counts, so it is registered as the first start would have done. A revoked one stays revoked.
    async fn admit_preset(
        &self,
        fleet: &Fleet,
        file: &Path,
        token: ApiKey,
        now: Timestamp,
    ) -> Result<Option<(String, ApiKey)>> {
        let cause = match policy_of(fleet, &token).await? {
            Ok(policy) => return Ok(Some((policy, token))),
            Err(FleetError::UnknownKey) if self.bootstraps => {
                match fleet::tokens::adopt(fleet, &DEFAULT_POLICY.into(), token.clone(), now).await {
                    Ok(_) => {
                        log::info!(
                            "file.path":% = file.display(), "fleet.policy.id" = DEFAULT_POLICY;
                            "the enrollment token in {} is new and admits agents into the default policy; those of \
                             earlier starts stay good until they are revoked through the admin API",
                            file.display()
                        );
                        return Ok(Some((DEFAULT_POLICY.to_owned(), token)));
                    }
                    Err(FleetError::Store(error)) => return Err(error.into()),
                    Err(cause) => cause,
                }
            }
            Err(cause) => cause,
        };
        log::warn!(
            "file.path":% = file.display(), "error.message":% = cause;
            "the enrollment token in {} (bootstrap.enrollment_token_path) admits no agents: {cause}; write one there \
             that the admin API made, or one with a new id while bootstrap.enabled is true and there is a default policy",
            file.display()
        );
        Ok(None)
    }

    /// The token that the first start made, while it is still good.
    async fn admit_made(&self, fleet: &Fleet) -> Result<Option<(String, ApiKey)>> {
        let Some(token) = read_key(&self.made_token)? else {
            return Ok(None);
        };
        match policy_of(fleet, &token).await? {
            Ok(policy) => Ok(Some((policy, token))),
            Err(cause) => {
                // Revoking the first token is a deliberate act, so this is not a warning.
                log::info!(
                    "file.path":% = self.made_token.display(), "error.message":% = cause;
                    "the enrollment token in {} no longer admits agents: {cause}; create another with the admin API",
                    self.made_token.display()
                );
                Ok(None)
            }
        }
    }

    async fn ensure_admin_key(&self, fleet: &Fleet, now: Timestamp) -> Result<ApiKey> {
        let existing = read_key(&self.admin_key)?;
        let is_new = existing.is_none();
        // A key made there would be gone with the pod.
        if is_new && let Some(hint) = tls_reload::missing_secret_key(&self.admin_key) {
            bail!(
                "the admin API key file {} does not exist\nhint: {hint}",
                self.admin_key.display()
            );
        }
        let key = fleet::operators::ensure_key(fleet, existing, now)
            .await
            .with_context(|| format!("the admin key in {} cannot be used", self.admin_key.display()))?;
        if is_new {
            write_key(&self.admin_key, &key)?;
            log::info!("file.path":% = self.admin_key.display(); "made the admin API key");
        }
        Ok(key)
    }

    async fn bootstrap(&self, fleet: &Fleet, preset: Option<ApiKey>, now: Timestamp) -> Result<()> {
        let is_preset = preset.is_some();
        // The token's file is written before the store has the token: a crash between the two leaves a file
        // whose token is registered at the next start, never a registered token that nobody has.
        let token = match preset {
            Some(token) => token,
            None => match read_key(&self.made_token)? {
                Some(token) => token,
                None => ApiKey::generate()?,
            },
        };
        if !is_preset && !self.made_token.exists() && !fleet::policies::any(fleet).await? {
            write_key(&self.made_token, &token)?;
        }
        if let Some(made) = fleet::policies::bootstrap(fleet, token, now).await? {
            log::info!("fleet.policy.id":% = made.policy; "made the default policy with an enrollment token");
        }
        Ok(())
    }
}

/// The policy that the token admits agents into, or why it admits none.
async fn policy_of(fleet: &Fleet, token: &ApiKey) -> Result<Result<String, FleetError>> {
    match fleet::enrollment::admit(fleet, token).await {
        Ok(admission) => Ok(Ok(admission.policy().to_string())),
        Err(FleetError::Store(error)) => Err(error.into()),
        Err(cause) => Ok(Err(cause)),
    }
}

fn read_preset(path: &Path) -> Result<ApiKey> {
    match read_key(path)? {
        Some(key) => Ok(key),
        None => match tls_reload::missing_secret_key(path) {
            Some(hint) => bail!(
                "the enrollment token file {} does not exist\nhint: {hint}",
                path.display()
            ),
            None => bail!("the enrollment token file {} does not exist", path.display()),
        },
    }
}

/// File that keeps the token that the first start makes.
#[must_use]
pub(crate) fn made_token(data: &Path) -> PathBuf {
    data.join("enrollment_token")
}

/// The key in a file, or `None` if there is no file.
pub(crate) fn read_key(path: &Path) -> Result<Option<ApiKey>> {
    let text =
        private_file::read_text(path, 4096).with_context(|| format!("cannot read {}", path.display()))?;
    text.map(|text| {
        let key = ApiKey::from_token(&text).with_context(|| {
            format!(
                "{} does not hold an API key: base64 of id:secret is expected; {MAKE_ONE}",
                path.display()
            )
        })?;
        let length = key.secret().reveal().len();
        if length < LEAST_SECRET {
            bail!(
                "the secret of the API key in {} has {length} characters and can be guessed: at least {LEAST_SECRET} \
                 random ones are needed; {MAKE_ONE}",
                path.display()
            );
        }
        Ok(key)
    })
    .transpose()
}

fn write_key(path: &Path, key: &ApiKey) -> Result<()> {
    private_file::create(path, format!("{}\n", key.to_token()).as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Only a fast hash of a secret is stored, so only its length protects it from guessing: 22 characters of
/// base64 are 128 bits.
const LEAST_SECRET: usize = 22;
const MAKE_ONE: &str =
    "make one with: printf '%s:%s' $(openssl rand -hex 10) $(openssl rand -hex 32) | openssl base64 -A";

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(token: &str) -> Result<Option<ApiKey>> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        fs::write(&file, token).unwrap();
        read_key(&file)
    }

    #[test]
    fn a_secret_that_can_be_guessed_is_refused_with_the_way_to_make_one() {
        // base64 of a:b, and of id: with 21 characters.
        for weak in ["YTpi\n", "aWQ6MDEyMzQ1Njc4OTAxMjM0NTY3ODkw"] {
            let refused = read(weak).unwrap_err().to_string();
            assert!(
                refused.contains("can be guessed") && refused.contains("openssl rand"),
                "{refused}"
            );
        }
        assert!(read("aWQ6MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMQ==").unwrap().is_some());
        let made = ApiKey::generate().unwrap();
        assert_eq!(read(&made.to_token()).unwrap(), Some(made));
        let refused = read("no key").unwrap_err().to_string();
        assert!(refused.contains("openssl rand"), "{refused}");
    }
}
