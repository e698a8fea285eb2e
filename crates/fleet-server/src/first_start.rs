//! What the first start makes so that somebody can use the server: the operator's key, the first policy and
//! its enrollment token. Later starts find and keep it; nothing that exists is overwritten.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use fleet::{ApiKey, Fleet, Timestamp};

use crate::private_file;

/// Where the secrets of the first start lie and what is preset.
#[derive(Clone, Debug)]
pub struct FirstStart {
    /// File of the operator's key; made if missing.
    pub admin_key: PathBuf,
    /// Whether a store without policies gets one, with a token.
    pub bootstraps: bool,
    /// File of a token that the operator chose, if any; it is never written.
    pub preset_token: Option<PathBuf>,
    /// File that keeps the token that the server made.
    pub made_token: PathBuf,
}

/// What is there after the start.
#[derive(Debug)]
pub struct Secrets {
    /// The operator's key.
    pub admin_key: ApiKey,
    /// The first policy's token with the policy it enrols into, while it is still good.
    pub enrollment: Option<(String, ApiKey)>,
}

impl FirstStart {
    /// Makes what is missing. Blocking file work: a few small files, once, before anything listens.
    ///
    /// # Errors
    /// A file that can not be read or written, a text in it that is no key, or the store's fault.
    pub async fn ensure(&self, fleet: &Fleet, now: Timestamp) -> Result<Secrets> {
        let admin_key = self.ensure_admin_key(fleet, now).await?;
        let preset = self.preset_token.as_deref().map(read_preset).transpose()?;
        if self.bootstraps {
            self.bootstrap(fleet, preset.clone(), now).await?;
        }
        let enrollment = match preset {
            Some(token) => Some(token),
            None => read_key(&self.made_token)?,
        };
        Ok(Secrets {
            admin_key,
            enrollment: admitting(fleet, enrollment).await?,
        })
    }

    async fn ensure_admin_key(&self, fleet: &Fleet, now: Timestamp) -> Result<ApiKey> {
        let existing = read_key(&self.admin_key)?;
        let is_new = existing.is_none();
        let key = fleet::operators::ensure_key(fleet, existing, now)
            .await
            .with_context(|| format!("the admin key in {} can not be used", self.admin_key.display()))?;
        if is_new {
            write_key(&self.admin_key, &key)?;
            log::info!("file.path":% = self.admin_key.display(); "made the admin API key");
        }
        Ok(key)
    }

    async fn bootstrap(&self, fleet: &Fleet, preset: Option<ApiKey>, now: Timestamp) -> Result<()> {
        let is_preset = preset.is_some();
        // The token's file is written before the store knows the token: a crash between the two leaves a file
        // whose token is tried again, never a token that nobody has.
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

/// The token with its policy, if it still admits agents.
async fn admitting(fleet: &Fleet, token: Option<ApiKey>) -> Result<Option<(String, ApiKey)>> {
    let Some(token) = token else { return Ok(None) };
    match fleet::enrollment::admit(fleet, &token).await {
        Ok(admission) => Ok(Some((admission.policy().to_string(), token))),
        Err(fleet::FleetError::Store(error)) => Err(error.into()),
        Err(_) => Ok(None),
    }
}

fn read_preset(path: &Path) -> Result<ApiKey> {
    match read_key(path)? {
        Some(key) => Ok(key),
        None => bail!("the enrollment token file {} does not exist", path.display()),
    }
}

/// File that keeps the token that the first start makes.
#[must_use]
pub fn made_token(data: &Path) -> PathBuf {
    data.join("enrollment_token")
}

/// The key in a file, or `None` if there is no file.
///
/// # Errors
/// It can not be read, or holds something else.
pub fn read_key(path: &Path) -> Result<Option<ApiKey>> {
    let text =
        private_file::read_text(path, 4096).with_context(|| format!("cannot read {}", path.display()))?;
    text.map(|text| {
        ApiKey::from_token(&text).with_context(|| {
            format!(
                "{} holds no API key: base64 of id:secret is expected",
                path.display()
            )
        })
    })
    .transpose()
}

fn write_key(path: &Path, key: &ApiKey) -> Result<()> {
    private_file::create(path, format!("{}\n", key.to_token()).as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))
}
