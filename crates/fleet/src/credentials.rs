//! API keys as agents and operators present them: base64 of `id:secret`.
//!
//! A secret has 256 random bits, so a salted SHA-256 is enough to store it: there is nothing to guess, and a
//! slow derivation would cost every request.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};
use store::{KeyHash, KeyId};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::FleetError;

/// A text that is never shown; wiped on drop, compared in constant time.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The text.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A presented or freshly made key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Public half.
    pub id: KeyId,
    secret: Secret,
}

/// Why a text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not standard padded base64, or not UTF-8 inside.
    #[error("not base64 of UTF-8 text")]
    NotText,
    /// Not exactly one `:`.
    #[error("not one pair id:secret")]
    NotOnePair,
}

impl ApiKey {
    /// Reads base64 of `id:secret`.
    ///
    /// # Errors
    /// The text has another form.
    pub fn from_token(text: &str) -> Result<Self, TokenError> {
        let bytes = Zeroizing::new(STANDARD.decode(text).map_err(|_| TokenError::NotText)?);
        let pair = std::str::from_utf8(&bytes).map_err(|_| TokenError::NotText)?;
        let (id, secret) = pair.split_once(':').ok_or(TokenError::NotOnePair)?;
        if secret.contains(':') {
            return Err(TokenError::NotOnePair);
        }
        Ok(Self {
            id: KeyId::from(id),
            secret: Secret::from(secret.to_owned()),
        })
    }

    /// Base64 of `id:secret`: usable as it is after `ApiKey `.
    #[must_use]
    pub fn to_token(&self) -> String {
        STANDARD.encode(Zeroizing::new(format!("{}:{}", self.id, self.secret.reveal())).as_bytes())
    }

    /// Makes a key: 120 random bits of id, 256 of secret.
    ///
    /// # Errors
    /// The operating system has no random numbers.
    pub fn generate() -> Result<Self, FleetError> {
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let mut id = [0; 15];
        let mut secret = Zeroizing::new([0; 32]);
        random(&mut id)?;
        random(secret.as_mut_slice())?;
        Ok(Self {
            id: URL_SAFE_NO_PAD.encode(id).into(),
            secret: URL_SAFE_NO_PAD.encode(secret.as_slice()).into(),
        })
    }

    /// The secret half.
    #[must_use]
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// A fresh salted hash of the secret half, to be stored.
    ///
    /// # Errors
    /// The operating system has no random numbers.
    pub fn hash(&self) -> Result<KeyHash, FleetError> {
        let mut salt = [0; 16];
        random(&mut salt)?;
        Ok(KeyHash {
            salt,
            digest: self.digest(&salt),
        })
    }

    /// Whether the secret half is the stored one, in constant time.
    #[must_use]
    pub fn matches(&self, hash: &KeyHash) -> bool {
        self.digest(&hash.salt).ct_eq(&hash.digest).into()
    }

    fn digest(&self, salt: &[u8; 16]) -> [u8; 32] {
        Sha256::new()
            .chain_update(salt)
            .chain_update(self.secret.reveal())
            .finalize()
            .into()
    }
}

/// Fills `bytes` from the operating system.
pub(crate) fn random(bytes: &mut [u8]) -> Result<(), FleetError> {
    getrandom::fill(bytes).map_err(|error| FleetError::NoRandomness {
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b_a_made_key_round_trips_and_matches_only_itself() {
        let key = ApiKey::generate().unwrap();
        let hash = key.hash().unwrap();
        let same = ApiKey::from_token(&key.to_token()).unwrap();
        assert_eq!(same, key);
        assert!(same.matches(&hash));
        assert!(!ApiKey::generate().unwrap().matches(&hash));
        assert_ne!(hash, key.hash().unwrap(), "each hash has its own salt");
        assert!(!format!("{key:?}").contains(key.secret().reveal()));
    }

    #[test]
    fn gen_12_to_14_malformed_tokens_are_told_apart() {
        assert_eq!(ApiKey::from_token("invalid"), Err(TokenError::NotText));
        assert_eq!(ApiKey::from_token("dGVzdA=="), Err(TokenError::NotOnePair));
        assert_eq!(
            ApiKey::from_token(&STANDARD.encode("a:b:c")),
            Err(TokenError::NotOnePair)
        );
        assert_eq!(
            ApiKey::from_token(&STANDARD.encode([0xff, b':', 0xfe])),
            Err(TokenError::NotText)
        );
    }
}
