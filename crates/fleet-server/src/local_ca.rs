//! The certificate authority that `quickstart` makes for a first try: one CA and one server certificate,
//! reused at every later start. It knows the pair that it made by fingerprint; a pair of the operator's in its place is
//! served and never written.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::pki_types::CertificateDer;
use time::{Duration, OffsetDateTime};

use crate::{made_files::MadeFiles, pem_file, private_file};

/// Paths of the authority and of the server's certificate and key.
#[derive(Clone, Debug)]
pub(crate) struct LocalCa {
    /// The CA certificate that agents trust.
    pub ca_file: PathBuf,
    /// The served chain: leaf, then the CA itself (so that `ca_trusted_fingerprint` works).
    pub certificate: PathBuf,
    pub key: PathBuf,
    ca_key: PathBuf,
    directory: PathBuf,
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
            directory: dir,
        }
    }

    /// Creates what is missing, unless a pair of the operator's is there: the CA (10 years), and a server certificate
    /// (397 days) for `localhost`, the host's name and the loopback addresses, renewed from its last 30 days on.
    ///
    /// # Errors
    /// A file that cannot be read or written, or half of a pair: a CA certificate without its key.
    pub(crate) fn ensure(&self, host_name: &str, now: OffsetDateTime) -> Result<()> {
        let mut made = self.made()?;
        if self.is_operators(&made)? {
            return Ok(());
        }
        private_file::ensure_directory(&self.directory)
            .with_context(|| format!("cannot create the directory {}", self.directory.display()))?;
        self.ensure_ca(now)?;
        if !self.has_usable_leaf(now)? {
            self.issue_leaf(host_name, &mut made, now)?;
        }
        Ok(())
    }

    /// How many days are left of a pair that the operator has laid there, if there is one and it can be read.
    pub(crate) fn days_left_of_operators(&self, now: OffsetDateTime) -> Option<i64> {
        let made = self.made().ok()?;
        if !self.is_operators(&made).ok()? {
            return None;
        }
        let end = self.leaf_end().ok()?;
        Some((end - now.unix_timestamp()).div_euclid(24 * 3600))
    }

    /// Whether the chain ends in this CA, as those that are made here do.
    pub(crate) fn has_issued(&self, chain: &[CertificateDer<'_>]) -> Result<bool> {
        Ok(self.ca_file.exists() && pem_file::certificates("CA", &self.ca_file)?.last() == chain.last())
    }

    fn made(&self) -> Result<MadeFiles> {
        MadeFiles::read(&self.directory)
    }

    /// Whether a whole pair is there, and not all of it was made here. Half of one is refused.
    fn is_operators(&self, made: &MadeFiles) -> Result<bool> {
        let (certificate, key) = (&self.certificate, &self.key);
        match (certificate.exists(), key.exists()) {
            (true, true) => Ok(!made.contain(certificate)? || !made.contain(key)?),
            (true, false) if !made.contain(certificate)? => Err(half(certificate, "key", key)),
            (false, true) if !made.contain(key)? => Err(half(key, "certificate", certificate)),
            _ => Ok(false),
        }
    }

    fn ensure_ca(&self, now: OffsetDateTime) -> Result<()> {
        match (self.ca_file.exists(), self.ca_key.exists()) {
            (true, true) => return Ok(()),
            (false, false) => {}
            (true, false) => return Err(half(&self.ca_file, "key", &self.ca_key)),
            (false, true) => return Err(half(&self.ca_key, "certificate", &self.ca_file)),
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
        Ok(self.leaf_end()? > (now + Duration::days(30)).unix_timestamp())
    }

    fn leaf_end(&self) -> Result<i64> {
        let chain = read(&self.certificate)?;
        let (_, pem) = x509_parser::pem::parse_x509_pem(chain.as_bytes())
            .with_context(|| format!("{} is not a PEM certificate", self.certificate.display()))?;
        let leaf = pem
            .parse_x509()
            .with_context(|| format!("{} is not an X.509 certificate", self.certificate.display()))?;
        Ok(leaf.validity().not_after.timestamp())
    }

    fn issue_leaf(&self, host_name: &str, made: &mut MadeFiles, now: OffsetDateTime) -> Result<()> {
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
        let (key, chain) = (key.serialize_pem(), format!("{}{ca_pem}", leaf.pem()));
        made.remember(
            &[key.as_bytes(), chain.as_bytes()],
            &[&self.key, &self.certificate],
        )?;
        replace(&self.key, key.as_bytes())?;
        replace(&self.certificate, chain.as_bytes())
    }
}

fn half(there: &Path, what: &str, missing: &Path) -> anyhow::Error {
    anyhow!(
        "{} exists without its {what} {}",
        there.display(),
        missing.display()
    )
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
