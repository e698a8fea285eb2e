//! PEM files that the client's side of the program reads, by the same reader as the server's.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, anyhow};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tls_reload::LoadError;
use zeroize::Zeroizing;

/// At least one certificate; `role` names the file in errors.
pub(crate) fn certificates(role: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    tls_reload::pem_certificates(role, &path.display().to_string(), &read(path)?)
        .map_err(|error| told(&error))
}

/// A private key that is not encrypted.
pub(crate) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    tls_reload::pem_private_key(&path.display().to_string(), &read(path)?).map_err(|error| match error {
        LoadError::PassphraseMissing { .. } => {
            anyhow!(
                "the key in {} is encrypted: decrypt a copy of it for this command",
                path.display()
            )
        }
        error => told(&error),
    })
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Zeroizing::new(bytes))
}

fn told(error: &LoadError) -> anyhow::Error {
    anyhow!("{error} (hint: {})", error.hint())
}
