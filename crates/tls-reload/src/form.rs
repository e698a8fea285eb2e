//! What a file is that should hold PEM and does not, and the command that makes PEM of it.
//!
//! Bytes or a section's name go in, a [`Form`] comes out. Only the outermost elements of DER are looked at.

use std::borrow::Cow;

use rustls_pki_types::CertificateDer;
use thiserror::Error;
use x509_parser::prelude::FromDer as _;
use x509_parser::prelude::{CertificateRevocationList, X509CertificationRequest};

use crate::certificate::Facts;

/// What was found in place of PEM that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "each is named for what it is")]
pub enum Form {
    #[error("is a certificate as DER, not PEM")]
    DerCertificate,
    #[error("is a private key as DER, not PEM")]
    DerKey,
    #[error("is an encrypted private key as DER, not PEM")]
    DerEncryptedKey,
    #[error("is a revocation list as DER, not PEM")]
    DerRevocationList,
    #[error("is a certificate request as DER, not a certificate")]
    DerRequest,
    #[error("is DER, not PEM")]
    Der,
    #[error("is a PKCS#12 file (.p12, .pfx), not PEM")]
    Pkcs12,
    /// As DER, or as a section.
    #[error("is PKCS#7 (.p7b), not a PEM certificate")]
    Pkcs7 { is_pem: bool },
    #[error("is a Java keystore, not PEM")]
    JavaKeystore,
    #[error("is UTF-16 text: PEM is ASCII")]
    Utf16,
    #[error("is PEM encoded once more in base64")]
    Base64OfPem,
    /// Base64 of DER without boundaries.
    #[error("is base64 without the `-----BEGIN` and `-----END` lines of PEM")]
    BareBase64,
    /// OpenSSL's own section, with what the certificate is trusted for behind it.
    #[error("holds a TRUSTED CERTIFICATE, which only OpenSSL reads")]
    TrustedCertificate,
    #[error("holds a key in OpenSSH's own form")]
    OpensshKey,
    #[error("is a key of PuTTY, not PEM")]
    PuttyKey,
    #[error("holds no PEM section")]
    Unknown,
}

impl Form {
    /// Judges bytes without a PEM boundary.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        match bytes {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => return Self::Utf16,
            [0xfe, 0xed, 0xfe, 0xed, ..] | [0xce, 0xce, 0xce, 0xce, ..] => return Self::JavaKeystore,
            _ if bytes.starts_with(b"PuTTY-User-Key-File") => return Self::PuttyKey,
            _ => {}
        }
        if is_der(bytes) {
            return Self::of_der(bytes);
        }
        let text: Vec<u8> = bytes
            .iter()
            .copied()
            .filter(|b| !b.is_ascii_whitespace())
            .collect();
        match text.get(..4) {
            Some(b"LS0t") => Self::Base64OfPem,
            // A DER sequence of more than 127 bytes.
            Some([b'M', b'I', ..])
                if text
                    .iter()
                    .all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(b)) =>
            {
                Self::BareBase64
            }
            _ => Self::Unknown,
        }
    }

    /// Judges a section by its name: one that holds what is wanted in a form that is not read.
    pub(crate) fn of_label(label: &str) -> Option<Self> {
        Some(match label {
            "TRUSTED CERTIFICATE" => Self::TrustedCertificate,
            "PKCS7" | "PKCS #7 SIGNED DATA" | "CMS" => Self::Pkcs7 { is_pem: true },
            "OPENSSH PRIVATE KEY" => Self::OpensshKey,
            _ => return None,
        })
    }

    fn of_der(bytes: &[u8]) -> Self {
        if Facts::parse(&CertificateDer::from(bytes)).is_ok() {
            return Self::DerCertificate;
        }
        if CertificateRevocationList::from_der(bytes).is_ok() {
            return Self::DerRevocationList;
        }
        if X509CertificationRequest::from_der(bytes).is_ok() {
            return Self::DerRequest;
        }
        match inside(bytes) {
            // PFX: version 3, then the content with its type.
            [0x02, 0x01, 0x03, 0x30, ..] => Self::Pkcs12,
            // PKCS#8 and PKCS#1 begin with version 0 (PKCS#8 also 1), SEC1 with 1.
            [0x02, 0x01, 0 | 1, 0x30 | 0x02 | 0x04, ..] => Self::DerKey,
            [0x06, 0x09, rest @ ..] if rest.starts_with(PKCS7) => Self::Pkcs7 { is_pem: false },
            // PBES1 and PBES2 have all but the last number in common.
            [0x30, _, 0x06, 0x09, rest @ ..] if rest.starts_with(PKCS5) => Self::DerEncryptedKey,
            _ => Self::Der,
        }
    }

    /// The remedy: a command that was tried, where there is one.
    #[must_use]
    pub fn hint(self, file: &str) -> Cow<'static, str> {
        let into = shell_word(&format!("{file}.pem"));
        let file = shell_word(file);
        Cow::Owned(match self {
            Self::DerCertificate => format!("convert it: openssl x509 -inform der -in {file} -out {into}"),
            Self::DerKey => format!("convert it: openssl pkey -inform der -in {file} -out {into}"),
            Self::DerEncryptedKey => {
                format!("convert it: openssl pkcs8 -inform der -in {file} | openssl pkcs8 -topk8 -out {into}")
            }
            Self::DerRevocationList => format!("convert it: openssl crl -inform der -in {file} -out {into}"),
            Self::DerRequest => {
                "let a CA sign the request, and configure the certificate that it sends back".to_owned()
            }
            Self::Der => format!("see what it is: openssl asn1parse -inform der -in {file}"),
            Self::Pkcs12 => format!(
                "take chain and key out of it: openssl pkcs12 -in {file} -nodes -out {into} (with -legacy for an old file under OpenSSL 3)"
            ),
            Self::Pkcs7 { is_pem } => format!(
                "take the certificates out of it: openssl pkcs7 -inform {} -print_certs -in {file} -out {into}",
                if is_pem { "pem" } else { "der" }
            ),
            Self::JavaKeystore => format!(
                "convert it: keytool -importkeystore -srckeystore {file} -destkeystore NEW.p12 -deststoretype pkcs12, then openssl pkcs12 -in NEW.p12 -nodes -out {into}"
            ),
            Self::Utf16 => format!("convert it: iconv -f UTF-16 -t UTF-8 {file} > NEW.pem"),
            Self::Base64OfPem => format!("decode it once: base64 -d {file} > NEW.pem"),
            Self::BareBase64 => format!(
                "for a certificate: base64 -d {file} | openssl x509 -inform der -out {into} (for a key: openssl pkey)"
            ),
            Self::TrustedCertificate => format!(
                "convert it: openssl x509 -in {file} -out {into} (it takes the first certificate of the file; the others are to be added)"
            ),
            Self::OpensshKey => format!(
                "convert a copy of it: ssh-keygen -p -m PKCS8 -f {file} (RSA and ECDSA; ssh-keygen writes no Ed25519 key so)"
            ),
            Self::PuttyKey => {
                "export it from PuTTYgen as an OpenSSH key, then: ssh-keygen -p -m PKCS8 -f NEW.key"
                    .to_owned()
            }
            Self::Unknown => {
                "see that the file was copied whole: a PEM file has lines with `-----BEGIN`".to_owned()
            }
        })
    }
}

/// Whether the bytes look like one DER element.
pub(crate) fn is_der(bytes: &[u8]) -> bool {
    matches!(bytes, [0x30, length, ..] if *length >= 0x80 || usize::from(*length) + 2 == bytes.len())
}

/// What a DER sequence holds, or nothing.
fn inside(der: &[u8]) -> &[u8] {
    match der {
        [_, length, rest @ ..] if *length >= 0x80 => {
            rest.get(usize::from(*length & 0x7f)..).unwrap_or_default()
        }
        [_, _, rest @ ..] => rest,
        _ => &[],
    }
}

/// For a command line that can be copied.
fn shell_word(file: &str) -> String {
    let file = &file.replace("(inline PEM)", "FILE");
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if file.chars().all(is_plain) {
        return file.to_owned();
    }
    format!("'{}'", file.replace('\'', r"'\''"))
}

/// 1.2.840.113549.1.7, without the kind of content.
const PKCS7: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07];
/// 1.2.840.113549.1.5, without the scheme.
const PKCS5: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05];
