//! Facts of one certificate, read from its DER once.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::SystemTime;

use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, GeneralName, KeyUsage, ParsedExtension, X509Certificate, X509Name};
use x509_parser::public_key::PublicKey;

use crate::moment::from_unix_seconds;
use crate::state::CertificateInfo;

/// The facts that are kept of a parsed certificate.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) info: CertificateInfo,
    pub(crate) dns_names: Vec<String>,
    pub(crate) subject: Vec<u8>,
    pub(crate) issuer: Vec<u8>,
    pub(crate) issuer_name: String,
    pub(crate) subject_key_id: Option<Vec<u8>>,
    pub(crate) authority_key_id: Option<Vec<u8>>,
    /// SubjectPublicKeyInfo, DER.
    pub(crate) public_key: Vec<u8>,
    pub(crate) rsa_bits: Option<usize>,
    pub(crate) is_authority: bool,
    /// How many intermediates may follow; only of a CA.
    pub(crate) path_length: Option<u32>,
    pub(crate) key_usage: Option<KeyUsage>,
    /// Whether its extended key usage allows servers; `None`: it has none.
    pub(crate) usages: Option<bool>,
    pub(crate) has_names: bool,
    /// reload.md 5.5 asks a leaf for serverAuth itself: clients differ about one without the extension.
    pub(crate) serves: bool,
    /// The digest of its signature, if it is a broken one.
    pub(crate) weak_digest: Option<&'static str>,
    /// Carries signed certificate timestamps: a public CA issued it, never a root itself.
    pub(crate) has_timestamps: bool,
}

impl Facts {
    /// Parses one certificate; the error is a short reason.
    pub(crate) fn parse(der: &CertificateDer<'_>) -> Result<Self, String> {
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|error| match error {
            x509_parser::nom::Err::Incomplete(_) => "it is cut off".to_owned(),
            x509_parser::nom::Err::Error(error) | x509_parser::nom::Err::Failure(error) => error.to_string(),
        })?;
        if !rest.is_empty() {
            return Err("bytes follow its end".to_owned());
        }
        let mut facts = Self::bare(der, &certificate);
        for extension in certificate.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectAlternativeName(names) => facts.take_names(&names.general_names),
                ParsedExtension::BasicConstraints(basic) => {
                    facts.is_authority = basic.ca;
                    facts.path_length = basic.path_len_constraint.filter(|_| basic.ca);
                }
                ParsedExtension::KeyUsage(usage) => facts.key_usage = Some(*usage),
                ParsedExtension::ExtendedKeyUsage(usage) => {
                    facts.usages = Some(usage.server_auth || usage.any);
                }
                ParsedExtension::SubjectKeyIdentifier(id) => facts.subject_key_id = Some(id.0.to_vec()),
                ParsedExtension::AuthorityKeyIdentifier(id) => {
                    facts.authority_key_id = id.key_identifier.as_ref().map(|id| id.0.to_vec());
                }
                ParsedExtension::SCT(_) => facts.has_timestamps = true,
                _ => {}
            }
        }
        facts.serves = facts.usages == Some(true);
        Ok(facts)
    }

    fn bare(der: &CertificateDer<'_>, certificate: &X509Certificate<'_>) -> Self {
        let (key, rsa_bits) = key_kind(certificate);
        let at = |time: x509_parser::time::ASN1Time| from_unix_seconds(time.timestamp());
        let signature = certificate.signature_algorithm.algorithm.to_id_string();
        Self {
            info: CertificateInfo {
                fingerprint: hex(&Sha256::digest(der)),
                serial: hex(certificate.raw_serial()),
                subject: one_line(&certificate.subject().to_string()),
                issuer_common_name: common_name(certificate.issuer()),
                names: Vec::new(),
                not_before: at(certificate.validity().not_before),
                not_after: at(certificate.validity().not_after),
                key,
            },
            dns_names: Vec::new(),
            subject: certificate.subject().as_raw().to_vec(),
            issuer: certificate.issuer().as_raw().to_vec(),
            issuer_name: one_line(&certificate.issuer().to_string()),
            subject_key_id: None,
            authority_key_id: None,
            public_key: certificate.public_key().raw.to_vec(),
            rsa_bits,
            is_authority: false,
            path_length: None,
            key_usage: None,
            usages: None,
            has_names: false,
            serves: false,
            weak_digest: WEAK_SIGNATURES
                .iter()
                .find(|(algorithm, _)| *algorithm == signature)
                .map(|(_, digest)| *digest),
            has_timestamps: false,
        }
    }

    fn take_names(&mut self, names: &[GeneralName<'_>]) {
        for name in names {
            match name {
                GeneralName::DNSName(name) => {
                    self.dns_names.push(name.to_ascii_lowercase());
                    self.info.names.push(one_line(name));
                }
                GeneralName::IPAddress(bytes) => {
                    if let Ok(v4) = <[u8; 4]>::try_from(*bytes) {
                        self.info.names.push(Ipv4Addr::from(v4).to_string());
                    } else if let Ok(v6) = <[u8; 16]>::try_from(*bytes) {
                        self.info.names.push(Ipv6Addr::from(v6).to_string());
                    }
                }
                GeneralName::URI(uri) => self.info.names.push(one_line(uri)),
                _ => {}
            }
        }
        self.has_names = !self.info.names.is_empty();
    }

    /// Whether the key identifiers, where there are any, say that `issuer` has issued this certificate.
    pub(crate) fn key_ids_agree(&self, issuer: &Self) -> bool {
        match (&self.authority_key_id, &issuer.subject_key_id) {
            (Some(wanted), Some(found)) => wanted == found,
            _ => true,
        }
    }

    pub(crate) fn is_self_issued(&self) -> bool {
        self.issuer == self.subject
    }

    pub(crate) fn is_valid_at(&self, now: SystemTime) -> bool {
        (self.info.not_before..=self.info.not_after).contains(&now)
    }
}

/// The issuer's or subject's common name, or the whole name.
pub(crate) fn common_name(name: &X509Name<'_>) -> String {
    name.iter_common_name()
        .next()
        .and_then(|cn| cn.as_str().ok())
        .map_or_else(|| one_line(&name.to_string()), one_line)
}

/// A certificate may say anything about itself: it must not write lines of its own into a log or a terminal.
fn one_line(text: &str) -> String {
    let is_harmless = |c: char| !c.is_control();
    if text.chars().all(is_harmless) {
        return text.to_owned();
    }
    text.chars()
        .fold(String::with_capacity(text.len()), |mut line, c| {
            if is_harmless(c) {
                line.push(c);
            } else {
                line.extend(c.escape_default());
            }
            line
        })
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// Bytes of hex digits, or `None`.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    text.as_bytes().chunks(2).map(pair).collect()
}

fn key_kind(certificate: &X509Certificate<'_>) -> (String, Option<usize>) {
    let algorithm = &certificate.public_key().algorithm;
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(rsa)) => {
            let modulus = rsa.modulus.iter().position(|byte| *byte != 0);
            let significant = modulus
                .and_then(|first| rsa.modulus.get(first..))
                .unwrap_or_default();
            let unused = significant.first().map_or(0, |byte| byte.leading_zeros());
            let bits = (significant.len() * 8).saturating_sub(usize::try_from(unused).unwrap_or(0));
            (format!("RSA {bits}"), Some(bits))
        }
        Ok(PublicKey::EC(_)) => {
            let curve = algorithm
                .parameters
                .as_ref()
                .and_then(|parameters| parameters.as_oid().ok());
            let curve = curve.map(|oid| oid.to_id_string());
            let name = match curve.as_deref() {
                Some("1.2.840.10045.3.1.7") => "ECDSA P-256",
                Some("1.3.132.0.34") => "ECDSA P-384",
                Some("1.3.132.0.35") => "ECDSA P-521",
                _ => "ECDSA",
            };
            (name.to_owned(), None)
        }
        _ if algorithm.algorithm.to_id_string() == "1.3.101.112" => ("Ed25519".to_owned(), None),
        _ => (algorithm.algorithm.to_id_string(), None),
    }
}

/// Signature algorithms whose digests are broken.
const WEAK_SIGNATURES: &[(&str, &str)] = &[
    ("1.2.840.113549.1.1.2", "MD2"),
    ("1.2.840.113549.1.1.3", "MD4"),
    ("1.2.840.113549.1.1.4", "MD5"),
    ("1.2.840.113549.1.1.5", "SHA-1"),
    ("1.3.14.3.2.3", "MD5"),
    ("1.3.14.3.2.29", "SHA-1"),
    ("1.2.840.10045.4.1", "SHA-1"),
    ("1.2.840.10040.4.3", "SHA-1"),
];
