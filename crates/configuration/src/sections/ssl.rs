//! `inputs.0.server.ssl.*` and `admin.ssl.*`: what is served, to whom, and how it is reloaded (reload.md 1.1).

use std::{fmt, path::PathBuf, time::Duration};

use tls_reload::{CipherSuite, ClientAuth, Curve, PemSource, Protocol, SpkiPin, VerificationMode};

use crate::engine::{
    quantity::{self, Days},
    redaction::REDACTED,
    secret::Secret,
    section::section,
    setting::{Refusal, Setting, Shown},
};

section! {
    /// TLS of a listener.
    pub struct Ssl {
        keys {
            /// Whether TLS is used.
            enabled: bool = true;
            /// The chain, leaf first: a path or PEM. It may also hold the key.
            certificate: Option<PathOrPem> = None;
            /// The key, path or PEM; unset: it stands in `certificate`.
            key: Option<PathOrPem> = None;
            /// Passphrase of an encrypted key.
            key_passphrase: Option<Secret> = None;
            /// File that holds the passphrase; it wins over `key_passphrase`. One newline at its end is cut.
            key_passphrase_path: Option<PathBuf> = None;
            /// CAs that clients' certificates may come from, paths or PEM.
            certificate_authorities: Vec<PathOrPem> = Vec::new();
            /// Whether clients show a certificate: none, optional or required. Unset: required if
            /// `certificate_authorities` is given, else none.
            client_authentication: Option<ClientAuth> = None;
            /// Lists of revoked client certificates, paths to DER or PEM.
            certificate_revocation_lists: Vec<PathBuf> = Vec::new();
            /// Pins of the client CAs: base64 of the SHA-256 of their public key.
            ca_sha256: Vec<SpkiPin> = Vec::new();
            /// TLS versions: TLSv1.2, TLSv1.3.
            supported_protocols: Vec<Protocol> = vec![Protocol::Tls12, Protocol::Tls13];
            /// Cipher suites of TLS 1.2 and 1.3; unset: the library's choice.
            cipher_suites: Vec<CipherSuite> = Vec::new();
            /// Curves of the key exchange; unset: the library's choice.
            curve_types: Vec<Curve> = Vec::new();
            /// How clients' certificates are verified: full, certificate, strict or none.
            verification_mode: VerificationMode = VerificationMode::Full;
        }
        sections {
            /// Further pairs, chosen by the name the client asks for.
            certificates: Vec<NamedPair>;
            /// Replacing certificates while the server runs.
            certificate_reload: CertificateReload;
        }
    }
}

section! {
    /// A pair for certain names.
    pub struct NamedPair {
        keys {
            /// The chain, leaf first: a path or PEM. It may also hold the key.
            certificate: Option<PathOrPem> = None;
            /// The key, path or PEM; unset: it stands in `certificate`.
            key: Option<PathOrPem> = None;
            /// Passphrase of an encrypted key.
            key_passphrase: Option<Secret> = None;
            /// File that holds the passphrase; it wins over `key_passphrase`.
            key_passphrase_path: Option<PathBuf> = None;
            /// The names it serves; unset: those of the certificate.
            names: Vec<String> = Vec::new();
        }
    }
}

section! {
    /// Replacing certificates while the server runs.
    pub struct CertificateReload {
        keys {
            /// Whether changed files are taken. If not, what was read at the start is served for ever.
            enabled: bool = true;
            /// How long the files must rest before they are read, 0 to 10m. With the default, wait 6 seconds after
            /// the last write.
            debounce: Duration = Duration::from_secs(5), check within(Duration::ZERO, MINUTE * 10);
            /// Longest wait while the files never rest, counted from the first change. Unset: the larger of 30s and
            /// twice `debounce`.
            max_debounce: Option<Duration> = None;
            /// Period of the safety check that needs no events, 1s to 24h; 0: none.
            reload_interval: Duration = Duration::from_secs(5), check zero_or_within(SECOND, MINUTE * 60 * 24);
            /// Remaining lives of the served certificate at which a warning is written.
            expiry_warning: Vec<Days> = vec![Days::of(30), Days::of(7), Days::of(1)];
            /// Whether an expired certificate stops the start, instead of being served with an error.
            refuse_expired: bool = false;
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn within(least: Duration, most: Duration) -> impl Fn(&Duration) -> Result<(), String> {
    move |value| match *value >= least && *value <= most {
        true => Ok(()),
        false => Err(format!(
            "a duration from {} to {}",
            quantity::text(least),
            quantity::text(most)
        )),
    }
}

fn zero_or_within(least: Duration, most: Duration) -> impl Fn(&Duration) -> Result<(), String> {
    let check = within(least, most);
    move |value| match value.is_zero() {
        true => Ok(()),
        false => check(value).map_err(|allowed| format!("0 or {allowed}")),
    }
}

/// A path, or the file's content inline.
#[derive(Clone, PartialEq, Eq)]
pub enum PathOrPem {
    /// A file.
    Path(PathBuf),
    /// Inline content, which may include a private key.
    Pem(Secret),
}

impl fmt::Debug for PathOrPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Pem(_) => f.write_str(REDACTED),
        }
    }
}

impl Setting for PathOrPem {
    const IS_SECRET: bool = true;
    fn allowed() -> String {
        "a path, or PEM that starts with -----BEGIN".to_owned()
    }
    fn from_text(text: &str) -> Result<Self, Refusal> {
        match text {
            "" => Err(Refusal::Unfit),
            text => Ok(match PemSource::from_config(text) {
                PemSource::Path(path) => Self::Path(path),
                PemSource::Inline(_) => Self::Pem(Secret::new(text.to_owned())),
            }),
        }
    }
    fn shown(&self) -> Option<Shown> {
        match self {
            Self::Path(path) => path.shown(),
            // Anything other than certificates may be (part of) a key.
            Self::Pem(pem) => Some(Shown::Text(
                if pem.expose().starts_with("-----BEGIN CERTIFICATE-----")
                    && !pem.expose().contains("PRIVATE KEY")
                {
                    pem.expose().to_owned()
                } else {
                    REDACTED.to_owned()
                },
            )),
        }
    }
}
