//! Where a TLS set comes from: paths and inline PEM, plain typed, as the configuration layer fills it.
//!
//! No file is opened here. Anything that may hold a key or a passphrase hides it from `Debug` and `Display`
//! and wipes it when dropped.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use crate::names::{CipherSuite, ClientAuth, Curve, Protocol, SpkiPin, VerificationMode};
use crate::settings_error::SettingsError;

/// Everything one TLS set is made of, and how it is reloaded.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The pairs to serve; the first is the default. Never empty in a set that loads.
    pub pairs: Vec<PairSource>,
    /// Client CAs.
    pub client_authorities: Vec<PemSource>,
    /// `None`: required if there are client CAs, otherwise none.
    pub client_authentication: Option<ClientAuth>,
    /// How far client certificates are judged.
    pub verification_mode: VerificationMode,
    /// CRLs over the client CAs, DER or PEM.
    pub revocation_lists: Vec<PathBuf>,
    /// Only client CAs with one of these public keys are trusted; empty: all.
    pub ca_sha256: Vec<SpkiPin>,
    /// Empty: TLS 1.2 and 1.3.
    pub protocols: Vec<Protocol>,
    /// Empty: all that rustls has. See [`CipherSuite`] about TLS 1.3.
    pub cipher_suites: Vec<CipherSuite>,
    /// Empty: all that rustls has.
    pub curves: Vec<Curve>,
    /// ALPN protocols in the server's order; empty: none is negotiated.
    pub alpn: Vec<Vec<u8>>,
    /// When and how files are read again.
    pub reload: ReloadSettings,
}

/// One certificate chain with its private key.
#[derive(Debug, Clone)]
pub struct PairSource {
    /// The chain, leaf first; may also hold the key.
    pub certificate: PemSource,
    /// `None`: the key is in `certificate`.
    pub key: Option<PemSource>,
    /// For an encrypted key.
    pub passphrase: Option<Passphrase>,
    /// SNI names (`host.example`, `*.example`); empty: the leaf's own DNS names.
    pub names: Vec<String>,
}

/// A file, or the text itself.
#[derive(Clone, PartialEq, Eq)]
pub enum PemSource {
    /// Read and watched.
    Path(PathBuf),
    /// Served, never watched.
    Inline(Secret),
}

/// What decrypts a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Passphrase {
    /// The phrase itself.
    Value(Secret),
    /// A file that holds it; one trailing newline is cut. Read and watched with the rest of the set.
    Path(PathBuf),
}

/// A secret; wiped on drop, hidden from `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

/// When files are read again, and when an ending certificate is announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReloadSettings {
    /// `false`: what the start read is served for ever.
    pub enabled: bool,
    /// Quiet time after the last event before reading; 0 to 10 minutes.
    pub debounce: Duration,
    /// Ceiling from the first event of a burst; `None`: the larger of 30 s and twice `debounce`.
    pub max_debounce: Option<Duration>,
    /// Safety poll; zero: none. Otherwise 1 s to 24 h.
    pub reload_interval: Duration,
    /// Remaining life of a served leaf at which a warning is logged.
    pub expiry_warning: Vec<Duration>,
    /// An expired leaf stops the start.
    pub refuse_expired: bool,
}

impl Settings {
    /// A set with one pair and the defaults for everything else.
    #[must_use]
    pub fn single(certificate: PemSource, key: Option<PemSource>) -> Self {
        Self {
            pairs: vec![PairSource::new(certificate, key)],
            ..Self::default()
        }
    }

    /// The mode that holds: the configured one, or required as soon as there are client CAs.
    #[must_use]
    pub fn client_auth(&self) -> ClientAuth {
        self.client_authentication
            .unwrap_or(if self.client_authorities.is_empty() {
                ClientAuth::None
            } else {
                ClientAuth::Required
            })
    }

    /// Every path of the set, in the order certificate, key, passphrase of each pair, CAs, CRLs.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let pairs = self.pairs.iter().flat_map(|pair| {
            let phrase = pair.passphrase.as_ref().and_then(Passphrase::path);
            [
                pair.certificate.path(),
                pair.key.as_ref().and_then(PemSource::path),
                phrase,
            ]
            .into_iter()
            .flatten()
        });
        let authorities = self.client_authorities.iter().filter_map(PemSource::path);
        pairs
            .chain(authorities)
            .chain(self.revocation_lists.iter().map(PathBuf::as_path))
    }

    /// Everything that can be judged without reading a file.
    pub fn validate(&self) -> Result<(), SettingsError> {
        self.shape()?;
        self.reload.validate()
    }

    /// `validate` without the ranges of the timers.
    pub(crate) fn shape(&self) -> Result<(), SettingsError> {
        if self.pairs.is_empty() {
            return Err(SettingsError::NoPair);
        }
        let asks = self.client_auth() != ClientAuth::None;
        if asks && self.client_authorities.is_empty() && self.verification_mode != VerificationMode::None {
            return Err(SettingsError::NoClientAuthorities {
                mode: self.client_auth().into(),
            });
        }
        for name in self.pairs.iter().flat_map(|pair| &pair.names) {
            if !is_sni_name(name) {
                return Err(SettingsError::BadName { name: name.clone() });
            }
        }
        Ok(())
    }
}

impl PairSource {
    /// A pair without passphrase whose names come from the leaf.
    #[must_use]
    pub fn new(certificate: PemSource, key: Option<PemSource>) -> Self {
        Self {
            certificate,
            key,
            passphrase: None,
            names: Vec::new(),
        }
    }

    /// Where the key is: its own source, or the certificate's.
    #[must_use]
    pub fn key_source(&self) -> &PemSource {
        self.key.as_ref().unwrap_or(&self.certificate)
    }
}

impl PemSource {
    /// A configuration string: PEM, or a path. Whatever has several lines or PEM's dashes is taken for PEM, also
    /// with other text before it (`Bag Attributes`) or cut off: as a path it would be shown in messages, and it may
    /// be a key (T80).
    #[must_use]
    pub fn from_config(text: &str) -> Self {
        if text.contains("-----") || text.trim_end().contains('\n') {
            Self::Inline(Secret::new(text.to_owned()))
        } else {
            Self::Path(PathBuf::from(text))
        }
    }

    /// The path, if it is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => Some(path),
            Self::Inline(_) => None,
        }
    }
}

impl From<PathBuf> for PemSource {
    fn from(path: PathBuf) -> Self {
        Self::Path(path)
    }
}

impl From<&Path> for PemSource {
    fn from(path: &Path) -> Self {
        Self::Path(path.to_owned())
    }
}

impl fmt::Display for PemSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Inline(_) => f.write_str("(inline PEM)"),
        }
    }
}

impl fmt::Debug for PemSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Passphrase {
    /// The file, if it is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => Some(path),
            Self::Value(_) => None,
        }
    }
}

impl Secret {
    /// Takes the secret over.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl ReloadSettings {
    /// The ceiling that holds for a burst of events.
    #[must_use]
    pub fn ceiling(&self) -> Duration {
        self.max_debounce
            .unwrap_or_else(|| Duration::from_secs(30).max(self.debounce.saturating_mul(2)))
    }

    /// The ranges of an operator's settings.
    ///
    /// [`Reloader`](crate::Reloader) itself takes any interval, so that tests need not wait a second.
    pub fn validate(&self) -> Result<(), SettingsError> {
        if self.debounce > SECOND * 600 {
            return Err(SettingsError::DebounceRange { given: self.debounce });
        }
        match self.max_debounce {
            Some(ceiling) if ceiling < self.debounce => {
                return Err(SettingsError::CeilingBelowDebounce {
                    ceiling,
                    debounce: self.debounce,
                });
            }
            _ => {}
        }
        let interval = self.reload_interval;
        if !interval.is_zero() && !(SECOND..=SECOND * 24 * 3600).contains(&interval) {
            return Err(SettingsError::IntervalRange { given: interval });
        }
        if self.expiry_warning.contains(&Duration::ZERO) {
            return Err(SettingsError::EmptyWarning);
        }
        Ok(())
    }
}

impl Default for ReloadSettings {
    fn default() -> Self {
        let day = Duration::from_secs(24 * 3600);
        Self {
            enabled: true,
            debounce: Duration::from_secs(5),
            max_debounce: None,
            reload_interval: Duration::from_secs(5),
            expiry_warning: vec![day * 30, day * 7, day],
            refuse_expired: false,
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// A host name, or `*.` before one.
fn is_sni_name(name: &str) -> bool {
    let host = name.strip_prefix("*.").unwrap_or(name);
    rustls_pki_types::DnsName::try_from(host).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t15_inline_pem_is_told_from_a_path() {
        assert_eq!(
            PemSource::from_config("/etc/tls.crt").path(),
            Some(Path::new("/etc/tls.crt"))
        );
        let inline = PemSource::from_config("\n-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n");
        assert_eq!(inline.path(), None);
        assert!(!format!("{inline:?} {inline}").contains("c2VjcmV0"));
        for cut in [
            "Bag Attributes\n-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n",
            "c2VjcmV0\n-----END PRIVATE KEY-----",
            "c2VjcmV0\nc2VjcmV0",
        ] {
            let cut = PemSource::from_config(cut);
            assert!(!format!("{cut:?} {cut}").contains("c2VjcmV0"), "T80");
        }
    }

    #[test]
    fn t80_passphrases_hide_from_debug() {
        let mut pair = PairSource::new(PemSource::from_config("a"), None);
        pair.passphrase = Some(Passphrase::Value(Secret::new("swordfish".to_owned())));
        assert!(!format!("{pair:?}").contains("swordfish"));
    }

    #[test]
    fn t20_ranges() {
        let good = ReloadSettings::default();
        assert!(good.validate().is_ok());
        assert_eq!(good.ceiling(), Duration::from_secs(30));
        let sixty = ReloadSettings {
            debounce: Duration::from_secs(60),
            ..good.clone()
        };
        assert!(sixty.validate().is_ok(), "debounce alone may be raised");
        assert_eq!(sixty.ceiling(), Duration::from_secs(120));
        let zero = ReloadSettings {
            debounce: Duration::ZERO,
            reload_interval: Duration::ZERO,
            ..good.clone()
        };
        assert!(zero.validate().is_ok());
        for bad in [
            ReloadSettings {
                debounce: Duration::from_secs(601),
                ..good.clone()
            },
            ReloadSettings {
                max_debounce: Some(Duration::from_secs(4)),
                ..good.clone()
            },
            ReloadSettings {
                reload_interval: Duration::from_millis(999),
                ..good.clone()
            },
            ReloadSettings {
                reload_interval: Duration::from_secs(86_401),
                ..good.clone()
            },
            ReloadSettings {
                expiry_warning: vec![Duration::ZERO],
                ..good.clone()
            },
        ] {
            assert!(bad.validate().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn client_auth_follows_the_authorities() {
        let mut settings = Settings::single(PemSource::from_config("a"), None);
        assert_eq!(settings.client_auth(), ClientAuth::None);
        settings.client_authentication = Some(ClientAuth::Optional);
        assert!(settings.validate().is_err(), "nobody to trust");
        settings.verification_mode = VerificationMode::None;
        assert!(settings.validate().is_ok());
        settings.client_authentication = None;
        settings.client_authorities = vec![PemSource::from_config("ca")];
        assert_eq!(settings.client_auth(), ClientAuth::Required);
        settings.pairs[0].names = vec!["not a name".to_owned()];
        assert!(settings.validate().is_err());
        settings.pairs[0].names = vec!["*.example.com".to_owned()];
        assert!(settings.validate().is_ok());
    }
}
