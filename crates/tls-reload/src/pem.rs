//! The one reader of PEM: every file and every inline text goes through here.
//!
//! Bytes go in; certificates, keys and lists come out in their order, with the name and line of every section that
//! is none of them. Everything else is an error with the line: nothing is dropped silently.
//! Errors name what is wrong and never quote the text: it may be a key.

mod decode;
mod section;

use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use zeroize::Zeroizing;

use crate::error::LoadError;
use crate::form::Form;
use crate::legacy_key::LegacyKey;
use crate::warning::Warning;
use decode::Decoded;
use section::{Broken, Section};

/// What a PEM text holds, in its order.
#[derive(Default)]
pub(crate) struct Sections {
    pub(crate) certificates: Vec<CertificateDer<'static>>,
    pub(crate) keys: Vec<Key>,
    pub(crate) revocation_lists: Vec<CertificateRevocationListDer<'static>>,
    places: Vec<Place>,
}

/// A private key as it stands in the file.
pub(crate) enum Key {
    Plain(PrivateKeyDer<'static>),
    /// PKCS#8.
    Encrypted(Zeroizing<Vec<u8>>),
    /// `Proc-Type: 4,ENCRYPTED`.
    Legacy(LegacyKey),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    Certificate,
    Key,
    RevocationList,
    /// The curve of the key that follows, which says so itself.
    Curve,
    Other,
}

struct Place {
    label: String,
    line: usize,
    content: Content,
}

/// Parses `bytes` of `file`; `role` and `file` only name it in errors.
pub(crate) fn parse(role: &'static str, file: &str, bytes: &[u8]) -> Result<Sections, LoadError> {
    let file = || file.to_owned();
    let text = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    if text.iter().all(u8::is_ascii_whitespace) {
        return Err(LoadError::Empty { role, file: file() });
    }
    let broken = |Broken { line, reason }| LoadError::BrokenPem {
        role,
        file: file(),
        line,
        reason,
    };
    let found = section::sections(text).map_err(broken)?;
    if found.is_empty() {
        return Err(LoadError::NotPem {
            role,
            file: file(),
            form: Form::of(bytes),
            line: None,
        });
    }
    let mut sections = Sections::default();
    for section in &found {
        if let Some(form) = Form::of_label(section.label) {
            return Err(LoadError::NotPem {
                role,
                file: file(),
                form,
                line: Some(section.line),
            });
        }
        sections.take(section).map_err(broken)?;
    }
    Ok(sections)
}

/// The certificates of a PEM text, at least one; `role` and `file` only name it in errors.
///
/// # Errors
/// It is damaged, no PEM, or holds none.
pub fn certificates(
    role: &'static str,
    file: &str,
    bytes: &[u8],
) -> Result<Vec<CertificateDer<'static>>, LoadError> {
    let sections = parse(role, file, bytes)?;
    if sections.certificates.is_empty() {
        return Err(LoadError::NoCertificate {
            role,
            file: file.to_owned(),
            inventory: sections.inventory(),
        });
    }
    Ok(sections.certificates)
}

impl Sections {
    fn take(&mut self, section: &Section<'_>) -> Result<(), Broken> {
        let content = self.content(section)?;
        self.places.push(Place {
            label: section.label.to_owned(),
            line: section.line,
            content,
        });
        Ok(())
    }

    fn content(&mut self, section: &Section<'_>) -> Result<Content, Broken> {
        let key = match section.label {
            "ENCRYPTED PRIVATE KEY" => Key::Encrypted(decode::bytes(section)?),
            "RSA PRIVATE KEY" | "EC PRIVATE KEY" if is_encrypted(section) => {
                let ciphertext = decode::bytes(section)?;
                Key::Legacy(LegacyKey::new(section.label, &section.headers, ciphertext))
            }
            "EC PARAMETERS" => return Ok(Content::Curve),
            // What OpenSSL called it before there was a standard.
            "X509 CERTIFICATE" => {
                let der = decode::bytes(section)?;
                self.certificates.push(CertificateDer::from(der.to_vec()));
                return Ok(Content::Certificate);
            }
            _ => match decode::decode(section)? {
                Some(Decoded::Certificate(der)) => {
                    self.certificates.push(der);
                    return Ok(Content::Certificate);
                }
                Some(Decoded::RevocationList(der)) => {
                    self.revocation_lists.push(der);
                    return Ok(Content::RevocationList);
                }
                Some(Decoded::Key(der)) => Key::Plain(der),
                None => return Ok(Content::Other),
            },
        };
        self.keys.push(key);
        Ok(Content::Key)
    }

    /// A warning for each section that holds nothing of `wanted`.
    pub(crate) fn unused(&self, role: &'static str, file: &str, wanted: &[Content]) -> Vec<Warning> {
        let unused = self
            .places
            .iter()
            .filter(|place| !wanted.contains(&place.content));
        unused
            .map(|place| Warning::SectionUnused {
                role,
                file: file.to_owned(),
                label: place.label.clone(),
                line: place.line,
            })
            .collect()
    }

    /// Every section, for the message that one is missing.
    pub(crate) fn inventory(&self) -> String {
        let told = self.places.iter().take(TOLD);
        let told = told.map(|place| format!("{} (line {})", place.label, place.line));
        told.collect::<Vec<_>>().join(", ")
    }
}

fn is_encrypted(section: &Section<'_>) -> bool {
    let is_so = |(key, value): &(&str, &str)| *key == "Proc-Type" && value.ends_with("ENCRYPTED");
    section.headers.iter().any(is_so)
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// How many sections a message counts up.
const TOLD: usize = 5;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(text: &[u8]) -> String {
        match parse("certificate", "f", text) {
            Ok(_) => "no error".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn t03_t09_t10_each_kind_of_rubbish_has_its_words() {
        assert_eq!(error(b" \n"), "certificate f: is empty");
        assert_eq!(error(b"\x30\x82\x01\x02aaaa"), "certificate f: is DER, not PEM");
        assert_eq!(error(b"hello"), "certificate f: holds no PEM section");
        assert!(error(b"-----BEGIN CERTIFICATE-----\nAAAA\n").contains("cut off"));
        assert!(
            error(b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n").contains("not base64")
        );
        assert!(error(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n").contains("cut off"));
    }

    #[test]
    fn t80_errors_never_quote_the_text() {
        let told = error(b"-----BEGIN PRIVATE KEY-----c2VjcmV0\nAAAA\n-----END PRIVATE KEY-----\n");
        assert!(!told.contains("c2VjcmV0"), "{told}");
    }

    #[test]
    fn a_legacy_key_does_not_hide_the_certificate() {
        let text = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: X\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
        let sections = parse("certificate", "f", text).unwrap();
        assert_eq!((sections.certificates.len(), sections.keys.len()), (1, 1));
        assert!(matches!(sections.keys[0], Key::Legacy(_)));
    }

    #[test]
    fn a_byte_order_mark_does_not_hide_the_first_section() {
        let sections = parse(
            "c",
            "f",
            b"\xef\xbb\xbf-----BEGIN CERTIFICATE-----\r\nAAAA\r\n-----END CERTIFICATE-----\r\n",
        );
        assert_eq!(sections.unwrap().certificates.len(), 1);
    }

    proptest! {
        #[test]
        fn untrusted_text_never_panics(text in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse("c", "f", &text);
        }

        #[test]
        fn nearly_pem_never_panics(parts in prop::collection::vec(prop::sample::select(vec![
            "-----BEGIN ", "-----END ", "ENCRYPTED PRIVATE KEY", "CERTIFICATE", "RSA PRIVATE KEY", "-----", "\n",
            "Proc-Type: 4,ENCRYPTED", "AAAA", "=", "\r\n", " ",
        ]), 0..40)) {
            let _ = parse("c", "f", parts.concat().as_bytes());
        }
    }
}
