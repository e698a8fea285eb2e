//! The key with which agents check the signature of an upgrade: a file of the operator's, else fetched, and kept.
//!
//! In: requests for it. Out: the key, or why there is none, with the remedy. Anybody may ask, so what was fetched, or
//! could not be, counts for a while, and one fetch serves all who wait for it. Never sends anything but one GET over
//! HTTPS, never reads more than [`LARGEST`], and never waits longer than [`PATIENCE`].

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use actix_rt::task::spawn_blocking;
use api::SigningKeyError;
use async_trait::async_trait;
use hyper::body::Bytes;
use tokio::{sync::Mutex, time::Instant};
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

use crate::{build, plan::SigningKeyPlan, private_file};

/// Where the key comes from.
pub(crate) struct SigningKey {
    file: PathBuf,
    upstream: String,
    /// What the last fetch brought, and until when it counts.
    fetched: Mutex<Option<(Instant, Answer)>>,
}

type Answer = Result<Bytes, SigningKeyError>;

impl SigningKey {
    pub(crate) fn new(plan: &SigningKeyPlan) -> Self {
        Self {
            file: plan.directory.join("default.pgp"),
            upstream: plan.upstream.clone(),
            fetched: Mutex::new(None),
        }
    }

    async fn fetch(&self) -> Answer {
        let mut fetched = self.fetched.lock().await;
        if let Some((until, answer)) = &*fetched
            && let Some(left) = until.checked_duration_since(Instant::now())
        {
            return match answer {
                Err(SigningKeyError::Unreachable { detail, .. }) => Err(SigningKeyError::Unreachable {
                    detail: detail.clone(),
                    retry_after: left,
                }),
                answer => answer.clone(),
            };
        }
        let (file, upstream) = (self.file.clone(), self.upstream.clone());
        let answer = spawn_blocking(move || {
            let key = fetch(&upstream, &file)?;
            keep(&file, &key);
            Ok(key)
        });
        let answer = answer
            .await
            .unwrap_or_else(|error| Err(self.unreachable(&format!("the fetch was cut: {error}"))));
        let counts = if answer.is_ok() { KEPT } else { PAUSE };
        *fetched = Some((Instant::now() + counts, answer.clone()));
        answer
    }

    fn unreachable(&self, reason: &str) -> SigningKeyError {
        unreachable(&self.upstream, &self.file, reason)
    }
}

#[async_trait]
impl api::SigningKey for SigningKey {
    async fn read(&self) -> Result<Bytes, SigningKeyError> {
        let file = self.file.clone();
        match spawn_blocking(move || read(&file)).await {
            Ok(Ok(Some(key))) => Ok(key),
            Ok(Ok(None)) => self.fetch().await,
            Ok(Err(error)) => Err(error),
            Err(error) => Err(SigningKeyError::File {
                detail: format!("{} was not read: {error}", self.file.display()),
            }),
        }
    }
}

/// The file's key; `None`: there is no file.
fn read(path: &Path) -> Result<Option<Bytes>, SigningKeyError> {
    let refused = |reason: String| SigningKeyError::File {
        detail: format!("the signing key {} cannot be used: {reason}", path.display()),
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refused(error.to_string())),
    };
    let metadata = file.metadata().map_err(|error| refused(error.to_string()))?;
    let mode = metadata.permissions().mode() & 0o7777;
    // Whoever writes to it decides which upgrades agents take.
    if mode & 0o022 != 0 {
        return Err(refused(format!(
            "others than its owner may write to it (mode {mode:04o}): chmod 600 {}",
            path.display()
        )));
    }
    let mut key = Vec::new();
    let most = LARGEST;
    file.take(most + 1)
        .read_to_end(&mut key)
        .map_err(|error| refused(error.to_string()))?;
    match key.len() as u64 {
        0 => Err(refused("it is empty".to_owned())),
        length if length > most => Err(refused(format!("it has more than {most} bytes"))),
        _ => Ok(Some(key.into())),
    }
}

fn fetch(url: &str, file: &Path) -> Answer {
    let no_key = |status, reason: String| SigningKeyError::Upstream {
        status,
        detail: format!("{url} sent no signing key: {reason}; {}", remedy(file)),
    };
    let trusted = rustls_native_certs::load_native_certs();
    if trusted.certs.is_empty() {
        let reason = "this system has no CA certificates (package ca-certificates, or SSL_CERT_FILE)";
        return Err(unreachable(url, file, reason));
    }
    let trusted = trusted
        .certs
        .iter()
        .map(|authority| Certificate::from_der(authority).to_owned());
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .root_certs(RootCerts::new_with_certs(&trusted.collect::<Vec<_>>()))
        .build();
    let agent = ureq::Agent::config_builder()
        .https_only(true)
        .http_status_as_error(false)
        .max_redirects(3)
        .timeout_global(Some(PATIENCE))
        .user_agent(format!("fleet-server/{}", build::VERSION))
        .tls_config(tls)
        .build()
        .new_agent();
    let mut response = agent
        .get(url)
        .call()
        .map_err(|error| unreachable(url, file, &error.to_string()))?;
    let status = response.status().as_u16();
    if status != 200 {
        return Err(no_key(Some(status), format!("status {status}")));
    }
    let key = response.body_mut().with_config().limit(LARGEST).read_to_vec();
    let key = key.map_err(|error| match error {
        ureq::Error::BodyExceedsLimit(most) => no_key(None, format!("more than {most} bytes")),
        error => unreachable(url, file, &error.to_string()),
    })?;
    // A network that asks people to sign in answers anything with a page of its own.
    if !key.trim_ascii_start().starts_with(ARMOUR) {
        return Err(no_key(None, "what it sent is no armoured public key".to_owned()));
    }
    log::info!("url.full" = url; "fetched the key that agents check upgrades with");
    Ok(key.into())
}

/// The next start finds it; until then it counts as fetched.
fn keep(path: &Path, key: &[u8]) {
    let made = path.parent().map_or(Ok(()), private_file::ensure_directory);
    match made.and_then(|()| private_file::create(path, key)) {
        Ok(()) => {}
        // An operator was quicker: theirs counts.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => log::warn!(
            "file.path":% = path.display(), "error.message":% = error;
            "the fetched signing key cannot be kept in {}: {error}", path.display()
        ),
    }
}

fn unreachable(url: &str, file: &Path, reason: &str) -> SigningKeyError {
    SigningKeyError::Unreachable {
        detail: format!(
            "no signing key, and {url} cannot be reached: {reason}; {}",
            remedy(file)
        ),
        retry_after: PAUSE,
    }
}

fn remedy(file: &Path) -> String {
    format!(
        "without a way there (HTTPS_PROXY is used if it is set), put the key in {}",
        file.display()
    )
}

/// Agents try for 30 s.
const PATIENCE: Duration = Duration::from_secs(10);
/// The original's key has 3 KB.
const LARGEST: u64 = 1 << 20;
const ARMOUR: &[u8] = b"-----BEGIN PGP PUBLIC KEY BLOCK-----";
/// How long a fetched key counts that could not be kept.
const KEPT: Duration = Duration::from_secs(30 * 60);
/// How long a failure counts.
const PAUSE: Duration = Duration::from_secs(30);
