//! API keys as agents and operators present them: base64 of `id:secret`.

use std::fmt;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::{KeyId, Result, StoreError};

/// A text that no log or error shows; wiped on drop, compared in constant time.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The text in clear: for comparison, hashing and the one answer that shows it.
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

/// An API key with its secret, as presented by a client or just generated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Public half, at most what [`ApiKey::from_token`] admits.
    pub id: KeyId,
    secret: Secret,
}

/// Why a text is not an API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the texts and the fields' names say it")]
pub enum TokenError {
    #[error("not base64 of UTF-8 text")]
    NotText,
    #[error("not one pair id:secret")]
    NotOnePair,
}

impl ApiKey {
    /// Reads base64 of `id:secret`.
    ///
    /// # Errors
    /// The text has another form.
    pub fn from_token(text: &str) -> std::result::Result<Self, TokenError> {
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

    /// Generates a key: 120 random bits of id, 256 of secret. For engines that issue keys, and for a key that must be
    /// written to a file before the store adopts it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: the operating system has no random numbers.
    pub fn generate() -> Result<Self> {
        let mut id = [0; 15];
        let mut secret = Zeroizing::new([0; 32]);
        getrandom::fill(&mut id)
            .and_then(|()| getrandom::fill(secret.as_mut_slice()))
            .map_err(|error| StoreError::Unavailable {
                reason: "the operating system has no random numbers".to_owned(),
                retry_after: std::time::Duration::from_secs(1),
                source: Some(crate::Cause::new(error)),
            })?;
        Ok(Self {
            id: URL_SAFE_NO_PAD.encode(id).into(),
            secret: URL_SAFE_NO_PAD.encode(secret.as_slice()).into(),
        })
    }

    /// The half that only its owner knows.
    #[must_use]
    pub fn secret(&self) -> &Secret {
        &self.secret
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b_a_made_key_round_trips_and_is_not_shown() {
        let key = ApiKey::generate().unwrap();
        assert_eq!(ApiKey::from_token(&key.to_token()).unwrap(), key);
        assert_ne!(ApiKey::generate().unwrap(), key);
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
