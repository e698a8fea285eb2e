//! What the targets start from: a good pair, a good client CA, a directory for what can only be read from a file.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use tls_reload::{Generation, PemSource, Rejected, Settings};

pub const CERTIFICATE: &str = include_str!("../seeds/pem/server.pem");
pub const KEY: &str = include_str!("../seeds/pem/server-key.pem");
pub const AUTHORITY: &str = include_str!("../seeds/pem/ca.pem");

/// Judges as of a fixed moment, so that a finding stays one.
pub fn load(settings: &Settings) -> Result<Generation, Rejected> {
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

/// Messages go into a log of lines.
fn one_line(message: &str) {
    assert!(!message.contains('\n'), "{message:?}");
}

/// PEM of any label.
pub fn pem(label: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

pub fn inline(text: &str) -> PemSource {
    PemSource::from_config(text)
}

/// A file of this process, with these bytes.
pub fn file(bytes: &[u8]) -> PathBuf {
    static PATH: LazyLock<PathBuf> = LazyLock::new(|| {
        let memory = PathBuf::from("/dev/shm");
        let place = if memory.is_dir() {
            memory
        } else {
            std::env::temp_dir()
        };
        place.join(format!("tls-reload-fuzz-{}", std::process::id()))
    });
    std::fs::write(&*PATH, bytes).expect("a file");
    PATH.clone()
}
