//! Private keys: decrypted where needed, turned into what signs a handshake (reload.md 5.2).
//!
//! Sections and a passphrase go in, signing keys come out. Work and memory of a decryption have bounds that are looked
//! at first; neither a key nor a phrase is ever part of an error.

use std::sync::Arc;

use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::pkcs5::EncryptionScheme;
use pkcs8::pkcs5::pbes2::Kdf;
use rustls::sign::SigningKey;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use crate::error::LoadError;
use crate::legacy_key::Locked;
use crate::pem::{self, Key, Sections};
use crate::warning::Warning;

/// Every key of `sections` that can sign, in order; encrypted ones are opened with `passphrase`.
pub(crate) fn signing_keys(
    file: &str,
    sections: &Sections,
    passphrase: Option<&[u8]>,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<Arc<dyn SigningKey>>, LoadError> {
    let file = || file.to_owned();
    let found = sections.keys.len();
    if found > MAX_KEYS {
        return Err(LoadError::TooManyKeys {
            file: file(),
            found,
            limit: MAX_KEYS,
        });
    }
    let mut usable = Vec::with_capacity(found);
    let mut refusal = None;
    for key in &sections.keys {
        let key = plain(&file(), key, passphrase, warnings)?;
        match rustls::crypto::aws_lc_rs::sign::any_supported_type(&key) {
            Ok(key) => usable.push(key),
            Err(error) => refusal = Some(error.to_string()),
        }
    }
    match refusal {
        Some(reason) if usable.is_empty() => Err(LoadError::UnusableKey { file: file(), reason }),
        None if usable.is_empty() => Err(LoadError::NoKey {
            file: file(),
            inventory: sections.inventory(),
        }),
        _ => Ok(usable),
    }
}

/// The first private key of a PEM text, which must not be encrypted: for a client that shows a certificate.
///
/// # Errors
/// The text is damaged, no PEM, or its first key is encrypted.
pub fn private_key(file: &str, bytes: &[u8]) -> Result<PrivateKeyDer<'static>, LoadError> {
    let sections = pem::parse("key", file, bytes)?;
    let first = sections.keys.first().ok_or_else(|| LoadError::NoKey {
        file: file.to_owned(),
        inventory: sections.inventory(),
    })?;
    plain(file, first, None, &mut Vec::new())
}

/// A key of the file, opened if it is encrypted.
fn plain(
    file: &str,
    key: &Key,
    passphrase: Option<&[u8]>,
    warnings: &mut Vec<Warning>,
) -> Result<PrivateKeyDer<'static>, LoadError> {
    let phrase = || {
        passphrase.ok_or_else(|| LoadError::PassphraseMissing {
            file: file.to_owned(),
        })
    };
    match key {
        Key::Plain(key) => Ok(key.clone_key()),
        Key::Encrypted(der) => decrypt(file, der, phrase()?),
        Key::Legacy(key) => {
            let key = key.open(phrase()?).map_err(|locked| match locked {
                Locked::Wrong => LoadError::CannotDecrypt {
                    file: file.to_owned(),
                },
                Locked::Unsupported(reason) => LoadError::UnsupportedEncryption {
                    file: file.to_owned(),
                    reason,
                },
            })?;
            warnings.push(Warning::LegacyEncryption {
                file: file.to_owned(),
            });
            Ok(key)
        }
    }
}

fn decrypt(file: &str, der: &[u8], passphrase: &[u8]) -> Result<PrivateKeyDer<'static>, LoadError> {
    let file = || file.to_owned();
    let encrypted =
        EncryptedPrivateKeyInfoRef::try_from(der).map_err(|error| LoadError::UnsupportedEncryption {
            file: file(),
            reason: error.to_string(),
        })?;
    if let Some(reason) = too_costly(&encrypted.encryption_algorithm) {
        return Err(LoadError::UnsupportedEncryption {
            file: file(),
            reason: reason.to_owned(),
        });
    }
    match encrypted.decrypt(passphrase) {
        Ok(document) => {
            let plain = Zeroizing::new(document.as_bytes().to_vec());
            Ok(PrivatePkcs8KeyDer::from(plain.to_vec()).into())
        }
        // Wrong padding, or by chance valid padding around garbage: both mean a wrong passphrase.
        Err(
            pkcs8::Error::EncryptedPrivateKey(pkcs8::pkcs5::Error::DecryptFailed) | pkcs8::Error::Asn1(_),
        ) => Err(LoadError::CannotDecrypt { file: file() }),
        Err(error) => Err(LoadError::UnsupportedEncryption {
            file: file(),
            reason: error.to_string(),
        }),
    }
}

/// A damaged file must neither occupy the reader for minutes nor ask for unbounded memory.
fn too_costly(scheme: &EncryptionScheme) -> Option<&'static str> {
    match &scheme.pbes2()?.kdf {
        Kdf::Pbkdf2(params) => {
            (params.iteration_count > MAX_ROUNDS).then_some("PBKDF2 with more than 5 million rounds")
        }
        Kdf::Scrypt(params) => {
            let lane = params
                .cost_parameter
                .saturating_mul(128 * u64::from(params.block_size));
            let work = lane.saturating_mul(u64::from(params.parallelization));
            (lane > MAX_SCRYPT_MEMORY || work > MAX_SCRYPT_WORK)
                .then_some("scrypt with more than 256 MiB of memory")
        }
        // Refused by the decryption itself.
        _ => None,
    }
}

/// A file of the largest size has room for thousands of encrypted keys: half an hour of decryption
/// (reload.md 4.3, 5.1).
const MAX_KEYS: usize = 8;
/// Some seconds; the largest recommendations are a fifth of it.
const MAX_ROUNDS: u32 = 5_000_000;
const MAX_SCRYPT_MEMORY: u64 = 256 << 20;
const MAX_SCRYPT_WORK: u64 = 1 << 30;
