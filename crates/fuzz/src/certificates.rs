//! Certificates, keys and revocation lists as an operator lays them down: any bytes, around a pair that is good.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use base64::Engine as _;
use tempfile::TempDir;
use tls_reload::{Generation, Passphrase, PemSource, Rejected, Secret, Settings};

use crate::faces::one_line;

pub(crate) const CERTIFICATE: &str = include_str!("../corpora/pem/server.pem");
pub(crate) const KEY: &str = include_str!("../corpora/pem/server-key.pem");
const AUTHORITY: &str = include_str!("../corpora/pem/ca.pem");

/// Any bytes as the file that holds chain and key, and as the client CAs.
pub(crate) fn pem_file(bytes: &[u8]) {
    let mut settings = Settings::single(PemSource::Path(file(bytes)), None);
    settings.client_authorities = vec![PemSource::Path(file(bytes))];
    let _judged = load(&settings);
}

/// Any DER as a leaf, as a further certificate of its chain, and as a client CA.
pub(crate) fn certificate(der: &[u8]) {
    let text = pem("CERTIFICATE", der);
    let mut settings = Settings::single(inline(&text), Some(inline(KEY)));
    let _judged = load(&settings);
    settings = Settings::single(inline(&format!("{CERTIFICATE}{text}")), Some(inline(KEY)));
    settings.client_authorities = vec![inline(AUTHORITY), inline(&text)];
    let _judged = load(&settings);
}

/// Any DER as a key of each kind, encrypted ones included. The first byte chooses.
pub(crate) fn key(bytes: &[u8]) {
    let Some((choice, der)) = bytes.split_first() else {
        return;
    };
    let labels = [
        "PRIVATE KEY",
        "ENCRYPTED PRIVATE KEY",
        "RSA PRIVATE KEY",
        "EC PRIVATE KEY",
    ];
    let text = pem(labels[usize::from(*choice) % labels.len()], der);
    let mut settings = Settings::single(inline(CERTIFICATE), Some(inline(&text)));
    settings.pairs[0].passphrase = Some(Passphrase::Value(Secret::new("secret".to_owned())));
    let _judged = load(&settings);
}

/// Any bytes as a revocation list.
pub(crate) fn revocation_list(bytes: &[u8]) {
    let mut settings = Settings::single(inline(CERTIFICATE), Some(inline(KEY)));
    settings.client_authorities = vec![inline(AUTHORITY)];
    settings.revocation_lists = vec![file(bytes)];
    let _judged = load(&settings);
}

/// Judges as of a fixed moment, so that a finding stays one.
pub(crate) fn load(settings: &Settings) -> Result<Generation, Rejected> {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let loaded = Generation::load(settings, now);
    match &loaded {
        Ok(generation) => {
            for warning in generation.warnings() {
                one_line(&warning.to_string());
                assert!(!warning.hint().is_empty());
            }
            // Whatever is in the names.
            for name in ["localhost", "*.example.com", "", "."] {
                let _pair = generation.certificate_for(Some(name));
            }
        }
        Err(rejected) => {
            assert!(!rejected.findings.errors.is_empty());
            for error in &rejected.findings.errors {
                one_line(&error.to_string());
                assert!(!error.hint().is_empty(), "{error}");
            }
        }
    }
    loaded
}

/// PEM of any label.
fn pem(label: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

pub(crate) fn inline(text: &str) -> PemSource {
    PemSource::from_config(text)
}

/// A file of this thread, with these bytes.
pub(crate) fn file(bytes: &[u8]) -> PathBuf {
    thread_local! {
        static DIRECTORY: TempDir = tempfile::tempdir().expect("a temporary directory");
    }
    let path = DIRECTORY.with(|directory| directory.path().join("input"));
    fs::write(&path, bytes).expect("a file");
    path
}
