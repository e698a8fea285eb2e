//! From `ssl.*` to the settings of `tls-reload`, which parses its own words (suites, curves, versions), so that the
//! configuration accepts exactly what can be served.

use std::str::FromStr as _;

use strum::VariantNames as _;
use tls_reload::{
    CipherSuite, ClientAuth, Curve, PairSource, Passphrase, PemSource, Protocol, ReloadSettings, Settings,
    SpkiPin, VerificationMode,
};

use super::ssl::{NamedPair, PathOrPem, Ssl};
use crate::engine::{
    secret::Secret,
    setting::{Refusal, Shown, setting},
};

/// Agents use HTTP/1.1 and offer no ALPN; other clients may choose HTTP/2 (agents.md 1.3).
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

impl Ssl {
    /// The settings of `tls-reload`. The files are checked when they are read.
    pub fn settings(&self) -> Settings {
        let first = self.certificate.as_ref().map(|certificate| {
            pair(
                certificate,
                self.key.as_ref(),
                self.key_passphrase.as_ref(),
                self.key_passphrase_path.as_ref(),
                &[],
            )
        });
        let reload = &self.certificate_reload;
        Settings {
            pairs: first
                .into_iter()
                .chain(self.certificates.iter().filter_map(NamedPair::source))
                .collect(),
            client_authorities: self
                .certificate_authorities
                .iter()
                .map(PathOrPem::source)
                .collect(),
            client_authentication: self.client_authentication,
            verification_mode: self.verification_mode,
            revocation_lists: self.certificate_revocation_lists.clone(),
            ca_sha256: self.ca_sha256.clone(),
            protocols: self.supported_protocols.clone(),
            cipher_suites: self.cipher_suites.clone(),
            curves: self.curve_types.clone(),
            alpn: ALPN.iter().map(|protocol| protocol.to_vec()).collect(),
            reload: ReloadSettings {
                enabled: reload.enabled,
                debounce: reload.debounce,
                max_debounce: reload.max_debounce,
                reload_interval: reload.reload_interval,
                expiry_warning: reload.expiry_warning.iter().map(|days| days.0).collect(),
                refuse_expired: reload.refuse_expired,
            },
        }
    }
}

impl NamedPair {
    fn source(&self) -> Option<PairSource> {
        let certificate = self.certificate.as_ref()?;
        let (phrase, path) = (self.key_passphrase.as_ref(), self.key_passphrase_path.as_ref());
        Some(pair(certificate, self.key.as_ref(), phrase, path, &self.names))
    }
}

fn pair(
    certificate: &PathOrPem,
    key: Option<&PathOrPem>,
    phrase: Option<&Secret>,
    phrase_path: Option<&std::path::PathBuf>,
    names: &[String],
) -> PairSource {
    let passphrase = match (phrase_path, phrase) {
        (Some(path), _) => Some(Passphrase::Path(path.clone())),
        (None, Some(phrase)) => Some(Passphrase::Value(tls_reload::Secret::new(
            phrase.expose().to_owned(),
        ))),
        (None, None) => None,
    };
    PairSource {
        certificate: certificate.source(),
        key: key.map(PathOrPem::source),
        passphrase,
        names: names.to_vec(),
    }
}

impl PathOrPem {
    fn source(&self) -> PemSource {
        match self {
            Self::Path(path) => PemSource::Path(path.clone()),
            Self::Pem(pem) => PemSource::from_config(pem.expose()),
        }
    }
}

/// Settings that `tls-reload` parses (with its own error text); only the way back to text is defined here.
macro_rules! words {
    ($( $type:ty: $allowed:expr, $name:expr; )*) => { $(
        setting!(
            $type,
            $allowed,
            |text| Self::from_str(text).map_err(|error| Refusal::Because(error.to_string())),
            |word| {
                let name: fn(&$type) -> String = $name;
                Shown::Text(name(word))
            }
        );
    )* };
}

fn one_of(words: &[&str]) -> String {
    format!("one of {}", words.join(", "))
}

words! {
    ClientAuth: one_of(ClientAuth::VARIANTS), ToString::to_string;
    VerificationMode: one_of(VerificationMode::VARIANTS), ToString::to_string;
    Protocol: one_of(Protocol::VARIANTS), ToString::to_string;
    CipherSuite: one_of(&CipherSuite::known()), |suite| suite.name().to_owned();
    Curve: one_of(&Curve::known()), |curve| curve.name().to_owned();
    SpkiPin: "the base64 of a SHA-256 (44 characters)", ToString::to_string;
}
