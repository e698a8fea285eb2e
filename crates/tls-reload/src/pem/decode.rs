//! One section's base64 to DER; the only file that knows `rustls-pemfile`.
//!
//! That crate is archived, but not vulnerable: a thin wrapper over the parser of `rustls-pki-types`, which is required
//! for now. Keeping it in one file makes its removal a change of a few lines.

use base64::Engine as _;
use rustls_pemfile::Item;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::section::{Broken, Section, is_base64, lines};

pub(super) enum Decoded {
    Certificate(CertificateDer<'static>),
    RevocationList(CertificateRevocationListDer<'static>),
    Key(PrivateKeyDer<'static>),
}

/// What `rustls-pemfile` makes of a section; `None` if nothing is wanted of one of this name.
pub(super) fn decode(section: &Section<'_>) -> Result<Option<Decoded>, Broken> {
    let label = section.label;
    let (begin, end) = (
        format!("-----BEGIN {label}-----\n"),
        format!("\n-----END {label}-----\n"),
    );
    let clean = between(&begin, section, &end)?;
    let item = match rustls_pemfile::read_one_from_slice(&clean) {
        Ok(found) => found.map(|(item, _)| item),
        Err(_) => return Err(not_base64(section.line)),
    };
    Ok(match item {
        Some(Item::X509Certificate(der)) => Some(Decoded::Certificate(der)),
        Some(Item::Crl(der)) => Some(Decoded::RevocationList(der)),
        Some(Item::Pkcs1Key(der)) => Some(Decoded::Key(der.into())),
        Some(Item::Pkcs8Key(der)) => Some(Decoded::Key(der.into())),
        Some(Item::Sec1Key(der)) => Some(Decoded::Key(der.into())),
        _ => None,
    })
}

/// The bytes of a section of any name.
pub(super) fn bytes(section: &Section<'_>) -> Result<Zeroizing<Vec<u8>>, Broken> {
    base64::engine::general_purpose::STANDARD
        .decode(&*between("", section, "")?)
        .map(Zeroizing::new)
        .map_err(|_| not_base64(section.line))
}

/// The body without its white space, in one piece of memory: growing would leave copies of a key behind.
fn between(begin: &str, section: &Section<'_>, end: &str) -> Result<Zeroizing<Vec<u8>>, Broken> {
    let is_foreign = |b: &u8| !is_base64(b) && !b.is_ascii_whitespace() && *b != VERTICAL_TAB;
    if let Some(place) = section.body.iter().position(is_foreign) {
        let before = section.body.get(..place).unwrap_or_default();
        return Err(not_base64(section.body_line + lines(before)));
    }
    let room = begin.len() + section.body.len() + end.len();
    let mut text = Zeroizing::new(Vec::with_capacity(room));
    text.extend_from_slice(begin.as_bytes());
    text.extend(section.body.iter().copied().filter(is_base64));
    text.extend_from_slice(end.as_bytes());
    Ok(text)
}

fn not_base64(line: usize) -> Broken {
    Broken {
        line,
        reason: "a section is not base64",
    }
}

const VERTICAL_TAB: u8 = 0x0b;
