//! The key that secrets are encrypted with at rest (data.md 1.10): AES-256-GCM, a random nonce for each value, the
//! secret's id bound to it, so that one value cannot be put in another's place.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};
use store::{Secret, SecretId};
use zeroize::Zeroizing;

use crate::{FleetError, randomness::random};

/// A key. Never shown, but its id, which tells nothing of it.
#[derive(Clone)]
pub struct StoreKey {
    bytes: Zeroizing<[u8; LENGTH]>,
    id: String,
}

/// Why a text cannot be read as a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not base64 of {LENGTH} bytes")]
pub struct NoStoreKey;

impl StoreKey {
    /// A new key.
    ///
    /// # Errors
    /// [`FleetError::NoRandomness`].
    pub fn generate() -> Result<Self, FleetError> {
        let mut bytes = Zeroizing::new([0; LENGTH]);
        random(bytes.as_mut_slice())?;
        Ok(Self::of(bytes))
    }

    /// Reads what [`StoreKey::to_text`] wrote, or `openssl rand -base64 32`.
    pub fn from_text(text: &str) -> Result<Self, NoStoreKey> {
        let decoded = Zeroizing::new(STANDARD.decode(text.trim()).map_err(|_| NoStoreKey)?);
        let mut bytes = Zeroizing::new([0; LENGTH]);
        if decoded.len() != LENGTH {
            return Err(NoStoreKey);
        }
        bytes.copy_from_slice(&decoded);
        Ok(Self::of(bytes))
    }

    /// The key as text, for its file.
    #[must_use]
    pub fn to_text(&self) -> Secret {
        Secret::from(STANDARD.encode(self.bytes.as_slice()))
    }

    /// Tells keys apart: stored beside what was encrypted, shown to operators.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    fn of(bytes: Zeroizing<[u8; LENGTH]>) -> Self {
        let digest = Sha256::digest([b"fleet-server store key\0".as_slice(), bytes.as_slice()].concat());
        let id = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self { bytes, id }
    }

    fn cipher(&self) -> Result<RandomizedNonceKey, FleetError> {
        RandomizedNonceKey::new(&AES_256_GCM, self.bytes.as_slice()).map_err(|_| FleetError::CryptoFailed)
    }

    /// Encrypts the value: nonce, ciphertext, tag.
    pub(crate) fn seal(&self, id: &SecretId, value: &Secret) -> Result<Vec<u8>, FleetError> {
        let mut text = Zeroizing::new(value.reveal().as_bytes().to_vec());
        // Room for the tag: the buffer must not be copied elsewhere while it holds the value.
        text.reserve_exact(AES_256_GCM.tag_len());
        let nonce = self
            .cipher()?
            .seal_in_place_append_tag(Aad::from(id.as_str()), &mut *text)
            .map_err(|_| FleetError::CryptoFailed)?;
        Ok([nonce.as_ref().as_slice(), text.as_slice()].concat())
    }

    /// Decrypts what was sealed under this id with this key.
    pub(crate) fn open(&self, id: &SecretId, sealed: &[u8]) -> Result<Secret, FleetError> {
        let unreadable = || FleetError::SecretUnreadable { secret: id.clone() };
        let (nonce, rest) = sealed.split_at_checked(NONCE_LEN).ok_or_else(unreadable)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| unreadable())?;
        let mut buffer = Zeroizing::new(rest.to_vec());
        let value = self
            .cipher()?
            .open_in_place(nonce, Aad::from(id.as_str()), &mut buffer)
            .map_err(|_| unreadable())?;
        let value = std::str::from_utf8(value).map_err(|_| unreadable())?;
        Ok(Secret::from(value.to_owned()))
    }
}

impl fmt::Debug for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StoreKey").field(&self.id).finish()
    }
}

const LENGTH: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::from(text.to_owned())
    }

    #[test]
    fn o18_a_value_is_opened_by_its_key_under_its_id_only() {
        let (key, other) = (StoreKey::generate().unwrap(), StoreKey::generate().unwrap());
        let (a, b) = (SecretId::from("a"), SecretId::from("b"));
        let sealed = key.seal(&a, &secret("hunter2")).unwrap();
        assert_ne!(
            sealed,
            key.seal(&a, &secret("hunter2")).unwrap(),
            "each has a nonce of its own"
        );
        assert!(!sealed.windows(7).any(|window| window == b"hunter2"));
        assert_eq!(key.open(&a, &sealed).unwrap(), secret("hunter2"));
        let mut damaged = sealed.clone();
        damaged[20] ^= 1;
        for (key, id, sealed) in [
            (&other, &a, sealed.as_slice()),
            (&key, &b, &sealed),
            (&key, &a, &damaged),
            (&key, &a, &sealed[..11]),
            (&key, &a, b""),
        ] {
            let error = key.open(id, sealed).unwrap_err();
            assert!(matches!(error, FleetError::SecretUnreadable { .. }), "{error}");
        }
    }

    #[test]
    fn a_key_is_read_back_and_not_shown() {
        let key = StoreKey::generate().unwrap();
        let text = key.to_text();
        let read = StoreKey::from_text(&format!(" {}\n", text.reveal())).unwrap();
        assert_eq!(read.id(), key.id());
        assert_eq!(key.id().len(), 16);
        assert!(!format!("{key:?}").contains(text.reveal()));
        for bad in ["", "x", "AAAA", &"A".repeat(48)] {
            assert!(StoreKey::from_text(bad).is_err(), "{bad}");
        }
    }
}
