//! Makes certificates for tests: any names, any kind of key, any dates.

use std::sync::atomic::{AtomicU64, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519,
    PKCS_RSA_SHA256, RevokedCertParams, SerialNumber,
};
use rustls::{RootCertStore, pki_types::CertificateDer};
use time::{Duration, OffsetDateTime};

use crate::tls::fingerprint;

/// A CA with its key. Every one is different, also with the same name.
pub struct CertificateAuthority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
}

/// Kinds of server keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyKind {
    /// ECDSA on P-256: the fastest.
    #[default]
    EcdsaP256,
    Ed25519,
    /// RSA with 2048 bits; takes a moment to make.
    Rsa2048,
}

/// What a certificate contains.
#[derive(Clone, Debug)]
pub struct LeafOrder {
    /// DNS names and IP addresses.
    pub names: Vec<String>,
    /// Kind of its key.
    pub key: KeyKind,
    /// Validity begins this long after now (negative: before).
    pub begins: Duration,
    /// Validity ends this long after now.
    pub ends: Duration,
    /// Common name; distinguishes certificates in messages.
    pub common_name: String,
    /// Usable by a client too.
    pub is_client: bool,
}

impl LeafOrder {
    /// A server certificate for `names`, valid from yesterday for 30 days.
    pub fn new(names: &[&str]) -> Self {
        Self {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            key: KeyKind::default(),
            begins: Duration::days(-1),
            ends: Duration::days(30),
            common_name: "test server".into(),
            is_client: false,
        }
    }

    /// With another kind of key.
    pub fn with_key(mut self, key: KeyKind) -> Self {
        self.key = key;
        self
    }

    /// Valid from `begins` to `ends`, both counted from now.
    pub fn valid(mut self, begins: Duration, ends: Duration) -> Self {
        (self.begins, self.ends) = (begins, ends);
        self
    }

    /// For a client certificate.
    pub fn for_client(mut self, common_name: &str) -> Self {
        self.is_client = true;
        common_name.clone_into(&mut self.common_name);
        self
    }
}

/// A certificate with its key, signed by a [`CertificateAuthority`].
pub struct Leaf {
    /// The certificate alone.
    pub certificate_pem: String,
    /// The certificate, then its CA's: what a server with `ca_trusted_fingerprint` clients must send.
    pub chain_pem: String,
    /// The key, PKCS#8.
    pub key_pem: String,
    /// DER of the certificate.
    pub certificate: CertificateDer<'static>,
    serial: u64,
}

impl Leaf {
    /// Lower-case hex SHA-256 of the certificate.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.certificate)
    }
}

impl CertificateAuthority {
    /// A new CA, valid for a year.
    pub fn new(common_name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        params.not_before = OffsetDateTime::now_utc() - Duration::days(2);
        params.not_after = OffsetDateTime::now_utc() + Duration::days(365);
        let key = KeyPair::generate().expect("a CA key");
        let certificate = params.self_signed(&key).expect("a CA certificate");
        Self {
            certificate: certificate.der().clone(),
            pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// A server certificate for `names`.
    pub fn issue(&self, names: &[&str]) -> Leaf {
        self.issue_as(&LeafOrder::new(names))
    }

    /// A certificate as ordered.
    pub fn issue_as(&self, order: &LeafOrder) -> Leaf {
        let mut params = CertificateParams::new(order.names.clone()).expect("valid names");
        params
            .distinguished_name
            .push(DnType::CommonName, order.common_name.clone());
        params.not_before = OffsetDateTime::now_utc() + order.begins;
        params.not_after = OffsetDateTime::now_utc() + order.ends;
        params.is_ca = IsCa::ExplicitNoCa;
        let serial = next_serial();
        params.serial_number = Some(SerialNumber::from(serial));
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        if order.is_client {
            params
                .extended_key_usages
                .push(ExtendedKeyUsagePurpose::ClientAuth);
        }
        let key = match order.key {
            KeyKind::EcdsaP256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
            KeyKind::Ed25519 => KeyPair::generate_for(&PKCS_ED25519),
            KeyKind::Rsa2048 => KeyPair::generate_for(&PKCS_RSA_SHA256),
        }
        .expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Leaf {
            certificate_pem: certificate.pem(),
            chain_pem: format!("{}{}", certificate.pem(), self.pem),
            key_pem: key.serialize_pem(),
            certificate: certificate.der().clone(),
            serial,
        }
    }

    /// A list that revokes these of its certificates, PEM, due for renewal in a week.
    pub fn revoke(&self, leaves: &[&Leaf]) -> String {
        let now = OffsetDateTime::now_utc();
        let revoked = |leaf: &&Leaf| RevokedCertParams {
            serial_number: SerialNumber::from(leaf.serial),
            revocation_time: now - Duration::hours(1),
            reason_code: None,
            invalidity_date: None,
        };
        CertificateRevocationListParams {
            this_update: now - Duration::hours(1),
            next_update: now + Duration::days(7),
            crl_number: SerialNumber::from(next_serial()),
            issuing_distribution_point: None,
            revoked_certs: leaves.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        }
        .signed_by(&self.issuer)
        .and_then(|list| list.pem())
        .expect("a list")
    }

    /// The CA certificate as PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The CA certificate as DER.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Lower-case hex SHA-256 of the CA certificate.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.certificate)
    }

    /// Roots that trust this CA alone.
    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots
            .add(self.certificate.clone())
            .expect("a CA that can be trusted");
        roots
    }
}

fn next_serial() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::{
        client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
        pki_types::{PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
    };

    use super::*;

    #[test]
    fn every_kind_of_leaf_is_trusted_by_its_ca_alone() {
        let authority = CertificateAuthority::new("one");
        let other = CertificateAuthority::new("one");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = |ca: &CertificateAuthority| {
            WebPkiServerVerifier::builder_with_provider(Arc::new(ca.roots()), Arc::clone(&provider))
                .build()
                .unwrap()
        };
        for key in [KeyKind::EcdsaP256, KeyKind::Ed25519, KeyKind::Rsa2048] {
            let leaf = authority.issue_as(&LeafOrder::new(&["localhost", "127.0.0.1"]).with_key(key));
            for name in ["localhost", "127.0.0.1"] {
                let name = ServerName::try_from(name).unwrap();
                let verify = |ca| {
                    verifier(ca)
                        .verify_server_cert(&leaf.certificate, &[], &name, &[], UnixTime::now())
                        .is_ok()
                };
                assert!(verify(&authority), "{key:?}");
                assert!(!verify(&other), "{key:?}");
            }
            let private = PrivateKeyDer::from_pem_slice(leaf.key_pem.as_bytes()).unwrap();
            rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![leaf.certificate.clone()], private)
                .unwrap();
        }
    }
}
