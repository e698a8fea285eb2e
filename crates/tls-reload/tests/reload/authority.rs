//! Certificates of any kind, made on the spot.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_ECDSA_P521_SHA512, PKCS_ED25519, PKCS_RSA_SHA256, RevokedCertParams, SerialNumber,
};
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use time::{Duration, OffsetDateTime};

/// A CA with its key.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) der: CertificateDer<'static>,
    pub(crate) pem: String,
}

/// A certificate with its key.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) der: CertificateDer<'static>,
    pub(crate) certificate: String,
    /// PKCS#8.
    pub(crate) key: String,
    pub(crate) key_der: Vec<u8>,
    pub(crate) fingerprint: String,
    pub(crate) serial: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    P256,
    P384,
    P521,
    Ed25519,
    Rsa,
}

/// What a certificate shall say.
#[derive(Clone)]
pub(crate) struct Order {
    pub(crate) names: Vec<String>,
    pub(crate) kind: Kind,
    pub(crate) begins: Duration,
    pub(crate) ends: Duration,
    pub(crate) is_client: bool,
    pub(crate) is_bare: bool,
    pub(crate) serial: u64,
}

impl Order {
    pub(crate) fn new(names: &[&str]) -> Self {
        Self {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            kind: Kind::P256,
            begins: Duration::days(-1),
            ends: Duration::days(90),
            is_client: false,
            is_bare: false,
            serial: 0,
        }
    }

    pub(crate) fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    pub(crate) fn valid(mut self, begins: Duration, ends: Duration) -> Self {
        (self.begins, self.ends) = (begins, ends);
        self
    }

    pub(crate) fn client(mut self) -> Self {
        self.is_client = true;
        self
    }
}

impl Authority {
    pub(crate) fn new(common_name: &str) -> Self {
        let (params, key) = Self::draft(common_name);
        let certificate = params.self_signed(&key).expect("a CA");
        Self {
            der: certificate.der().clone(),
            pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    pub(crate) fn intermediate(&self, common_name: &str) -> Self {
        self.intermediate_with(common_name, |_| {})
    }

    /// An intermediate that is not as it should be.
    pub(crate) fn intermediate_with(
        &self,
        common_name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Self {
        let (mut params, key) = Self::draft(common_name);
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).expect("an intermediate");
        Self {
            der: certificate.der().clone(),
            pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// Another certificate for the same key and name.
    pub(crate) fn renewed_by(&self, parent: &Self, common_name: &str) -> String {
        let (params, _) = Self::draft(common_name);
        params
            .signed_by(self.issuer.key(), &parent.issuer)
            .expect("a renewed intermediate")
            .pem()
    }

    fn draft(common_name: &str) -> (CertificateParams, KeyPair) {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = OffsetDateTime::now_utc() - Duration::days(200);
        params.not_after = OffsetDateTime::now_utc() + Duration::days(900);
        (params, KeyPair::generate().expect("a key"))
    }

    /// PKCS#8.
    pub(crate) fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A server certificate for `localhost`.
    pub(crate) fn server(&self) -> Pair {
        self.issue(&Order::new(&["localhost"]))
    }

    pub(crate) fn issue(&self, order: &Order) -> Pair {
        let key = match order.kind {
            Kind::P256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
            Kind::P384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384),
            Kind::P521 => KeyPair::generate_for(&PKCS_ECDSA_P521_SHA512),
            Kind::Ed25519 => KeyPair::generate_for(&PKCS_ED25519),
            Kind::Rsa => KeyPair::generate_for(&PKCS_RSA_SHA256),
        };
        self.issue_for(order, &key.expect("a key"))
    }

    pub(crate) fn issue_for(&self, order: &Order, key: &KeyPair) -> Pair {
        let mut params = CertificateParams::new(order.names.clone()).expect("names");
        params.distinguished_name.push(DnType::CommonName, "leaf");
        params.not_before = OffsetDateTime::now_utc() + order.begins;
        params.not_after = OffsetDateTime::now_utc() + order.ends;
        params.use_authority_key_identifier_extension = true;
        let serial = if order.serial == 0 {
            rand_serial()
        } else {
            order.serial
        };
        params.serial_number = Some(SerialNumber::from(serial));
        if !order.is_bare {
            params.is_ca = IsCa::ExplicitNoCa;
            let usage = if order.is_client {
                ExtendedKeyUsagePurpose::ClientAuth
            } else {
                ExtendedKeyUsagePurpose::ServerAuth
            };
            params.extended_key_usages = vec![usage];
        }
        let certificate = params.signed_by(key, &self.issuer).expect("a leaf");
        Pair {
            der: certificate.der().clone(),
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            key_der: key.serialize_der(),
            fingerprint: fingerprint(certificate.der()),
            serial,
        }
    }

    /// A CRL over `serials`, PEM.
    pub(crate) fn revoke(&self, serials: &[u64], next_update: Duration) -> String {
        let now = OffsetDateTime::now_utc();
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: now - Duration::hours(1),
            reason_code: None,
            invalidity_date: None,
        };
        CertificateRevocationListParams {
            this_update: now - Duration::days(2),
            next_update: now + next_update,
            crl_number: SerialNumber::from(rand_serial()),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        }
        .signed_by(&self.issuer)
        .expect("a CRL")
        .pem()
        .expect("PEM")
    }

    /// Base64 SHA-256 of the public key, as `ca_sha256` takes it.
    pub(crate) fn pin(&self) -> String {
        use base64::Engine as _;
        use rcgen::PublicKeyData as _;
        base64::engine::general_purpose::STANDARD
            .encode(Sha256::digest(self.issuer.key().subject_public_key_info()))
    }
}

pub(crate) fn fingerprint(der: &CertificateDer<'_>) -> String {
    Sha256::digest(der)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// PEM of any label.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).expect("ASCII"))
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

fn rand_serial() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
