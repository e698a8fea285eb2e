//! What is kept of a key's secret: a salted SHA-256.
//!
//! A secret has 256 random bits, so that is enough: there is nothing to guess, and a slow derivation would cost every
//! request.

use sha2::{Digest as _, Sha256};
use store::{ApiKey, Result};
use subtle::ConstantTimeEq as _;

use super::fault::failed;

/// Salted hash of a key's secret half.
#[derive(Clone)]
pub(crate) struct KeyHash {
    /// 16 random bytes.
    pub(crate) salt: [u8; 16],
    /// SHA-256 over salt and secret.
    pub(crate) digest: [u8; 32],
}

impl KeyHash {
    pub(crate) fn of(key: &ApiKey) -> Result<Self> {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt)
            .map_err(|error| failed("the operating system has no random numbers", error))?;
        let digest = digest(key, &salt);
        Ok(Self { salt, digest })
    }

    /// Stands in for a key that is not known, so that looking for one takes as long.
    pub(crate) const NONE: Self = Self {
        salt: [0; 16],
        digest: [0; 32],
    };

    /// Whether the key's secret is the hashed one, in constant time.
    pub(crate) fn fits(&self, key: &ApiKey) -> bool {
        digest(key, &self.salt).ct_eq(&self.digest).into()
    }
}

fn digest(key: &ApiKey, salt: &[u8; 16]) -> [u8; 32] {
    Sha256::new()
        .chain_update(salt)
        .chain_update(key.secret().reveal())
        .finalize()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b_a_hash_fits_only_its_key_and_has_its_own_salt() {
        let key = ApiKey::generate().unwrap();
        let (hash, other) = (KeyHash::of(&key).unwrap(), KeyHash::of(&key).unwrap());
        assert!(hash.fits(&ApiKey::from_token(&key.to_token()).unwrap()));
        assert!(!hash.fits(&ApiKey::generate().unwrap()));
        assert!(hash.salt != other.salt && hash.digest != other.digest);
        assert!(!KeyHash::NONE.fits(&key));
    }
}
