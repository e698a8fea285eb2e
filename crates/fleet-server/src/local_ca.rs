//! The certificate authority that `quickstart` makes for a first try: one CA and one server certificate,
//! reused at every later start. It never overwrites a file that it did not make.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use time::{Duration, OffsetDateTime};

use crate::private_file;

/// Paths of the authority and of the server's certificate and key.
#[derive(Clone, Debug)]
pub(crate) struct LocalCa {
    /// The CA certificate that agents trust.
    pub ca_file: PathBuf,
    /// The served chain: leaf, then the CA itself (so that `ca_trusted_fingerprint` works).
    pub certificate: PathBuf,
    /// The leaf's key.
    pub key: PathBuf,
    ca_key: PathBuf,
}

impl LocalCa {
    /// The paths under a data directory; reads and writes nothing.
    #[must_use]
    pub(crate) fn under(data: &Path) -> Self {
        let dir = data.join("certs");
        Self {
            ca_file: dir.join("ca.crt"),
            ca_key: dir.join("ca.key"),
            certificate: dir.join("server.crt"),
            key: dir.join("server.key"),
        }
    }

    /// Creates what is missing: the CA (10 years), and a server certificate (397 days) for `localhost`, the
    /// host's name and the loopback addresses, which is renewed from its last 30 days on.
    ///
    /// # Errors
    /// A file that cannot be read or written, or half of a pair: a CA certificate without its key.
    pub(crate) fn ensure(&self, host_name: &str, now: OffsetDateTime) -> Result<()> {
        if let Some(dir) = self.ca_file.parent() {
            private_file::ensure_directory(dir)
                .with_context(|| format!("cannot create the directory {}", dir.display()))?;
        }
        self.ensure_ca(now)?;
        if !self.has_usable_leaf(now)? {
            self.issue_leaf(host_name, now)?;
        }
        Ok(())
    }

    fn ensure_ca(&self, now: OffsetDateTime) -> Result<()> {
        match (self.ca_file.exists(), self.ca_key.exists()) {
            (true, true) => return Ok(()),
            (false, false) => {}
            (true, false) => bail!(
                "{} exists without its key {}",
                self.ca_file.display(),
                self.ca_key.display()
            ),
            (false, true) => bail!(
                "{} exists without its certificate {}",
                self.ca_key.display(),
                self.ca_file.display()
            ),
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = name("Fleet Server quickstart CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = now - Duration::hours(1);
        params.not_after = now + Duration::days(3650);
        let certificate = params.self_signed(&key)?;
        // The key first: a certificate without its key would be refused at the next start.
        create(&self.ca_key, key.serialize_pem().as_bytes())?;
        create(&self.ca_file, certificate.pem().as_bytes())
    }

    fn has_usable_leaf(&self, now: OffsetDateTime) -> Result<bool> {
        if !self.certificate.exists() || !self.key.exists() {
            return Ok(false);
        }
        let chain = read(&self.certificate)?;
        let (_, pem) = x509_parser::pem::parse_x509_pem(chain.as_bytes())
            .with_context(|| format!("{} is not a PEM certificate", self.certificate.display()))?;
        let leaf = pem
            .parse_x509()
            .with_context(|| format!("{} is not an X.509 certificate", self.certificate.display()))?;
        Ok(leaf.validity().not_after.timestamp() > (now + Duration::days(30)).unix_timestamp())
    }

    fn issue_leaf(&self, host_name: &str, now: OffsetDateTime) -> Result<()> {
        let ca_pem = read(&self.ca_file)?;
        let ca_key = KeyPair::from_pem(&read(&self.ca_key)?)
            .with_context(|| format!("{} is not a private key", self.ca_key.display()))?;
        let issuer = Issuer::from_ca_cert_pem(&ca_pem, ca_key)
            .with_context(|| format!("{} is not a CA certificate", self.ca_file.display()))?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = name("fleet-server");
        params.subject_alt_names = alternative_names(host_name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.not_before = now - Duration::hours(1);
        params.not_after = now + Duration::days(397);
        let leaf = params.signed_by(&key, &issuer)?;
        replace(&self.key, key.serialize_pem().as_bytes())?;
        replace(&self.certificate, format!("{}{ca_pem}", leaf.pem()).as_bytes())
    }
}

fn alternative_names(host_name: &str) -> Vec<SanType> {
    let mut names = Vec::new();
    for dns in ["localhost", host_name] {
        // A host name that no certificate can hold (not ASCII, for example) is left out.
        if let Ok(dns) = dns.to_ascii_lowercase().try_into().map(SanType::DnsName)
            && !names.contains(&dns)
        {
            names.push(dns);
        }
    }
    names.push(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    names.push(SanType::IpAddress(IpAddr::V6(Ipv6Addr::LOCALHOST)));
    names
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn create(path: &Path, content: &[u8]) -> Result<()> {
    private_file::create(path, content).with_context(|| format!("cannot write {}", path.display()))
}

fn replace(path: &Path, content: &[u8]) -> Result<()> {
    private_file::replace(path, content).with_context(|| format!("cannot write {}", path.display()))
}
