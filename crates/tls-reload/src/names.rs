//! The words a configuration uses: protocols, cipher suites, curves, client-certificate modes, pins.
//!
//! Names in, what rustls understands out. An unknown word is an error that lists the known ones; nothing
//! here reads a file or keeps state.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use rustls::crypto::aws_lc_rs::{cipher_suite, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};
use serde::Serialize;
use strum::{Display, EnumString, IntoStaticStr, VariantNames};

use crate::settings_error::SettingsError;

/// Whether a client must show a certificate.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Display, EnumString, IntoStaticStr, VariantNames,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase", parse_err_ty = SettingsError, parse_err_fn = no_client_auth)]
pub enum ClientAuth {
    /// No certificate is asked for.
    None,
    /// A certificate is asked for, and judged if one comes.
    Optional,
    /// A handshake without an accepted certificate fails.
    Required,
}

/// How far a client's certificate is judged. The first three are the same on a server: chain, dates, usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Display, EnumString, VariantNames)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase", parse_err_ty = SettingsError, parse_err_fn = no_verification)]
pub enum VerificationMode {
    /// Chain, dates and usage.
    #[default]
    Full,
    /// As `full` on a server: there is no host name to compare.
    Certificate,
    /// As `full` on a server.
    Strict,
    /// Any certificate whose key the client holds. Dangerous; loading it is a warning.
    None,
}

/// A protocol version that can be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Display, EnumString, VariantNames)]
#[strum(parse_err_ty = SettingsError, parse_err_fn = no_protocol)]
pub enum Protocol {
    /// The oldest that rustls has.
    #[serde(rename = "TLSv1.2")]
    #[strum(to_string = "TLSv1.2", serialize = "TLSv1_2")]
    Tls12,
    /// The newest there is.
    #[serde(rename = "TLSv1.3")]
    #[strum(to_string = "TLSv1.3", serialize = "TLSv1_3")]
    Tls13,
}

/// A cipher suite by the name Elastic's documentation gives it.
#[derive(Clone, Copy, PartialEq)]
pub struct CipherSuite {
    name: &'static str,
    suite: SupportedCipherSuite,
}

/// A key-exchange group by the name Elastic's documentation gives it.
#[derive(Clone, Copy)]
pub struct Curve {
    name: &'static str,
    group: &'static dyn SupportedKxGroup,
}

/// SHA-256 of a client CA's SubjectPublicKeyInfo.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpkiPin(pub(crate) [u8; 32]);

impl Protocol {
    pub(crate) fn version(self) -> &'static SupportedProtocolVersion {
        match self {
            Self::Tls12 => &rustls::version::TLS12,
            Self::Tls13 => &rustls::version::TLS13,
        }
    }
}

fn no_client_auth(word: &str) -> SettingsError {
    unknown("client authentication mode", word, ClientAuth::VARIANTS)
}

fn no_verification(word: &str) -> SettingsError {
    unknown("verification mode", word, VerificationMode::VARIANTS)
}

fn no_protocol(word: &str) -> SettingsError {
    let old = [
        "SSLv2", "SSLv3", "TLSv1", "TLSv1.0", "TLSv1.1", "TLSv1_0", "TLSv1_1",
    ];
    match old.contains(&word) {
        true => SettingsError::ObsoleteProtocol {
            word: word.to_owned(),
        },
        false => unknown("protocol", word, Protocol::VARIANTS),
    }
}

fn unknown(what: &'static str, word: &str, known: &[&str]) -> SettingsError {
    let (word, known) = (word.to_owned(), known.join(", "));
    SettingsError::UnknownWord { what, word, known }
}

fn unsupported(what: &'static str, word: &str, reason: &'static str, known: &[&str]) -> SettingsError {
    let (word, known) = (word.to_owned(), known.join(", "));
    SettingsError::UnsupportedWord {
        what,
        word,
        reason,
        known,
    }
}

impl CipherSuite {
    /// The documented name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Every name that is accepted.
    #[must_use]
    pub fn known() -> Vec<&'static str> {
        SUITES.iter().map(|(name, _)| *name).collect()
    }
}

impl FromStr for CipherSuite {
    type Err = SettingsError;

    fn from_str(word: &str) -> Result<Self, SettingsError> {
        // The documentation of Elastic's Beats spells one suite with 1205; files written from it must start.
        let wanted = match word {
            "ECDHE-RSA-CHACHA20-POLY1205" => "ECDHE-RSA-CHACHA20-POLY1305",
            "ECDHE-ECDSA-CHACHA20-POLY1205" => "ECDHE-ECDSA-CHACHA20-POLY1305",
            other => other,
        };
        if let Some((name, suite)) = SUITES.iter().find(|(name, _)| *name == wanted) {
            return Ok(Self { name, suite: *suite });
        }
        if WITHOUT_SUPPORT.contains(&wanted) {
            let reason = "it lacks forward secrecy or authenticated encryption, and rustls does not have it";
            return Err(unsupported("cipher suite", word, reason, &Self::known()));
        }
        Err(unknown("cipher suite", word, &Self::known()))
    }
}

impl fmt::Debug for CipherSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Curve {
    /// The documented name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Every name that is accepted.
    #[must_use]
    pub fn known() -> Vec<&'static str> {
        GROUPS.iter().map(|(name, _)| *name).collect()
    }
}

impl PartialEq for Curve {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl FromStr for Curve {
    type Err = SettingsError;

    fn from_str(word: &str) -> Result<Self, SettingsError> {
        if let Some((name, group)) = GROUPS.iter().find(|(name, _)| *name == word) {
            return Ok(Self { name, group: *group });
        }
        let reason = "rustls has no key exchange over it (certificates with P-521 keys are served)";
        match word {
            "P-521" => Err(unsupported("curve", word, reason, &Self::known())),
            _ => Err(unknown("curve", word, &Self::known())),
        }
    }
}

impl fmt::Debug for Curve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl FromStr for SpkiPin {
    type Err = SettingsError;

    fn from_str(word: &str) -> Result<Self, SettingsError> {
        base64::engine::general_purpose::STANDARD
            .decode(word.trim())
            .ok()
            .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
            .map(Self)
            .ok_or_else(|| SettingsError::BadPin {
                word: word.to_owned(),
            })
    }
}

impl fmt::Display for SpkiPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base64::engine::general_purpose::STANDARD.encode(self.0))
    }
}

impl fmt::Debug for SpkiPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The crypto provider narrowed to the named suites and groups; never the process default.
///
/// TLS 1.3 suites stay all enabled unless one of them is named: the original cannot narrow them either, so
/// a file that lists only TLS 1.2 suites keeps TLS 1.3.
pub(crate) fn provider(suites: &[CipherSuite], curves: &[Curve]) -> CryptoProvider {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    if !suites.is_empty() {
        let names_tls13 = suites.iter().any(|named| named.suite.tls13().is_some());
        let mut chosen: Vec<SupportedCipherSuite> = Vec::new();
        if !names_tls13 {
            chosen.extend(
                provider
                    .cipher_suites
                    .iter()
                    .filter(|suite| suite.tls13().is_some()),
            );
        }
        chosen.extend(suites.iter().map(|named| named.suite));
        provider.cipher_suites = chosen;
    }
    if !curves.is_empty() {
        provider.kx_groups = curves.iter().map(|named| named.group).collect();
    }
    provider
}

const SUITES: &[(&str, SupportedCipherSuite)] = &[
    ("TLS-AES-128-GCM-SHA256", cipher_suite::TLS13_AES_128_GCM_SHA256),
    ("TLS-AES-256-GCM-SHA384", cipher_suite::TLS13_AES_256_GCM_SHA384),
    (
        "TLS-CHACHA20-POLY1305-SHA256",
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ),
    (
        "ECDHE-ECDSA-AES-128-GCM-SHA256",
        cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "ECDHE-ECDSA-AES-256-GCM-SHA384",
        cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "ECDHE-RSA-AES-128-GCM-SHA256",
        cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "ECDHE-RSA-AES-256-GCM-SHA384",
        cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "ECDHE-RSA-CHACHA20-POLY1305",
        cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
];

/// Names the original documents that no modern server should speak.
const WITHOUT_SUPPORT: &[&str] = &[
    "ECDHE-ECDSA-AES-128-CBC-SHA",
    "ECDHE-ECDSA-AES-128-CBC-SHA256",
    "ECDHE-ECDSA-AES-256-CBC-SHA",
    "ECDHE-ECDSA-RC4-128-SHA",
    "ECDHE-RSA-3DES-CBC3-SHA",
    "ECDHE-RSA-AES-128-CBC-SHA",
    "ECDHE-RSA-AES-128-CBC-SHA256",
    "ECDHE-RSA-AES-256-CBC-SHA",
    "ECDHE-RSA-RC4-128-SHA",
    "RSA-3DES-CBC3-SHA",
    "RSA-AES-128-CBC-SHA",
    "RSA-AES-128-CBC-SHA256",
    "RSA-AES-128-GCM-SHA256",
    "RSA-AES-256-CBC-SHA",
    "RSA-AES-256-GCM-SHA384",
    "RSA-RC4-128-SHA",
];

const GROUPS: &[(&str, &dyn SupportedKxGroup)] = &[
    ("X25519", kx_group::X25519),
    ("P-256", kx_group::SECP256R1),
    ("P-384", kx_group::SECP384R1),
    ("X25519MLKEM768", kx_group::X25519MLKEM768),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_words_list_the_known_ones() {
        let error = "ECDHE-FOO".parse::<CipherSuite>().unwrap_err().to_string();
        assert!(error.contains("ECDHE-RSA-AES-128-GCM-SHA256"), "{error}");
        let error = "P-521".parse::<Curve>().unwrap_err().to_string();
        assert!(error.contains("X25519"), "{error}");
        let error = "TLSv1.1".parse::<Protocol>().unwrap_err().to_string();
        assert!(error.contains("TLSv1.1"), "{error}");
        assert!("maybe".parse::<ClientAuth>().is_err());
        assert!("AAAA".parse::<SpkiPin>().is_err());
    }

    #[test]
    fn naming_only_tls12_suites_keeps_tls13() {
        let suite = "ECDHE-RSA-AES-128-GCM-SHA256".parse::<CipherSuite>().unwrap();
        let narrowed = provider(&[suite], &[]);
        assert_eq!(
            narrowed
                .cipher_suites
                .iter()
                .filter(|s| s.tls13().is_none())
                .count(),
            1
        );
        assert_eq!(
            narrowed
                .cipher_suites
                .iter()
                .filter(|s| s.tls13().is_some())
                .count(),
            3
        );
        let tls13 = "TLS-AES-128-GCM-SHA256".parse::<CipherSuite>().unwrap();
        assert_eq!(provider(&[tls13], &[]).cipher_suites.len(), 1);
    }

    #[test]
    fn curves_are_offered_in_the_order_named() {
        let curves = ["P-384", "X25519"].map(|word| word.parse::<Curve>().unwrap());
        let groups: Vec<_> = provider(&[], &curves)
            .kx_groups
            .iter()
            .map(|group| group.name())
            .collect();
        assert_eq!(
            groups,
            [rustls::NamedGroup::secp384r1, rustls::NamedGroup::X25519]
        );
    }

    #[test]
    fn pins_survive_a_round_trip() {
        let pin = SpkiPin([7; 32]);
        assert_eq!(pin.to_string().parse::<SpkiPin>().unwrap(), pin);
    }
}
