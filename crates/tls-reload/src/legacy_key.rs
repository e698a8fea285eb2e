//! Keys as OpenSSL encrypted them before PKCS#8: `Proc-Type: 4,ENCRYPTED` and `DEK-Info`.
//!
//! The passphrase goes through one round of MD5 for each 16 bytes of key (`EVP_BytesToKey`), salted with the first
//! eight bytes of the initialisation vector: cheap to guess, so a key like this is read with a warning.

use aes::{Aes128, Aes192, Aes256};
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockCipherDecrypt, BlockModeDecrypt as _, KeyInit, KeyIvInit as _};
use des::{Des, TdesEde3};
use md5::{Digest as _, Md5};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivateSec1KeyDer};
use zeroize::Zeroizing;

use crate::certificate::unhex;

/// A key in that form.
pub(crate) struct LegacyKey {
    is_rsa: bool,
    /// `AES-256-CBC,00112233…`.
    dek_info: String,
    ciphertext: Zeroizing<Vec<u8>>,
}

/// Why it was not opened.
pub(crate) enum Locked {
    /// The passphrase is wrong.
    Wrong,
    /// The reason.
    Unsupported(String),
}

impl LegacyKey {
    pub(crate) fn new(label: &str, headers: &[(&str, &str)], ciphertext: Zeroizing<Vec<u8>>) -> Self {
        let dek_info = headers.iter().find(|(key, _)| *key == "DEK-Info");
        Self {
            is_rsa: label == "RSA PRIVATE KEY",
            dek_info: dek_info.map_or("", |(_, value)| value).to_owned(),
            ciphertext,
        }
    }

    /// The key, opened.
    pub(crate) fn open(&self, passphrase: &[u8]) -> Result<PrivateKeyDer<'static>, Locked> {
        let (cipher, iv) = self.dek_info.split_once(',').unwrap_or((&self.dek_info, ""));
        let iv = unhex(iv.trim()).ok_or_else(|| Locked::Unsupported("DEK-Info is damaged".to_owned()))?;
        let plain = match cipher.trim().to_ascii_uppercase().as_str() {
            "AES-128-CBC" => self.decrypt::<Aes128>(passphrase, &iv, 16),
            "AES-192-CBC" => self.decrypt::<Aes192>(passphrase, &iv, 24),
            "AES-256-CBC" => self.decrypt::<Aes256>(passphrase, &iv, 32),
            "DES-EDE3-CBC" => self.decrypt::<TdesEde3>(passphrase, &iv, 24),
            "DES-CBC" => self.decrypt::<Des>(passphrase, &iv, 8),
            _ => {
                // Not quoted: a damaged file may say anything there.
                let reason = "Proc-Type: 4,ENCRYPTED with another cipher than AES, 3DES or DES in CBC mode";
                return Err(Locked::Unsupported(reason.to_owned()));
            }
        }?;
        // By chance valid padding around garbage: every key is a DER sequence.
        if plain.first() != Some(&0x30) {
            return Err(Locked::Wrong);
        }
        Ok(if self.is_rsa {
            PrivatePkcs1KeyDer::from(plain.to_vec()).into()
        } else {
            PrivateSec1KeyDer::from(plain.to_vec()).into()
        })
    }

    fn decrypt<C: BlockCipherDecrypt + KeyInit>(
        &self,
        passphrase: &[u8],
        iv: &[u8],
        length: usize,
    ) -> Result<Zeroizing<Vec<u8>>, Locked> {
        let key = derive(passphrase, iv.get(..SALT).unwrap_or_default(), length);
        let decryptor = cbc::Decryptor::<C>::new_from_slices(&key, iv)
            .map_err(|_| Locked::Unsupported("DEK-Info is damaged".to_owned()))?;
        let mut buffer = self.ciphertext.clone();
        let plain = decryptor
            .decrypt_padded::<Pkcs7>(&mut buffer)
            .map_err(|_| Locked::Wrong)?;
        Ok(Zeroizing::new(plain.to_vec()))
    }
}

/// OpenSSL's `EVP_BytesToKey` with MD5 and one round.
fn derive(passphrase: &[u8], salt: &[u8], length: usize) -> Zeroizing<Vec<u8>> {
    let mut key = Zeroizing::new(Vec::with_capacity(length + 16));
    while key.len() < length {
        let last = key
            .len()
            .checked_sub(16)
            .and_then(|from| key.get(from..))
            .unwrap_or_default();
        let block = Md5::new()
            .chain_update(last)
            .chain_update(passphrase)
            .chain_update(salt)
            .finalize();
        key.extend_from_slice(&block);
    }
    key.truncate(length);
    key
}

const SALT: usize = 8;
