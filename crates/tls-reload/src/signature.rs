//! Whether one certificate was signed with another's key, as rustls itself would check it.

use rustls_pki_types::CertificateDer;
use x509_parser::asn1_rs::{Any, FromDer as _};
use x509_parser::prelude::X509Certificate;

/// `None`: signed with an algorithm that no client of rustls takes, so that nothing can be said.
pub(crate) fn is_signed_by(certificate: &CertificateDer<'_>, issuer: &CertificateDer<'_>) -> Option<bool> {
    let (_, issuer) = X509Certificate::from_der(issuer).ok()?;
    let key = issuer.public_key();
    let key_algorithm = first(Any::from_der(key.raw).ok()?.1.data)?;
    let (_, certificate_outer) = Any::from_der(certificate).ok()?;
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let signed = certificate.tbs_certificate.as_ref();
    // The outer algorithm, whole: RSA-PSS says in its parameters which digest it means.
    let algorithm = first(certificate_outer.data.get(signed.len()..)?)?;
    let supported = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
    let mut fitting = supported
        .all
        .iter()
        .filter(|one| one.signature_alg_id().as_ref() == algorithm)
        .peekable();
    fitting.peek()?;
    Some(fitting.any(|one| {
        let signature = &certificate.signature_value.data;
        one.public_key_alg_id().as_ref() == key_algorithm
            && one
                .verify_signature(&key.subject_public_key.data, signed, signature)
                .is_ok()
    }))
}

/// What the first element holds.
fn first(der: &[u8]) -> Option<&[u8]> {
    Some(Any::from_der(der).ok()?.1.data)
}
