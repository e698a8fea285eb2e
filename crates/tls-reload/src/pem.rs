//! PEM text to DER sections; the only file that knows `rustls-pemfile`.
//!
//! That crate is archived: it is a thin cover over the parser of `rustls-pki-types`, not vulnerable, and asked
//! for by the product this crate was made for. Keeping it here makes its removal a change of a few lines.
//! Errors name what is wrong and never quote the text: it may be a key.

use rustls_pemfile::Item;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use zeroize::Zeroizing;

use crate::error::LoadError;

/// What a PEM text holds, in its order.
#[derive(Default)]
pub(crate) struct Sections {
    pub(crate) certificates: Vec<CertificateDer<'static>>,
    pub(crate) keys: Vec<PrivateKeyDer<'static>>,
    pub(crate) encrypted_keys: Vec<Zeroizing<Vec<u8>>>,
    pub(crate) revocation_lists: Vec<CertificateRevocationListDer<'static>>,
    /// A key as OpenSSL encrypted them before PKCS#8.
    pub(crate) has_legacy_key: bool,
}

/// Parses `bytes` of `file`; `role` and `file` only name it in errors.
pub(crate) fn parse(role: &'static str, file: &str, bytes: &[u8]) -> Result<Sections, LoadError> {
    let file = || file.to_owned();
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if text.iter().all(u8::is_ascii_whitespace) {
        return Err(LoadError::Empty { role, file: file() });
    }
    if find(text, BEGIN).is_none() {
        return Err(if is_der(bytes) {
            LoadError::Der { role, file: file() }
        } else {
            LoadError::NotPem { role, file: file() }
        });
    }
    let mut sections = Sections::default();
    let readable = without_legacy_keys(text);
    if let Some(rest) = &readable {
        sections.has_legacy_key = true;
        collect(rest, &mut sections)
    } else {
        collect(text, &mut sections)
    }
    .map_err(|reason| LoadError::BrokenPem {
        role,
        file: file(),
        reason: reason.to_owned(),
    })?;
    sections.encrypted_keys = encrypted_keys(text).map_err(|reason| LoadError::BrokenPem {
        role,
        file: file(),
        reason: reason.to_owned(),
    })?;
    Ok(sections)
}

/// Whether the bytes look like one DER element.
pub(crate) fn is_der(bytes: &[u8]) -> bool {
    matches!(bytes, [0x30, length, ..] if *length >= 0x80 || usize::from(*length) + 2 == bytes.len())
}

fn collect(text: &[u8], sections: &mut Sections) -> Result<(), &'static str> {
    let mut rest = text;
    loop {
        match rustls_pemfile::read_one_from_slice(rest) {
            Ok(None) => return Ok(()),
            Ok(Some((item, after))) => {
                rest = after;
                match item {
                    Item::X509Certificate(der) => sections.certificates.push(der),
                    Item::Pkcs1Key(der) => sections.keys.push(der.into()),
                    Item::Pkcs8Key(der) => sections.keys.push(der.into()),
                    Item::Sec1Key(der) => sections.keys.push(der.into()),
                    Item::Crl(der) => sections.revocation_lists.push(der),
                    // A request or a bare public key beside the rest does no harm.
                    _ => {}
                }
            }
            Err(rustls_pemfile::Error::MissingSectionEnd { .. }) => {
                return Err("a section has no end: the text is cut off");
            }
            Err(rustls_pemfile::Error::IllegalSectionStart { .. }) => {
                return Err("a line begins a section and does not end as one");
            }
            Err(rustls_pemfile::Error::Base64Decode(_)) => return Err("a section is not base64"),
        }
    }
}

/// Sections named ENCRYPTED PRIVATE KEY, which `rustls-pemfile` skips.
fn encrypted_keys(text: &[u8]) -> Result<Vec<Zeroizing<Vec<u8>>>, &'static str> {
    use base64::Engine as _;
    let mut keys = Vec::new();
    let mut rest = text;
    while let Some(start) = find(rest, ENCRYPTED_BEGIN) {
        rest = rest.get(start + ENCRYPTED_BEGIN.len()..).unwrap_or_default();
        let end = find(rest, ENCRYPTED_END).ok_or("a section has no end: the text is cut off")?;
        let body = rest.get(..end).unwrap_or_default();
        let body: Zeroizing<Vec<u8>> = Zeroizing::new(
            body.iter()
                .copied()
                .filter(|b| !b.is_ascii_whitespace())
                .collect(),
        );
        let der = base64::engine::general_purpose::STANDARD
            .decode(&*body)
            .map_err(|_| "a section is not base64")?;
        keys.push(Zeroizing::new(der));
        rest = rest.get(end..).unwrap_or_default();
    }
    Ok(keys)
}

/// The text without sections that carry `Proc-Type: 4,ENCRYPTED`; `None` if there are none.
fn without_legacy_keys(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    find(text, LEGACY)?;
    let mut kept = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text;
    while let Some(start) = find(rest, BEGIN) {
        let section = rest.get(start..).unwrap_or_default();
        let length = find(section, b"-----END ").and_then(|end| {
            let tail = section.get(end..)?;
            Some(
                end + tail
                    .iter()
                    .position(|b| *b == b'\n')
                    .map_or(tail.len(), |line| line + 1),
            )
        });
        let (section, after) = section.split_at(length.unwrap_or(section.len()));
        if find(section, LEGACY).is_none() {
            kept.extend_from_slice(section);
        }
        rest = after;
    }
    Some(kept)
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

const BEGIN: &[u8] = b"-----BEGIN ";
const ENCRYPTED_BEGIN: &[u8] = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";
const ENCRYPTED_END: &[u8] = b"-----END ENCRYPTED PRIVATE KEY-----";
const LEGACY: &[u8] = b"Proc-Type: 4,ENCRYPTED";

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
        assert!(sections.has_legacy_key);
        assert_eq!((sections.certificates.len(), sections.keys.len()), (1, 0));
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
